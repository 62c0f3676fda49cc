/* Arrays inside the library; LdmTensor itself is in ldm.h. */
#pragma once

#include "ldm.h"

size_t ldm_dtype_size(LdmDtype dtype);      /* 4, 2, 2, 1 */
const char *ldm_dtype_name(LdmDtype dtype); /* "f32" "f16" "bf16" "q8" */

/* rank 4 shorthand: a zeroed f32 array [n, h, w, c]. */
LdmTensor *ldm_tensor_new_nhwc(size_t n, size_t h, size_t w, size_t c, GError **error);
LdmTensor *ldm_tensor_copy(const LdmTensor *tensor, GError **error);

static inline float *ldm_tensor_f32(const LdmTensor *tensor)
{
    return (float *)tensor->data;
}

bool ldm_tensor_same_shape(const LdmTensor *a, const LdmTensor *b);

/* "[1, 64, 64, 4]": for messages; free with g_free. */
char *ldm_shape_string(int rank, const size_t *shape);

/* False where any element is NaN or infinite; sets LDM_ERROR_NONFINITE naming `stage`. */
bool ldm_tensor_check_finite(const LdmTensor *tensor, const char *stage, GError **error);

/* Dense NCHW <-> NHWC, f32; the borders to files and to torch's noise. */
void ldm_nchw_to_nhwc(const float *src, float *dst, size_t n, size_t c, size_t h, size_t w);
void ldm_nhwc_to_nchw(const float *src, float *dst, size_t n, size_t c, size_t h, size_t w);
