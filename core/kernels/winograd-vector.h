/* Winograd's F(4x4, 3x3) (Lavin and Gray, arXiv 1509.09308): y = A^T [(G g G^T) * (B^T d B)] A by
 * Toom and Cook's construction on the points 0, +-a, +-b, infinity. a = 3/4, b = 3/2 keep every
 * entry of B and A exact in binary and err half as much as the usual 1 and 2. */
#pragma once

#include "kernels/matrix-vector.h"

#define WA 0.75f
#define WB 1.5f

/* B^T d of six values `s` apart, in place. */
ALWAYS_INLINE void winograd_bt(Vec *d, const int s)
{
    Vec d0 = d[0], d1 = d[s], d2 = d[2 * s], d3 = d[3 * s], d4 = d[4 * s], d5 = d[5 * s];
    Vec even_a = d4 - WB * WB * d2, odd_a = WA * d3 - (WA * WB * WB) * d1;
    Vec even_b = d4 - WA * WA * d2, odd_b = WB * d3 - (WB * WA * WA) * d1;
    d[0] = (WA * WA * WB * WB) * d0 - (WA * WA + WB * WB) * d2 + d4;
    d[s] = even_a + odd_a;
    d[2 * s] = even_a - odd_a;
    d[3 * s] = even_b + odd_b;
    d[4 * s] = even_b - odd_b;
    d[5 * s] = (WA * WA * WB * WB) * d1 - (WA * WA + WB * WB) * d3 + d5;
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

static void winograd_input(const LdmWinogradInput *in)
{
    for (size_t c = 0; c < in->C; c += LANES) {
        size_t part = MIN(in->C - c, (size_t)LANES);
        Vec d[36];
#pragma GCC unroll 36
        for (int i = 0; i < 36; i++)
            d[i] = load_some(in->pixels[i] + c, part);
#pragma GCC unroll 6
        for (int i = 0; i < 6; i++)
            winograd_bt(d + i, 6);
#pragma GCC unroll 6
        for (int i = 0; i < 6; i++)
            winograd_bt(d + 6 * i, 1);
#pragma GCC unroll 36
        for (int i = 0; i < 36; i++)
            store_some(in->v + i * in->v_stride + c, part, d[i]);
    }
}

static void winograd_weights(const float *w, size_t K, float *u, size_t u_stride)
{
    for (size_t i = 0; i < K * 2; i++, w += LANES, u += LANES) {
        Vec g[9], rows[18], q[36];
#pragma GCC unroll 9
        for (int j = 0; j < 9; j++)
            g[j] = load(w + j * K * NR);
#pragma GCC unroll 3
        for (int j = 0; j < 3; j++)
            winograd_g(g + j, 3, rows + j, 3);
#pragma GCC unroll 6
        for (int j = 0; j < 6; j++)
            winograd_g(rows + 3 * j, 1, q + 6 * j, 1);
#pragma GCC unroll 36
        for (int j = 0; j < 36; j++)
            store(u + j * u_stride, q[j]);
    }
}

static void winograd_output(const LdmWinogradOutput *out)
{
    for (size_t n = 0; n < out->channels; n += LANES) {
        size_t part = MIN(out->channels - n, (size_t)LANES);
        Vec m[36], rows[24], y[16];
#pragma GCC unroll 36
        for (int i = 0; i < 36; i++)
            m[i] = load(out->m + i * out->m_stride + n);
#pragma GCC unroll 6
        for (int i = 0; i < 6; i++)
            winograd_at(m + i, 6, rows + i, 6);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            winograd_at(rows + 6 * i, 1, y + 4 * i, 1);
        Vec bias = load(out->bias + n);
        for (int i = 0; i < 16; i++) {
            if (out->y[i] == NULL)
                continue;
            Vec v = y[i] + bias;
            if (out->residual[i] != NULL)
                v += load_some(out->residual[i] + n, part);
            store_some(out->y[i] + n, part, v);
        }
    }
}
