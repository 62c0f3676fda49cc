/* Pictures in another size, outside a pass: the kernel, and the memory that it needs. */
#pragma once

#include "kernels/kernels.h"

/* x [1, H, W, C] -> [1, h, w, C], the caller's own; takes ldm_resample_scratch bytes besides for a
 * while. Errors: MEMORY, CANCELLED. */
LdmTensor *ldm_tensor_resample(LdmResample filter, const LdmTensor *x, size_t h, size_t w,
                               GCancellable *cancellable, GError **error);
