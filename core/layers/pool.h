/* One vector from many: what stands for a whole picture, or for a whole prompt. */
#pragma once

#include "layers/pass.h"

/* x [N, ..., C] -> [N, C], the mean over all between; takes x over. */
LdmTensor *ldm_mean_pool_forward(LdmPass *pass, LdmTensor *x);

/* x [N, T, C] -> [N, C], row rows[n] (0 .. T - 1) of each; takes x over. */
LdmTensor *ldm_pick_forward(LdmPass *pass, LdmTensor *x, const size_t *rows);
