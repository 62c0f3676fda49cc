/* The patch discriminator that the autoencoder is trained against (PatchGAN: arXiv 1611.07004,
 * section 3.2.2; taken up for autoencoders by arXiv 2012.09841): a small convolutional network that
 * says of every patch of a picture whether it is real. As NLayerDiscriminator of the reference, but
 * with GroupNorm instead of BatchNorm: on ordinary computers a batch is a few pictures, too few
 * for statistics, and a picture's loss must not depend on its neighbours (accumulation, several
 * processes). */
#pragma once

#include "layers/pass.h"

typedef struct {
    size_t channels; /* of the first layer, a multiple of 8; doubled by each of the next, up to 8
                      * times */
    size_t layers;   /* that halve the picture */
    double detail;   /* > 0: it sees the finest detail, too, times this (layers/detail.h), in three
                      * more channels; 0: the picture alone, as the reference's */
} LdmDiscriminatorConfig;

#define LDM_DISCRIMINATOR_LAYERS 5 /* at most */

typedef struct LdmDiscriminator LdmDiscriminator;

/* Its parameters are called as in the reference's nn.Sequential: "main.0.weight" ... */
LdmDiscriminator *ldm_discriminator_new(const LdmDiscriminatorConfig *config, LdmParams *params);
void ldm_discriminator_free(LdmDiscriminator *discriminator);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmDiscriminator, ldm_discriminator_free)

/* Shortest side of a picture that it says anything about. */
size_t ldm_discriminator_side(const LdmDiscriminatorConfig *config);
size_t ldm_discriminator_least(const LdmDiscriminator *discriminator);

/* x [N, H, W, 3] -> what it makes of x on its way to the logits, from the first layer on: handles
 * to drop. Returns their number; borrows x. */
size_t ldm_discriminator_features(LdmPass *pass, const LdmDiscriminator *discriminator,
                                  LdmTensor *x, LdmTensor *features[LDM_DISCRIMINATOR_LAYERS + 1]);

/* x [N, H, W, 3] -> logits [N, h, w, 1], positive = real; borrows x. */
LdmTensor *ldm_discriminator_forward(LdmPass *pass, const LdmDiscriminator *discriminator,
                                     LdmTensor *x);
