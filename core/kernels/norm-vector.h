/* Means, variances and normalising. Sums run in f32 over short stretches (64 terms at most) and in
 * double across them; squares are taken about the stretch's own mean, so large means do no harm. */
#pragma once

#include "kernels/vector.h"

#define STRETCH 64

/* The rows of one stretch (pixels <= STRETCH), channels n <= LANES from x on. */
static inline void stretch_moments(const float *x, size_t pixels, size_t stride, size_t n,
                                   Vec *mean, Vec *m2)
{
    Vec sum = {0}, squares = {0};
    for (size_t p = 0; p < pixels; p++)
        sum += n == LANES ? load(x + p * stride) : load_part(x + p * stride, n);
    *mean = sum / (float)pixels;
    for (size_t p = 0; p < pixels; p++) {
        Vec d = (n == LANES ? load(x + p * stride) : load_part(x + p * stride, n)) - *mean;
        squares += d * d;
    }
    *m2 = squares;
}

/* Chan, Golub, LeVeque (1979): moments of two sets joined. */
static void channel_moments(const float *x, size_t pixels, size_t stride, size_t n, size_t seen,
                            double *mean, double *m2)
{
    for (size_t p = 0; p < pixels; p += STRETCH) {
        size_t rows = MIN(STRETCH, pixels - p);
        double before = (double)(seen + p), share = rows / (before + rows);
        for (size_t c = 0; c < n; c += LANES) {
            size_t width = MIN(LANES, n - c);
            Vec part_mean, part_m2;
            if (width == LANES)
                stretch_moments(x + p * stride + c, rows, stride, LANES, &part_mean, &part_m2);
            else
                stretch_moments(x + p * stride + c, rows, stride, width, &part_mean, &part_m2);
            for (size_t i = 0; i < width; i++) {
                double delta = part_mean[i] - mean[c + i];
                mean[c + i] += delta * share;
                m2[c + i] += part_m2[i] + delta * delta * before * share;
            }
        }
    }
}

static void channel_affine(const float *x, float *y, size_t pixels, size_t stride, size_t n,
                           const float *factor, const float *shift, bool silu_too)
{
    for (size_t p = 0; p < pixels; p++, x += stride, y += stride) {
        size_t c = 0;
        for (; c + LANES <= n; c += LANES) {
            Vec v = load(x + c) * load(factor + c) + load(shift + c);
            store(y + c, silu_too ? vec_sigmoid_linear(v, 1.0f) : v);
        }
        if (c < n) {
            size_t rest = n - c;
            Vec v =
                load_part(x + c, rest) * load_part(factor + c, rest) + load_part(shift + c, rest);
            store_part(y + c, rest, silu_too ? vec_sigmoid_linear(v, 1.0f) : v);
        }
    }
}

static void row_moments(const float *x, size_t n, double *mean, double *variance)
{
    double sum = 0, squares = 0;
    for (size_t start = 0; start < n; start += STRETCH * LANES) {
        size_t i = start, end = MIN(start + STRETCH * LANES, n);
        Vec part = {0};
        for (; i + LANES <= end; i += LANES)
            part += load(x + i);
        if (i < end)
            part += load_part(x + i, end - i);
        sum += lanes_sum(part);
    }
    *mean = sum / (double)n;
    float centre = (float)*mean;
    for (size_t start = 0; start < n; start += STRETCH * LANES) {
        size_t i = start, end = MIN(start + STRETCH * LANES, n);
        Vec part = {0};
        for (; i + LANES <= end; i += LANES)
            part += (load(x + i) - centre) * (load(x + i) - centre);
        squares += lanes_sum(part);
        for (; i < end; i++)
            squares += (double)(x[i] - centre) * (x[i] - centre);
    }
    double error = *mean - centre;
    *variance = MAX(squares / (double)n - error * error, 0);
}

static void row_normalise(const float *x, float *y, size_t n, float mean, float factor,
                          const float *gamma, const float *beta)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store(y + i, (load(x + i) - mean) * factor * load(gamma + i) + load(beta + i));
    for (; i < n; i++)
        y[i] = (x[i] - mean) * factor * gamma[i] + beta[i];
}
