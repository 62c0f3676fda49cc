/* The linear map that previews fall back to, for any model, made from the model itself. */
#pragma once

#include "pipeline/model.h"

/* The map (decode/rgb-map.h) of the model's autoencoder, from $XDG_CACHE_HOME/pentimento/previews,
 * or made now and kept there. Errors: MEMORY, CANCELLED, NONFINITE. */
LdmTensor *ldm_preview_map(const LdmModel *model, GCancellable *cancellable, GError **error);

/* Made now. */
LdmTensor *ldm_preview_map_make(const LdmModel *model, GCancellable *cancellable, GError **error);
