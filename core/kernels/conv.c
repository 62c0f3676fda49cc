/* Convolution: which way for which shape. 1x1 is a product on the same memory; 3x3 goes by Winograd
 * where enough tiles share the transformed weights, and to few outputs along the channels; all else
 * reads shifted views of the picture. */
#include "kernels/conv.h"
#include "kernels/pairs.h"

void ldm_conv_output(const LdmConv *conv, size_t *Ho, size_t *Wo)
{
    size_t H = conv->H * conv->upsample + conv->pad_top + conv->pad_bottom;
    size_t W = conv->W * conv->upsample + conv->pad_left + conv->pad_right;
    *Ho = H < conv->KH ? 0 : (H - conv->KH) / conv->stride + 1;
    *Wo = W < conv->KW ? 0 : (W - conv->KW) / conv->stride + 1;
}

static bool is_product(const LdmConv *conv)
{
    return conv->KH == 1 && conv->KW == 1 && conv->stride == 1 && conv->upsample == 1 &&
           conv->pad_top + conv->pad_left + conv->pad_bottom + conv->pad_right == 0;
}

static bool goes_by_winograd(const LdmConv *conv)
{
    return ldm_conv_winograd_fits(conv) && !ldm_conv_rounds(conv, true);
}

static bool is_narrow(const LdmConv *conv)
{
    return ldm_conv_narrow_fits(conv) && !ldm_conv_rounds(conv, false);
}

/* A kernel larger than the picture has no output. */
static bool is_empty(const LdmConv *conv)
{
    size_t Ho, Wo;
    ldm_conv_output(conv, &Ho, &Wo);
    return conv->N * Ho * Wo == 0;
}

bool ldm_conv_rounds(const LdmConv *conv, bool winograd)
{
    if (ldm_pairs() == NULL || is_product(conv))
        return ldm_pairs() != NULL && conv->bf16;
    return conv->bf16_taps && (!winograd || ldm_pairs()->beats_winograd);
}

bool ldm_conv_reads_normed(const LdmConv *conv)
{
    if (is_empty(conv) || is_product(conv))
        return false;
    return is_narrow(conv) || (goes_by_winograd(conv) && ldm_conv_winograd_reads_normed(conv));
}

bool ldm_conv_measures(const LdmConv *conv)
{
    return !is_empty(conv) && !is_product(conv) && !is_narrow(conv) && goes_by_winograd(conv) &&
           ldm_conv_winograd_measures(conv);
}

size_t ldm_conv_scratch(const LdmConv *conv)
{
    if (is_empty(conv))
        return 0;
    if (is_product(conv))
        return ldm_gemm_scratch();
    if (is_narrow(conv))
        return ldm_conv_narrow_scratch(conv);
    return goes_by_winograd(conv) ? ldm_conv_winograd_scratch(conv) : ldm_conv_direct_scratch(conv);
}

bool ldm_conv(const LdmConv *conv, GCancellable *cancellable)
{
    if (is_empty(conv))
        return true;
    if (is_product(conv)) {
        LdmGemm gemm = {
            .M = conv->N * conv->H * conv->W,
            .N = conv->Cout,
            .K = conv->Cin,
            .x = conv->x,
            .w = conv->w,
            .bias = conv->bias,
            .residual = conv->residual,
            .y = conv->y,
            .scratch = conv->scratch,
            .bf16 = conv->bf16,
            .split = conv->split,
        };
        return ldm_gemm(&gemm, cancellable);
    }
    if (is_narrow(conv))
        return ldm_conv_narrow(conv, cancellable);
    return goes_by_winograd(conv) ? ldm_conv_winograd(conv, cancellable)
                                  : ldm_conv_direct(conv, cancellable);
}
