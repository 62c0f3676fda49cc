/* The one denoise loop: z_t, times and conditioning in, z_0' out. Text to image, img2img and
 * inpainting differ only in what the caller puts into the job. For each step k, in this order:
 *
 *     1. mask        cells not yet started are z0 re-noised to the step's level (mask.h)
 *     2. input       [z_t | concat], once for both branches where guided (unconditional first)
 *     3. network     o = epsilon_theta(input, t_k, c): the raw output, epsilon, v or x0
 *     4. guidance    o = o_u + g (o_c - o_u), on the raw output
 *     5. prediction  x0 and epsilon from o
 *     6. sampler     z_t -> z at alpha_next (sampler.h); the loop does not know which one it is
 *     7. finite?     cancelled? then the callbacks (previews), which may end the run with x0
 *
 * Soft masks are strength per cell. With overall strength S and s of a cell (max over its pixels),
 * m = S * s; the cell starts at step ldm_start_step(K, m), that is, at step k it is held while
 * m < 1 - k/K. A held cell is add_noise(z0, noise, alpha_bar[k]) at the beginning of step k, so in
 * its first own step it begins where img2img at strength m begins, with the sampler's history
 * empty; a cell that never starts is z0 itself in the end. Hence: s = 1 everywhere is img2img at S;
 * s = 0.5 everywhere with S = 1 is img2img at 0.5, bit for bit (steps in which no cell runs are
 * left out and draw no noise). s is read as the six-digit decimal it stands for (0.7f is 0.7), so
 * that the same decimal as mask and as strength starts at the same step.
 *
 * Approximations, each off by default: guidance in an interval of the steps, features foretold
 * from earlier steps, tokens merged, a window of the latent in place of the whole. */
#pragma once

#include "base/rng.h"
#include "denoise/unet.h"
#include "layers/pass.h"
#include "pipeline/types.h"

/* epsilon_theta: x [1, h, w, in_channels], timesteps [1], context [N, tokens, width] or NULL
 * (N = 1) -> [N, h, w, z]. */
typedef LdmTensor *(*LdmNetwork)(LdmPass *pass, const void *data, LdmTensor *x,
                                 const double *timesteps, LdmTensor *context);

/* The UNet as LdmNetwork; data is the LdmUnet. */
LdmTensor *ldm_network_unet(LdmPass *pass, const void *data, LdmTensor *x, const double *timesteps,
                            LdmTensor *context);

/* `step` counts from 1 to `steps`, the steps that are run. */
typedef struct {
    /* At work: fraction 0..1 of the loop, after every operation of the network. */
    void (*progress)(int step, int steps, double fraction, void *data);
    /* After a step: the new latent and the picture it is heading for, [1, h, w, z]; where a mask
     * still holds a cell, that is z0. False: the step was the last, and x0 is z_0'. */
    bool (*stepped)(int step, int steps, const LdmTensor *z, const LdmTensor *x0, void *data);
    void *data;
} LdmLoopHooks;

typedef struct {
    LdmNetwork network;
    const void *network_data;
    LdmPrediction prediction;
    const LdmTimes *times;
    const LdmConditioning *conditioning;
    double guidance;         /* g; 1, or no `negative`: one branch a step, else two */
    double guidance_rescale; /* phi of ldm_guide_rescale */
    /* Of the steps from times->start on, those past the fraction guidance_start and before
     * guidance_end have both, the others the prompt's alone (arXiv 2404.07724); 0 and 1: all. */
    double guidance_start, guidance_end;
    int reuse;    /* deep features are computed in every `reuse`-th step at the least, more often at
                   * first, and foretold in the others (unet.h); 1: computed in all */
    double merge; /* share of the tokens that are merged (ldm_pass_set_merge); 0: none */
    LdmSampler sampler;
    double eta;             /* DDIM only: 0 deterministic .. 1 */
    LdmRng *rng;            /* continues after the first noise; NULL where nothing is drawn */
    const LdmTensor *cells; /* [1, h, w, 1] soft mask s; NULL = everything starts at times->start */
    double strength;        /* S, with cells */
    LdmRect window;         /* of cells that the network sees, with cells; the others are held to
                             * the end; no width: all */
    const LdmLatents *latents; /* z0 and noise, with cells; else not looked at */
    LdmLoopHooks hooks;        /* members may be NULL */
    bool bf16;                 /* products of the network rounded to bf16 (ldm_pass_set_bf16) */
    bool q8;                   /* matrices of the network in 8 bits (ldm_pass_set_q8) */
    GCancellable *cancellable;
} LdmDenoise;

/* Runs the job. `z` [1, h, w, z]: latents->zt on entry, z_0' on success (undefined on error).
 * *evaluations (may be NULL) = forwards of epsilon_theta, a guided pair counts 2.
 * Errors: INVALID (noise wanted without rng), SHAPE, MEMORY, CANCELLED, NONFINITE (names the
 * step). */
bool ldm_denoise(const LdmDenoise *job, LdmTensor *z, int *evaluations, GError **error);

/* What ldm_denoise would use: *bytes of work memory, *flops of the whole run. Only shapes are
 * looked at: data of `z`, conditioning and mask may be NULL (a mask counts as if it began at
 * times->start). */
bool ldm_denoise_measure(const LdmDenoise *job, const LdmTensor *z, size_t *bytes, double *flops,
                         GError **error);
