/* decode: the stage around D. */
#pragma once

#include "decode/vae-decoder.h"
#include "pipeline/types.h"

/* One call of the stage. */
typedef struct {
    const LdmVaeDecoder *decoder;
    const LdmVaeConfig *config;
    size_t tile;              /* latent cells a side of a tile; 0 = the whole at once */
    LdmPassProgress progress; /* FLOPs of the stage so far; or NULL */
    void *progress_data;
    GCancellable *cancellable; /* or NULL */
} LdmDecode;

/* z [1, h, w, z] -> picture [1, h*f, w*f, 3], about [-1, 1]. Tiles as in encode/encode.h.
 * Errors: MEMORY, CANCELLED, NONFINITE. */
LdmTensor *ldm_decode_latent(const LdmDecode *job, const LdmTensor *z, GError **error);

/* What that takes: work memory beyond z and the result, and FLOPs. */
bool ldm_decode_measure(const LdmDecode *job, size_t h, size_t w, size_t *bytes, double *flops,
                        GError **error);
