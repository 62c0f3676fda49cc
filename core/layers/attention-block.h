/* The autoencoder's attention: GroupNorm, one head over all pixels, + x. */
#pragma once

#include "layers/attention.h"
#include "layers/norm.h"

typedef struct {
    LdmNorm norm;
    LdmMultiHead attention;
} LdmAttentionBlock;

void ldm_attention_block_init(LdmAttentionBlock *block, LdmScope scope, size_t channels,
                              size_t groups, double eps);

/* x [N, H, W, channels] -> the same shape; takes x over. */
LdmTensor *ldm_attention_block_forward(LdmPass *pass, const LdmAttentionBlock *block, LdmTensor *x);
