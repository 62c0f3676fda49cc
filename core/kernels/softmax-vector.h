/* One step of a softmax over a row that comes in pieces (Milakov and Gimelshein, 2018). */
#pragma once

#include "kernels/vector.h"

/* 2^t for t <= 0, with r = t - round(t): a polynomial of degree 6 fitted to 2e-9 relative (as that
 * of vec_gelu). Results below 2^-126 are 0 or nearly. */
static inline Vec vec_exp2_below(Vec t)
{
    t = larger(spread(-150.0f), t); /* NaN stays */
    Vec n = nearest(t), r = t - n;
    Vec y = r * 1.53533582e-4f + 1.33988749e-3f;
    y = y * r + 9.61843738e-3f;
    y = y * r + 5.55033247e-2f;
    y = y * r + 2.40226479e-1f;
    y = y * r + 6.93147203e-1f;
    y = y * r + 1.0f;
    return scale_by_power(y, n);
}

static float softmax_step(float *x, size_t n, float factor, float *max, float *sum)
{
    const float by_bits = factor * 1.44269504f;
    Vec top = spread(-INFINITY), other = top;
    size_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        top = larger(load(x + i), top);
        other = larger(load(x + i + LANES), other);
    }
    for (; i + LANES <= n; i += LANES)
        top = larger(load(x + i), top);
    float m = lanes_max(larger(top, other));
    for (; i < n; i++)
        m = x[i] > m ? x[i] : m;
    m = m * factor > *max ? m * factor : *max;
    /* x factor - m in one rounding, as a power of two. */
    Vec offset = spread(m * 1.44269504f), part = {0};
    for (i = 0; i + LANES <= n; i += LANES) {
        Vec e = vec_exp2_below(load(x + i) * by_bits - offset);
        store(x + i, e);
        part += e;
    }
    if (i < n) {
        Vec e = vec_exp2_below(load_part(x + i, n - i) * by_bits - offset);
        store_part(x + i, n - i, e);
        part += load_part(x + i, n - i);
    }
    float shrink = *max == m ? 1 : vec_exp2_below(spread(*max * 1.44269504f) - offset)[0];
    *sum = *sum * shrink + lanes_sum(part);
    *max = m;
    return shrink;
}
