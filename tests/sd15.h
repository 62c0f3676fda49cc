/* The sizes of Stable Diffusion 1.5's networks. */
#pragma once

#include "weights/config.h"

static const LdmUnetConfig sd15_unet = {
    .in_channels = 4,
    .out_channels = 4,
    .levels = 4,
    .channels = {320, 640, 1280, 1280},
    .layers_per_block = 2,
    .attention = {true, true, true, false},
    .heads = {8, 8, 8, 8},
    .depth = {1, 1, 1, 1},
    .context_width = 768,
    .norm_groups = 32,
    .norm_eps = 1e-5,
    .mid_attention = true,
    .sample_size = 64,
};

static const LdmVaeConfig sd15_vae = {
    .regulariser = LDM_REGULARISER_KL,
    .in_channels = 3,
    .out_channels = 3,
    .latent_channels = 4,
    .levels = 4,
    .channels = {128, 256, 512, 512},
    .layers_per_block = 2,
    .norm_groups = 32,
    .mid_attention = true,
    .quant_conv = true,
    .post_quant_conv = true,
    .scale_factor = 0.18215,
    .sample_size = 512,
};
