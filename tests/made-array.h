/* Arrays made for tests. */
#pragma once

#include "tensor/tensor.h"

/* [1, h, w, c], all of it `value`. */
static inline LdmTensor *array(size_t h, size_t w, size_t c, float value)
{
    g_autoptr(GError) error = NULL;
    LdmTensor *t = ldm_tensor_new_nhwc(1, h, w, c, &error);
    g_assert_no_error(error);
    for (size_t i = 0; i < ldm_tensor_count(t); i++)
        ldm_tensor_f32(t)[i] = value;
    return t;
}
