/* Elementwise functions. */
#pragma once

#include "kernels/vector.h"

/* A function y[i] = EXPRESSION(v), v = x[i]. */
#define MAP(name, EXPRESSION)                            \
    static void name(const float *x, float *y, size_t n) \
    {                                                    \
        size_t i = 0;                                    \
        for (; i + LANES <= n; i += LANES) {             \
            Vec v = load(x + i);                         \
            store(y + i, EXPRESSION);                    \
        }                                                \
        if (i < n) {                                     \
            Vec v = load_part(x + i, n - i);             \
            store_part(y + i, n - i, EXPRESSION);        \
        }                                                \
    }

MAP(silu, vec_sigmoid_linear(v, 1.0f))
MAP(quick_gelu, vec_sigmoid_linear(v, 1.702f))
MAP(gelu, vec_gelu(v))

static void geglu(const float *x, float *y, size_t n)
{
    const float *gate = x + n;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store(y + i, load(x + i) * vec_gelu(load(gate + i)));
    if (i < n)
        store_part(y + i, n - i, load_part(x + i, n - i) * vec_gelu(load_part(gate + i, n - i)));
}

static void add(const float *a, const float *b, float *y, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store(y + i, load(a + i) + load(b + i));
    for (; i < n; i++)
        y[i] = a[i] + b[i];
}

static void add_scaled(float a, const float *x, float *y, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store(y + i, load(y + i) + a * load(x + i));
    for (; i < n; i++)
        y[i] += a * x[i];
}
