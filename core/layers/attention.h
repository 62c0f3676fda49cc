/* Multi-head attention: softmax(q k^T / sqrt(d)) v, q from x, k and v from the context (or from x:
 * self-attention), then the output projection. */
#pragma once

#include "layers/linear.h"

typedef struct {
    LdmLinear q, k, v, out;
    size_t width, heads;
} LdmMultiHead;

typedef struct {
    size_t width;         /* of x and of the result; d = width / heads */
    size_t context_width; /* = width for self-attention */
    size_t heads;
    bool bias; /* on q, k, v; the output projection always has one */
} LdmMultiHeadSizes;

/* diffusers' names: to_q, to_k, to_v, to_out.0. */
void ldm_multi_head_init(LdmMultiHead *layer, LdmScope scope, const LdmMultiHeadSizes *sizes);

/* transformers' names and order: k_proj, v_proj, q_proj, out_proj; self-attention with biases. */
void ldm_multi_head_init_clip(LdmMultiHead *layer, LdmScope scope, size_t width, size_t heads);

/* x [N, ..., width], context [N or 1, tokens, context_width] or NULL (= x) -> x's shape + residual
 * (or NULL). causal: no token sees later ones. Takes x, context and residual over. x (and residual)
 * with N = 1 before a context of more: one x for all, the result has as many as the context. */
LdmTensor *ldm_multi_head_forward(LdmPass *pass, const LdmMultiHead *layer, LdmTensor *x,
                                  LdmTensor *context, LdmTensor *residual, bool causal);
