/* SpatialTransformer (LDM, section 3.3): where the prompt's tokens enter the picture's features.
 * Features and context in, features out. Channels-last, [N, H, W, C] is already the list of tokens,
 * so both forms of the projections are one GEMM. */
#include "layers/transformer.h"

#include "layers/elementwise.h"
#include "layers/merge.h"
#include "layers/tape.h"

#define GROUP_NORM_EPS 1e-6
#define LAYER_NORM_EPS 1e-5
#define MANY_TOKENS    1024 /* of fewer, attention costs less than the rest of the block */

static void block_init(LdmTransformerBlock *block, LdmScope scope, const LdmTransformerSizes *sizes)
{
    size_t C = sizes->channels;
    size_t context_width = sizes->context_width > 0 ? sizes->context_width : C;
    LdmMultiHeadSizes self = {
        .width = C, .context_width = sizes->only_cross ? context_width : C, .heads = sizes->heads};
    LdmMultiHeadSizes cross = {.width = C, .context_width = context_width, .heads = sizes->heads};
    ldm_layer_norm_init(&block->norm1, ldm_scope(&scope, "norm1"), C, LAYER_NORM_EPS);
    ldm_multi_head_init(&block->self, ldm_scope(&scope, "attn1"), &self);
    ldm_layer_norm_init(&block->norm2, ldm_scope(&scope, "norm2"), C, LAYER_NORM_EPS);
    ldm_multi_head_init(&block->cross, ldm_scope(&scope, "attn2"), &cross);
    ldm_layer_norm_init(&block->norm3, ldm_scope(&scope, "norm3"), C, LAYER_NORM_EPS);
    ldm_linear_init(&block->feed_in, ldm_scope(&scope, "ff.net.0.proj"), C, 8 * C, true);
    ldm_linear_init(&block->feed_out, ldm_scope(&scope, "ff.net.2"), 4 * C, C, true);
}

static void projection_init(LdmLinear *layer, LdmScope scope, const LdmTransformerSizes *sizes)
{
    if (sizes->linear_projection)
        ldm_linear_init(layer, scope, sizes->channels, sizes->channels, true);
    else
        ldm_linear_init_1x1(layer, scope, sizes->channels, sizes->channels);
}

void ldm_transformer_init(LdmTransformer *layer, LdmScope scope, const LdmTransformerSizes *sizes)
{
    layer->depth = sizes->depth;
    layer->only_cross = sizes->only_cross;
    layer->merges = sizes->merges && !sizes->only_cross;
    layer->blocks = g_new0(LdmTransformerBlock, sizes->depth);
    ldm_group_norm_init(&layer->norm, ldm_scope(&scope, "norm"), sizes->channels, sizes->groups,
                        GROUP_NORM_EPS);
    projection_init(&layer->proj_in, ldm_scope(&scope, "proj_in"), sizes);
    for (size_t i = 0; i < sizes->depth; i++)
        block_init(&layer->blocks[i], ldm_scope(&scope, "transformer_blocks.%zu", i), sizes);
    projection_init(&layer->proj_out, ldm_scope(&scope, "proj_out"), sizes);
}

void ldm_transformer_clear(LdmTransformer *layer)
{
    g_clear_pointer(&layer->blocks, g_free);
}

/* A handle for a layer to take over; NULL stays NULL. */
static LdmTensor *handle(LdmPass *pass, LdmTensor *context)
{
    return context != NULL ? ldm_pass_keep(pass, context) : NULL;
}

/* Attention among fewer tokens, matched by what comes into the block. */
static LdmTensor *merged_attention(LdmPass *pass, const LdmTransformerBlock *block, LdmTensor *x)
{
    LdmMerged merged = ldm_merge_match_forward(pass, x);
    LdmTensor *h = ldm_layer_norm_forward(pass, &block->norm1, ldm_pass_keep(pass, x));
    h = ldm_merge_forward(pass, &merged, h);
    h = ldm_multi_head_forward(pass, &block->self, h, NULL, NULL, false);
    return ldm_unmerge_forward(pass, &merged, h, x);
}

/* Merging needs cells of 2 x 2. */
static bool merges(const LdmPass *pass, const LdmTransformer *layer, const LdmTensor *x)
{
    return layer->merges && ldm_pass_merge(pass) > 0 && x->shape[1] > 1 && x->shape[2] > 1 &&
           x->shape[1] * x->shape[2] >= MANY_TOKENS;
}

static LdmTensor *self_attention(LdmPass *pass, const LdmTransformer *layer,
                                 const LdmTransformerBlock *block, LdmTensor *x, LdmTensor *context)
{
    if (merges(pass, layer, x))
        return merged_attention(pass, block, x);
    LdmTensor *h = ldm_layer_norm_forward(pass, &block->norm1, ldm_pass_keep(pass, x));
    LdmTensor *first = layer->only_cross ? handle(pass, context) : NULL;
    return ldm_multi_head_forward(pass, &block->self, h, first, x, false);
}

static LdmTensor *block_forward(LdmPass *pass, const LdmTransformer *layer,
                                const LdmTransformerBlock *block, LdmTensor *x, LdmTensor *context)
{
    x = self_attention(pass, layer, block, x, context);

    LdmTensor *h = ldm_layer_norm_forward(pass, &block->norm2, ldm_pass_keep(pass, x));
    x = ldm_multi_head_forward(pass, &block->cross, h, handle(pass, context), x, false);

    h = ldm_layer_norm_forward(pass, &block->norm3, ldm_pass_keep(pass, x));
    h = ldm_linear_geglu_forward(pass, &block->feed_in, h);
    return ldm_linear_forward(pass, &block->feed_out, h, x);
}

/* inputs: x, context. */
static LdmTensor *forward(LdmPass *pass, const void *data, LdmTensor *const *inputs)
{
    const LdmTransformer *layer = data;
    LdmTensor *x = inputs[0], *context = inputs[1];
    LdmTensor *h = ldm_group_norm_forward(pass, &layer->norm, ldm_pass_keep(pass, x), false);
    h = ldm_linear_forward(pass, &layer->proj_in, h, NULL);
    for (size_t i = 0; i < layer->depth; i++)
        h = block_forward(pass, layer, &layer->blocks[i], h, context);
    x = ldm_repeat_forward(pass, x, h->shape[0]);
    return ldm_linear_forward(pass, &layer->proj_out, h, x);
}

LdmTensor *ldm_transformer_forward(LdmPass *pass, const LdmTransformer *layer, LdmTensor *x,
                                   LdmTensor *context)
{
    return ldm_pass_block(pass, forward, layer, (LdmTensor *[LDM_OP_INPUTS]){x, context});
}
