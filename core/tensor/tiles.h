/* Cuts a picture or latent that is too large for one pass into overlapping tiles and blends what
 * comes out of them. */
#pragma once

#include "tensor/tensor.h"

/* One tile in, its result out (the caller's own array). */
typedef LdmTensor *(*LdmTileRun)(const LdmTensor *tile, void *data, GError **error);

/* Sizes in latent cells; `in` and `out` pixels per cell on either side of the network. */
typedef struct {
    size_t tile, overlap, in, out;
    LdmTileRun run;
    void *data;
} LdmTiling;

/* How many tiles cover `length` cells of one axis. */
size_t ldm_tiles_count(const LdmTiling *tiling, size_t length);

/* Size of one tile on an axis of `length` cells: tiling->tile, or less on a shorter axis. */
size_t ldm_tiles_size(const LdmTiling *tiling, size_t length);

/* x [1, h * in, w * in, Cin] -> [1, h * out, w * out, Cout]. Each tile's share falls linearly to
 * its edges over the overlap, and shares are normalised to one. Errors: MEMORY, those of `run`. */
LdmTensor *ldm_tiles_run(const LdmTiling *tiling, const LdmTensor *x, size_t Cout, GError **error);
