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
 * timesteps [N] in 0 .. train_steps - 1 (fractions allowed), context [N or 1, tokens, width]. */
LdmTensor *ldm_unet_forward(LdmPass *pass, const LdmUnet *unet, LdmTensor *x,
                            const double *timesteps, LdmTensor *context);
