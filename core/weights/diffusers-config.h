/* diffusers' and transformers' config.json files -> configuration structs. Each starts from the
 * defaults those libraries have for keys that are left out. */
#pragma once

#include "weights/config.h"
#include "weights/json.h"

/* `path` is for messages. Errors: FORMAT (a value of the wrong type), UNSUPPORTED (key, value). */
bool ldm_config_read_unet(LdmUnetConfig *c, JsonObject *json, const char *path, GError **error);
bool ldm_config_read_vae(LdmVaeConfig *c, JsonObject *json, const char *path, GError **error);
bool ldm_config_read_tiny(LdmTinyConfig *c, JsonObject *json, const char *path, GError **error);
bool ldm_config_read_text(LdmTextConfig *c, JsonObject *json, const char *path, GError **error);
bool ldm_config_read_schedule(LdmScheduleConfig *c, JsonObject *json, const char *path,
                              GError **error);

/* What LDM and Stable Diffusion were trained with, where no file says. */
LdmScheduleConfig ldm_config_schedule_default(void);
