/* Matrices in 8 bits beside a network's own weights, or weights in f16 beside matrices that a file
 * holds in 8 bits alone: copies of what a stage needs and the file has not, made when the stage
 * begins and dropped when it ends (ldm_params_drop_copies). */
#pragma once

#include "weights/param.h"

/* Bytes of the copies that a stage needs, which multiplies in 8 bits or not. */
size_t ldm_coarse_bytes(const LdmParams *params, bool q8);

/* Bytes of the mapped weights that it reads once the copies are there. */
size_t ldm_coarse_mapped(const LdmParams *params, bool q8);

/* Makes them, by the threads: a q8 rounded from its data for every matrix that allows one, or f16
 * for every one that is stored. `made` (may be NULL) is called after each, whose mapped weights are
 * then not needed for now. Errors: MEMORY, CANCELLED. */
typedef void (*LdmCoarseMade)(const LdmParam *param, void *data);
bool ldm_coarse_make(LdmParams *params, bool q8, LdmCoarseMade made, void *data,
                     GCancellable *cancellable, GError **error);
