/* Operations without parameters. Each takes its arrays over. */
#pragma once

#include "kernels/kernels.h"
#include "layers/pass.h"

/* SiLU, GELU or quick GELU; x's shape. */
LdmTensor *ldm_activation_forward(LdmPass *pass, LdmActivation act, LdmTensor *x);

/* x [..., 2C] -> [..., C]: first half times GELU of the second. */
LdmTensor *ldm_geglu_forward(LdmPass *pass, LdmTensor *x);

/* x [N, ..., C] + b [N or 1, C] on every pixel (the time embedding). */
LdmTensor *ldm_add_rows_forward(LdmPass *pass, LdmTensor *x, LdmTensor *b);

/* a [N, ..., Ca], b [N or 1, ..., Cb] -> [N, ..., Ca + Cb] (the UNet's skips). */
LdmTensor *ldm_concat_forward(LdmPass *pass, LdmTensor *a, LdmTensor *b);

/* x [1, ...] -> [N, ...], N copies; x as it is where it has N already, and where N is 1. */
LdmTensor *ldm_repeat_forward(LdmPass *pass, LdmTensor *x, size_t N);
