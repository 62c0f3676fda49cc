/* Between f32 and the 16-bit formats. */
#pragma once

#include "kernels/vector.h"

#if defined __F16C__
#include <immintrin.h>
#endif

typedef uint16_t VecHalf __attribute__((vector_size(2 * LANES)));
typedef uint16_t VecHalfAnywhere __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

static void f16_to_f32(const uint16_t *x, float *y, size_t n)
{
    size_t i = 0;
#if LANES == 16
    for (; i + 16 <= n; i += 16)
        _mm512_storeu_ps(y + i, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i_u *)(x + i))));
#elif LANES == 8
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(y + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)(x + i))));
#endif
    for (; i < n; i++)
        y[i] = ldm_f16_to_f32(x[i]);
}

static void f32_to_f16(const float *x, uint16_t *y, size_t n)
{
    size_t i = 0;
#if LANES == 16
    for (; i + 16 <= n; i += 16)
        _mm256_storeu_si256((__m256i_u *)(y + i), _mm512_cvtps_ph(_mm512_loadu_ps(x + i), 0));
#elif LANES == 8
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i_u *)(y + i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), 0));
#endif
    for (; i < n; i++)
        y[i] = ldm_f32_to_f16(x[i]);
}

static void bf16_to_f32(const uint16_t *x, float *y, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        VecHalf half = *(const VecHalfAnywhere *)(x + i);
        store(y + i, (Vec)(__builtin_convertvector(half, VecU) << 16));
    }
    for (; i < n; i++)
        y[i] = ldm_bf16_to_f32(x[i]);
}

static void f32_to_bf16(const float *x, uint16_t *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = ldm_f32_to_bf16(x[i]);
}
