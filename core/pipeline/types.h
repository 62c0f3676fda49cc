/* The structs on the arrows of the line (ARCHITECTURE.md): what one stage hands to the next. */
#pragma once

#include "ldm.h"

#include <math.h>

/* prepare -> encode, denoise, finish. All arrays cover the work window at its work size. */
typedef struct {
    LdmRect window;          /* part of the picture that is worked on, picture pixels */
    double scale;            /* work pixels per picture pixel, <= 1 */
    size_t H, W;             /* work size, multiples of f (window * scale, padded by edge copies) */
    size_t inner_h, inner_w; /* the part of H x W that the window fills; the rest is padding */
    LdmTensor *image;        /* [1, H, W, 3] in [-1, 1] */
    LdmTensor *masked;       /* [1, H, W, 3]: image with its hole (mask > 0) hidden; or NULL */
    LdmTensor *mask;         /* [1, H, W, 1] soft mask s, 0..1 */
    LdmTensor *cells;        /* [1, h, w, 1] max of s over each latent cell */
} LdmPrepared;

/* condition -> denoise. */
typedef struct {
    LdmTensor *context;  /* [1, tokens, width]; NULL without text */
    LdmTensor *negative; /* the same for the unconditional branch; NULL without guidance */
    LdmTensor *concat;   /* [1, h, w, in_channels - z]: mask, masked latent; or NULL */
} LdmConditioning;

/* diffuse -> denoise: which times are visited. Latents are in the variance-preserving space of the
 * paper for every sampler: z_t = sqrt(a) z0 + sqrt(1 - a) noise, a = alpha_bar; sigma^2 = 1/a - 1.
 * alpha_next is alpha_bar of the next step, except for DDIM, whose reference steps back by
 * train_steps / K timesteps. */
typedef struct {
    int steps;          /* K of the schedule */
    int start;          /* first step run, ldm_start_step(K, strength); K = nothing to do */
    double *timesteps;  /* [steps] given to the network, fractions allowed */
    double *alpha_bar;  /* [steps + 1]: level where each step begins, then the last one's end */
    double *alpha_next; /* [steps] level each step leads to */
    double noise_scale; /* a start from pure noise is noise_scale * noise; 1, or a bit below */
} LdmTimes;

/* Step at which a strength begins: K - min(int(K * strength), K), in the reference's own double
 * arithmetic. Shared by the schedule (whole picture) and the mask (each latent cell). */
static inline int ldm_start_step(int steps, double strength)
{
    int run = (int)(steps * strength);

    return steps - (run < steps ? run : steps);
}

/* q(z_t | z_0), n elements: the first latent and the cells a mask holds back. */
static inline void ldm_add_noise(float *zt, const float *z0, const float *noise, size_t n,
                                 double alpha_bar)
{
    double signal = sqrt(alpha_bar), spread = sqrt(1.0 - alpha_bar);

    for (size_t i = 0; i < n; i++)
        zt[i] = (float)(signal * z0[i] + spread * noise[i]);
}

typedef struct {
    LdmTensor *z0;    /* [1, h, w, z] latent of the picture; NULL for generate */
    LdmTensor *noise; /* [1, h, w, z] unit variance */
    LdmTensor *zt;    /* [1, h, w, z] where the loop starts */
} LdmLatents;

void ldm_prepared_clear(LdmPrepared *prepared);
void ldm_conditioning_clear(LdmConditioning *conditioning);
void ldm_times_clear(LdmTimes *times);
void ldm_latents_clear(LdmLatents *latents);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LdmPrepared, ldm_prepared_clear)
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LdmConditioning, ldm_conditioning_clear)
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LdmTimes, ldm_times_clear)
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LdmLatents, ldm_latents_clear)
