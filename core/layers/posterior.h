/* The autoencoder's posterior q(z | x) = N(mean, exp(logvar)): a sample of it, by the
 * reparametrisation z = mean + exp(logvar / 2) noise (arXiv 1312.6114). */
#pragma once

#include "layers/pass.h"

/* Limits of logvar, beyond which it has no influence. */
#define LDM_LOGVAR_MIN (-30.0f)
#define LDM_LOGVAR_MAX 20.0f

/* moments [N, h, w, 2z] (mean | logvar), noise [N, h, w, z] -> z [N, h, w, z]; takes both over. */
LdmTensor *ldm_posterior_forward(LdmPass *pass, LdmTensor *moments, LdmTensor *noise);
