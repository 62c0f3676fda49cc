/* bf16 pairs by AMX (Intel servers since Sapphire Rapids): one instruction for 8,192
 * multiply-adds. */
#define LANES 16

#include "kernels/amx-instructions.h"
#include "kernels/pairs-vector.h"

#define AMX_MULTIPLY AMX_MULTIPLY_BF16

#include "kernels/tile-amx.h"

_Thread_local int ldm_amx_shaped;

/* A tile of small whole numbers, whose sums are exact however they are taken; not a multiple of 16
 * in any direction. */
bool ldm_pairs_amx_agrees(void)
{
    enum { ROWS = 29, DEPTH = 42, WORDS = DEPTH / 2 };
    float a[ROWS][DEPTH], b[DEPTH][NR], a_words[ROWS][WORDS], b_words[WORDS][NR], c[ROWS][NR];
    for (int k = 0; k < DEPTH; k++) {
        for (int m = 0; m < ROWS; m++)
            a[m][k] = (float)((3 * m + 5 * k) % 17 - 8);
        for (int n = 0; n < NR; n++)
            b[k][n] = (float)((7 * k + 2 * n) % 13 - 6);
    }
    for (int m = 0; m < ROWS; m++)
        round_row(a[m], DEPTH, a_words[m], false);
    for (int k = 0; k < DEPTH; k += 2)
        interleave(b[k], b[k + 1], NR, b_words[k / 2], false);
    tile(ROWS, &(LdmTile){.segments = 1,
                          .K = WORDS,
                          .a = a_words[0],
                          .lda = WORDS,
                          .b = b_words[0],
                          .c = c[0],
                          .ldc = NR,
                          .vectors = 2});
    for (int m = 0; m < ROWS; m++)
        for (int n = 0; n < NR; n++) {
            float sum = 0;
            for (int k = 0; k < DEPTH; k++)
                sum += a[m][k] * b[k][n];
            if (c[m][n] != sum)
                return false;
        }
    return true;
}

const LdmPairs ldm_pairs_amx = {interleave, round_row, turn, tile, AMX_ROWS, true, 1};
const LdmPairs ldm_pairs_amx_split = {interleave, round_row, turn,           tile,
                                      AMX_ROWS,   true,      LDM_PAIRS_SPLIT};
