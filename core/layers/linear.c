/* Linear layers and 1x1 convolutions, the most of every transformer: features [..., in] in,
 * features [..., out] out, one GEMM: y = x W^T + b + residual. Adapters' share comes first, as part
 * of the residual. */
#include "layers/linear.h"

#include "layers/adapter.h"
#include "layers/backward.h"
#include "layers/convolve.h"
#include "layers/elementwise.h"

void ldm_linear_init(LdmLinear *layer, LdmScope scope, size_t in, size_t out, bool bias)
{
    layer->in = in;
    layer->out = out;
    layer->weight = ldm_scope_add(&scope, "weight", 2, (size_t[]){out, in});
    layer->bias = bias ? ldm_scope_add(&scope, "bias", 1, &out) : NULL;
}

void ldm_linear_init_1x1(LdmLinear *layer, LdmScope scope, size_t in, size_t out)
{
    layer->in = in;
    layer->out = out;
    layer->weight = ldm_scope_add(&scope, "weight", 4, (size_t[]){out, in, 1, 1});
    layer->bias = ldm_scope_add(&scope, "bias", 1, &out);
}

/* dX = dY W, dW = dY^T X, db = sum of dY over its rows. */
static void linear_backward(LdmPass *pass, const LdmOp *op)
{
    ldm_backward_conv(pass, op, op->detail);
}

LdmTensor *ldm_linear_forward(LdmPass *pass, const LdmLinear *layer, LdmTensor *x,
                              LdmTensor *residual)
{
    size_t M = ldm_tensor_count(x) / layer->in, K = layer->in, N = layer->out;
    residual = ldm_adapter_linear(pass, layer->weight, x, residual);
    LdmTensor *y = residual != NULL ? ldm_pass_over(pass, residual) : ldm_pass_like(pass, x, N);
    LdmConv conv = {.N = 1, /* as the way back sees it: a 1x1 convolution of M pixels */
                    .H = 1,
                    .W = M,
                    .Cin = K,
                    .Cout = N,
                    .KH = 1,
                    .KW = 1,
                    .stride = 1,
                    .upsample = 1,
                    .x = x->data,
                    .w = ldm_param_weights(layer->weight),
                    .bias = ldm_param_weights(layer->bias),
                    .residual = residual != NULL ? residual->data : NULL,
                    .y = y->data,
                    .bf16 = ldm_pass_bf16(pass),
                    .split = ldm_pass_splits(pass)};
    LdmTensor *scratch = ldm_convolve_scratch(pass, layer->weight, &conv);
    if (ldm_pass_op(pass, &(LdmOp){.name = "linear",
                                   .parameter = layer->weight,
                                   .second = layer->bias,
                                   .inputs = {x, residual},
                                   .n_inputs = residual != NULL ? 2 : 1,
                                   .output = y,
                                   .flops = 2.0 * M * N * K,
                                   .backward = linear_backward,
                                   .saved = layer->weight->trained ? LDM_SAVE_INPUT(0) : 0,
                                   .detail = &conv,
                                   .detail_bytes = sizeof conv}))
        ldm_pass_check(pass, ldm_convolve(pass, layer->weight, &conv));
    ldm_pass_drop(pass, scratch);
    ldm_pass_drop(pass, x);
    ldm_pass_drop(pass, residual);
    return y;
}

LdmTensor *ldm_linear_joined_forward(LdmPass *pass, const LdmLinear *layer, LdmTensor *x,
                                     LdmTensor *joined)
{
    size_t beside = joined->shape[joined->rank - 1];
    size_t M = ldm_tensor_count(x) / (layer->in - beside), K = layer->in, N = layer->out;
    LdmTensor *y = ldm_pass_like(pass, x, N);
    LdmTensor *scratch = ldm_pass_scratch(pass, ldm_gemm_scratch());
    LdmGemm gemm = {.M = M,
                    .N = N,
                    .K = K,
                    .x = x->data,
                    .joined = joined->data,
                    .K_joined = beside,
                    .joined_rows = ldm_tensor_count(joined) / beside,
                    .w = ldm_param_weights(layer->weight),
                    .bias = ldm_param_weights(layer->bias),
                    .y = y->data,
                    .scratch = scratch->data,
                    .bf16 = ldm_pass_bf16(pass),
                    .split = ldm_pass_splits(pass)};
    if (ldm_pass_op(pass, &(LdmOp){.name = "linear-joined",
                                   .parameter = layer->weight,
                                   .second = layer->bias,
                                   .inputs = {x, joined},
                                   .n_inputs = 2,
                                   .output = y,
                                   .flops = 2.0 * M * N * K}))
        ldm_pass_check(pass, ldm_gemm(&gemm, ldm_pass_cancellable(pass)));
    ldm_pass_drop(pass, scratch);
    ldm_pass_drop(pass, x);
    ldm_pass_drop(pass, joined);
    return y;
}

LdmTensor *ldm_linear_geglu_forward(LdmPass *pass, const LdmLinear *layer, LdmTensor *x)
{
    if (!ldm_pass_fuses(pass) || ldm_pass_q8(pass, layer->weight) || layer->weight->adapter != NULL)
        return ldm_geglu_forward(pass, ldm_linear_forward(pass, layer, x, NULL));

    size_t M = ldm_tensor_count(x) / layer->in, K = layer->in, C = layer->out / 2;
    LdmTensor *y = ldm_pass_like(pass, x, C);
    LdmTensor *scratch = ldm_pass_scratch(pass, ldm_gemm_geglu_scratch(K));
    LdmGemmGeglu gemm = {.M = M,
                         .C = C,
                         .K = K,
                         .x = x->data,
                         .w = ldm_param_weights(layer->weight),
                         .bias = ldm_param_weights(layer->bias),
                         .y = y->data,
                         .scratch = scratch->data,
                         .bf16 = ldm_pass_bf16(pass),
                         .split = ldm_pass_splits(pass)};
    if (ldm_pass_op(pass, &(LdmOp){.name = "linear-geglu",
                                   .parameter = layer->weight,
                                   .second = layer->bias,
                                   .inputs = {x},
                                   .n_inputs = 1,
                                   .output = y,
                                   .flops = 4.0 * M * C * K}))
        ldm_pass_check(pass, ldm_gemm_geglu(&gemm, ldm_pass_cancellable(pass)));
    ldm_pass_drop(pass, scratch);
    ldm_pass_drop(pass, x);
    return y;
}
