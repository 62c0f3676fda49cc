/* epsilon_theta: the UNet with cross-attention (openaimodel / UNet2DConditionModel). */
#pragma once

#include "layers/pass.h"
#include "weights/config.h"
#include "weights/param.h"

typedef struct LdmUnet LdmUnet;

LdmUnet *ldm_unet_new(const LdmUnetConfig *config, LdmParams *params);
void ldm_unet_free(LdmUnet *unet);

/* x [N, h, w, in_channels] (concat channels already joined; h and w any size >= 1: levels that do
 * not halve evenly round up and the way back matches the skips, as diffusers does),
 * timesteps [N] in 0 .. train_steps - 1 (fractions allowed), context [N or 1, tokens, width]
 * -> [N, h, w, out_channels]. One x (N = 1) may stand before several contexts, as in guidance: the
 * result has as many as the context, and what they have in common is computed once.
 *
 * Where the pass says so (ldm_pass_set_features), what the deeper levels have to say is remembered,
 * or foretold from earlier steps: only the finest level is computed then (DeepCache, arXiv
 * 2312.00858, but going on where that stands still, as TaylorSeer, arXiv 2503.06923, does).
 * ldm_pass_set_merge has the finest level with attention merge tokens. */
LdmTensor *ldm_unet_forward(LdmPass *pass, const LdmUnet *unet, LdmTensor *x,
                            const double *timesteps, LdmTensor *context);
