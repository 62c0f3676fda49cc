/* Rounding to bf16 and laying pairs into words, written once for any vector width; for files that
 * are compiled for an instruction set which rounds. */
#pragma once

#include "kernels/pairs.h"
#include "kernels/vector.h"

/* 2 LANES half-words: `low` rounded to bf16, to nearest even, then `high`. */
static inline Vec round_two(Vec low, Vec high)
{
#if LANES == 16
    return (Vec)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
#else
    return (Vec)vcvtq_high_bf16_f32(vcvtq_low_bf16_f32((float32x4_t)low), (float32x4_t)high);
#endif
}

/* What rounding to bf16 leaves over. */
static inline Vec left_over(Vec x)
{
#if LANES == 16
    __m256i rounded = (__m256i)_mm512_cvtneps_pbh((__m512)x);
    return x - (Vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(rounded), 16);
#else
    return x - (Vec)vcvt_f32_bf16(vcvt_bf16_f32((float32x4_t)x));
#endif
}

/* n <= LANES numbers, or what rounding leaves over of them. */
ALWAYS_INLINE Vec load_of(const float *p, size_t n, bool rest)
{
    Vec x = load_some(p, n);
    return rest ? left_over(x) : x;
}

/* Half-words 0 .. 2 LANES - 1 -> 0, LANES, 1, LANES + 1 ... */
static inline Vec weave(Vec halves)
{
#if LANES == 16
    uint16_t order[2 * LANES];
    for (int i = 0; i < 2 * LANES; i++)
        order[i] = (uint16_t)(i / 2 + i % 2 * LANES);
    return (Vec)_mm512_permutexvar_epi16(_mm512_loadu_si512(order), (__m512i)halves);
#else
    uint16x8_t h = (uint16x8_t)halves;
    return (Vec)vzip1q_u16(h, vextq_u16(h, h, LANES));
#endif
}

static void interleave(const float *even, const float *odd, size_t n, float *out, bool rest)
{
    for (size_t i = 0; i < n; i += LANES) {
        size_t part = MIN(n - i, (size_t)LANES);
        Vec b = odd != NULL ? load_of(odd + i, part, rest) : (Vec){0};
        store_some(out + i, part, weave(round_two(load_of(even + i, part, rest), b)));
    }
}

static void round_row(const float *x, size_t n, float *out, bool rest)
{
    for (size_t i = 0; i < n; i += 2 * LANES) {
        size_t low = MIN(n - i, (size_t)LANES), high = MIN(n - i - low, (size_t)LANES);
        Vec b = high > 0 ? load_of(x + i + LANES, high, rest) : (Vec){0};
        store_some(out + i / 2, (low + high + 1) / 2, round_two(load_of(x + i, low, rest), b));
    }
}

static void turn(const float *x, size_t ldx, size_t depth, size_t rows, float *out, size_t ldo,
                 bool rest)
{
    for (size_t k = 0; k < depth; k += 2 * LANES)
        for (size_t m = 0; m < rows; m += LANES) {
            size_t part = MIN(rows - m, (size_t)LANES);
            size_t words = MIN((depth - k + 1) / 2, (size_t)LANES);
            Vec r[LANES];
            for (size_t i = 0; i < LANES; i++) {
                const float *even = x + (k + 2 * i) * ldx + m;
                Vec a = k + 2 * i < depth ? load_of(even, part, rest) : (Vec){0};
                Vec b = k + 2 * i + 1 < depth ? load_of(even + ldx, part, rest) : (Vec){0};
                r[i] = weave(round_two(a, b));
            }
            transpose(r);
            for (size_t i = 0; i < part; i++)
                store_some(out + (m + i) * ldo + k / 2, words, r[i]);
        }
}
