/* bf16 pairs by AVX-512 BF16 (Intel since Cooper Lake, AMD since Zen 4): rounding to nearest even,
 * one instruction for 32 multiply-adds. */
#define LANES                   16
#define MULTIPLY_ADD(sum, x, b) multiply_add(sum, x, b)

#include "kernels/pairs.h"

#include <immintrin.h>

static inline float __attribute__((vector_size(64))) multiply_add(
    float __attribute__((vector_size(64))) sum, float __attribute__((vector_size(64))) x,
    float __attribute__((vector_size(64))) b)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)b);
}

#include "kernels/tile-vector.h"

/* Half k of word i: number i of the lower (k = 0) or the upper (k = 1) sixteen. */
static inline __m512i order_of_pairs(void)
{
    uint16_t order[32];
    for (int i = 0; i < 32; i++)
        order[i] = (uint16_t)(i / 2 + i % 2 * 16);
    return _mm512_loadu_si512(order);
}

static void interleave(const float *even, const float *odd, size_t n, float *out)
{
    const __m512i order = order_of_pairs();
    for (size_t i = 0; i < n; i += LANES) {
        size_t part = n - i;
        Vec a = part < LANES ? load_part(even + i, part) : load(even + i), b = {0}, words;
        if (odd != NULL)
            b = part < LANES ? load_part(odd + i, part) : load(odd + i);
        words = (Vec)_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(b, a));
        if (part < LANES)
            store_part(out + i, part, words);
        else
            store(out + i, words);
    }
}

static void round_row(const float *x, size_t n, float *out)
{
    size_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES)
        store(out + i / 2, (Vec)_mm512_cvtne2ps_pbh(load(x + i + LANES), load(x + i)));
    if (i == n)
        return;
    size_t low = MIN(n - i, (size_t)LANES), high = n - i - low;
    Vec a = low < LANES ? load_part(x + i, low) : load(x + i);
    Vec b = high > 0 ? load_part(x + i + LANES, high) : (Vec){0};
    store_part(out + i / 2, (n - i + 1) / 2, (Vec)_mm512_cvtne2ps_pbh(b, a));
}

const LdmPairs ldm_pairs_avx512 = {interleave, round_row, tile};
