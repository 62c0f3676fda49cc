/* bf16 pairs by AVX-512 BF16 (Intel since Cooper Lake, AMD since Zen 4): one instruction for 32
 * multiply-adds. */
#define LANES                   16
#define MULTIPLY_ADD(sum, x, b) ((Vec)_mm512_dpbf16_ps((__m512)(sum), (__m512bh)(x), (__m512bh)(b)))

#include "kernels/pairs-vector.h"
#include "kernels/tile-vector.h"

const LdmPairs ldm_pairs_avx512 = {interleave, round_row, turn, tile, MR, false, 1};
const LdmPairs ldm_pairs_avx512_split = {interleave, round_row, turn,           tile,
                                         MR,         false,     LDM_PAIRS_SPLIT};
