/* Random numbers that follow from what they are for: (seed, purpose, two indices), never from what
 * was drawn before. So a run that is resumed, or split over several processes, draws the same ones.
 * SplitMix64 (Steele, Lea and Flood, 2014). */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef enum {
    LDM_KEY_ORDER, /* of the examples in an epoch */
    LDM_KEY_CROP,  /* window, flip */
    LDM_KEY_MASK,
    LDM_KEY_VARIANT, /* which cached variant a sample takes */
    LDM_KEY_NOISE,
    LDM_KEY_POSTERIOR,
    LDM_KEY_TIMESTEP,
    LDM_KEY_DROP, /* of the condition */
    LDM_KEY_WEIGHT,
    LDM_KEY_BATCHES, /* of an epoch, where batches are of one shape */
    LDM_KEY_WINDOW,  /* place and scale of a crop of one picture */
    LDM_KEY_RESCALE, /* of a pass's latents */
    LDM_KEY_FULL,    /* whether a sample's hole is its whole picture */
} LdmKeyPurpose;

typedef struct {
    uint64_t state;
} LdmKeyed;

static inline uint64_t ldm_keyed_next(LdmKeyed *keyed)
{
    uint64_t x = keyed->state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static inline LdmKeyed ldm_keyed(uint64_t seed, LdmKeyPurpose purpose, uint64_t a, uint64_t b)
{
    const uint64_t parts[] = {(uint64_t)purpose, a, b};
    LdmKeyed keyed = {seed};

    for (size_t i = 0; i < 3; i++) /* each part is stirred in before the next */
        keyed.state = ldm_keyed_next(&keyed) + parts[i];
    return keyed;
}

/* [0, 1) */
static inline double ldm_keyed_uniform(LdmKeyed *keyed)
{
    return (double)(ldm_keyed_next(keyed) >> 11) * 0x1p-53;
}

/* 0 .. n - 1 */
static inline size_t ldm_keyed_below(LdmKeyed *keyed, size_t n)
{
    size_t i = (size_t)(ldm_keyed_uniform(keyed) * (double)n);

    return i < n ? i : n - 1;
}
