/* Winograd's F(4x4, 3x3) (Lavin and Gray, arXiv 1509.09308): y = A^T [(G g G^T) * (B^T d B)] A by
 * Toom and Cook's construction on the points 0, +-a, +-b, infinity. a = 3/4, b = 3/2 keep every
 * entry of B and A exact in binary and err half as much as the usual 1 and 2. Pictures that are
 * read as if enlarged, or with a stride, have ways of their own (below). */
#pragma once

#include "kernels/matrix-vector.h"

#define WA 0.75f
#define WB 1.5f

/* B^T d of six values `s` apart, in place; the points 0, +-a, +-b, infinity. */
ALWAYS_INLINE void winograd_bt_on(Vec *d, const int s, const float a, const float b)
{
    Vec d0 = d[0], d1 = d[s], d2 = d[2 * s], d3 = d[3 * s], d4 = d[4 * s], d5 = d[5 * s];
    Vec even_a = d4 - b * b * d2, odd_a = a * d3 - (a * b * b) * d1;
    Vec even_b = d4 - a * a * d2, odd_b = b * d3 - (b * a * a) * d1;
    d[0] = (a * a * b * b) * d0 - (a * a + b * b) * d2 + d4;
    d[s] = even_a + odd_a;
    d[2 * s] = even_a - odd_a;
    d[3 * s] = even_b + odd_b;
    d[4 * s] = even_b - odd_b;
    d[5 * s] = (a * a * b * b) * d1 - (a * a + b * b) * d3 + d5;
}

/* G g: three values `s` apart into six `t` apart. */
ALWAYS_INLINE void winograd_g(const Vec *g, const int s, Vec *u, const int t)
{
    const float at_a = 1 / (2 * WA * WA * (WA * WA - WB * WB));
    const float at_b = 1 / (2 * WB * WB * (WB * WB - WA * WA));
    Vec g0 = g[0], g1 = g[s], g2 = g[2 * s];
    Vec even_a = g0 + WA * WA * g2, odd_a = WA * g1, even_b = g0 + WB * WB * g2, odd_b = WB * g1;
    u[0] = g0 * (1 / (WA * WA * WB * WB));
    u[t] = at_a * (even_a + odd_a);
    u[2 * t] = at_a * (even_a - odd_a);
    u[3 * t] = at_b * (even_b + odd_b);
    u[4 * t] = at_b * (even_b - odd_b);
    u[5 * t] = g2;
}

/* A^T m: six values `s` apart into four `t` apart. */
ALWAYS_INLINE void winograd_at(const Vec *m, const int s, Vec *y, const int t)
{
    Vec sum_a = m[s] + m[2 * s], gap_a = m[s] - m[2 * s];
    Vec sum_b = m[3 * s] + m[4 * s], gap_b = m[3 * s] - m[4 * s];
    y[0] = m[0] + sum_a + sum_b;
    y[t] = WA * gap_a + WB * gap_b;
    y[2 * t] = WA * WA * sum_a + WB * WB * sum_b;
    y[3 * t] = WA * WA * WA * gap_a + WB * WB * WB * gap_b + m[5 * s];
}

/* ---- 2 x 2 outputs, on the points 0, +-1, infinity: transformed weights that cost less ----
 * The halves that belong to G at 1 and -1 are taken by B^T, for the weights are many more. */

ALWAYS_INLINE void winograd_bt_2(Vec *d, const int s)
{
    Vec d0 = d[0], d1 = d[s], d2 = d[2 * s], d3 = d[3 * s];
    d[0] = d0 - d2;
    d[s] = 0.5f * (d1 + d2);
    d[2 * s] = 0.5f * (d2 - d1);
    d[3 * s] = d3 - d1;
}

ALWAYS_INLINE void winograd_g_2(const Vec *g, const int s, Vec *u, const int t)
{
    Vec even = g[0] + g[2 * s];
    u[0] = g[0];
    u[t] = even + g[s];
    u[2 * t] = even - g[s];
    u[3 * t] = g[2 * s];
}

ALWAYS_INLINE void winograd_at_2(const Vec *m, const int s, Vec *y, const int t)
{
    y[0] = m[0] + m[s] + m[2 * s];
    y[t] = m[s] - m[2 * s] + m[3 * s];
}

/* ---- 6 x 6 outputs, on the points 0, +-a, +-1, +-c, infinity: 64 products instead of 324 ----
 * Of all points with few binary digits a = 1/2, c = 2 err least: some four times as much as the
 * 4 x 4 outputs do. */

#define W6A  0.5f
#define W6C  2.0f
#define W6A2 (W6A * W6A)
#define W6C2 (W6C * W6C)

/* x^2 (x^2 - p)(x^2 - q) at even places, and at the odd ones after them */
ALWAYS_INLINE Vec winograd_bt_6_at(Vec d2, Vec d4, Vec d6, const float p, const float q)
{
    return d6 - (p + q) * d4 + (p * q) * d2;
}

ALWAYS_INLINE void winograd_bt_6(Vec *d, const int s)
{
    const float one = 1 + W6A2 + W6C2, two = W6A2 + W6C2 + W6A2 * W6C2, three = W6A2 * W6C2;
    Vec d1 = d[s], d2 = d[2 * s], d3 = d[3 * s], d4 = d[4 * s], d5 = d[5 * s], d6 = d[6 * s];
    Vec even_a = winograd_bt_6_at(d2, d4, d6, 1, W6C2);
    Vec odd_a = W6A * winograd_bt_6_at(d1, d3, d5, 1, W6C2);
    Vec even_1 = winograd_bt_6_at(d2, d4, d6, W6A2, W6C2);
    Vec odd_1 = winograd_bt_6_at(d1, d3, d5, W6A2, W6C2);
    Vec even_c = winograd_bt_6_at(d2, d4, d6, W6A2, 1);
    Vec odd_c = W6C * winograd_bt_6_at(d1, d3, d5, W6A2, 1);
    d[0] = d6 - one * d4 + two * d2 - three * d[0];
    d[s] = even_a + odd_a;
    d[2 * s] = even_a - odd_a;
    d[3 * s] = even_1 + odd_1;
    d[4 * s] = even_1 - odd_1;
    d[5 * s] = even_c + odd_c;
    d[6 * s] = even_c - odd_c;
    d[7 * s] = d[7 * s] - one * d5 + two * d3 - three * d1;
}

ALWAYS_INLINE void winograd_g_6(const Vec *g, const int s, Vec *u, const int t)
{
    const float at_a = 1 / (2 * W6A2 * (W6A2 - 1) * (W6A2 - W6C2));
    const float at_1 = 1 / (2 * (1 - W6A2) * (1 - W6C2));
    const float at_c = 1 / (2 * W6C2 * (W6C2 - 1) * (W6C2 - W6A2));
    Vec g0 = g[0], g1 = g[s], g2 = g[2 * s];
    Vec even_a = g0 + W6A2 * g2, even_1 = g0 + g2, even_c = g0 + W6C2 * g2;
    u[0] = g0 * (-1 / (W6A2 * W6C2));
    u[t] = at_a * (even_a + W6A * g1);
    u[2 * t] = at_a * (even_a - W6A * g1);
    u[3 * t] = at_1 * (even_1 + g1);
    u[4 * t] = at_1 * (even_1 - g1);
    u[5 * t] = at_c * (even_c + W6C * g1);
    u[6 * t] = at_c * (even_c - W6C * g1);
    u[7 * t] = g2;
}

ALWAYS_INLINE void winograd_at_6(const Vec *m, const int s, Vec *y, const int t)
{
    Vec sum_a = m[s] + m[2 * s], gap_a = W6A * (m[s] - m[2 * s]);
    Vec sum_1 = m[3 * s] + m[4 * s], gap_1 = m[3 * s] - m[4 * s];
    Vec sum_c = m[5 * s] + m[6 * s], gap_c = W6C * (m[5 * s] - m[6 * s]);
    y[0] = m[0] + sum_a + sum_1 + sum_c;
    y[t] = gap_a + gap_1 + gap_c;
    y[2 * t] = W6A2 * sum_a + sum_1 + W6C2 * sum_c;
    y[3 * t] = W6A2 * gap_a + gap_1 + W6C2 * gap_c;
    y[4 * t] = W6A2 * W6A2 * sum_a + sum_1 + W6C2 * W6C2 * sum_c;
    y[5 * t] = W6A2 * W6A2 * gap_a + gap_1 + W6C2 * W6C2 * gap_c + m[7 * s];
}

/* ---- a picture enlarged to twice its size ----
 * Of three taps over nearest neighbours two fall on the same pixel of x (arXiv 1707.02937): even
 * outputs see (g0, g1 + g2, 0), odd ones (0, g0 + g1, g2) on the same run of pixels. As
 * polynomials these two agree at 1, the second is 0 at 0, the first at infinity. So with 1 among
 * the points both together need 2 (m + 2) - 3 products for 2m outputs: 9 for m = 4, 5 for m = 2. */

#define WD 0.625f /* m = 4: the points 0, +-1, +-5/8, infinity; m = 2: 0, +-1, infinity */

/* Point, phase (both at 1) of the products: 0, 1, -1 even, -1 odd, d even, d odd, -d even, -d odd,
 * infinity. */
ALWAYS_INLINE void winograd_g_doubled_4(const Vec *g, const int s, Vec *u, const int t)
{
    const float at_1 = 1 / (2 * (1 - WD * WD)), at_d = 1 / (2 * WD * WD * (WD * WD - 1));
    Vec g0 = g[0], g2 = g[2 * s], right = g[s] + g2, left = g0 + g[s];
    u[0] = g0 * (1 / (WD * WD));
    u[t] = at_1 * (g0 + right);
    u[2 * t] = at_1 * (g0 - right);
    u[3 * t] = at_1 * (g2 - left);
    u[4 * t] = at_d * (g0 + WD * right);
    u[5 * t] = at_d * (WD * WD * g2 + WD * left);
    u[6 * t] = at_d * (g0 - WD * right);
    u[7 * t] = at_d * (WD * WD * g2 - WD * left);
    u[8 * t] = g2;
}

ALWAYS_INLINE void winograd_at_doubled_4(const Vec *m, const int s, Vec *y, const int t)
{
    Vec m1 = m[s];
    for (int odd = 0; odd < 2; odd++) {
        Vec at_1 = m[(2 + odd) * s], plus = m[(4 + odd) * s], minus = m[(6 + odd) * s];
        Vec sum_1 = m1 + at_1, gap_1 = m1 - at_1, sum_d = plus + minus, gap_d = plus - minus;
        y[odd * t] = sum_1 + sum_d;
        y[(2 + odd) * t] = gap_1 + WD * gap_d;
        y[(4 + odd) * t] = sum_1 + WD * WD * sum_d;
        y[(6 + odd) * t] = gap_1 + WD * WD * WD * gap_d;
    }
    y[0] += m[0];
    y[7 * t] += m[8 * s];
}

/* The same for m = 2. */
ALWAYS_INLINE void winograd_g_doubled_2(const Vec *g, const int s, Vec *u, const int t)
{
    Vec g0 = g[0], g2 = g[2 * s], right = g[s] + g2, left = g0 + g[s];
    u[0] = g0;
    u[t] = g0 + right;
    u[2 * t] = g0 - right;
    u[3 * t] = g2 - left;
    u[4 * t] = g2;
}

ALWAYS_INLINE void winograd_at_doubled_2(const Vec *m, const int s, Vec *y, const int t)
{
    y[0] = m[0] + m[s] + m[2 * s];
    y[t] = m[s] + m[3 * s];
    y[2 * t] = m[s] - m[2 * s];
    y[3 * t] = m[s] - m[3 * s] + m[4 * s];
}

/* ---- a stride of 2 ----
 * y = (g0, g2) over the even pixels + (g1, 0) over the odd ones: two taps each, so F(4, 2) on the
 * points +-3/8, +-5/4, infinity serves both, and they are added before A^T. At infinity the odd
 * ones are 0: 9 products in 5 sums for 4 outputs, 81 for 16 where the direct sum needs 144. */

#define SA 0.375f
#define SB 1.25f

/* B^T of four values at +-a, +-b, `s` apart. */
ALWAYS_INLINE void winograd_bt_four(Vec d0, Vec d1, Vec d2, Vec d3, Vec *v, const int s)
{
    Vec even_a = d3 - SB * SB * d1, odd_a = SA * d2 - (SA * SB * SB) * d0;
    Vec even_b = d3 - SA * SA * d1, odd_b = SB * d2 - (SB * SA * SA) * d0;
    v[0] = even_a + odd_a;
    v[s] = even_a - odd_a;
    v[2 * s] = even_b + odd_b;
    v[3 * s] = even_b - odd_b;
}

/* Nine values `s` apart -> five of the even, four of the odd ones, in place. */
ALWAYS_INLINE void winograd_bt_strided(Vec *d, const int s)
{
    Vec d1 = d[s], d3 = d[3 * s], d5 = d[5 * s], d7 = d[7 * s], d4 = d[4 * s];
    Vec infinity = (SA * SA * SB * SB) * d[0] - (SA * SA + SB * SB) * d4 + d[8 * s];
    winograd_bt_four(d[0], d[2 * s], d4, d[6 * s], d, s);
    d[4 * s] = infinity;
    winograd_bt_four(d1, d3, d5, d7, d + 5 * s, s);
}

ALWAYS_INLINE void winograd_g_strided(const Vec *g, const int s, Vec *u, const int t)
{
    const float at_a = 1 / (2 * SA * (SA * SA - SB * SB));
    const float at_b = 1 / (2 * SB * (SB * SB - SA * SA));
    Vec g0 = g[0], g1 = g[s], g2 = g[2 * s];
    u[0] = at_a * (SA * g2 + g0);
    u[t] = at_a * (SA * g2 - g0);
    u[2 * t] = at_b * (SB * g2 + g0);
    u[3 * t] = at_b * (SB * g2 - g0);
    u[4 * t] = g2;
    u[5 * t] = at_a * g1;
    u[6 * t] = -at_a * g1;
    u[7 * t] = at_b * g1;
    u[8 * t] = -at_b * g1;
}

ALWAYS_INLINE void winograd_at_strided(const Vec *m, const int s, Vec *y, const int t)
{
    Vec sum_a = m[0] + m[s], gap_a = m[0] - m[s];
    Vec sum_b = m[2 * s] + m[3 * s], gap_b = m[2 * s] - m[3 * s];
    y[0] = sum_a + sum_b;
    y[t] = SA * gap_a + SB * gap_b;
    y[2 * t] = SA * SA * sum_a + SB * SB * sum_b;
    y[3 * t] = SA * SA * SA * gap_a + SB * SB * SB * gap_b + m[4 * s];
}

/* ---- all ways ---- */

ALWAYS_INLINE void winograd_bt(const LdmWinograd way, Vec *d, const int s)
{
    if (way == LDM_WINOGRAD)
        winograd_bt_on(d, s, WA, WB);
    else if (way == LDM_WINOGRAD_6)
        winograd_bt_6(d, s);
    else if (way == LDM_WINOGRAD_DOUBLED_4)
        winograd_bt_on(d, s, 1, WD);
    else if (way == LDM_WINOGRAD_STRIDED)
        winograd_bt_strided(d, s);
    else
        winograd_bt_2(d, s);
}

ALWAYS_INLINE void winograd_g_of(const LdmWinograd way, const Vec *g, const int s, Vec *u,
                                 const int t)
{
    if (way == LDM_WINOGRAD)
        winograd_g(g, s, u, t);
    else if (way == LDM_WINOGRAD_6)
        winograd_g_6(g, s, u, t);
    else if (way == LDM_WINOGRAD_2)
        winograd_g_2(g, s, u, t);
    else if (way == LDM_WINOGRAD_DOUBLED_4)
        winograd_g_doubled_4(g, s, u, t);
    else if (way == LDM_WINOGRAD_STRIDED)
        winograd_g_strided(g, s, u, t);
    else
        winograd_g_doubled_2(g, s, u, t);
}

ALWAYS_INLINE void winograd_at_of(const LdmWinograd way, const Vec *m, const int s, Vec *y,
                                  const int t)
{
    if (way == LDM_WINOGRAD)
        winograd_at(m, s, y, t);
    else if (way == LDM_WINOGRAD_6)
        winograd_at_6(m, s, y, t);
    else if (way == LDM_WINOGRAD_2)
        winograd_at_2(m, s, y, t);
    else if (way == LDM_WINOGRAD_DOUBLED_4)
        winograd_at_doubled_4(m, s, y, t);
    else if (way == LDM_WINOGRAD_STRIDED)
        winograd_at_strided(m, s, y, t);
    else
        winograd_at_doubled_2(m, s, y, t);
}

/* Calls function(way, ...) so that the way is a constant in it. */
#define WINOGRAD_BY(way, function, ...)                    \
    do {                                                   \
        if (way == LDM_WINOGRAD)                           \
            function(LDM_WINOGRAD, __VA_ARGS__);           \
        else if (way == LDM_WINOGRAD_2)                    \
            function(LDM_WINOGRAD_2, __VA_ARGS__);         \
        else if (way == LDM_WINOGRAD_6)                    \
            function(LDM_WINOGRAD_6, __VA_ARGS__);         \
        else if (way == LDM_WINOGRAD_DOUBLED_4)            \
            function(LDM_WINOGRAD_DOUBLED_4, __VA_ARGS__); \
        else if (way == LDM_WINOGRAD_STRIDED)              \
            function(LDM_WINOGRAD_STRIDED, __VA_ARGS__);   \
        else                                               \
            function(LDM_WINOGRAD_DOUBLED_2, __VA_ARGS__); \
    } while (0)

/* `part` channels from c on. Columns first, then rows; between them the values lie in the first
 * cache, since the registers hold no more than a few columns. */
ALWAYS_INLINE void winograd_input_part(const LdmWinograd way, const LdmWinogradInput *in, size_t c,
                                       const size_t part)
{
    const int side = ldm_winograd_side(way);
    Vec between[81], d[9];
    for (int j = 0; j < side; j++) {
#pragma GCC unroll 9
        for (int i = 0; i < side; i++)
            d[i] = load_some(in->pixels[i * side + j] + c, part);
        winograd_bt(way, d, 1);
#pragma GCC unroll 9
        for (int i = 0; i < side; i++)
            between[i * side + j] = d[i];
    }
    float *v = in->v + c;
    for (int i = 0; i < side; i++) {
#pragma GCC unroll 9
        for (int j = 0; j < side; j++)
            d[j] = between[i * side + j];
        winograd_bt(way, d, 1);
#pragma GCC unroll 9
        for (int j = 0; j < side; j++, v += in->v_stride)
            store_some(v, part, d[j]);
    }
}

ALWAYS_INLINE void winograd_input_by(const LdmWinograd way, const LdmWinogradInput *in)
{
    size_t c = 0;
    for (; c + LANES <= in->C; c += LANES)
        winograd_input_part(way, in, c, LANES);
    if (c < in->C)
        winograd_input_part(way, in, c, in->C - c);
}

static void winograd_input(LdmWinograd way, const LdmWinogradInput *in)
{
    WINOGRAD_BY(way, winograd_input_by, in);
}

ALWAYS_INLINE void winograd_weights_by(const LdmWinograd way, const float *w, size_t K, float *u,
                                       size_t u_stride)
{
    const int products = ldm_winograd_products(way);
    for (size_t i = 0; i < K * 2; i++, u += LANES) {
        const float *from = w + i / 2 * 9 * NR + i % 2 * LANES;
        Vec g[9], rows[27];
#pragma GCC unroll 9
        for (int j = 0; j < 9; j++)
            g[j] = load(from + j * NR);
#pragma GCC unroll 3
        for (int j = 0; j < 3; j++)
            winograd_g_of(way, g + j, 3, rows + j, 3);
#pragma GCC unroll 9
        for (int j = 0; j < products; j++) {
            Vec q[9];
            winograd_g_of(way, rows + 3 * j, 1, q, 1);
#pragma GCC unroll 9
            for (int k = 0; k < products; k++)
                store(u + (j * products + k) * u_stride, q[k]);
        }
    }
}

static void winograd_weights(LdmWinograd way, const float *w, size_t K, float *u, size_t u_stride)
{
    WINOGRAD_BY(way, winograd_weights_by, w, K, u, u_stride);
}

#if LANES == 16 || defined NEON
/* Row i of the products of some tiles with the vector of outputs at n. */
ALWAYS_INLINE void winograd_few_row(const int i, const int tiles, const LdmWinogradFew *few,
                                    size_t n)
{
    const float *v = few->v + 4 * i * LDM_WINOGRAD_FEW, *w = few->w + n;
    float *m = few->m + 4 * i * few->m_stride + n;
    Vec sum[4][LDM_WINOGRAD_FEW];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
#pragma GCC unroll 4
        for (int t = 0; t < tiles; t++)
            sum[j][t] = few->add ? load(m + j * few->m_stride + t * NR) : (Vec){0};
    for (size_t k = 0; k < few->K; k++, w += 9 * NR, v += 16 * LDM_WINOGRAD_FEW) {
        Vec column[4], g[3], u[4];
#pragma GCC unroll 3
        for (int j = 0; j < 3; j++) {
            const Vec taps[] = {load(w + j * NR), load(w + (3 + j) * NR), load(w + (6 + j) * NR)};
            winograd_g_2(taps, 1, column, 1);
            g[j] = column[i];
        }
        winograd_g_2(g, 1, u, 1);
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
#pragma GCC unroll 4
            for (int t = 0; t < tiles; t++)
                sum[j][t] += spread(v[j * LDM_WINOGRAD_FEW + t]) * u[j];
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
#pragma GCC unroll 4
        for (int t = 0; t < tiles; t++)
            store(m + j * few->m_stride + t * NR, sum[j][t]);
}

ALWAYS_INLINE void winograd_few_of(const int tiles, const LdmWinogradFew *few)
{
    for (size_t n = 0; n < (size_t)few->vectors * LANES; n += LANES) {
        winograd_few_row(0, tiles, few, n);
        winograd_few_row(1, tiles, few, n);
        winograd_few_row(2, tiles, few, n);
        winograd_few_row(3, tiles, few, n);
    }
}

static void winograd_few(const LdmWinogradFew *few)
{
    if (few->tiles == 1)
        winograd_few_of(1, few);
    else if (few->tiles == 2)
        winograd_few_of(2, few);
    else if (few->tiles == 3)
        winograd_few_of(3, few);
    else
        winograd_few_of(4, few);
}
#define WINOGRAD_FEW winograd_few
#else
#define WINOGRAD_FEW NULL
#endif

/* Sums over what a tile writes, about its first pixel: without much that cancels. */
typedef struct {
    Vec about, sum, squares;
} WinogradSums;

/* `first`: of the tile's rows. `whole`: all pixels of the tile lie in the picture, all channels of
 * the vector in y. `measured`: sums are wanted. */
ALWAYS_INLINE void winograd_output_row(const LdmWinogradOutput *out, const Vec *v, const int count,
                                       size_t at, size_t part, const bool first, const bool whole,
                                       const bool measured, WinogradSums *sums)
{
    Vec sum = {0}, squares = {0};
#pragma GCC unroll 8
    for (int i = 0; i < count; i++, at += out->pixel) {
        if (!whole && i >= out->columns)
            break;
        Vec y = v[i];
        if (out->residual != NULL)
            y += whole ? load(out->residual + at) : load_some(out->residual + at, part);
        if (measured) {
            if (first && i == 0)
                *sums = (WinogradSums){.about = y};
            Vec d = y - sums->about;
            sum += d;
            squares += d * d;
        }
        if (whole && out->past)
            store_past(out->y + at, y);
        else if (whole)
            store(out->y + at, y);
        else
            store_some(out->y + at, part, y);
    }
    sums->sum += sum;
    sums->squares += squares;
}

/* Chan, Golub, LeVeque (1979): a tile's moments join those of the `seen` pixels before it. */
ALWAYS_INLINE void winograd_join(const LdmWinogradOutput *out, const WinogradSums *sums, size_t n,
                                 size_t part)
{
    float count = (float)(out->rows * out->columns), seen = (float)out->seen;
    Vec mean = sums->sum / count, m2 = sums->squares - sums->sum * mean;
    mean += sums->about;
    if (out->seen > 0) {
        Vec before = load_some(out->mean + n, part), delta = mean - before;
        float share = count / (seen + count);
        mean = before + delta * share;
        m2 += load_some(out->m2 + n, part) + delta * delta * (seen * share);
    }
    store_some(out->mean + n, part, mean);
    store_some(out->m2 + n, part, m2);
}

ALWAYS_INLINE void winograd_output_part(const LdmWinograd way, const LdmWinogradOutput *out,
                                        size_t n, size_t part, const bool whole,
                                        const bool measured)
{
    const int sums = ldm_winograd_sums(way), side = ldm_winograd_outputs(way);
    Vec rows[72], bias = load(out->bias + n);
    WinogradSums moments = {0};
#pragma GCC unroll 9
    for (int j = 0; j < sums; j++) {
        Vec m[9];
#pragma GCC unroll 9
        for (int i = 0; i < sums; i++)
            m[i] = load(out->m + (i * sums + j) * out->m_stride + n);
        winograd_at_of(way, m, 1, rows + j, sums);
    }
#pragma GCC unroll 8
    for (int i = 0; i < side; i++) {
        if (i >= out->rows)
            break;
        Vec y[8];
        winograd_at_of(way, rows + sums * i, 1, y, 1);
#pragma GCC unroll 8
        for (int j = 0; j < side; j++)
            y[j] += bias;
        winograd_output_row(out, y, side, i * out->row + n, part, i == 0, whole, measured,
                            &moments);
    }
    if (measured)
        winograd_join(out, &moments, n, part);
}

ALWAYS_INLINE void winograd_output_by(const LdmWinograd way, const LdmWinogradOutput *out)
{
    const int side = ldm_winograd_outputs(way);
    for (size_t n = 0; n < out->channels; n += LANES) {
        size_t part = MIN(out->channels - n, (size_t)LANES);
        bool whole = out->rows == side && out->columns == side && part == LANES;
        if (out->mean == NULL && whole)
            winograd_output_part(way, out, n, part, true, false);
        else if (out->mean == NULL)
            winograd_output_part(way, out, n, part, false, false);
        else if (whole)
            winograd_output_part(way, out, n, part, true, true);
        else
            winograd_output_part(way, out, n, part, false, true);
    }
}

static void winograd_output(LdmWinograd way, const LdmWinogradOutput *out)
{
    WINOGRAD_BY(way, winograd_output_by, out);
}
