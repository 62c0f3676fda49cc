/* Soft masks as strength per latent cell; loop.h says what that means. Private to denoise/. */
#pragma once

#include "pipeline/types.h"

/* First step of each of `count` cells of a run of K steps: ldm_start_step(K, strength * s). s NULL:
 * `first` for all. Returns the smallest: where the loop begins; K = no cell ever starts. */
int ldm_mask_starts(const float *s, size_t count, int K, double strength, int first, int *start);

/* Cells with start > k become z0 at level alpha_bar: add_noise(z0, noise, alpha_bar), or z0 itself
 * where `clean` (after the last step). z, z0, noise: [count, channels]. */
typedef struct {
    const int *start;
    size_t count, channels;
    const float *z0, *noise;
} LdmMask;
void ldm_mask_hold(const LdmMask *mask, int k, double alpha_bar, bool clean, float *z);
