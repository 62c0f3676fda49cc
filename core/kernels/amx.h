/* What tiles on AMX have in common. Its eight registers hold 16 rows of 16 words: four are of C,
 * two of A, two of B. The including file says what the instructions are, on registers known at
 * compile time: AMX_CONFIGURE(config), AMX_ZERO(r), AMX_LOAD(r, p, bytes a row), AMX_STORE(r, p,
 * bytes a row), AMX_MULTIPLY(c, a, b); and where a thread keeps how they are shaped: AMX_SHAPED, an
 * int. */
#pragma once

#include "kernels/matrix.h"

#include <string.h>

#define SIDE     16
#define AMX_ROWS (2 * SIDE)
#define AMX_SIDE (SIDE * sizeof(float)) /* bytes of a register's row */

/* What LDTILECFG reads. */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} AmxConfig;

/* The registers' numbers: quarters of C 0 to 3, halves of A 4 and 5, of B 6 and 7. */
static inline AmxConfig amx_config(int rows)
{
    const int upper = MIN(rows, SIDE), lower = rows - upper;
    const int heights[] = {upper, upper, lower, lower, upper, lower, SIDE, SIDE};
    AmxConfig config = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.rows[i] = (uint8_t)heights[i];
        config.row_bytes[i] = heights[i] > 0 ? AMX_SIDE : 0;
    }
    return config;
}

/* Shaping the registers takes as long as a dozen products and waits for those before, so a thread's
 * keep their shape from tile to tile. Nothing else in a process with this library uses them. */
static inline void amx_shape(int rows)
{
    if (AMX_SHAPED == rows)
        return;
    const AmxConfig config = amx_config(rows);
    AMX_CONFIGURE(config);
    AMX_SHAPED = rows;
}

/* The quarters that a tile has: of more than 16 rows the lower ones, where it is 32 words wide the
 * right ones. EACH(r, p, bytes) of every one: its register, where it lies in C, whose rows are
 * `bytes` apart, from `c` on. */
#define AMX_QUARTERS(EACH, c, bytes, lower, right)           \
    do {                                                     \
        EACH(0, c, bytes);                                   \
        if (right)                                           \
            EACH(1, (c) + AMX_SIDE, bytes);                  \
        if (lower)                                           \
            EACH(2, (c) + SIDE * (bytes), bytes);            \
        if (lower && right)                                  \
            EACH(3, (c) + SIDE * (bytes) + AMX_SIDE, bytes); \
    } while (0)

static inline void amx_zero(bool lower, bool right)
{
#define ZERO(r, p, bytes) AMX_ZERO(r)
    AMX_QUARTERS(ZERO, , , lower, right);
#undef ZERO
}

static inline void amx_load(const char *c, size_t bytes, bool lower, bool right)
{
    AMX_QUARTERS(AMX_LOAD, c, bytes, lower, right);
}

static inline void amx_store(char *c, size_t bytes, bool lower, bool right)
{
    AMX_QUARTERS(AMX_STORE, c, bytes, lower, right);
}

/* `words` of the depth: rows of A, and of B, whose right half is `right` bytes behind its left. */
typedef struct {
    size_t words;
    const char *a, *b;
    size_t a_bytes, b_bytes, right;
} AmxFactors;

/* The last words of A and B, with zeros up to a whole register. */
typedef struct {
    float a[AMX_ROWS * SIDE], b[2 * SIDE * SIDE];
} AmxEdge;

static inline AmxFactors amx_edge(AmxEdge *edge, int rows, bool right, const AmxFactors *f)
{
    memset(edge, 0, sizeof *edge);
    for (int m = 0; m < rows; m++)
        memcpy(edge->a + m * SIDE, f->a + m * f->a_bytes, f->words * sizeof(float));
    for (size_t half = 0; half < (right ? 2 : 1); half++)
        for (size_t k = 0; k < f->words; k++)
            memcpy(edge->b + (half * SIDE + k) * SIDE, f->b + half * f->right + k * f->b_bytes,
                   AMX_SIDE);
    return (AmxFactors){SIDE,     (char *)edge->a, (char *)edge->b,
                        AMX_SIDE, AMX_SIDE,        SIDE * AMX_SIDE};
}

/* C += A B. */
static inline void amx_multiply(int rows, bool right, AmxFactors f)
{
    const bool lower = rows > SIDE;
    AmxEdge edge;
    for (size_t left = f.words; left > 0; left -= MIN(left, SIDE)) {
        f.words = left;
        if (left < SIDE)
            f = amx_edge(&edge, rows, right, &f);
        AMX_LOAD(4, f.a, f.a_bytes);
        AMX_LOAD(6, f.b, f.b_bytes);
        AMX_MULTIPLY(0, 4, 6);
        if (lower) {
            AMX_LOAD(5, f.a + SIDE * f.a_bytes, f.a_bytes);
            AMX_MULTIPLY(2, 5, 6);
        }
        if (right) {
            AMX_LOAD(7, f.b + f.right, f.b_bytes);
            AMX_MULTIPLY(1, 4, 7);
        }
        if (lower && right)
            AMX_MULTIPLY(3, 5, 7);
        f.a += AMX_SIDE;
        f.b += SIDE * f.b_bytes;
    }
}
