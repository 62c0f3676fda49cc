/* The register tile of bytes, written once for any vector width. The including file sets LANES, the
 * shape of the tile (Q8_ROWS x Q8_PANELS panels), and DOT(sum, w, x): to every word of sum, the sum
 * of the four products of a word's bytes. Where the instruction takes one factor without a sign, w
 * goes in as w + Q8_OFFSET, and a row's own sum is what has to come off again. */
#pragma once

#include "kernels/q8-vector.h"

#ifndef Q8_OFFSET
#define Q8_OFFSET 0
#endif
#define Q8_VECTORS (LDM_Q8_PANEL / LANES) /* of a panel */
#define Q8_WIDTH   (Q8_PANELS * Q8_VECTORS)

typedef VecI VecIAnywhere __attribute__((aligned(4), may_alias));
typedef int32_t Word __attribute__((aligned(4), may_alias));

/* One block of rows x panels. */
ALWAYS_INLINE void q8_tile_body(const int rows, const int panels, const LdmQ8Tile *t)
{
    VecI sum[Q8_ROWS][Q8_WIDTH];
    const int width = panels * Q8_VECTORS;
#pragma GCC unroll 16
    for (int m = 0; m < rows; m++)
#pragma GCC unroll 4
        for (int v = 0; v < width; v++)
            sum[m][v] = (VecI){0};
    const int8_t *w = t->w, *x = t->x;
    for (size_t k = 0; k < t->words; k++, w += 4 * LDM_Q8_PANEL, x += 4) {
        VecI columns[Q8_WIDTH];
#pragma GCC unroll 4
        for (int v = 0; v < width; v++)
            columns[v] = *(const VecIAnywhere *)(w + v / Q8_VECTORS * t->next_w +
                                                 v % Q8_VECTORS * 4 * LANES);
#if Q8_OFFSET
#pragma GCC unroll 4
        for (int v = 0; v < width; v++)
            columns[v] ^= (int32_t)0x80808080;
#endif
#pragma GCC unroll 16
        for (int m = 0; m < rows; m++) {
            VecI bytes = *(const Word *)(x + (size_t)m * t->ldx) - (VecI){0};
#pragma GCC unroll 4
            for (int v = 0; v < width; v++)
                sum[m][v] = DOT(sum[m][v], columns[v], bytes);
        }
    }
#pragma GCC unroll 16
    for (int m = 0; m < rows; m++) {
        const int32_t offset = Q8_OFFSET * t->rows[(size_t)m * t->ld_rows].sum;
#pragma GCC unroll 4
        for (int v = 0; v < width; v++)
            q8_scale(t, m, v * LANES, sum[m][v] - offset);
    }
}

#if Q8_PANELS == 2
#define Q8_CASE(rows)                 \
    case rows:                        \
        if (t->panels == 2)           \
            q8_tile_body(rows, 2, t); \
        else                          \
            q8_tile_body(rows, 1, t); \
        break;
#else
#define Q8_CASE(rows) \
    case rows: q8_tile_body(rows, 1, t); break;
#endif

static void q8_tile(int rows, const LdmQ8Tile *t)
{
    switch (rows) {
        Q8_CASE(1)
        Q8_CASE(2)
#if Q8_ROWS > 2
        Q8_CASE(3)
        Q8_CASE(4)
#endif
#if Q8_ROWS > 4
        Q8_CASE(5)
        Q8_CASE(6)
#endif
#if Q8_ROWS > 6
        Q8_CASE(7)
        Q8_CASE(8)
        Q8_CASE(9)
        Q8_CASE(10)
        Q8_CASE(11)
        Q8_CASE(12)
        Q8_CASE(13)
        Q8_CASE(14)
#endif
    }
}

#define LDM_Q8_TABLE(NAME)       \
    {                            \
        .name = NAME,            \
        .rows = Q8_ROWS,         \
        .panels = Q8_PANELS,     \
        .tile = q8_tile,         \
        .quantise = q8_quantise, \
    }
