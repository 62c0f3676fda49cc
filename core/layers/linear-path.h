/* What a linear map alone can do of an autoencoder, beside its networks, which add what is left
 * (after the shortcuts of DC-AE, arXiv 2410.10733; these have weights). A picture's cell of f x f
 * pixels becomes 3 f^2 Haar coefficients, an orthonormal base; one linear layer leads from them to
 * the moments, another from the latent back. */
#pragma once

#include "layers/linear.h"

typedef struct {
    LdmLinear linear;
    int splits; /* Haar levels between the network's own picture or bands and the cells */
} LdmLinearPath;

/* `channels`: of the picture or bands that the network begins with. */
void ldm_linear_path_init_encode(LdmLinearPath *path, LdmScope scope, size_t channels, int splits,
                                 size_t moments);
void ldm_linear_path_init_decode(LdmLinearPath *path, LdmScope scope, size_t latent,
                                 size_t channels, int splits);

/* x [N, H, W, channels] -> [N, H / 2^splits, W / 2^splits, moments]; takes x over. */
LdmTensor *ldm_linear_path_encode(LdmPass *pass, const LdmLinearPath *path, LdmTensor *x);

/* z [N, h, w, latent] -> [N, h 2^splits, w 2^splits, channels]; takes z over. */
LdmTensor *ldm_linear_path_decode(LdmPass *pass, const LdmLinearPath *path, LdmTensor *z);
