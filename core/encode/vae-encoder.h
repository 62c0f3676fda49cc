/* E of AutoencoderKL: picture [N, H, W, 3] in [-1, 1] -> moments [N, H/f, W/f, 2z]
 * (mean | logvar, after quant_conv). Of VQModel: -> [N, H/f, W/f, z], not yet quantised, which is
 * what the denoiser works on. */
#pragma once

#include "layers/pass.h"
#include "weights/config.h"
#include "weights/param.h"

typedef struct LdmVaeEncoder LdmVaeEncoder;

LdmVaeEncoder *ldm_vae_encoder_new(const LdmVaeConfig *config, LdmParams *params);
void ldm_vae_encoder_free(LdmVaeEncoder *encoder);
LdmTensor *ldm_vae_encoder_forward(LdmPass *pass, const LdmVaeEncoder *encoder, LdmTensor *x);

/* (mean [N, h, w, z] - shift) * scale, or with noise (same shape, may be NULL)
 * (mean + exp(logvar / 2) * noise - shift) * scale, logvar within the limits of posterior.h; the
 * caller's own array. VQ has no posterior: z alone. */
LdmTensor *ldm_latent_from_moments(const LdmTensor *moments, const LdmTensor *noise,
                                   const LdmVaeConfig *config, GError **error);
