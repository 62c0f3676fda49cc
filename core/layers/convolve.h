/* A convolution, or a product of one row of pixels, by whatever holds its weights. */
#pragma once

#include "kernels/kernels.h"
#include "layers/pass.h"

/* Its scratch memory, which it is given, too; drop it like any other array. */
static inline LdmTensor *ldm_convolve_scratch(LdmPass *pass, const LdmParam *weight, LdmConv *conv)
{
    bool q8 = ldm_pass_q8(pass, weight);
    LdmTensor *scratch =
        ldm_pass_scratch(pass, q8 ? ldm_q8_conv_scratch(conv) : ldm_conv_scratch(conv));
    conv->scratch = scratch->data;
    return scratch;
}

static inline bool ldm_convolve(const LdmPass *pass, const LdmParam *weight, const LdmConv *conv)
{
    GCancellable *cancellable = ldm_pass_cancellable(pass);
    return ldm_pass_q8(pass, weight) ? ldm_q8_conv(conv, &weight->q8, cancellable)
                                     : ldm_conv(conv, cancellable);
}
