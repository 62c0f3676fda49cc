/* What the shapes of a single file's tensors tell about its networks. */
#pragma once

#include "weights/config.h"
#include "weights/safetensors.h"

/* `prefix` stands before the network's names. What shapes do not tell has the values that LDM,
 * SD 1.x and SD 2.x share. Errors: MISSING, UNSUPPORTED. */
bool ldm_probe_unet(const LdmFiles *files, const char *prefix, LdmUnetConfig *c, GError **error);
bool ldm_probe_vae(const LdmFiles *files, const char *prefix, LdmVaeConfig *c, GError **error);
bool ldm_probe_clip(const LdmFiles *files, const char *prefix, LdmTextConfig *c, GError **error);
bool ldm_probe_openclip(const LdmFiles *files, const char *prefix, LdmTextConfig *c,
                        GError **error);
