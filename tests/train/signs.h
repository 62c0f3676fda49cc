/* Gradients of a whole table against PyTorch's, kept small: every parameter is held to 1e-3 of its
 * own gradient's length, by four products with vectors of signs and by the length itself. */
#pragma once

#include "tensor/tensor.h"
#include "weights/param.h"

#include <math.h>
#include <string.h>

#define SIGNS_TOLERANCE 1e-3
#define SIGNS_PRODUCTS  4

static inline double gradient_sign(size_t i, int k)
{
    uint32_t v = (uint32_t)(i * SIGNS_PRODUCTS + (size_t)k + 1) * 2654435761u;
    v = (v ^ (v >> 15)) * 2246822519u;
    v = (v ^ (v >> 13)) * 3266489917u;
    return (v >> 16) & 1 ? -1 : 1;
}

static inline int by_name(gconstpointer a, gconstpointer b)
{
    return strcmp((*(LdmParam *const *)a)->name, (*(LdmParam *const *)b)->name);
}

/* The largest error of one parameter: of its length and products, absolute. */
static inline double parameter_error(const LdmParam *param, const float *row)
{
    size_t n = 1;
    for (int i = 0; i < param->rank; i++)
        n *= param->shape[i];
    double squares = 0, products[SIGNS_PRODUCTS] = {0};
    for (size_t i = 0; i < n; i++) {
        squares += (double)param->gradient[i] * param->gradient[i];
        for (int k = 0; k < SIGNS_PRODUCTS; k++)
            products[k] += gradient_sign(i, k) * param->gradient[i];
    }
    double error = fabs(sqrt(squares) - row[0]);
    for (int k = 0; k < SIGNS_PRODUCTS; k++)
        error = fmax(error, fabs(products[k] - (double)row[0] * row[1 + k]));
    return isfinite(squares) ? error : INFINITY;
}

/* Some gradients are zero (of keys' biases, say) but for rounding: the floor of errors is 1e-6 of
 * the longest gradient. */
static inline void signs_check(const LdmParams *params, const LdmTensor *rows, const char *name)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new();
    for (size_t i = 0; i < ldm_params_length(params); i++)
        g_ptr_array_add(list, ldm_params_at(params, i));
    g_ptr_array_sort(list, by_name);
    g_assert_cmpuint(list->len, ==, rows->shape[0]);
    double longest = 0, worst = 0;
    for (guint i = 0; i < list->len; i++)
        longest = fmax(longest, ldm_tensor_f32(rows)[i * (1 + SIGNS_PRODUCTS)]);
    for (guint i = 0; i < list->len; i++) {
        const LdmParam *param = g_ptr_array_index(list, i);
        const float *row = ldm_tensor_f32(rows) + i * (1 + SIGNS_PRODUCTS);
        double error = parameter_error(param, row) / (row[0] + 1e-3 * longest);
        if (error > SIGNS_TOLERANCE)
            g_test_message("%s: error %.2e, length %.3e", param->name, error, row[0]);
        worst = fmax(worst, error);
    }
    g_test_message("%s: %u parameters, worst error %.2e", name, list->len, worst);
    g_assert_cmpfloat(worst, <=, SIGNS_TOLERANCE);
}
