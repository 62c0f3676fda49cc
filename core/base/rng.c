/* Random numbers exactly as torch's CPU generator gives them, so that a seed means the same
 * picture here and there. mt19937 (Matsumoto and Nishimura, 1998) makes 32-bit words; randn turns
 * them into normal values by Box-Muller in one of two ways, depending on n. */
#include "base/rng.h"

#include <gio/gio.h>
#include <math.h>
#include <stdbool.h>
#include <sys/random.h>

#define WORDS 624
#define SHIFT 397
#define BLOCK 16 /* values torch makes at a time */

void ldm_rng_seed(LdmRng *rng, uint64_t seed)
{
    rng->state[0] = (uint32_t)seed; /* torch drops the upper half, too */
    for (uint32_t i = 1; i < WORDS; i++)
        rng->state[i] = 1812433253u * (rng->state[i - 1] ^ (rng->state[i - 1] >> 30)) + i;
    rng->index = WORDS;
    rng->has_next_normal = 0;
    rng->next_normal = 0;
}

static void next_state(LdmRng *rng)
{
    uint32_t *s = rng->state;
    for (int i = 0; i < WORDS; i++) {
        uint32_t y = (s[i] & 0x80000000u) | (s[(i + 1) % WORDS] & 0x7fffffffu);
        s[i] = s[(i + SHIFT) % WORDS] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    rng->index = 0;
}

static uint32_t next_word(LdmRng *rng)
{
    if (rng->index >= WORDS)
        next_state(rng);
    uint32_t y = rng->state[rng->index++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

/* [0, 1) with 24 bits. */
static float uniform_float(LdmRng *rng)
{
    return (float)(next_word(rng) & 0xffffffu) * 0x1p-24f;
}

/* [0, 1) with 53 bits; the first word is the upper half. */
static double uniform_double(LdmRng *rng)
{
    uint64_t upper = next_word(rng);
    uint64_t bits = upper << 32 | next_word(rng);
    return (double)(bits & ((UINT64_C(1) << 53) - 1)) * 0x1p-53;
}

/* Short arrays: pairs in double precision, the second kept for the next call. */
static float normal_single(LdmRng *rng)
{
    if (rng->has_next_normal) {
        rng->has_next_normal = 0;
        return (float)rng->next_normal;
    }
    double u1 = uniform_double(rng), u2 = uniform_double(rng);
    double radius = sqrt(-2.0 * log1p(-u2)), theta = 2.0 * G_PI * u1;
    rng->next_normal = radius * sin(theta);
    rng->has_next_normal = 1;
    return (float)(radius * cos(theta));
}

/* In place: 16 uniforms to 16 normals; value j is paired with j + 8. The angle is rounded to float
 * as torch does; the rest is exact to the last bit or two. */
static void normal_block(float *d)
{
    for (int j = 0; j < BLOCK / 2; j++) {
        double radius = sqrt(-2.0 * log(1.0 - (double)d[j]));
        float theta = (float)(2.0 * G_PI) * d[j + BLOCK / 2];
        d[j] = (float)(radius * cos(theta));
        d[j + BLOCK / 2] = (float)(radius * sin(theta));
    }
}

void ldm_rng_normal(LdmRng *rng, float *out, size_t n)
{
    if (n < BLOCK) {
        for (size_t i = 0; i < n; i++)
            out[i] = normal_single(rng);
        return;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = uniform_float(rng);
    for (size_t i = 0; i + BLOCK <= n; i += BLOCK)
        normal_block(out + i);
    if (n % BLOCK != 0) { /* the last 16 are drawn afresh */
        float *last = out + n - BLOCK;
        for (int j = 0; j < BLOCK; j++)
            last[j] = uniform_float(rng);
        normal_block(last);
    }
}

int64_t ldm_seed_new(void)
{
    uint64_t bits;
    if (getrandom(&bits, sizeof bits, 0) != sizeof bits)
        bits = (uint64_t)g_random_int() << 32 | g_random_int();
    return (int64_t)(bits & ((UINT64_C(1) << 53) - 1));
}
