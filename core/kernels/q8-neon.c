/* Products of bytes by NEON's dot product (arm64 since 8.2, where it is optional: Cortex-A76,
 * Neoverse N1, Apple M1): one instruction for 16 multiply-adds. */
#define LANES 4
#define NEON
#define Q8_ROWS        6
#define Q8_PANELS      1
#define DOT(sum, w, x) ((VecI)vdotq_s32((int32x4_t)(sum), (int8x16_t)(w), (int8x16_t)(x)))

#include "kernels/q8-tile-vector.h"

const LdmQ8Lanes ldm_q8_neon = LDM_Q8_TABLE("neon");
