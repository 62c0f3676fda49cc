/* The decoder of AutoencoderTiny (TAESD): roughly the picture that D would give, for a small part
 * of its work. It sees latents as the denoiser does. */
#pragma once

#include "layers/conv2d.h"
#include "weights/config.h"
#include "weights/param.h"

typedef struct LdmTinyDecoder LdmTinyDecoder;

/* Parameters are called "decoder.layers.N...", N the place in diffusers' list of layers. */
LdmTinyDecoder *ldm_tiny_decoder_new(const LdmTinyConfig *config, LdmParams *params);
void ldm_tiny_decoder_free(LdmTinyDecoder *decoder);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmTinyDecoder, ldm_tiny_decoder_free)

/* z [N, h, w, z] -> picture [N, h*f, w*f, 3], about 0..1: TAESD's own range, of which diffusers'
 * -1..1 is made afterwards. A recording pass has no gradient for z. */
LdmTensor *ldm_tiny_decoder_forward(LdmPass *pass, const LdmTinyDecoder *decoder, LdmTensor *z);
