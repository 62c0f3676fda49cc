/* bf16 pairs by AMX (Intel servers since Sapphire Rapids): one instruction for 8,192 multiply-adds.
 * Linux gives the registers to a process that has asked for them, see lanes.c. */
#define LANES 16

#include "kernels/pairs-vector.h"

/* GCC's own do not say that they read memory. */
#define AMX_CONFIGURE(config) __asm__ volatile("ldtilecfg %0" ::"m"(config))
#define AMX_ZERO(r)           __asm__ volatile("tilezero %%tmm" #r ::)
#define AMX_LOAD(r, p, bytes) \
    __asm__ volatile("tileloadd (%0, %1), %%tmm" #r ::"r"(p), "r"(bytes) : "memory")
#define AMX_STORE(r, p, bytes) \
    __asm__ volatile("tilestored %%tmm" #r ", (%0, %1)" ::"r"(p), "r"(bytes) : "memory")
#define AMX_MULTIPLY(c, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::)

#include "kernels/tile-amx.h"

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
