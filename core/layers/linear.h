/* Linear: y = x W^T + b over the last index; also every 1x1 convolution, which channels-last is the
 * same GEMM on the same memory. */
#pragma once

#include "layers/pass.h"
#include "layers/scope.h"

typedef struct {
    LdmParam *weight; /* [out, in], or [out, in, 1, 1] */
    LdmParam *bias;   /* [out] or NULL */
    size_t in, out;
} LdmLinear;

void ldm_linear_init(LdmLinear *layer, LdmScope scope, size_t in, size_t out, bool bias);

/* The parameter shapes of a 1x1 convolution, with bias. */
void ldm_linear_init_1x1(LdmLinear *layer, LdmScope scope, size_t in, size_t out);

/* x [..., in] -> [..., out] + residual (of the result's shape, or NULL). Takes both over; the
 * residual's memory becomes the result's where it may. */
LdmTensor *ldm_linear_forward(LdmPass *pass, const LdmLinear *layer, LdmTensor *x,
                              LdmTensor *residual);

/* The same of x [N, ..., C] beside joined [N or 1, ..., in - C], without a residual and in floats,
 * where nothing is recorded and no adapter takes part. Takes both over. */
LdmTensor *ldm_linear_joined_forward(LdmPass *pass, const LdmLinear *layer, LdmTensor *x,
                                     LdmTensor *joined);

/* x [..., in] -> v * GELU(g), [..., out / 2], where v | g is what ldm_linear_forward makes, which
 * then is in no memory unless the pass records, the weights are in 8 bits, or adapters take part.
 * Takes x over. */
LdmTensor *ldm_linear_geglu_forward(LdmPass *pass, const LdmLinear *layer, LdmTensor *x);
