/* The register tile of bf16 pairs on AMX, whose eight registers hold 16 rows of 16 words: four are
 * of C, two of A, two of B. The including file says what the instructions are, on registers
 * known at compile time: AMX_CONFIGURE(config), AMX_ZERO(r), AMX_LOAD(r, p, bytes a row),
 * AMX_STORE(r, p, bytes a row), AMX_MULTIPLY(c, a, b). */
#pragma once

#include "kernels/matrix.h"

#include <string.h>

#define SIDE     16
#define AMX_ROWS (2 * SIDE)
#define NR       (2 * SIDE)

/* What LDTILECFG reads. */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} AmxConfig;

/* The registers' numbers: quarters of C 0 to 3, halves of A 4 and 5, of B 6 and 7. */
static AmxConfig amx_config(int rows)
{
    const int upper = MIN(rows, SIDE), lower = rows - upper;
    const int heights[] = {upper, upper, lower, lower, upper, lower, SIDE, SIDE};
    AmxConfig config = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.rows[i] = (uint8_t)heights[i];
        config.row_bytes[i] = heights[i] > 0 ? SIDE * sizeof(float) : 0;
    }
    return config;
}

/* Shaping the registers takes as long as a dozen products and waits for those before, so a thread's
 * keep their shape from tile to tile. Nothing else in a process with this library uses them. */
static void amx_shape(int rows)
{
    static _Thread_local int shaped;
    if (shaped == rows)
        return;
    const AmxConfig config = amx_config(rows);
    AMX_CONFIGURE(config);
    shaped = rows;
}

/* C as it lies, or zeros: the quarters that a tile of this size has. */
static void load_sums(const float *c, size_t bytes, bool add, bool lower, bool right)
{
    const float *c_lower = c + SIDE * (bytes / sizeof *c);
    if (!add) {
        AMX_ZERO(0);
        AMX_ZERO(1);
        if (lower) {
            AMX_ZERO(2);
            AMX_ZERO(3);
        }
        return;
    }
    AMX_LOAD(0, c, bytes);
    if (right)
        AMX_LOAD(1, c + SIDE, bytes);
    if (lower)
        AMX_LOAD(2, c_lower, bytes);
    if (lower && right)
        AMX_LOAD(3, c_lower + SIDE, bytes);
}

/* The last words of A and B, with zeros up to a whole register. */
typedef struct {
    float a[AMX_ROWS * SIDE], b[SIDE * NR];
} AmxEdge;

static void fill_edge(AmxEdge *edge, int rows, size_t depth, const float *a, size_t lda,
                      const float *b)
{
    memset(edge, 0, sizeof *edge);
    for (int m = 0; m < rows; m++)
        memcpy(edge->a + m * SIDE, a + m * lda, depth * sizeof *a);
    memcpy(edge->b, b, depth * NR * sizeof *b);
}

static void tile(int rows, const LdmTile *t)
{
    const bool lower = rows > SIDE, right = t->vectors > 1;
    const size_t c_bytes = t->ldc * sizeof(float), b_bytes = NR * sizeof(float);
    float *c = t->c, *c_lower = c + SIDE * t->ldc;
    amx_shape(rows);
    load_sums(c, c_bytes, t->add, lower, right);
    AmxEdge edge;
    const size_t steps = ldm_parts(t->K, SIDE);
    for (size_t i = 0; i < t->segments * steps; i++) {
        size_t s = i / steps, k = i % steps * SIDE;
        const float *a = t->a + (t->offsets != NULL ? t->offsets[s] : 0) + k;
        const float *b = t->b + (s * t->K + k) * NR;
        size_t lda = t->lda;
        if (t->K - k < SIDE) {
            fill_edge(&edge, rows, t->K - k, a, lda, b);
            a = edge.a;
            b = edge.b;
            lda = SIDE;
        }
        AMX_LOAD(4, a, lda * sizeof(float));
        AMX_LOAD(6, b, b_bytes);
        AMX_MULTIPLY(0, 4, 6);
        if (lower) {
            AMX_LOAD(5, a + SIDE * lda, lda * sizeof(float));
            AMX_MULTIPLY(2, 5, 6);
        }
        if (right) {
            AMX_LOAD(7, b + SIDE, b_bytes);
            AMX_MULTIPLY(1, 4, 7);
        }
        if (lower && right)
            AMX_MULTIPLY(3, 5, 7);
    }
    AMX_STORE(0, c, c_bytes);
    if (right)
        AMX_STORE(1, c + SIDE, c_bytes);
    if (lower)
        AMX_STORE(2, c_lower, c_bytes);
    if (lower && right)
        AMX_STORE(3, c_lower + SIDE, c_bytes);
}
