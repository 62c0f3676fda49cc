/* One step of a softmax over a row that comes in pieces (Milakov and Gimelshein, 2018). */
#pragma once

#include "kernels/vector.h"

static float softmax_step(float *x, size_t n, float factor, float *max, float *sum)
{
    Vec top = spread(*max);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        Vec v = load(x + i) * factor;
        store(x + i, v);
        top = larger(v, top);
    }
    float m = lanes_max(top);
    for (; i < n; i++) {
        x[i] *= factor;
        m = x[i] > m ? x[i] : m;
    }
    Vec part = {0};
    for (i = 0; i + LANES <= n; i += LANES) {
        Vec e = vec_exp(load(x + i) - m);
        store(x + i, e);
        part += e;
    }
    float total = lanes_sum(part);
    if (i < n) {
        Vec e = vec_exp(load_part(x + i, n - i) - m);
        store_part(x + i, n - i, e);
        for (size_t j = 0; j < n - i; j++)
            total += e[j];
    }
    float shrink = vec_exp(spread(*max - m))[0];
    *sum = *sum * shrink + total;
    *max = m;
    return shrink;
}
