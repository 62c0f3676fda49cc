/* Products of bytes by AVX-512 VNNI (Intel since Cascade Lake, AMD since Zen 4): one instruction
 * for 64 multiply-adds, of which one factor has no sign. */
#define LANES          16
#define Q8_ROWS        14
#define Q8_PANELS      2
#define Q8_OFFSET      128
#define DOT(sum, w, x) ((VecI)_mm512_dpbusd_epi32((__m512i)(sum), (__m512i)(w), (__m512i)(x)))

#include "kernels/q8-tile-vector.h"

const LdmQ8Lanes ldm_q8_avx512 = LDM_Q8_TABLE("avx512");
