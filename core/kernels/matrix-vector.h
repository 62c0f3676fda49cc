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

#if LANES == 16
ALWAYS_INLINE Vec expand_row(__m256i row, const LdmDtype dtype)
{
    return dtype == LDM_F16 ? (Vec)_mm512_cvtph_ps(row)
                            : (Vec)(__builtin_convertvector((VecHalf)row, VecU) << 16);
}

/* LANES rows of as many 16-bit numbers, transposed two rows to a register, which takes half the
 * steps, and then expanded. Rows 8 apart share one, so that each of its quarters is a part of eight
 * numbers of eight rows: three times interleaving i and i + 4 transposes these where they lie, and
 * only then quarters change places. */
ALWAYS_INLINE void transpose_halves(const uint16_t *p, size_t ld, const LdmDtype dtype, Vec *out)
{
    __m512i r[LANES / 2];
#pragma GCC unroll 8
    for (size_t i = 0; i < LANES / 2; i++) {
        __m256i upper = _mm256_loadu_si256((const __m256i_u *)(p + i * ld));
        __m256i lower = _mm256_loadu_si256((const __m256i_u *)(p + (i + LANES / 2) * ld));
        r[i] = _mm512_inserti64x4(_mm512_castsi256_si512(upper), lower, 1);
    }
    for (int stage = 0; stage < 3; stage++) {
        __m512i t[LANES / 2];
#pragma GCC unroll 4
        for (int i = 0; i < LANES / 4; i++) {
            t[2 * i] = _mm512_unpacklo_epi16(r[i], r[i + LANES / 4]);
            t[2 * i + 1] = _mm512_unpackhi_epi16(r[i], r[i + LANES / 4]);
        }
#pragma GCC unroll 8
        for (int i = 0; i < LANES / 2; i++)
            r[i] = t[i];
    }
#pragma GCC unroll 8
    for (int i = 0; i < LANES / 2; i++) {
        __m512i columns = _mm512_shuffle_i64x2(r[i], r[i], _MM_SHUFFLE(3, 1, 2, 0));
        out[i] = expand_row(_mm512_castsi512_si256(columns), dtype);
        out[i + LANES / 2] = expand_row(_mm512_extracti64x4_epi64(columns, 1), dtype);
    }
}
#endif

/* A block of at most LANES x LANES constants from index i on, rows `ld` apart, transposed. */
ALWAYS_INLINE void load_transposed(LdmWeights w, size_t i, size_t ld, size_t rows, size_t columns,
                                   Vec r[LANES])
{
#if LANES == 16
    if (w.dtype != LDM_F32 && rows == LANES && columns == LANES) {
        transpose_halves((const uint16_t *)w.data + i, ld, w.dtype, r);
        return;
    }
#endif
#pragma GCC unroll 16
    for (size_t row = 0; row < LANES; row++)
        r[row] = row < rows ? load_weights(w, i + row * ld, columns) : (Vec){0};
    transpose(r);
}

/* Asks for a block that will be loaded soon: too many rows are walked at once for the processor to
 * see where they lead. */
ALWAYS_INLINE void prefetch_block(LdmWeights w, size_t i, size_t ld)
{
    const char *p = (const char *)w.data + i * (w.dtype == LDM_F32 ? 4 : 2);
    ld *= w.dtype == LDM_F32 ? 4 : 2;
#pragma GCC unroll 16
    for (size_t row = 0; row < LANES; row++)
        __builtin_prefetch(p + row * ld);
}

/* Where the next column goes. */
typedef struct {
    float *out;
    size_t tap;
} PackPlace;

ALWAYS_INLINE PackPlace place_columns(const LdmPack *p, const Vec *r, size_t n, PackPlace at)
{
    const size_t tap_floats = p->tap_stride * NR;
#pragma GCC unroll 16
    for (size_t i = 0; i < n; i++) {
        store(at.out, r[i]);
        at.out += tap_floats;
        if (++at.tap == p->taps) {
            at.tap = 0;
            at.out -= p->taps * tap_floats - NR;
        }
    }
    return at;
}

ALWAYS_INLINE void pack_by(const LdmDtype dtype, const LdmPack *p)
{
    const LdmWeights w = {p->src.data, dtype};
    for (size_t v = 0; v < NR; v += LANES) {
        size_t rows = p->rows > v ? MIN(p->rows - v, (size_t)LANES) : 0;
        size_t next = v + LANES < NR ? (v + LANES) * p->ld : p->next;
        PackPlace at = {p->out + v, 0};
        for (size_t j = 0; j < p->J; j += LANES) {
            size_t from = v * p->ld + j, columns = MIN(p->J - j, (size_t)LANES);
            Vec r[LANES];
            prefetch_block(w, next + j, p->ld);
            if (rows < LANES || columns < LANES) {
                load_transposed(w, from, p->ld, rows, columns, r);
                at = place_columns(p, r, columns, at);
            } else if (p->taps > 1) {
                load_transposed(w, from, p->ld, LANES, LANES, r);
                at = place_columns(p, r, LANES, at);
            } else {
                load_transposed(w, from, p->ld, LANES, LANES, r);
#pragma GCC unroll 16
                for (size_t i = 0; i < LANES; i++, at.out += NR)
                    store(at.out, r[i]);
            }
        }
    }
}

static void pack(const LdmPack *p)
{
    if (p->src.dtype == LDM_F32)
        pack_by(LDM_F32, p);
    else if (p->src.dtype == LDM_F16)
        pack_by(LDM_F16, p);
    else
        pack_by(LDM_BF16, p);
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
