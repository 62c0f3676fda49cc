/* finish: the last stage. Decoded picture in, pixels at the picture's own size and blend factor
 * out. */
#pragma once

#include "pipeline/types.h"

/* decoded [1, H, W, 3], about [-1, 1]; changed in place by the colour match. Fills result->window,
 * scale, pixels and alpha (generate: no alpha). Errors: NONFINITE, MEMORY, CANCELLED. */
bool ldm_finish(LdmTensor *decoded, const LdmPrepared *prepared, const LdmRequest *request,
                LdmResult *result, GCancellable *cancellable, GError **error);

/* The same where nothing is to be done (strength 0): pixels are the input's, alpha is 0. */
bool ldm_finish_unchanged(const LdmPrepared *prepared, const LdmRequest *request, LdmResult *result,
                          GError **error);

/* R'G'B'A in 0..1, [1, H, W, 4] -> [1, h, w, 4] by Lanczos. Takes `rgba`. Errors: MEMORY,
 * CANCELLED. */
LdmTensor *ldm_enlarge(LdmTensor *rgba, size_t h, size_t w, GCancellable *cancellable,
                       GError **error);

/* Takes the brightness and colour differences that the autoencoder and the network leave at the
 * border of the mask out of `decoded` [1, H, W, 3], see match.c. f: pixels per latent cell, the
 * scale of the smoothing. Errors: MEMORY, CANCELLED. */
bool ldm_match_colour(LdmTensor *decoded, const LdmPrepared *prepared, size_t f,
                      GCancellable *cancellable, GError **error);

/* Bytes that it uses for a while. */
size_t ldm_match_bytes(const LdmPrepared *prepared);
