/* Means, variances and normalising. Sums run in f32 over short stretches (64 terms at most) and in
 * double across them; squares are taken about the stretch's own mean, so large means do no harm. */
#pragma once

#include "kernels/vector.h"

#define STRETCH 64

#define ABREAST 4 /* vectors of channels: their sums do not wait for one another */

/* The rows of one stretch (pixels <= STRETCH), `vectors` of channels from x on, of the last of them
 * only `part`; what lies behind the stretch is asked for. */
ALWAYS_INLINE void stretch_moments(const float *x, size_t pixels, size_t stride, const int vectors,
                                   const size_t part, Vec *mean, Vec *m2)
{
    Vec sum[ABREAST], squares[ABREAST];
    for (int v = 0; v < vectors; v++)
        sum[v] = squares[v] = (Vec){0};
    for (size_t p = 0; p < pixels; p++)
        for (int v = 0; v < vectors; v++)
            sum[v] += load_some(x + p * stride + v * LANES, v + 1 < vectors ? LANES : part);
    for (int v = 0; v < vectors; v++)
        mean[v] = sum[v] / (float)pixels;
    for (size_t p = 0; p < pixels; p++)
        for (int v = 0; v < vectors; v++) {
            const float *from = x + p * stride + v * LANES;
            Vec d = load_some(from, v + 1 < vectors ? LANES : part) - mean[v];
            __builtin_prefetch(from + pixels * stride);
            squares[v] += d * d;
        }
    for (int v = 0; v < vectors; v++)
        m2[v] = squares[v];
}

/* Chan, Golub, LeVeque (1979): moments of two sets joined. */
static void channel_moments(const float *x, size_t pixels, size_t stride, size_t n, size_t seen,
                            double *mean, double *m2)
{
    for (size_t p = 0; p < pixels; p += STRETCH) {
        size_t rows = MIN(STRETCH, pixels - p), width;
        double before = (double)(seen + p), share = rows / (before + rows);
        for (size_t c = 0; c < n; c += width) {
            const float *from = x + p * stride + c;
            Vec part_mean[ABREAST], part_m2[ABREAST];
            width = n - c >= ABREAST * LANES ? ABREAST * LANES : MIN(LANES, n - c);
            if (width > LANES)
                stretch_moments(from, rows, stride, ABREAST, LANES, part_mean, part_m2);
            else if (width == LANES)
                stretch_moments(from, rows, stride, 1, LANES, part_mean, part_m2);
            else
                stretch_moments(from, rows, stride, 1, width, part_mean, part_m2);
            for (size_t i = 0; i < width; i++) {
                double delta = part_mean[i / LANES][i % LANES] - mean[c + i];
                mean[c + i] += delta * share;
                m2[c + i] += part_m2[i / LANES][i % LANES] + delta * delta * before * share;
            }
        }
    }
}

static void channel_affine(const float *x, size_t ldx, float *y, size_t ldy, size_t pixels,
                           size_t n, const float *factor, const float *shift, bool silu_too)
{
    for (size_t p = 0; p < pixels; p++, x += ldx, y += ldy) {
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
