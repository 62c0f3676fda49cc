/* The autoencoder's self-attention behind a resblock, in the middle or a level: features in and
 * out, y = x + out(attention(GroupNorm(x))), one head, scale channels^-1/2. */
#include "layers/attention-block.h"

void ldm_attention_block_init(LdmAttentionBlock *block, LdmScope scope, size_t channels,
                              size_t groups, double eps)
{
    LdmMultiHeadSizes sizes = {
        .width = channels, .context_width = channels, .heads = 1, .bias = true};
    ldm_group_norm_init(&block->norm, ldm_scope(&scope, "group_norm"), channels, groups, eps);
    ldm_multi_head_init(&block->attention, scope, &sizes);
}

LdmTensor *ldm_attention_block_forward(LdmPass *pass, const LdmAttentionBlock *block, LdmTensor *x)
{
    LdmTensor *h = ldm_group_norm_forward(pass, &block->norm, ldm_pass_keep(pass, x), false);
    return ldm_multi_head_forward(pass, &block->attention, h, NULL, x, false);
}
