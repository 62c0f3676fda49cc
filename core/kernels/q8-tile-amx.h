/* The register tile of bytes on AMX, whose words are the tile's words of four; the including file
 * sets LANES and says what the instructions are (amx.h), of which AMX_MULTIPLY multiplies bytes
 * with signs and sums whole numbers. */
#pragma once

#include "kernels/amx.h"
#include "kernels/q8-vector.h"

static void q8_tile(int rows, const LdmQ8Tile *t)
{
    const bool lower = rows > SIDE, right = t->panels > 1;
    int32_t sums[AMX_ROWS][2 * SIDE] __attribute__((aligned(AMX_SIDE)));
    amx_shape(rows);
    amx_zero(lower, right);
    amx_multiply(rows, right,
                 (AmxFactors){.words = t->words,
                              .a = (const char *)t->x,
                              .b = (const char *)t->w,
                              .a_bytes = t->ldx,
                              .b_bytes = 4 * LDM_Q8_PANEL,
                              .right = t->next_w});
    amx_store((char *)sums, sizeof sums[0], lower, right);
    for (int m = 0; m < rows; m++)
        for (int n = 0; n < t->panels * LDM_Q8_PANEL; n += LANES)
            q8_scale(t, m, n, *(const VecI *)&sums[m][n]);
}
