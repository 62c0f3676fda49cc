/* Products of bytes by AMX (Intel servers since Sapphire Rapids): one instruction for 16,384
 * multiply-adds, both factors with a sign. */
#define LANES 16

#include "kernels/amx-instructions.h"

#define AMX_MULTIPLY AMX_MULTIPLY_BYTES

#include "kernels/q8-tile-amx.h"

/* A tile that is no multiple of 16 in rows and depth, its bytes from -127 to 127. */
bool ldm_q8_amx_agrees(void)
{
    enum { ROWS = 29, WORDS = 21, DEPTH = 4 * WORDS, COLUMNS = 2 * LDM_Q8_PANEL };
    int8_t x[ROWS][DEPTH], w[2][WORDS][LDM_Q8_PANEL][4];
    LdmQ8Row row = {.scale = 1};
    float scales[LDM_Q8_PANEL], c[ROWS][COLUMNS];
    for (int k = 0; k < DEPTH; k++) {
        for (int m = 0; m < ROWS; m++)
            x[m][k] = (int8_t)((37 * m + 59 * k) % 255 - 127);
        for (int n = 0; n < COLUMNS; n++)
            w[n / LDM_Q8_PANEL][k / 4][n % LDM_Q8_PANEL][k % 4] =
                (int8_t)((83 * k + 29 * n) % 255 - 127);
    }
    for (int n = 0; n < LDM_Q8_PANEL; n++)
        scales[n] = 1;
    q8_tile(ROWS, &(LdmQ8Tile){.words = WORDS,
                               .x = x[0],
                               .rows = &row,
                               .ldx = DEPTH,
                               .w = w[0][0][0],
                               .scales = scales,
                               .next_w = sizeof w[0],
                               .c = c[0],
                               .ldc = COLUMNS,
                               .panels = 2});
    for (int m = 0; m < ROWS; m++)
        for (int n = 0; n < COLUMNS; n++) {
            int sum = 0;
            for (int k = 0; k < DEPTH; k++)
                sum += x[m][k] * w[n / LDM_Q8_PANEL][k / 4][n % LDM_Q8_PANEL][k % 4];
            if (c[m][n] != (float)sum)
                return false;
        }
    return true;
}

const LdmQ8Lanes ldm_q8_amx = {
    .name = "amx",
    .rows = AMX_ROWS,
    .panels = 2,
    .tile = q8_tile,
    .quantise = q8_quantise,
};
