/* The inner loops, one table per instruction set: one thread, one run of numbers, no decisions.
 * The sources convert.c, act.c, norm.c, gemm.c, conv.c, attention.c, resample.c cut arrays into
 * tiles and call these; the *-vector.h files hold the loops, written once for any vector width. */
#pragma once

#include "kernels/kernels.h"

typedef void LdmMapFunc(const float *x, float *y, size_t n);

typedef struct {
    const char *name;

    /* convert */
    void (*f16_to_f32)(const uint16_t *x, float *y, size_t n);
    void (*bf16_to_f32)(const uint16_t *x, float *y, size_t n);
    void (*f32_to_f16)(const float *x, uint16_t *y, size_t n);
    void (*f32_to_bf16)(const float *x, uint16_t *y, size_t n);

    /* act; y may be x */
    LdmMapFunc *silu, *gelu, *quick_gelu;
    void (*geglu)(const float *x, float *y, size_t n); /* y[n] = x[0:n] * GELU(x[n:2n]) */
    void (*add)(const float *a, const float *b, float *y, size_t n);
    void (*add_scaled)(float a, const float *x, float *y, size_t n); /* y += a * x */
    void (*scale)(float a, float *y, size_t n);                      /* y *= a */

    /* norm. Channels c < n of `pixels` rows `stride` floats apart join the running mean[c] and
     * m2[c] = sum of (x - mean)^2 of the `seen` rows before them. */
    void (*channel_moments)(const float *x, size_t pixels, size_t stride, size_t n, size_t seen,
                            double *mean, double *m2);
    /* y = x * scale[c] + shift[c], then SiLU where asked; rows `stride` apart in x and y. */
    void (*channel_affine)(const float *x, float *y, size_t pixels, size_t stride, size_t n,
                           const float *scale, const float *shift, bool silu);
    void (*row_moments)(const float *x, size_t n, double *mean, double *variance);
    /* y = (x - mean) * factor * gamma + beta */
    void (*row_normalise)(const float *x, float *y, size_t n, float mean, float factor,
                          const float *gamma, const float *beta);

    /* softmax: x[i] = exp(x[i] * scale - m) where m = max(*max, all x * scale); returns what the
     * earlier terms shrink by, exp(*max - m). *max becomes m, *sum the sum of all terms so far. */
    float (*softmax_step)(float *x, size_t n, float scale, float *max, float *sum);
} LdmLanes;

extern const LdmLanes ldm_lanes_base;
#ifdef __x86_64__
extern const LdmLanes ldm_lanes_avx2, ldm_lanes_avx512;
#endif

/* The table in use. */
const LdmLanes *ldm_lanes(void);

/* `n` constants from `first` on, as f32: their own memory where they are f32, else expanded into
 * `buffer` [n]. */
const float *ldm_weights_f32(LdmWeights weights, size_t first, size_t n, float *buffer);
