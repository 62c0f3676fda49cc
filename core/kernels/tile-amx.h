/* The register tile of bf16 pairs on AMX; the including file says what the instructions are
 * (amx.h), of which AMX_MULTIPLY multiplies pairs of bf16 numbers and sums floats. */
#pragma once

#include "kernels/amx.h"

#define NR (2 * SIDE)

static void tile(int rows, const LdmTile *t)
{
    const bool lower = rows > SIDE, right = t->vectors > 1;
    const size_t bytes = t->ldc * sizeof(float);
    amx_shape(rows);
    if (t->add)
        amx_load((const char *)t->c, bytes, lower, right);
    else
        amx_zero(lower, right);
    for (size_t s = 0; s < t->segments; s++) {
        const float *a = t->a + (t->offsets != NULL ? t->offsets[s] : 0);
        amx_multiply(rows, right,
                     (AmxFactors){.words = t->K,
                                  .a = (const char *)a,
                                  .b = (const char *)(t->b + s * t->K * NR),
                                  .a_bytes = t->lda * sizeof(float),
                                  .b_bytes = NR * sizeof(float),
                                  .right = AMX_SIDE});
    }
    amx_store((char *)t->c, bytes, lower, right);
}
