/* ResBlock: two convolutions with GroupNorm and SiLU before each, the time embedding added between
 * them, + x (through a 1x1 convolution where the number of channels changes). */
#pragma once

#include "layers/conv2d.h"
#include "layers/linear.h"
#include "layers/norm.h"

typedef struct {
    LdmNorm norm1, norm2;
    LdmConv2d conv1, conv2;
    LdmLinear time;     /* time_width -> out; unused where time_width is 0 */
    LdmLinear shortcut; /* in -> out; unused where they are equal */
    size_t in, out, time_width;
} LdmResblock;

typedef struct {
    size_t in, out;
    size_t time_width; /* of the time embedding; 0 = none (autoencoder) */
    size_t groups;
    double eps;
} LdmResblockSizes;

void ldm_resblock_init(LdmResblock *block, LdmScope scope, const LdmResblockSizes *sizes);

/* x [N, H, W, in] -> [N, H, W, out]; takes x over. time [N, time_width], SiLU already applied,
 * is borrowed; NULL where the block has none. */
LdmTensor *ldm_resblock_forward(LdmPass *pass, const LdmResblock *block, LdmTensor *x,
                                LdmTensor *time);

/* The same of x [N, H, W, C] beside a skip [N or 1, H, W, in - C], which is taken over, too; they
 * are joined by a copy only where the pass records or the shortcut needs them in one place. */
LdmTensor *ldm_resblock_joined_forward(LdmPass *pass, const LdmResblock *block, LdmTensor *x,
                                       LdmTensor *skip, LdmTensor *time);
