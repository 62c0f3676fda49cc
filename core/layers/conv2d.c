/* Convolutions: plain, strided down, and up by nearest neighbour; pictures and features in and out.
 * The enlarged picture of an upsampling is normally never made: the kernel reads through it. */
#include "layers/conv2d.h"

#include "base/parallel.h"
#include "layers/adapter.h"
#include "layers/backward.h"
#include "layers/convolve.h"

#include <string.h>

void ldm_conv2d_init(LdmConv2d *layer, LdmScope scope, size_t in, size_t out, size_t kernel)
{
    int padding = (int)(kernel / 2);
    *layer = (LdmConv2d){.in = in,
                         .out = out,
                         .kernel = kernel,
                         .stride = 1,
                         .before = padding,
                         .after = padding,
                         .upsample = 1};
    layer->weight = ldm_scope_add(&scope, "weight", 4, (size_t[]){out, in, kernel, kernel});
    layer->bias = ldm_scope_add(&scope, "bias", 1, &out);
}

void ldm_conv2d_init_downsample(LdmConv2d *layer, LdmScope scope, size_t channels, bool symmetric)
{
    ldm_conv2d_init(layer, scope, channels, channels, 3);
    layer->stride = 2;
    layer->before = symmetric ? 1 : 0;
}

void ldm_conv2d_init_upsample(LdmConv2d *layer, LdmScope scope, size_t channels)
{
    ldm_conv2d_init(layer, scope, channels, channels, 3);
    layer->upsample = 2;
}

/* dX: a convolution of dY with the weights flipped; dW: products of dY and shifted views of X. */
static void conv2d_backward(LdmPass *pass, const LdmOp *op)
{
    ldm_backward_conv(pass, op, op->detail);
}

LdmConv ldm_conv2d_kernel(const LdmConv2d *layer, const LdmTensor *x)
{
    return (LdmConv){.N = x->shape[0],
                     .H = x->shape[1],
                     .W = x->shape[2],
                     .Cin = layer->in,
                     .Cout = layer->out,
                     .KH = layer->kernel,
                     .KW = layer->kernel,
                     .stride = layer->stride,
                     .pad_top = layer->before,
                     .pad_left = layer->before,
                     .pad_bottom = layer->after,
                     .pad_right = layer->after,
                     .upsample = layer->upsample,
                     .x = x->data,
                     .w = ldm_param_weights(layer->weight),
                     .bias = ldm_param_weights(layer->bias)};
}

/* The same as this pass multiplies it. */
static LdmConv kernel_of(const LdmPass *pass, const LdmConv2d *layer, const LdmTensor *x)
{
    LdmConv conv = ldm_conv2d_kernel(layer, x);
    conv.bf16 = ldm_pass_bf16(pass);
    conv.split = ldm_pass_splits(pass);
    conv.bf16_taps = ldm_pass_bf16_taps(pass);
    return conv;
}

/* affine: what x is read through ([N, 2, in]), or NULL; takes all three over. */
static LdmTensor *convolve(LdmPass *pass, const LdmConv2d *layer, LdmTensor *x, LdmTensor *affine,
                           LdmTensor *residual)
{
    size_t Ho, Wo;
    LdmConv conv = kernel_of(pass, layer, x);
    ldm_conv_output(&conv, &Ho, &Wo);
    LdmTensor *y = residual != NULL ? ldm_pass_over(pass, residual)
                                    : ldm_pass_nhwc(pass, conv.N, Ho, Wo, layer->out);
    if (residual != NULL)
        conv.residual = residual->data;
    if (affine != NULL)
        conv.affine = affine->data;
    conv.normed = affine != NULL;
    conv.measured =
        ldm_pass_fuses(pass) && !ldm_pass_q8(pass, layer->weight) && ldm_conv_measures(&conv);
    if (conv.measured)
        conv.moments = ldm_pass_measure(pass, y);
    LdmTensor *scratch = ldm_convolve_scratch(pass, layer->weight, &conv);
    conv.y = y->data;
    if (ldm_pass_op(pass, &(LdmOp){.name = "conv2d",
                                   .parameter = layer->weight,
                                   .second = layer->bias,
                                   .inputs = {x, residual},
                                   .n_inputs = residual != NULL ? 2 : 1,
                                   .output = y,
                                   .flops = 2.0 * conv.N * Ho * Wo * conv.Cout * conv.Cin *
                                            conv.KH * conv.KW,
                                   .backward = conv2d_backward,
                                   .saved = layer->weight->trained ? LDM_SAVE_INPUT(0) : 0,
                                   .detail = &conv,
                                   .detail_bytes = sizeof conv}))
        ldm_pass_check(pass, ldm_convolve(pass, layer->weight, &conv));
    ldm_pass_drop(pass, scratch);
    ldm_pass_drop(pass, x);
    ldm_pass_drop(pass, affine);
    ldm_pass_drop(pass, residual);
    return y;
}

LdmTensor *ldm_conv2d_forward(LdmPass *pass, const LdmConv2d *layer, LdmTensor *x,
                              LdmTensor *residual)
{
    residual = ldm_adapter_conv2d(pass, layer, x, residual);
    return convolve(pass, layer, x, NULL, residual);
}

LdmTensor *ldm_conv2d_normed_forward(LdmPass *pass, const LdmConv2d *layer, const LdmNorm *norm,
                                     LdmTensor *x, LdmTensor *residual)
{
    LdmConv conv = kernel_of(pass, layer, x);
    if (!ldm_pass_fuses(pass) || ldm_pass_q8(pass, layer->weight) ||
        layer->weight->adapter != NULL || !ldm_conv_reads_normed(&conv))
        return ldm_conv2d_forward(pass, layer, ldm_group_norm_forward(pass, norm, x, true),
                                  residual);
    LdmTensor *affine = ldm_group_norm_affine_forward(pass, norm, ldm_pass_keep(pass, x));
    return convolve(pass, layer, x, affine, residual);
}

typedef struct {
    const LdmTensor *x, *y;
} Enlarge;

/* One row of y [N, H, W, C]; y(h, w) = x(h / 2, w / 2). */
static void enlarge_row(size_t index, int thread, void *data)
{
    const Enlarge *enlarge = data;
    const size_t *from = enlarge->x->shape, *to = enlarge->y->shape;
    size_t n = index / to[1], h = index % to[1], C = to[3];
    const float *row = (const float *)enlarge->x->data + (n * from[1] + h / 2) * from[2] * C;
    float *out = (float *)enlarge->y->data + index * to[2] * C;
    for (size_t w = 0; w < to[2]; w++)
        memcpy(out + w * C, row + w / 2 * C, C * sizeof(float));
}

/* Every pixel of x sums the up to four that were read from it. */
static void upsample_backward(LdmPass *pass, const LdmOp *op)
{
    const size_t *from = op->inputs[0]->shape, *to = op->output->shape;
    LdmTapeInput dx = ldm_tape_input(pass, op->inputs[0]);
    LdmUpsampleBackward upsample = {.N = from[0],
                                    .H = from[1],
                                    .W = from[2],
                                    .C = from[3],
                                    .Ho = to[1],
                                    .Wo = to[2],
                                    .dy = ldm_tape_output(pass, op)->data,
                                    .dx = dx.data,
                                    .add = dx.add};
    if (dx.wanted && ldm_tape_computes(pass))
        ldm_pass_check(pass, ldm_upsample_backward(&upsample, ldm_pass_cancellable(pass)));
}

LdmTensor *ldm_conv2d_forward_to(LdmPass *pass, const LdmConv2d *layer, LdmTensor *x, size_t H,
                                 size_t W)
{
    if (H == 2 * x->shape[1] && W == 2 * x->shape[2])
        return ldm_conv2d_forward(pass, layer, x, NULL);
    LdmConv2d plain = *layer;
    LdmTensor *y = ldm_pass_nhwc(pass, x->shape[0], H, W, layer->in);
    plain.upsample = 1;
    if (ldm_pass_op(pass, &(LdmOp){.name = "upsample-nearest",
                                   .inputs = {x},
                                   .n_inputs = 1,
                                   .output = y,
                                   .backward = upsample_backward})) {
        Enlarge enlarge = {x, y};
        ldm_pass_check(pass, ldm_parallel_for(x->shape[0] * H, enlarge_row, &enlarge,
                                              ldm_pass_cancellable(pass)));
    }
    ldm_pass_drop(pass, x);
    return ldm_conv2d_forward(pass, &plain, y, NULL);
}
