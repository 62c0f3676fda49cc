/* encode: the stage around E. */
#pragma once

#include "encode/vae-encoder.h"
#include "pipeline/types.h"

/* One call of the stage. */
typedef struct {
    const LdmVaeEncoder *encoder;
    const LdmVaeConfig *config;
    size_t tile;              /* latent cells a side of a tile; 0 = the whole at once */
    LdmPassProgress progress; /* FLOPs of the stage so far; or NULL */
    void *progress_data;
    GCancellable *cancellable; /* or NULL */
} LdmEncode;

/* x [1, H, W, 3] in [-1, 1], H and W multiples of f -> latent [1, H/f, W/f, z], scale * mean, or a
 * sample where `noise` [1, H/f, W/f, z] is given. Tiles overlap by a quarter; the GroupNorm
 * statistics and the middle attention are then those of the tile, so that tiling changes the result
 * slightly and is used only where the whole does not fit into memory.
 * Errors: MEMORY, CANCELLED, NONFINITE. */
LdmTensor *ldm_encode_picture(const LdmEncode *job, const LdmTensor *x, const LdmTensor *noise,
                              GError **error);

/* What that takes, from x's shape alone: work memory beyond x and the result, and FLOPs. */
bool ldm_encode_measure(const LdmEncode *job, size_t H, size_t W, size_t *bytes, double *flops,
                        GError **error);
