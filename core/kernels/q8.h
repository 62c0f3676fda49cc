/* The inner loops of products with 8-bit weights, one table per instruction set, and the block
 * along the depth that shares a scale. Both factors go from -127 to 127, with f32 scales; sums of a
 * block are whole numbers, and exact. */
#pragma once

#include "kernels/matrix.h"

#define LDM_Q8_BLOCK \
    640                 /* input channels in a block, at most: sums stay below 2^24 or just above */
#define LDM_Q8_PANEL 16 /* output channels in a panel */

/* A block of one row of activations. */
typedef struct {
    float scale;
    int32_t sum; /* of its bytes */
} LdmQ8Row;

/* C[rows, panels * 16] (+)= scale[row] * scale[column] * (X W^T) of one block. */
typedef struct {
    size_t words; /* depth / 4 */
    const int8_t *x;
    const LdmQ8Row *rows;
    size_t ldx, ld_rows;        /* bytes and entries from row to row */
    const int8_t *w;            /* [words][16][4] */
    const float *scales;        /* [16] */
    size_t next_w, next_scales; /* bytes and floats to the next panel */
    float *c;
    size_t ldc;
    int panels; /* no more than the table's */
    bool add;   /* to what C holds */
} LdmQ8Tile;

typedef struct {
    const char *name;
    int rows, panels; /* of the largest tile */
    void (*tile)(int rows, const LdmQ8Tile *tile);
    /* x[n] -> bytes, zeros up to a multiple of 4. What is not finite makes the scale NaN. */
    void (*quantise)(const float *x, size_t n, int8_t *bytes, LdmQ8Row *row);
} LdmQ8Lanes;

extern const LdmQ8Lanes ldm_q8_base;
#ifdef __x86_64__
extern const LdmQ8Lanes ldm_q8_avx2, ldm_q8_avx512, ldm_q8_amx;

/* As ldm_pairs_amx_agrees. */
bool ldm_q8_amx_agrees(void);
#elif defined __aarch64__
extern const LdmQ8Lanes ldm_q8_neon;
#endif

/* The table in use. */
const LdmQ8Lanes *ldm_q8_lanes(void);

/* Input channels in every block of C but the last, a multiple of 4. */
static inline size_t ldm_q8_length(size_t C)
{
    return ldm_parts(ldm_parts(C, ldm_q8_blocks(C)), 4) * 4;
}

/* Bytes of a tap of one row: C, rounded up. */
static inline size_t ldm_q8_depth(size_t C)
{
    return ldm_parts(C, 4) * 4;
}
