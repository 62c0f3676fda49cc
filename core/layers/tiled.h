/* A network from picture to latent or back, run over the whole at once or, where that would take
 * too much memory, in overlapping tiles. */
#pragma once

#include "layers/pass.h"

/* Sizes in latent cells; `in` and `out` pixels per cell on either side of the network. */
typedef struct {
    LdmNetworkForward forward;
    const void *network;
    size_t tile; /* cells a side of a tile, overlapping by a quarter; 0 = the whole at once */
    size_t in, out, channels_in, channels_out;
    LdmPassProgress progress; /* FLOPs so far; or NULL */
    void *progress_data;
    GCancellable *cancellable; /* or NULL */
} LdmTiled;

/* x [1, h * in, w * in, channels_in] -> [1, h * out, w * out, channels_out], the caller's own.
 * Errors: MEMORY, CANCELLED. */
LdmTensor *ldm_tiled_run(const LdmTiled *tiled, const LdmTensor *x, GError **error);

/* Work memory beyond x and the result, and FLOPs, for h x w cells. */
bool ldm_tiled_measure(const LdmTiled *tiled, size_t h, size_t w, size_t *bytes, double *flops,
                       GError **error);
