/* The ways of a convolution; conv.c and conv-backward.c choose. */
#pragma once

#include "kernels/matrix.h"

/* 3x3, stride 1, padded by 1 all round: an output for every pixel. */
static inline bool ldm_conv_is_even(const LdmConv *c)
{
    return c->KH == 3 && c->KW == 3 && c->stride == 1 && c->pad_top == 1 && c->pad_left == 1 &&
           c->pad_bottom == 1 && c->pad_right == 1;
}

/* A pixel of a picture [H, W, C], or `beyond` where it has none there (-1 has become huge). */
static inline const float *ldm_conv_pixel(const float *picture, size_t H, size_t W, size_t C,
                                          size_t row, size_t column, const float *beyond)
{
    return row < H && column < W ? picture + (row * W + column) * C : beyond;
}

size_t ldm_conv_direct_scratch(const LdmConv *conv);
bool ldm_conv_direct(const LdmConv *conv, GCancellable *cancellable);

/* 3x3, stride 1, padded by 1 all round, to at most four channels from at least sixteen. */
bool ldm_conv_narrow_fits(const LdmConv *conv);
size_t ldm_conv_narrow_scratch(const LdmConv *conv);
bool ldm_conv_narrow(const LdmConv *conv, GCancellable *cancellable);

/* Whether its products are those of bf16 numbers: of what may round, all that does not go by
 * Winograd in f32, which only AMX outruns. `winograd`: this way through it could. */
bool ldm_conv_rounds(const LdmConv *conv, bool winograd);

/* Winograd: 3x3, stride 1 and padded by 1 all round, or stride 2; large enough to gain by it. */
bool ldm_conv_winograd_fits(const LdmConv *conv);
/* Whether it reads every pixel about once, so that a norm is as well done while it reads. */
bool ldm_conv_winograd_reads_normed(const LdmConv *conv);
/* Whether it may tell the moments of what it writes, which nobody finds in a cache. */
bool ldm_conv_winograd_measures(const LdmConv *conv);
size_t ldm_conv_winograd_scratch(const LdmConv *conv);
bool ldm_conv_winograd(const LdmConv *conv, GCancellable *cancellable);

/* dW by Winograd, where that gains. */
bool ldm_conv_winograd_backward_fits(const LdmConv *conv);
size_t ldm_conv_winograd_backward_scratch(const LdmConv *conv);
bool ldm_conv_winograd_backward(const LdmConvBackward *back, GCancellable *cancellable);
