/* Vectors of LANES floats (4, 8 or 16; set by the file that includes this, as is NEON where they
 * may use its instructions) and elementary functions on them, in GCC's vector extension. NaN goes
 * in and comes out; there is no table look-up and no branch, so every lane does the same. */
#pragma once

#include "kernels/lanes.h"
#include "tensor/half.h"

#include <math.h>
#ifdef __AVX2__
#include <immintrin.h>
#elif defined NEON
#include <arm_neon.h>
#endif

/* Inlined with constant sizes, so that everything stays in registers. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef int32_t VecI __attribute__((vector_size(4 * LANES)));
typedef uint32_t VecU __attribute__((vector_size(4 * LANES)));
typedef float VecAnywhere __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static inline Vec load(const float *p)
{
    return *(const VecAnywhere *)p;
}

static inline void store(float *p, Vec v)
{
    *(VecAnywhere *)p = v;
}

/* load_part: the first n < LANES floats, the rest 0; store_part: the first n. Nothing beyond them
 * is touched. */
#if LANES == 16
static inline Vec load_part(const float *p, size_t n)
{
    return (Vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}

static inline void store_part(float *p, size_t n, Vec v)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
}
#elif LANES == 8
static inline __m256i first_lanes(size_t n)
{
    return (__m256i)((VecI){0, 1, 2, 3, 4, 5, 6, 7} < (int32_t)n);
}

static inline Vec load_part(const float *p, size_t n)
{
    return (Vec)_mm256_maskload_ps(p, first_lanes(n));
}

static inline void store_part(float *p, size_t n, Vec v)
{
    _mm256_maskstore_ps(p, first_lanes(n), (__m256)v);
}
#else
static inline Vec load_part(const float *p, size_t n)
{
    Vec v = {0};
    memcpy(&v, p, n * sizeof *p);
    return v;
}

static inline void store_part(float *p, size_t n, Vec v)
{
    memcpy(p, &v, n * sizeof *p);
}
#endif

/* Any number of floats, LANES at most. */
ALWAYS_INLINE Vec load_some(const float *p, size_t n)
{
    return n >= LANES ? load(p) : load_part(p, n);
}

ALWAYS_INLINE void store_some(float *p, size_t n, Vec v)
{
    if (n >= LANES)
        store(p, v);
    else
        store_part(p, n, v);
}

/* To a whole line of memory, past the caches, where a vector is as long as a line: what is not read
 * soon is not fetched first, and leaves the caches to the rest. Other threads see it after a
 * fence. */
ALWAYS_INLINE void store_past(float *p, Vec v)
{
#if LANES == 16
    _mm512_stream_ps(p, (__m512)v);
#else
    store(p, v);
#endif
}

/* LANES x LANES in registers: interleaving rows i and i + LANES/2, log2(LANES) times over, is a
 * transpose. */
ALWAYS_INLINE void transpose(Vec r[LANES])
{
    VecI low, high;
    for (int i = 0; i < LANES; i++) {
        low[i] = (i & 1) * LANES + i / 2;
        high[i] = low[i] + LANES / 2;
    }
    for (int stage = 1; stage < LANES; stage *= 2) {
        Vec t[LANES];
#pragma GCC unroll 8
        for (int i = 0; i < LANES / 2; i++) {
            t[2 * i] = __builtin_shuffle(r[i], r[i + LANES / 2], low);
            t[2 * i + 1] = __builtin_shuffle(r[i], r[i + LANES / 2], high);
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            r[i] = t[i];
    }
}

static inline Vec spread(float value)
{
    return value - (Vec){0};
}

/* mask (all bits or none, from a comparison) ? a : b */
static inline Vec choose(VecI mask, Vec a, Vec b)
{
    return (Vec)(((VecI)a & mask) | ((VecI)b & ~mask));
}

/* The larger or smaller, b where a is NaN. */
#if LANES == 16
static inline Vec larger(Vec a, Vec b)
{
    return (Vec)_mm512_max_ps((__m512)a, (__m512)b);
}

static inline Vec smaller(Vec a, Vec b)
{
    return (Vec)_mm512_min_ps((__m512)a, (__m512)b);
}
#else
static inline Vec larger(Vec a, Vec b)
{
    return choose(a > b, a, b);
}

static inline Vec smaller(Vec a, Vec b)
{
    return choose(a < b, a, b);
}
#endif

#if LANES == 16
static inline float lanes_sum(Vec v)
{
    return _mm512_reduce_add_ps((__m512)v);
}

static inline float lanes_max(Vec v)
{
    return _mm512_reduce_max_ps((__m512)v);
}
#else
static inline float lanes_sum(Vec v)
{
    float sum = 0;
    for (int i = 0; i < LANES; i++)
        sum += v[i];
    return sum;
}

static inline float lanes_max(Vec v)
{
    float max = v[0];
    for (int i = 1; i < LANES; i++)
        max = v[i] > max ? v[i] : max;
    return max;
}
#endif

/* p * 2^n for integers n in -150 .. 128 and p between 1/2 and 2: below 2^-126 it may be 0. Vectors
 * of 16 take the whole number below any n. */
static inline Vec scale_by_power(Vec p, Vec n)
{
#if LANES == 16
    return (Vec)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    /* 2^n goes in as two factors since 2^128 is no float. */
    VecI whole = __builtin_convertvector(n, VecI), half = whole >> 1, rest = whole - half;
    return p * (Vec)((VecU)(half + 127) << 23) * (Vec)((VecU)(rest + 127) << 23);
#endif
}

/* The nearest integer, |x| < 2^22. */
static inline Vec nearest(Vec x)
{
#if LANES == 16
    return (Vec)_mm512_roundscale_ps((__m512)x, 0);
#else
    const float magic = 0x1.8p23f; /* adding it rounds to an integer in the low bits */
    return (x + magic) - magic;
#endif
}

/* e^x = 2^n e^r with n = round(x / ln 2), |r| <= ln 2 / 2: the exponential series up to r^7 leaves
 * 5e-9. ln 2 is taken off in two parts so that r is exact. Results below 2^-126 are 0 or nearly,
 * above the range infinity. */
static inline Vec vec_exp(Vec x)
{
    Vec top = larger(spread(-104.0f), smaller(spread(89.0f), x));
    Vec n = nearest(top * 1.44269504f);
    Vec r = (top - n * 0x1.62ep-1f) - n * 0x1.0bfbe8p-15f;
    Vec y = r * (1 / 5040.0f) + 1 / 720.0f;
    y = y * r + 1 / 120.0f;
    y = y * r + 1 / 24.0f;
    y = y * r + 1 / 6.0f;
    y = y * r + 0.5f;
    y = y * r + 1.0f;
    y = y * r + 1.0f;
    return scale_by_power(y, n);
}

/* x / (1 + e^-ax): SiLU for a = 1. */
static inline Vec vec_sigmoid_linear(Vec x, float a)
{
    return x / (1.0f + vec_exp(-a * x));
}

/* GELU(x) = x Phi(x), Phi the normal distribution function. With a = |x| / sqrt 2,
 * erfc(a) / 2 = t P(t) e^(-a^2), t = 1 / (1 + 0.38 a): P of degree 8 fitted to 2e-8 relative (least
 * squares on Chebyshev points, reweighted towards the smallest maximum). Negative x keep their
 * relative accuracy. */
static inline Vec vec_gelu(Vec x)
{
    static const float P[] = {0.10720593f,  0.10695253f, 0.10200088f,  0.069150329f, 0.11539999f,
                              -0.08126235f, 0.18237518f, -0.13134672f, 0.029524231f};
    Vec a = (Vec)((VecI)x & 0x7fffffff) * 0.70710678f;
    Vec t = 1.0f / (1.0f + 0.38f * a);
    Vec p = spread(P[8]);
    for (int i = 7; i >= 0; i--)
        p = p * t + P[i];
    Vec tail = x * (t * p * vec_exp(-0.5f * (x * x)));
    return choose(x > 0, x - tail, tail);
}
