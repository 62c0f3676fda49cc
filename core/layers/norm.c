/* Normalisations: y = (x - mean) / sqrt(var + eps) * weight + bias, over a group of channels and
 * all pixels (GroupNorm) or over the channels of one token (LayerNorm). */
#include "layers/norm.h"

#include "layers/backward.h"

void ldm_layer_norm_init(LdmNorm *layer, LdmScope scope, size_t channels, double eps)
{
    ldm_group_norm_init(layer, scope, channels, 1, eps);
}

void ldm_group_norm_init(LdmNorm *layer, LdmScope scope, size_t channels, size_t groups, double eps)
{
    layer->channels = channels;
    layer->groups = groups;
    layer->eps = (float)eps;
    layer->weight = ldm_scope_add(&scope, "weight", 1, &channels);
    layer->bias = ldm_scope_add(&scope, "bias", 1, &channels);
}

static void group_norm_backward(LdmPass *pass, const LdmOp *op)
{
    ldm_backward_norm(pass, op, ldm_group_norm_backward,
                      ldm_group_norm_backward_scratch(op->detail));
}

static void layer_norm_backward(LdmPass *pass, const LdmOp *op)
{
    ldm_backward_norm(pass, op, ldm_layer_norm_backward,
                      ldm_layer_norm_backward_scratch(op->detail));
}

/* Both norms: the arithmetic differs, what the pass is told does not. True: compute now. */
static bool announce(LdmPass *pass, const LdmNorm *layer, LdmTensor *x, LdmTensor *y,
                     const LdmGroupNorm *norm, LdmBackward *backward)
{
    const char *name = backward == layer_norm_backward ? "layer-norm"
                       : norm->silu                    ? "group-norm-silu"
                                                       : "group-norm";
    return ldm_pass_op(pass, &(LdmOp){.name = name,
                                      .layer = layer,
                                      .parameter = layer->weight,
                                      .second = layer->bias,
                                      .inputs = {x},
                                      .n_inputs = 1,
                                      .output = y,
                                      .backward = backward,
                                      .saved = LDM_SAVE_INPUT(0),
                                      .detail = norm,
                                      .detail_bytes = sizeof *norm});
}

static LdmGroupNorm group_norm(const LdmNorm *layer, const LdmTensor *x)
{
    return (LdmGroupNorm){.N = x->shape[0],
                          .P = ldm_tensor_count(x) / (x->shape[0] * x->shape[x->rank - 1]),
                          .C = layer->channels,
                          .groups = layer->groups,
                          .eps = layer->eps,
                          .x = x->data,
                          .gamma = ldm_param_weights(layer->weight),
                          .beta = ldm_param_weights(layer->bias)};
}

LdmTensor *ldm_group_norm_forward(LdmPass *pass, const LdmNorm *layer, LdmTensor *x, bool silu)
{
    g_autofree double *moments = ldm_pass_take_moments(x);
    LdmTensor *y = ldm_pass_over(pass, x);
    LdmGroupNorm norm = group_norm(layer, x);
    norm.moments = moments;
    norm.silu = silu;
    norm.y = y->data;
    LdmTensor *scratch = ldm_pass_scratch(pass, ldm_group_norm_scratch(&norm));
    norm.scratch = scratch->data;
    if (announce(pass, layer, x, y, &norm, group_norm_backward))
        ldm_pass_check(pass, ldm_group_norm(&norm, ldm_pass_cancellable(pass)));
    ldm_pass_drop(pass, scratch);
    ldm_pass_drop(pass, x);
    return y;
}

LdmTensor *ldm_group_norm_joined_forward(LdmPass *pass, const LdmNorm *layer, LdmTensor *x,
                                         LdmTensor *joined)
{
    LdmTensor *y = ldm_pass_like(pass, x, layer->channels);
    LdmGroupNorm norm = group_norm(layer, x);
    norm.joined = joined->data;
    norm.N_joined = joined->shape[0];
    norm.C_joined = joined->shape[joined->rank - 1];
    norm.silu = true;
    norm.y = y->data;
    LdmTensor *scratch = ldm_pass_scratch(pass, ldm_group_norm_scratch(&norm));
    norm.scratch = scratch->data;
    if (ldm_pass_op(pass, &(LdmOp){.name = "group-norm-joined",
                                   .layer = layer,
                                   .parameter = layer->weight,
                                   .second = layer->bias,
                                   .inputs = {x, joined},
                                   .n_inputs = 2,
                                   .output = y}))
        ldm_pass_check(pass, ldm_group_norm(&norm, ldm_pass_cancellable(pass)));
    ldm_pass_drop(pass, scratch);
    ldm_pass_drop(pass, x);
    ldm_pass_drop(pass, joined);
    return y;
}

LdmTensor *ldm_group_norm_affine_forward(LdmPass *pass, const LdmNorm *layer, LdmTensor *x)
{
    LdmTensor *affine = ldm_pass_tensor(pass, 3, (size_t[]){x->shape[0], 2, layer->channels});
    g_autofree double *moments = ldm_pass_take_moments(x);
    LdmGroupNorm norm = group_norm(layer, x);
    LdmTensor *scratch = ldm_pass_scratch(pass, ldm_group_norm_scratch(&norm));
    norm.moments = moments;
    norm.scratch = scratch->data;
    if (ldm_pass_op(pass, &(LdmOp){.name = "group-norm-affine",
                                   .layer = layer,
                                   .parameter = layer->weight,
                                   .second = layer->bias,
                                   .inputs = {x},
                                   .n_inputs = 1,
                                   .output = affine}))
        ldm_pass_check(pass,
                       ldm_group_norm_affine(&norm, affine->data, ldm_pass_cancellable(pass)));
    ldm_pass_drop(pass, scratch);
    ldm_pass_drop(pass, x);
    return affine;
}

LdmTensor *ldm_layer_norm_forward(LdmPass *pass, const LdmNorm *layer, LdmTensor *x)
{
    LdmTensor *y = ldm_pass_over(pass, x);
    size_t C = layer->channels;
    LdmGroupNorm norm = {.N = ldm_tensor_count(x) / C,
                         .P = 1,
                         .C = C,
                         .groups = 1,
                         .eps = layer->eps,
                         .x = x->data,
                         .gamma = ldm_param_weights(layer->weight),
                         .beta = ldm_param_weights(layer->bias),
                         .y = y->data};
    if (announce(pass, layer, x, y, &norm, layer_norm_backward))
        ldm_pass_check(pass, ldm_layer_norm(&norm, ldm_pass_cancellable(pass)));
    ldm_pass_drop(pass, x);
    return y;
}
