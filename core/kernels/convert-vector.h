/* Between f32 and the 16-bit formats. */
#pragma once

#include "kernels/vector.h"

typedef uint16_t VecHalf __attribute__((vector_size(2 * LANES)));
typedef uint16_t VecHalfAnywhere __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

/* LANES numbers. */
static inline Vec load_f16(const uint16_t *p)
{
#if LANES == 16
    return (Vec)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i_u *)p));
#elif LANES == 8
    return (Vec)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)p));
#elif defined NEON
    return (Vec)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
#else
    Vec v = {0};
    for (int i = 0; i < LANES; i++)
        v[i] = ldm_f16_to_f32(p[i]);
    return v;
#endif
}

static inline void store_f16(uint16_t *p, Vec v)
{
#if LANES == 16
    _mm256_storeu_si256((__m256i_u *)p, _mm512_cvtps_ph((__m512)v, 0));
#elif LANES == 8
    _mm_storeu_si128((__m128i_u *)p, _mm256_cvtps_ph((__m256)v, 0));
#elif defined NEON
    vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32((float32x4_t)v)));
#else
    for (int i = 0; i < LANES; i++)
        p[i] = ldm_f32_to_f16(v[i]);
#endif
}

static inline Vec load_bf16(const uint16_t *p)
{
    return (Vec)(__builtin_convertvector(*(const VecHalfAnywhere *)p, VecU) << 16);
}

static void f16_to_f32(const uint16_t *x, float *y, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store(y + i, load_f16(x + i));
    for (; i < n; i++)
        y[i] = ldm_f16_to_f32(x[i]);
}

static void f32_to_f16(const float *x, uint16_t *y, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store_f16(y + i, load(x + i));
    for (; i < n; i++)
        y[i] = ldm_f32_to_f16(x[i]);
}

static void bf16_to_f32(const uint16_t *x, float *y, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store(y + i, load_bf16(x + i));
    for (; i < n; i++)
        y[i] = ldm_bf16_to_f32(x[i]);
}

static void f32_to_bf16(const float *x, uint16_t *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = ldm_f32_to_bf16(x[i]);
}
