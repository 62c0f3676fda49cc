/* Products of bytes by AVX2. Its instruction sums two products in 16 bits and stops at the largest
 * of them, and takes one factor without a sign: |x| <= 127 and w with x's sign never reach it. */
#include <immintrin.h>

#define LANES          8
#define Q8_ROWS        4
#define Q8_PANELS      1
#define DOT(sum, w, x) dot(sum, w, x)

#include "kernels/vector.h"

ALWAYS_INLINE VecI dot(VecI sum, VecI w, VecI x)
{
    __m256i pairs =
        _mm256_maddubs_epi16(_mm256_abs_epi8((__m256i)x), _mm256_sign_epi8((__m256i)w, (__m256i)x));
    return sum + (VecI)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

#include "kernels/q8-tile-vector.h"

const LdmQ8Lanes ldm_q8_avx2 = LDM_Q8_TABLE("avx2");
