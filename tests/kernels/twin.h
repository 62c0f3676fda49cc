/* What the kernel tests share: random arrays with guard numbers around them, constants in each
 * storage precision, and the comparison with the plain twin. */
#pragma once

#include "base/parallel.h"
#include "kernels/pairs.h"
#include "tensor/half.h"

#include <math.h>
#include <string.h>

#define GUARD      64
#define GUARD_BITS 0x7fc0beefu /* a NaN: reading it shows, too */

/* `n` floats between guards. */
typedef struct {
    size_t n;
    float *data;
} TwinArray;

static inline TwinArray twin_array(size_t n)
{
    float *memory = g_new(float, n + 2 * GUARD);
    for (size_t i = 0; i < n + 2 * GUARD; i++)
        memory[i] = ldm_float_from_bits(GUARD_BITS);
    return (TwinArray){n, memory + GUARD};
}

/* Even in -1 .. 1. */
static inline TwinArray twin_random(size_t n)
{
    TwinArray array = twin_array(n);
    for (size_t i = 0; i < n; i++)
        array.data[i] = (float)g_test_rand_double_range(-1, 1);
    return array;
}

/* Frees; fails where a guard was overwritten. */
static inline void twin_free(TwinArray array)
{
    for (size_t i = 0; i < GUARD; i++) {
        g_assert_cmphex(ldm_float_bits(array.data[(ptrdiff_t)i - GUARD]), ==, GUARD_BITS);
        g_assert_cmphex(ldm_float_bits(array.data[array.n + i]), ==, GUARD_BITS);
    }
    g_free(array.data - GUARD);
}

/* Scratch memory of exactly this many bytes, guarded alike. */
static inline TwinArray twin_scratch(size_t bytes)
{
    g_assert_cmpuint(bytes % sizeof(float), ==, 0);
    return twin_array(bytes / sizeof(float));
}

/* Random constants in storage precision; `values` are what they stand for. */
typedef struct {
    LdmWeights weights;
    float *values;
    void *memory;
} TwinWeights;

static inline TwinWeights twin_weights(size_t n, LdmDtype dtype)
{
    TwinWeights w = {.values = g_new(float, n), .memory = g_malloc(n * 4)};
    for (size_t i = 0; i < n; i++) {
        float value = (float)g_test_rand_double_range(-1, 1);
        if (dtype == LDM_F32) {
            ((float *)w.memory)[i] = w.values[i] = value;
        } else if (dtype == LDM_F16) {
            uint16_t half = ((uint16_t *)w.memory)[i] = ldm_f32_to_f16(value);
            w.values[i] = ldm_f16_to_f32(half);
        } else {
            uint16_t half = ((uint16_t *)w.memory)[i] = ldm_f32_to_bf16(value);
            w.values[i] = ldm_bf16_to_f32(half);
        }
    }
    w.weights = (LdmWeights){w.memory, dtype};
    return w;
}

static inline void twin_weights_free(TwinWeights w)
{
    g_free(w.values);
    g_free(w.memory);
}

/* |got - expected| <= tolerance * max(1, max |expected|), terms being of the order of 1; NaN never
 * passes. */
static inline void twin_compare(const float *got, const double *expected, size_t n,
                                double tolerance, const char *what)
{
    double largest = 1;
    for (size_t i = 0; i < n; i++)
        largest = MAX(largest, fabs(expected[i]));
    for (size_t i = 0; i < n; i++)
        if (!(fabs(got[i] - expected[i]) <= tolerance * largest))
            g_error("%s: [%zu] is %.9g, expected %.9g (largest %.3g)", what, i, got[i], expected[i],
                    largest);
}

/* What a kernel that may round to bf16 multiplies. */
static inline float twin_bf16(float x)
{
    return ldm_kernels_have_bf16() ? ldm_bf16_to_f32(ldm_f32_to_bf16(x)) : x;
}

/* What a product of f32 numbers errs by, at most, of itself: where it is made of bf16 ones. */
static inline double twin_split(void)
{
    return ldm_pairs_exact() != NULL ? 0x1p-16 : 0;
}

static inline GCancellable *twin_cancelled(void)
{
    GCancellable *cancellable = g_cancellable_new();
    g_cancellable_cancel(cancellable);
    return cancellable;
}
