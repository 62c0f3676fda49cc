/* ResBlock: h = conv1(SiLU(GN(x))); h += time(SiLU(emb)); y = conv2(SiLU(GN(h))) + shortcut(x).
 * Features in, features out. The shortcut is taken first: where nobody else needs x, the first
 * norm may then write over it. */
#include "layers/resblock.h"

#include "layers/elementwise.h"
#include "layers/tape.h"

void ldm_resblock_init(LdmResblock *block, LdmScope scope, const LdmResblockSizes *sizes)
{
    size_t in = sizes->in, out = sizes->out;
    block->in = in;
    block->out = out;
    block->time_width = sizes->time_width;
    ldm_group_norm_init(&block->norm1, ldm_scope(&scope, "norm1"), in, sizes->groups, sizes->eps);
    ldm_conv2d_init(&block->conv1, ldm_scope(&scope, "conv1"), in, out, 3);
    if (sizes->time_width > 0)
        ldm_linear_init(&block->time, ldm_scope(&scope, "time_emb_proj"), sizes->time_width, out,
                        true);
    ldm_group_norm_init(&block->norm2, ldm_scope(&scope, "norm2"), out, sizes->groups, sizes->eps);
    ldm_conv2d_init(&block->conv2, ldm_scope(&scope, "conv2"), out, out, 3);
    if (in != out)
        ldm_linear_init_1x1(&block->shortcut, ldm_scope(&scope, "conv_shortcut"), in, out);
}

/* From the first convolution's result on. */
static LdmTensor *finish(LdmPass *pass, const LdmResblock *block, LdmTensor *h, LdmTensor *residual,
                         LdmTensor *time)
{
    if (block->time_width > 0) {
        LdmTensor *shift = ldm_linear_forward(pass, &block->time, ldm_pass_keep(pass, time), NULL);
        h = ldm_add_rows_forward(pass, h, shift);
    }
    return ldm_conv2d_normed_forward(pass, &block->conv2, &block->norm2, h, residual);
}

/* inputs: x, time. */
static LdmTensor *forward(LdmPass *pass, const void *data, LdmTensor *const *inputs)
{
    const LdmResblock *block = data;
    LdmTensor *x = inputs[0], *time = inputs[1];
    LdmTensor *residual = ldm_pass_keep(pass, x);
    if (block->in != block->out)
        residual = ldm_linear_forward(pass, &block->shortcut, residual, NULL);

    LdmTensor *h = ldm_conv2d_normed_forward(pass, &block->conv1, &block->norm1, x, NULL);
    return finish(pass, block, h, residual, time);
}

LdmTensor *ldm_resblock_forward(LdmPass *pass, const LdmResblock *block, LdmTensor *x,
                                LdmTensor *time)
{
    return ldm_pass_block(pass, forward, block, (LdmTensor *[LDM_OP_INPUTS]){x, time});
}

LdmTensor *ldm_resblock_joined_forward(LdmPass *pass, const LdmResblock *block, LdmTensor *x,
                                       LdmTensor *skip, LdmTensor *time)
{
    const LdmParam *weight = block->shortcut.weight;
    if (!ldm_pass_fuses(pass) || block->in == block->out || weight->adapter != NULL ||
        ldm_pass_q8(pass, weight))
        return ldm_resblock_forward(pass, block, ldm_concat_forward(pass, x, skip), time);

    LdmTensor *residual = ldm_linear_joined_forward(pass, &block->shortcut, ldm_pass_keep(pass, x),
                                                    ldm_pass_keep(pass, skip));
    LdmTensor *h = ldm_group_norm_joined_forward(pass, &block->norm1, x, skip);
    h = ldm_conv2d_forward(pass, &block->conv1, h, NULL);
    return finish(pass, block, h, residual, time);
}
