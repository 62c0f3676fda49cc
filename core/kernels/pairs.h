/* Products of bf16 numbers with f32 sums, where the processor has instructions for them: half as
 * many as in f32. Two neighbours along the depth share a word, the earlier in its lower half, so
 * that the register tile works on words where it else works on floats. */
#pragma once

#include "kernels/matrix.h"

#include <string.h>

typedef struct {
    /* out[i] = bf16 of even[i] and odd[i]; odd NULL: zeros. `rest`, here and below: of what
     * rounding a number to bf16 leaves over of it. */
    void (*interleave)(const float *even, const float *odd, size_t n, float *out, bool rest);
    /* (n + 1) / 2 words of a row, a missing last number 0; out may be x. */
    void (*round)(const float *x, size_t n, float *out, bool rest);
    /* out[m * ldo + k] = bf16 of x[2k * ldx + m] and x[(2k + 1) * ldx + m], a missing last one 0:
     * m < rows columns of x become rows, of (depth + 1) / 2 words. */
    void (*turn)(const float *x, size_t ldx, size_t depth, size_t rows, float *out, size_t ldo,
                 bool rest);
    /* As LdmLanes.tile, K words deep; the columns are those of the f32 tile. */
    void (*tile)(int rows, const LdmTile *tile);
    int rows; /* <= LDM_MAX_ROWS */
    /* A 3x3 convolution is faster directly than in f32 by Winograd, which takes a quarter of the
     * products: where these cost half, by AVX-512 BF16, it is a tenth slower; AMX does 16. */
    bool beats_winograd;
    /* 1; or SPLIT: a number is the sum of two, x = x' + x'' to 16 bits, and the depth three times
     * as long: A has x', x', x'', B has w', w'', w'. x'' w'' is left out, so that a product errs by
     * 2^-16 of it at most, less than f32's sums do of a few hundred. */
    int sections;
} LdmPairs;
#define LDM_PAIRS_SPLIT 3

#ifdef __x86_64__
extern const LdmPairs ldm_pairs_avx512, ldm_pairs_amx;
extern const LdmPairs ldm_pairs_avx512_split, ldm_pairs_amx_split;

/* Whether this processor's tile multiplies as it should; only where it may be used. */
bool ldm_pairs_amx_agrees(void);
#elif defined __aarch64__
extern const LdmPairs ldm_pairs_neon;
#endif

/* NULL where the processor has none, or PENTIMENTO_CPU forces a set without. */
const LdmPairs *ldm_pairs(void);

/* Those of f32 numbers that are split, where three of their products cost less than one of f32: on
 * AMX, or wherever PENTIMENTO_CPU is `split`, for tests. Else NULL. */
const LdmPairs *ldm_pairs_exact(void);

/* As a product asks for them; NULL: it stays in f32. */
static inline const LdmPairs *ldm_pairs_for(bool bf16, bool split)
{
    return bf16 ? ldm_pairs() : split ? ldm_pairs_exact() : NULL;
}

/* Wider heads stay in f32: there and back, the softmax must see the same scores. */
#define LDM_PAIRS_HEAD 272

/* What n numbers along the depth take: words of pairs, or floats where `pairs` is NULL. */
static inline size_t ldm_pairs_words(const LdmPairs *pairs, size_t n)
{
    return pairs != NULL ? (n + 1) / 2 * (size_t)pairs->sections : n;
}

/* The tile of their products, and its rows; those of f32 where `pairs` is NULL. */
static inline LdmTileFunction *ldm_pairs_tile(const LdmPairs *pairs)
{
    return pairs != NULL ? pairs->tile : ldm_lanes()->tile;
}

static inline size_t ldm_pairs_rows(const LdmPairs *pairs)
{
    return (size_t)(pairs != NULL ? pairs->rows : ldm_lanes()->rows);
}

/* Rows of n numbers, ldx apart -> their words, ldo apart: rounded to pairs, or as they are. */
static inline void ldm_pairs_copy_rows(const LdmPairs *pairs, const float *x, size_t ldx,
                                       size_t rows, size_t n, float *out, size_t ldo)
{
    if (pairs == NULL)
        for (size_t i = 0; i < rows; i++)
            memcpy(out + i * ldo, x + i * ldx, n * sizeof(float));
    else
        for (size_t i = 0; i < rows * (size_t)pairs->sections; i++) {
            size_t row = i % rows, section = i / rows;
            pairs->round(x + row * ldx, n, out + row * ldo + section * ((n + 1) / 2), section == 2);
        }
}

/* The first `rows` columns of x [depth][ldx] -> rows of words, ldo apart. */
static inline void ldm_pairs_turn(const LdmPairs *pairs, const float *x, size_t ldx, size_t depth,
                                  size_t rows, float *out, size_t ldo)
{
    for (int section = 0; section < pairs->sections; section++, out += (depth + 1) / 2)
        pairs->turn(x, ldx, depth, rows, out, ldo, section == 2);
}

/* Rows of n numbers, *ld apart, as the tile may read them: as they lie, or copied into the strip,
 * `pitch` apart, where their distance would make them share a cache set; always, where they are
 * rounded on the way. *ld becomes what holds then. */
static inline const float *ldm_pairs_strip(const LdmPairs *pairs, const float *x, size_t *ld,
                                           size_t rows, size_t n, float *strip, size_t pitch)
{
    if (pairs == NULL && !ldm_stride_collides(*ld))
        return x;
    ldm_pairs_copy_rows(pairs, x, *ld, rows, n, strip, pitch);
    *ld = pitch;
    return strip;
}

/* A panel [depth][NR] of floats -> [words of the depth][NR], which may begin where it does unless
 * numbers are split. */
static inline void ldm_pairs_panel(const LdmPairs *pairs, const float *panel, size_t depth,
                                   size_t NR, float *out)
{
    for (int section = 0; section < pairs->sections; section++)
        for (size_t k = 0; k < depth; k += 2, out += NR) {
            const float *even = panel + k * NR;
            pairs->interleave(even, k + 1 < depth ? even + NR : NULL, NR, out, section == 1);
        }
}
