/* Leaky ReLU, y = max(x, slope x): the discriminator's activation; slope 0, ReLU itself: the tiny
 * decoder's. */
#pragma once

#include "layers/pass.h"

/* x's shape; takes x over. 0 <= slope < 1. */
LdmTensor *ldm_leaky_relu_forward(LdmPass *pass, LdmTensor *x, float slope);
