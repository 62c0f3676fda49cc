/* The inner loops of training: derivatives, sums over rows. As in norm-vector.h,
 * sums run in f32 over short stretches and in double across them. Where `add` or `accumulate` is
 * set, results are added to what is there. */
#pragma once

#include "kernels/matrix-vector.h"
#include "kernels/norm-vector.h"
#include "kernels/winograd-vector.h"

ALWAYS_INLINE void put(float *p, size_t n, Vec v, bool add)
{
    store_some(p, n, add ? load_some(p, n) + v : v);
}

/* y[r][i] = x[r][i] for r < rows, i < n: a few numbers a row, for which memcpy takes long. */
static void copy_rows(const float *x, size_t ldx, size_t rows, size_t n, float *y, size_t ldy)
{
    for (size_t r = 0; r < rows; r++, x += ldx, y += ldy)
        for (size_t i = 0; i < n; i += LANES) {
            size_t part = MIN(n - i, (size_t)LANES);
            store_some(y + i, part, load_some(x + i, part));
        }
}

/* ---- products ---- */

static void tile_turned(int rows, const LdmTile *t)
{
    tile_of(rows, true, t);
}

/* A y: four values `s` apart into six `t` apart, the transpose of winograd_at. */
ALWAYS_INLINE void winograd_a(const Vec *y, const int s, Vec *m, const int t)
{
    Vec even_a = y[0] + WA * WA * y[2 * s], odd_a = WA * y[s] + WA * WA * WA * y[3 * s];
    Vec even_b = y[0] + WB * WB * y[2 * s], odd_b = WB * y[s] + WB * WB * WB * y[3 * s];
    m[0] = y[0];
    m[t] = even_a + odd_a;
    m[2 * t] = even_a - odd_a;
    m[3 * t] = even_b + odd_b;
    m[4 * t] = even_b - odd_b;
    m[5 * t] = y[3 * s];
}

/* G^T u: six values `s` apart into three `t` apart, the transpose of winograd_g. */
ALWAYS_INLINE void winograd_gt(const Vec *u, const int s, Vec *g, const int t)
{
    const float at_a = 1 / (2 * WA * WA * (WA * WA - WB * WB));
    const float at_b = 1 / (2 * WB * WB * (WB * WB - WA * WA));
    Vec sum_a = at_a * (u[s] + u[2 * s]), gap_a = at_a * (u[s] - u[2 * s]);
    Vec sum_b = at_b * (u[3 * s] + u[4 * s]), gap_b = at_b * (u[3 * s] - u[4 * s]);
    g[0] = u[0] * (1 / (WA * WA * WB * WB)) + sum_a + sum_b;
    g[t] = WA * gap_a + WB * gap_b;
    g[2 * t] = WA * WA * sum_a + WB * WB * sum_b + u[5 * s];
}

static void winograd_gradient(const LdmWinogradInput *in)
{
    for (size_t c = 0; c < in->C; c += LANES) {
        size_t part = MIN(in->C - c, (size_t)LANES);
        Vec y[16], rows[24], m[36];
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++)
            y[i] = load_some(in->pixels[i] + c, part);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            winograd_a(y + i, 4, rows + i, 4);
#pragma GCC unroll 6
        for (int i = 0; i < 6; i++)
            winograd_a(rows + 4 * i, 1, m + 6 * i, 1);
#pragma GCC unroll 36
        for (int i = 0; i < 36; i++)
            store_some(in->v + i * in->v_stride + c, part, m[i]);
    }
}

static void winograd_weights_backward(const float *u, size_t u_stride, size_t n, float *dw)
{
    for (size_t c = 0; c < n; c += LANES) {
        size_t part = MIN(n - c, (size_t)LANES);
        Vec q[36], rows[18], g[9];
#pragma GCC unroll 36
        for (int i = 0; i < 36; i++)
            q[i] = load(u + i * u_stride + c);
#pragma GCC unroll 6
        for (int i = 0; i < 6; i++)
            winograd_gt(q + i, 6, rows + i, 6);
#pragma GCC unroll 3
        for (int i = 0; i < 3; i++)
            winograd_gt(rows + 6 * i, 1, g + 3 * i, 1);
        for (size_t i = 0; i < part; i++)
            for (int k = 0; k < 9; k++)
                dw[(c + i) * 9 + (size_t)k] += g[k][i];
    }
}

/* sum[c] += x[r][c] over all rows, c < n. */
static void sum_rows(const float *x, size_t rows, size_t stride, size_t n, double *sum)
{
    for (size_t r0 = 0; r0 < rows; r0 += STRETCH)
        for (size_t c = 0; c < n; c += LANES) {
            size_t width = MIN(LANES, n - c);
            Vec part = {0};
            for (size_t r = r0; r < MIN(r0 + STRETCH, rows); r++)
                part += load_some(x + r * stride + c, width);
            for (size_t i = 0; i < width; i++)
                sum[c + i] += part[i];
        }
}

/* ---- activations: dx = dy f'(x) ---- */

/* of x s(x), s = 1 / (1 + e^-ax): s + a x s (1 - s) */
static inline Vec vec_sigmoid_linear_slope(Vec x, float a)
{
    Vec s = 1.0f / (1.0f + vec_exp(-a * x));
    return s + a * x * s * (1.0f - s);
}

/* of x Phi(x): Phi + x phi. Phi comes from GELU itself; for small x it is 1/2 + x phi(0). */
static inline Vec vec_gelu_slope(Vec x)
{
    Vec size = (Vec)((VecI)x & 0x7fffffff);
    Vec tiny = 0.5f + x * 0.39894228f;
    Vec Phi = choose(size < 1e-4f, tiny, vec_gelu(x) / choose(size < 1e-4f, spread(1), x));
    return Phi + x * 0.39894228f * vec_exp(-0.5f * (x * x));
}

#define MAP_BACKWARD(name, SLOPE)                                                           \
    static void name(const float *x, const float *dy, float *dx, size_t n, bool accumulate) \
    {                                                                                       \
        for (size_t i = 0; i < n; i += LANES) {                                             \
            size_t width = MIN(n - i, (size_t)LANES);                                       \
            Vec v = load_some(x + i, width);                                                \
            put(dx + i, width, load_some(dy + i, width) * SLOPE, accumulate);               \
        }                                                                                   \
    }

MAP_BACKWARD(silu_backward, vec_sigmoid_linear_slope(v, 1.0f))
MAP_BACKWARD(quick_gelu_backward, vec_sigmoid_linear_slope(v, 1.702f))
MAP_BACKWARD(gelu_backward, vec_gelu_slope(v))

/* y = value * GELU(gate); x, dx: value | gate, n each. */
static void geglu_backward(const float *x, const float *dy, float *dx, size_t n, bool accumulate)
{
    for (size_t i = 0; i < n; i += LANES) {
        size_t width = MIN(n - i, (size_t)LANES);
        Vec value = load_some(x + i, width), gate = load_some(x + n + i, width);
        Vec d = load_some(dy + i, width);
        put(dx + i, width, d * vec_gelu(gate), accumulate);
        put(dx + n + i, width, d * value * vec_gelu_slope(gate), accumulate);
    }
}

/* ---- norms ---- */

/* d(loss)/du where u = x * factor + shift went through SiLU or not. */
ALWAYS_INLINE Vec before_silu(Vec x, Vec d, Vec factor, Vec shift, bool silu_too)
{
    return silu_too ? d * vec_sigmoid_linear_slope(x * factor + shift, 1.0f) : d;
}

static void norm_sums(const LdmNormRows *rows, double *sum, double *dot)
{
    for (size_t p0 = 0; p0 < rows->pixels; p0 += STRETCH)
        for (size_t c = 0; c < rows->n; c += LANES) {
            size_t width = MIN(LANES, rows->n - c);
            Vec factor = load_some(rows->factor + c, width);
            Vec shift = load_some(rows->shift + c, width), mean = load_some(rows->mean + c, width);
            Vec part = {0}, product = {0};
            for (size_t p = p0; p < MIN(p0 + STRETCH, rows->pixels); p++) {
                size_t at = p * rows->stride + c;
                Vec x = load_some(rows->x + at, width);
                Vec du = before_silu(x, load_some(rows->dy + at, width), factor, shift, rows->silu);
                part += du;
                product += du * (x - mean);
            }
            for (size_t i = 0; i < width; i++) {
                sum[c + i] += part[i];
                dot[c + i] += product[i];
            }
        }
}

static void norm_backward(const LdmNormRows *rows, const float *slope, const float *offset,
                          float *dx, bool accumulate)
{
    for (size_t p = 0; p < rows->pixels; p++)
        for (size_t c = 0; c < rows->n; c += LANES) {
            size_t width = MIN(LANES, rows->n - c), at = p * rows->stride + c;
            Vec factor = load_some(rows->factor + c, width);
            Vec x = load_some(rows->x + at, width);
            Vec du = before_silu(x, load_some(rows->dy + at, width), factor,
                                 load_some(rows->shift + c, width), rows->silu);
            Vec centred = x - load_some(rows->mean + c, width);
            Vec v =
                du * factor + centred * load_some(slope + c, width) + load_some(offset + c, width);
            put(dx + at, width, v, accumulate);
        }
}

static void row_sums(const float *x, const float *dy, const float *gamma, size_t n, float mean,
                     double *sum, double *dot)
{
    *sum = *dot = 0;
    for (size_t start = 0; start < n; start += STRETCH * LANES) {
        Vec part = {0}, product = {0};
        for (size_t i = start; i < MIN(start + STRETCH * LANES, n); i += LANES) {
            size_t width = MIN(n - i, (size_t)LANES);
            Vec d = load_some(dy + i, width) * load_some(gamma + i, width);
            part += d;
            product += d * (load_some(x + i, width) - mean);
        }
        *sum += lanes_sum(part);
        *dot += lanes_sum(product);
    }
}

static void row_backward(const LdmRowBackward *row, const float *gamma, float *dx, bool accumulate)
{
    for (size_t i = 0; i < row->n; i += LANES) {
        size_t width = MIN(row->n - i, (size_t)LANES);
        Vec d = load_some(row->dy + i, width) * load_some(gamma + i, width);
        Vec centred = load_some(row->x + i, width) - row->mean;
        put(dx + i, width, d * row->factor + centred * row->slope + row->offset, accumulate);
    }
}

static void row_parameters(const LdmRowBackward *row, float *dgamma, float *dbeta)
{
    for (size_t i = 0; i < row->n; i += LANES) {
        size_t width = MIN(row->n - i, (size_t)LANES);
        Vec d = load_some(row->dy + i, width);
        put(dgamma + i, width, d * ((load_some(row->x + i, width) - row->mean) * row->factor),
            true);
        put(dbeta + i, width, d, true);
    }
}

/* ---- attention: p = exp(score * scale - logsumexp), ds = p (dp - delta) scale, in place ---- */
static void softmax_backward(float *score, float *dp, size_t n, float factor, float logsumexp,
                             float delta)
{
    for (size_t i = 0; i < n; i += LANES) {
        size_t width = MIN(n - i, (size_t)LANES);
        Vec p = vec_exp(load_some(score + i, width) * factor - logsumexp);
        store_some(score + i, width, p);
        store_some(dp + i, width, p * (load_some(dp + i, width) - delta) * factor);
    }
}
