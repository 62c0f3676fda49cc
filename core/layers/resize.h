/* Bilinear resizing as torch.nn.functional.interpolate has it (align_corners off, no antialiasing):
 * pixels' middles are where they were, edges go on. */
#pragma once

#include "layers/pass.h"

/* x [N, H, W, C] -> [N, h, w, C]; takes x over. */
LdmTensor *ldm_resize_forward(LdmPass *pass, LdmTensor *x, size_t h, size_t w);

/* The same of arrays: x [N, H, W, C] -> y [N, h, w, C], which must not overlap. */
void ldm_resize(const LdmTensor *x, const LdmTensor *y);
