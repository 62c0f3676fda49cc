/* denoise: the mask hook. In comes the soft mask of the latent's cells; each cell follows the
 * picture's own noised latent until its strength lets it start. */
#include "denoise/mask.h"

#include <string.h>

/* Masks are float32; six decimals give back the decimal they were made from. */
#define MASK_DIGITS 1e6

int ldm_mask_starts(const float *s, size_t count, int K, double strength, int first, int *start)
{
    int smallest = K;

    for (size_t i = 0; i < count; i++) {
        if (s != NULL) {
            double value = CLAMP(rint(s[i] * MASK_DIGITS) / MASK_DIGITS, 0.0, 1.0);
            start[i] = MAX(ldm_start_step(K, strength * value), first);
        } else {
            start[i] = first;
        }
        smallest = MIN(smallest, start[i]);
    }
    return smallest;
}

void ldm_mask_hold(const LdmMask *mask, int k, double alpha_bar, bool clean, float *z)
{
    size_t channels = mask->channels;

    for (size_t i = 0; i < mask->count; i++) {
        size_t at = i * channels;
        if (mask->start[i] <= k)
            continue;
        if (clean)
            memcpy(z + at, mask->z0 + at, channels * sizeof(float));
        else
            ldm_add_noise(z + at, mask->z0 + at, mask->noise + at, channels, alpha_bar);
    }
}
