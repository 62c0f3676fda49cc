/* bf16 pairs by NEON's BF16 (arm64 since 8.6: Neoverse V1, Apple M2): one instruction for 8
 * multiply-adds. */
#define LANES 4
#define NEON
#define MULTIPLY_ADD(sum, x, b)            multiply_add_lane(sum, x, 0, b)
#define MULTIPLY_ADD_LANE(sum, x, lane, b) multiply_add_lane(sum, x, lane, b)

#include "kernels/pairs-vector.h"

/* A factor's lane is part of the instruction. */
ALWAYS_INLINE Vec multiply_add_lane(Vec sum, Vec x, int lane, Vec b)
{
    float32x4_t s = (float32x4_t)sum;
    bfloat16x8_t words = (bfloat16x8_t)x, columns = (bfloat16x8_t)b;
    switch (lane) {
    case 0: return (Vec)vbfdotq_laneq_f32(s, columns, words, 0);
    case 1: return (Vec)vbfdotq_laneq_f32(s, columns, words, 1);
    case 2: return (Vec)vbfdotq_laneq_f32(s, columns, words, 2);
    default: return (Vec)vbfdotq_laneq_f32(s, columns, words, 3);
    }
}

#include "kernels/tile-vector.h"

const LdmPairs ldm_pairs_neon = {interleave, round_row, turn, tile, MR, false, 1};
