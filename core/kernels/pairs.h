/* Products of bf16 numbers with f32 sums, where the processor has instructions for them: half as
 * many as in f32. Two neighbours along the depth share a word, the earlier in its lower half, so
 * that the register tile works on words where it else works on floats. */
#pragma once

#include "kernels/matrix.h"

#include <string.h>

typedef struct {
    /* out[i] = bf16 of even[i] and odd[i]; odd NULL: zeros. */
    void (*interleave)(const float *even, const float *odd, size_t n, float *out);
    /* (n + 1) / 2 words of a row, a missing last number 0; out may be x. */
    void (*round)(const float *x, size_t n, float *out);
    /* out[m * ldo + k] = bf16 of x[2k * ldx + m] and x[(2k + 1) * ldx + m], a missing last one 0:
     * m < rows columns of x become rows, of (depth + 1) / 2 words. */
    void (*turn)(const float *x, size_t ldx, size_t depth, size_t rows, float *out, size_t ldo);
    /* As LdmLanes.tile, K words deep; the columns are those of the f32 tile. */
    void (*tile)(int rows, const LdmTile *tile);
    int rows; /* <= LDM_MAX_ROWS */
    /* A 3x3 convolution is faster directly than in f32 by Winograd, which takes a quarter of the
     * products: where these cost half, by AVX-512 BF16, it is a tenth slower; AMX does 16. */
    bool beats_winograd;
} LdmPairs;

#ifdef __x86_64__
extern const LdmPairs ldm_pairs_avx512, ldm_pairs_amx;

/* Whether this processor's tile multiplies as it should; only where it may be used. */
bool ldm_pairs_amx_agrees(void);
#elif defined __aarch64__
extern const LdmPairs ldm_pairs_neon;
#endif

/* NULL where the processor has none, or PENTIMENTO_CPU forces a set without. */
const LdmPairs *ldm_pairs(void);

/* Wider heads stay in f32: there and back, the softmax must see the same scores. */
#define LDM_PAIRS_HEAD 272

/* What n numbers along the depth take: words of pairs, or floats where `pairs` is NULL. */
static inline size_t ldm_pairs_words(const LdmPairs *pairs, size_t n)
{
    return pairs != NULL ? (n + 1) / 2 : n;
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
    for (size_t i = 0; i < rows; i++)
        if (pairs != NULL)
            pairs->round(x + i * ldx, n, out + i * ldo);
        else
            memcpy(out + i * ldo, x + i * ldx, n * sizeof(float));
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

/* A panel [depth][NR] of floats -> [(depth + 1) / 2][NR] words, which may begin where it does. */
static inline void ldm_pairs_panel(const LdmPairs *pairs, const float *panel, size_t depth,
                                   size_t NR, float *out)
{
    for (size_t k = 0; k < depth; k += 2, panel += 2 * NR, out += NR)
        pairs->interleave(panel, k + 1 < depth ? panel + NR : NULL, NR, out);
}
