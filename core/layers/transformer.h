/* SpatialTransformer: GroupNorm, projection in, `depth` blocks of self-attention, cross-attention
 * and GEGLU feed-forward over the pixels as tokens, projection out, + x. */
#pragma once

#include "layers/attention.h"
#include "layers/norm.h"

typedef struct {
    LdmNorm norm1, norm2, norm3;
    LdmMultiHead self, cross;
    LdmLinear feed_in;  /* C -> 8C: value | gate */
    LdmLinear feed_out; /* 4C -> C */
} LdmTransformerBlock;

typedef struct {
    LdmNorm norm;
    LdmLinear proj_in, proj_out;
    LdmTransformerBlock *blocks; /* [depth] */
    size_t depth;
    bool only_cross; /* the blocks' first attention looks at the context too */
    bool merges;     /* it may look at fewer tokens where the pass says so */
} LdmTransformer;

typedef struct {
    size_t channels, heads, depth;
    size_t context_width; /* 0: no context, both attentions look at the pixels */
    size_t groups;
    bool linear_projection; /* as stored: linear, or 1x1 convolution */
    bool only_cross, merges;
} LdmTransformerSizes;

void ldm_transformer_init(LdmTransformer *layer, LdmScope scope, const LdmTransformerSizes *sizes);
void ldm_transformer_clear(LdmTransformer *layer);

/* x [N, H, W, channels], context [N or 1, tokens, context_width] or NULL -> x's shape. Takes x
 * over and borrows the context, which all transformers of a network share. One x (N = 1) before
 * several contexts is computed once up to the first cross-attention, and becomes several there. */
LdmTensor *ldm_transformer_forward(LdmPass *pass, const LdmTransformer *layer, LdmTensor *x,
                                   LdmTensor *context);
