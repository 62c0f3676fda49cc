/* Matrices in 8 bits beside a network's own weights: copies that a stage makes when it begins and
 * drops when it ends (ldm_params_drop_copies). */
#pragma once

#include "weights/param.h"

/* Bytes of the copies. */
size_t ldm_coarse_bytes(const LdmParams *params);

/* Gives every matrix that allows it its q8, rounded from its data, by the threads. `made` (may be
 * NULL) is called after each, whose data is then not needed for now. Errors: MEMORY, CANCELLED. */
typedef void (*LdmCoarseMade)(const LdmParam *param, void *data);
bool ldm_coarse_make(LdmParams *params, LdmCoarseMade made, void *data, GCancellable *cancellable,
                     GError **error);
