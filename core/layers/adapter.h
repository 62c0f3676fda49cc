/* Adapters (LdmAdapter, weights/param.h): low-rank additions beside frozen weights, computed as
 * layers of their own, so that the weights stay mapped in the file's precision and backward passes
 * reach the adapter alone. */
#pragma once

#include "layers/conv2d.h"

/* residual (may be NULL) + the share of all adapters of a linear layer's weight, [..., out]; NULL
 * where there is neither. Borrows x, takes residual over. */
LdmTensor *ldm_adapter_linear(LdmPass *pass, const LdmParam *weight, LdmTensor *x,
                              LdmTensor *residual);

/* The same for a convolution: its stride, padding and enlarging are the layer's. */
LdmTensor *ldm_adapter_conv2d(LdmPass *pass, const LdmConv2d *layer, LdmTensor *x,
                              LdmTensor *residual);
