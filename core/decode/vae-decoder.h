/* D of AutoencoderKL: latent [N, h, w, z] / scale -> picture [N, h*f, w*f, 3]. Of VQModel: the
 * same, of the nearest entries of its codebook. */
#pragma once

#include "layers/conv2d.h"
#include "layers/quantise.h"
#include "weights/config.h"
#include "weights/param.h"

typedef struct LdmVaeDecoder LdmVaeDecoder;

LdmVaeDecoder *ldm_vae_decoder_new(const LdmVaeConfig *config, LdmParams *params);
void ldm_vae_decoder_free(LdmVaeDecoder *decoder);

/* z: latent already divided by the scale factor. */
LdmTensor *ldm_vae_decoder_forward(LdmPass *pass, const LdmVaeDecoder *decoder, LdmTensor *z);

/* The same in parts, for training: the codebook (NULL: there is none); what follows it but for the
 * last layer; that, which takes the features h over, and the picture from it and the same z. */
const LdmQuantise *ldm_vae_decoder_codebook(const LdmVaeDecoder *decoder);
LdmTensor *ldm_vae_decoder_features(LdmPass *pass, const LdmVaeDecoder *decoder, LdmTensor *z);
LdmTensor *ldm_vae_decoder_picture(LdmPass *pass, const LdmVaeDecoder *decoder, LdmTensor *h,
                                   LdmTensor *z);
const LdmConv2d *ldm_vae_decoder_last(const LdmVaeDecoder *decoder);
