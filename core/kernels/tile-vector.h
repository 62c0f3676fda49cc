/* The register tile, of floats or, where the including file says how to multiply them, of words
 * that hold two bf16 each. */
#pragma once

#include "kernels/vector.h"

#define NR (2 * LANES) /* columns of a panel */
#if LANES == 16
#define MR 14
#elif LANES == 8
#define MR 6
#elif defined NEON
#define MR 8
#else
#define MR 4
#endif

#ifndef MULTIPLY_ADD
#define MULTIPLY_ADD(sum, x, b) ((sum) + (x) * (b))
#endif

#ifndef MULTIPLY_ADD_LANE
#define MULTIPLY_ADD_LANE(sum, x, lane, b) MULTIPLY_ADD(sum, spread((x)[lane]), b)
#endif

#ifdef NEON
/* LANES steps down the depth: there, a product takes any lane of a vector for its factor, so that a
 * row's next numbers come in one load. */
ALWAYS_INLINE void tile_steps(const int rows, const int vectors, const float *a, size_t row,
                              const float *b, Vec (*sum)[2])
{
    Vec x[MR];
#pragma GCC unroll 16
    for (int m = 0; m < rows; m++)
        x[m] = load(a + (size_t)m * row);
#pragma GCC unroll 16
    for (int k = 0; k < LANES; k++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            Vec columns = load(b + k * NR + v * LANES);
#pragma GCC unroll 16
            for (int m = 0; m < rows; m++)
                sum[m][v] = MULTIPLY_ADD_LANE(sum[m][v], x[m], k, columns);
        }
}
#endif

#define STEPS 8 /* down the depth between two reckonings of what to ask for */
_Static_assert(LDM_LINE % STEPS == 0, "a run of lines is whole");

/* One step down the depth. */
ALWAYS_INLINE void tile_step(const int rows, const int vectors, const float *a, const size_t row,
                             const float *b, Vec (*sum)[2])
{
    Vec b0 = load(b), b1 = vectors > 1 ? load(b + LANES) : (Vec){0};
#pragma GCC unroll 16
    for (int m = 0; m < rows; m++) {
        Vec x = spread(a[(size_t)m * row]);
        sum[m][0] = MULTIPLY_ADD(sum[m][0], x, b0);
        if (vectors > 1)
            sum[m][1] = MULTIPLY_ADD(sum[m][1], x, b1);
    }
}

/* rows x vectors of C in registers while all segments pass by. */
ALWAYS_INLINE void tile_body(const int rows, const int vectors, const bool turned, const LdmTile *t)
{
    Vec sum[MR][2];
#pragma GCC unroll 16
    for (int m = 0; m < rows; m++)
        sum[m][0] = sum[m][1] = (Vec){0};
#pragma GCC unroll 16
    for (int m = 0; m < rows; m++) { /* where the sums will go */
        __builtin_prefetch(t->c + (size_t)m * t->ldc, 1);
        __builtin_prefetch(t->c + (size_t)m * t->ldc + NR - 1, 1);
    }
    const float *b = t->b;
    const bool asks = t->ahead != NULL;
    const float *ahead = asks ? t->ahead : b;
    const size_t ahead_step = asks ? t->ahead_step : 0, ahead_turn = asks ? t->ahead_turn : 0;
    const size_t K = t->K, row = turned ? 1 : t->lda, step = turned ? t->lda : 1;
    for (size_t s = 0; s < t->segments; s++) {
        const float *a = t->a + (t->offsets != NULL ? t->offsets[s] : 0);
        size_t k = 0;
#ifdef NEON
        for (; !turned && k + LANES <= K; k += LANES, b += LANES * NR)
            tile_steps(rows, vectors, a + k, row, b, sum);
#endif
        for (; k + STEPS <= K; k += STEPS, b += STEPS * NR) {
            const float *line = ahead + k % LDM_LINE * ahead_step + k / LDM_LINE * ahead_turn;
#pragma GCC unroll 8
            for (int i = 0; i < STEPS; i++) {
                __builtin_prefetch(line + i * ahead_step, 0, 2);
                tile_step(rows, vectors, a + (k + i) * step, row, b + i * NR, sum);
            }
        }
        for (; k < K; k++, b += NR)
            tile_step(rows, vectors, a + k * step, row, b, sum);
    }
#pragma GCC unroll 16
    for (int m = 0; m < rows; m++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            float *c = t->c + (size_t)m * t->ldc + v * LANES;
            store(c, t->add ? load(c) + sum[m][v] : sum[m][v]);
        }
}

#define TILE_CASE(rows)                    \
    case rows:                             \
        if (t->vectors == 2)               \
            tile_body(rows, 2, turned, t); \
        else                               \
            tile_body(rows, 1, turned, t); \
        break;

/* `turned`: A lies with its depth outside, m-th row, k-th number at k * lda + m. */
ALWAYS_INLINE void tile_of(int rows, const bool turned, const LdmTile *t)
{
    switch (rows) {
        TILE_CASE(1)
        TILE_CASE(2)
        TILE_CASE(3)
        TILE_CASE(4)
#if MR > 4
        TILE_CASE(5)
        TILE_CASE(6)
#endif
#if MR > 6
        TILE_CASE(7)
        TILE_CASE(8)
#endif
#if MR > 8
        TILE_CASE(9)
        TILE_CASE(10)
        TILE_CASE(11)
        TILE_CASE(12)
        TILE_CASE(13)
        TILE_CASE(14)
#endif
    }
}

static void tile(int rows, const LdmTile *t)
{
    tile_of(rows, false, t);
}
