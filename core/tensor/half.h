/* The 16-bit floating point formats, one value at a time. f16 is IEEE 754 binary16 (5 bits of
 * exponent, 10 of fraction); bf16 is the upper half of an f32. Rounding is to nearest even, NaN
 * stays NaN. */
#pragma once

#include <stdint.h>
#include <string.h>

static inline uint32_t ldm_float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float ldm_float_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float ldm_f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = (uint32_t)(half & 0x7fff) << 13;
    if (rest >= 0x0f800000) /* infinity and NaN, made quiet */
        return ldm_float_from_bits(sign | 0x7f800000 | rest | (rest & 0x7fffff ? 0x400000 : 0));
    /* The exponent's bias changes from 15 to 127; multiplying does subnormals right, too. */
    return ldm_float_from_bits(sign | ldm_float_bits(ldm_float_from_bits(rest) * 0x1p112f));
}

static inline uint16_t ldm_f32_to_f16(float value)
{
    uint32_t bits = ldm_float_bits(value), sign = bits >> 16 & 0x8000;
    bits &= 0x7fffffff;
    if (bits > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (bits >> 13 & 0x3ff));
    if (bits >= 0x477ff000) /* rounds to 65536 or more */
        return (uint16_t)(sign | 0x7c00);
    if (bits < 0x38800000) { /* subnormal: adding 1/2 leaves multiples of 2^-24 in the fraction */
        float sum = ldm_float_from_bits(bits) + 0.5f;
        return (uint16_t)(sign | (ldm_float_bits(sum) - 0x3f000000));
    }
    bits += 0xfff + (bits >> 13 & 1);
    return (uint16_t)(sign | (bits - 0x38000000) >> 13);
}

static inline float ldm_bf16_to_f32(uint16_t half)
{
    return ldm_float_from_bits((uint32_t)half << 16);
}

static inline uint16_t ldm_f32_to_bf16(float value)
{
    uint32_t bits = ldm_float_bits(value);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
