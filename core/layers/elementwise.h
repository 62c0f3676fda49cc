/* Operations without parameters. Each takes its arrays over. */
#pragma once

#include "kernels/kernels.h"
#include "layers/pass.h"

/* SiLU, GELU or quick GELU; x's shape. */
LdmTensor *ldm_activation_forward(LdmPass *pass, LdmActivation act, LdmTensor *x);

/* x [..., 2C] -> [..., C]: first half times GELU of the second. */
LdmTensor *ldm_geglu_forward(LdmPass *pass, LdmTensor *x);

/* x [N, ..., C] + b [N, C] on every pixel (the time embedding). */
LdmTensor *ldm_add_rows_forward(LdmPass *pass, LdmTensor *x, LdmTensor *b);

/* a [..., Ca], b [..., Cb] -> [..., Ca + Cb] (the UNet's skips). */
LdmTensor *ldm_concat_forward(LdmPass *pass, LdmTensor *a, LdmTensor *b);
