/* What feeds the register tile and follows it: packing of weights, products of few rows, the
 * epilogue. */
#pragma once

#include "kernels/convert-vector.h"
#include "kernels/tile-vector.h"

/* n <= LANES constants from index i on. */
ALWAYS_INLINE Vec load_weights(LdmWeights w, size_t i, size_t n)
{
    if (w.dtype == LDM_F32)
        return load_some((const float *)w.data + i, n);
    const uint16_t *p = (const uint16_t *)w.data + i;
    uint16_t part[LANES] = {0};
    if (n < LANES) {
        memcpy(part, p, n * sizeof *p);
        p = part;
    }
    return w.dtype == LDM_BF16 ? load_bf16(p) : load_f16(p);
}

/* LANES x LANES in registers: interleaving rows i and i + LANES/2, log2(LANES) times over, is a
 * transpose. */
ALWAYS_INLINE void transpose(Vec r[LANES])
{
    VecI low, high;
    for (int i = 0; i < LANES; i++) {
        low[i] = (i & 1) * LANES + i / 2;
        high[i] = low[i] + LANES / 2;
    }
    for (int stage = 1; stage < LANES; stage *= 2) {
        Vec t[LANES];
#pragma GCC unroll 8
        for (int i = 0; i < LANES / 2; i++) {
            t[2 * i] = __builtin_shuffle(r[i], r[i + LANES / 2], low);
            t[2 * i + 1] = __builtin_shuffle(r[i], r[i + LANES / 2], high);
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            r[i] = t[i];
    }
}

/* Asks for what pack() will read 512 bytes further on: it walks too many rows at once for the
 * processor to see where they lead. */
ALWAYS_INLINE void prefetch_weights(LdmWeights w, size_t i)
{
    __builtin_prefetch((const char *)w.data + i * (w.dtype == LDM_F32 ? 4 : 2) + 512);
}

static void pack(const LdmPack *p)
{
    for (size_t v = 0; v < NR; v += LANES) {
        size_t rows = p->rows > v ? MIN(p->rows - v, (size_t)LANES) : 0;
        size_t tap = 0, channel = 0;
        for (size_t j = 0; j < p->J; j += LANES) {
            size_t columns = MIN(p->J - j, (size_t)LANES);
            Vec r[LANES];
            for (size_t i = 0; i < LANES; i++) {
                size_t from = (v + i) * p->ld + j;
                r[i] = i < rows ? load_weights(p->src, from, columns) : (Vec){0};
                prefetch_weights(p->src, from);
            }
            transpose(r);
            for (size_t i = 0; i < columns; i++) {
                store(p->out + (tap * p->tap_stride + channel) * NR + v, r[i]);
                if (++tap == p->taps) {
                    tap = 0;
                    channel++;
                }
            }
        }
    }
}

static void rows_dot(const float *x, LdmWeights w, size_t N, size_t K, float *y)
{
    for (size_t n = 0; n < N; n++) {
        Vec even = {0}, odd = {0};
        size_t k = 0;
        for (; k + NR <= K; k += NR) {
            even += load(x + k) * load_weights(w, n * K + k, LANES);
            odd += load(x + k + LANES) * load_weights(w, n * K + k + LANES, LANES);
        }
        for (; k < K; k += LANES) {
            size_t part = MIN(K - k, (size_t)LANES);
            even += load_some(x + k, part) * load_weights(w, n * K + k, part);
        }
        y[n] = lanes_sum(even + odd);
    }
}

static void epilogue(size_t n, const float *bias, const float *residual, float *y)
{
    for (size_t i = 0; i < n; i += LANES) {
        size_t part = MIN(n - i, (size_t)LANES);
        Vec v = load_some(y + i, part) + load_some(bias + i, part);
        if (residual != NULL)
            v += load_some(residual + i, part);
        store_some(y + i, part, v);
    }
}
