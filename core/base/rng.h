/* Random numbers exactly as torch's CPU generator gives them: mt19937, randn in blocks of 16 by
 * Box-Muller, the last 16 drawn again where n is no multiple of 16; n < 16 uses double pairs with a
 * cached second value. */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t state[624];
    int index;
    double next_normal; /* cached second value of the last double pair */
    int has_next_normal;
} LdmRng;

/* As torch.Generator().manual_seed(seed). */
void ldm_rng_seed(LdmRng *rng, uint64_t seed);

/* As torch.randn(n, dtype=float32): n values of unit variance, in the order of a dense array. */
void ldm_rng_normal(LdmRng *rng, float *out, size_t n);

/* A fresh seed 0 .. 2^53-1 from the system (so that it survives as a double in any script). */
int64_t ldm_seed_new(void);
