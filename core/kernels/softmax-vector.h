/* One step of softmaxes down the columns of an array that comes in pieces (Milakov and Gimelshein,
 * 2018): NR of them, side by side, so that nothing is summed across a vector. */
#pragma once

#include "kernels/vector.h"

/* t <= 0 -> r between 0 and 1; returns what the power 2^(t - r) is told by. Where t is -infinity r
 * is 0. */
static inline Vec split_power(Vec t, Vec *r)
{
#if LANES == 16
    *r = (Vec)_mm512_reduce_ps((__m512)t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    return t; /* scale_by_power takes the whole number below it */
#else
    t = larger(spread(-150.0f), t); /* NaN stays */
    Vec n = nearest(t - 0.5f);
    *r = t - n;
    return n;
#endif
}

/* 2^t for t <= 0: a polynomial of degree 6 fitted to 4e-9 relative (as that of vec_gelu). Results
 * below 2^-126 are 0 or nearly. */
static inline Vec vec_exp2_below(Vec t)
{
    Vec r, power = split_power(t, &r);
    Vec y = r * 2.17022549e-4f + 1.2439688e-3f;
    y = y * r + 9.67884098e-3f;
    y = y * r + 5.5483342e-2f;
    y = y * r + 2.40229836e-1f;
    y = y * r + 6.93146984e-1f;
    y = y * r + 1.0f;
    return scale_by_power(y, power);
}

/* LANES columns. Returns whether the earlier terms shrink. */
static inline bool softmax_lanes(float *x, size_t rows, float factor, float *max, float *sum,
                                 float *shrink)
{
    const size_t pitch = 2 * LANES;
    const float by_bits = factor * 1.44269504f;
    Vec top = load(x), other = top, before = load(max);
    for (size_t r = 1; r + 1 < rows; r += 2) {
        top = larger(load(x + r * pitch), top);
        other = larger(load(x + (r + 1) * pitch), other);
    }
    if (rows % 2 == 0)
        top = larger(load(x + (rows - 1) * pitch), top);
    top = larger(larger(top, other) * factor, before);
    /* x factor - top in one rounding, as a power of two. */
    Vec offset = top * 1.44269504f, part = {0};
    for (size_t r = 0; r < rows; r++) {
        Vec e = vec_exp2_below(load(x + r * pitch) * by_bits - offset);
        store(x + r * pitch, e);
        part += e;
    }
    Vec less = vec_exp2_below(before * 1.44269504f - offset);
    store(shrink, less);
    store(sum, load(sum) * less + part);
    store(max, top);
    bool shrinks = false;
    for (int i = 0; i < LANES; i++)
        shrinks |= top[i] != before[i];
    return shrinks;
}

static bool softmax_columns(float *x, size_t rows, float factor, float *max, float *sum,
                            float *shrink)
{
    bool left = softmax_lanes(x, rows, factor, max, sum, shrink);
    bool right = softmax_lanes(x + LANES, rows, factor, max + LANES, sum + LANES, shrink + LANES);

    return left || right;
}

static void scale_columns(const float *factors, size_t rows, float *y)
{
    Vec left = load(factors), right = load(factors + LANES);

    for (size_t r = 0; r < rows; r++, y += 2 * LANES) {
        store(y, load(y) * left);
        store(y + LANES, load(y + LANES) * right);
    }
}
