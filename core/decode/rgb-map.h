/* Colours from latents by a linear map, cell by cell: the roughest way to show a latent, which
 * needs no network. A map is an array [z + 1, 3]: a row for each channel of the latent, one for a
 * constant. */
#pragma once

#include "ldm.h"

/* The map that takes z [N, h, w, z] nearest to rgb [N, h, w, 3] (least squares, with a little pull
 * to zero, so that channels that say nothing do not matter). Errors: MEMORY, NONFINITE. */
LdmTensor *ldm_rgb_map_fit(const LdmTensor *z, const LdmTensor *rgb, GError **error);

/* True where `map` is one for latents of so many channels. */
bool ldm_rgb_map_fits(const LdmTensor *map, size_t channels);

/* z [N, h, w, z] -> [N, h, w, 3]. Errors: MEMORY. */
LdmTensor *ldm_rgb_map_apply(const LdmTensor *map, const LdmTensor *z, GError **error);
