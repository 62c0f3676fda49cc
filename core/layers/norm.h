/* GroupNorm (with or without SiLU after it) and LayerNorm. */
#pragma once

#include "layers/pass.h"
#include "layers/scope.h"

typedef struct {
    LdmParam *weight, *bias; /* [channels] */
    size_t channels, groups; /* groups: GroupNorm only */
    float eps;
} LdmNorm;

void ldm_group_norm_init(LdmNorm *layer, LdmScope scope, size_t channels, size_t groups,
                         double eps);
void ldm_layer_norm_init(LdmNorm *layer, LdmScope scope, size_t channels, double eps);

/* x [N, ..., channels] -> the same shape, then SiLU where `silu`; takes x over. */
LdmTensor *ldm_group_norm_forward(LdmPass *pass, const LdmNorm *layer, LdmTensor *x, bool silu);

/* SiLU of the norm of x [N, ..., C] beside joined [N or 1, ..., channels - C], which are joined in
 * no other memory than the result, [N, ..., channels]. Not recorded. Takes both over. */
LdmTensor *ldm_group_norm_joined_forward(LdmPass *pass, const LdmNorm *layer, LdmTensor *x,
                                         LdmTensor *joined);

/* Its first half, where nothing is recorded: x [N, ..., channels] -> [N, 2, channels], what SiLU or
 * the like is then taken of being x * factor + shift (LdmConv.normed); takes x over. */
LdmTensor *ldm_group_norm_affine_forward(LdmPass *pass, const LdmNorm *layer, LdmTensor *x);

/* x [..., channels] -> the same shape; takes x over. */
LdmTensor *ldm_layer_norm_forward(LdmPass *pass, const LdmNorm *layer, LdmTensor *x);
