/* 2-D convolution, channels last. 1x1 convolutions are linear layers (linear.h). */
#pragma once

#include "kernels/kernels.h"
#include "layers/norm.h"
#include "layers/pass.h"
#include "layers/scope.h"

typedef struct {
    LdmParam *weight; /* [out, in, kernel, kernel] */
    LdmParam *bias;   /* [out] */
    size_t in, out, kernel;
    int stride;
    int before, after; /* zero padding: top and left, bottom and right */
    int upsample;      /* 2: reads x as if enlarged by nearest neighbour */
} LdmConv2d;

/* Stride 1, padded so that the size stays. */
void ldm_conv2d_init(LdmConv2d *layer, LdmScope scope, size_t in, size_t out, size_t kernel);

/* 3x3, stride 2. The UNet pads all sides by one, the autoencoder only right and bottom. */
void ldm_conv2d_init_downsample(LdmConv2d *layer, LdmScope scope, size_t channels, bool symmetric);

/* 3x3 over x enlarged to twice its size. */
void ldm_conv2d_init_upsample(LdmConv2d *layer, LdmScope scope, size_t channels);

/* The kernel's view of it over x [N, H, W, in]: sizes, weights and x. Nothing rounds. */
LdmConv ldm_conv2d_kernel(const LdmConv2d *layer, const LdmTensor *x);

/* x [N, H, W, in] -> [N, Ho, Wo, out] + residual (of the result's shape, or NULL); takes both
 * over. */
LdmTensor *ldm_conv2d_forward(LdmPass *pass, const LdmConv2d *layer, LdmTensor *x,
                              LdmTensor *residual);

/* The same of SiLU(GroupNorm(x)), which the convolution takes while it reads x where that gains and
 * nothing is recorded. */
LdmTensor *ldm_conv2d_normed_forward(LdmPass *pass, const LdmConv2d *layer, const LdmNorm *norm,
                                     LdmTensor *x, LdmTensor *residual);

/* The upsampling convolution where the skip it will meet is H x W, which may be one less than twice
 * x's size: nearest neighbour to exactly H x W first, then the convolution. */
LdmTensor *ldm_conv2d_forward_to(LdmPass *pass, const LdmConv2d *layer, LdmTensor *x, size_t H,
                                 size_t W);
