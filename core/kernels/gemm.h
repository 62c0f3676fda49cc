/* The tiled product shared by gemm.c and conv.c; not for use outside this folder. */
#pragma once

#include "kernels/lanes.h"

/* Memory that weights are expanded into, and that convolution gathers pixels into, at a time: both
 * should stay in the last cache. */
#define LDM_WEIGHT_SCRATCH ((size_t) 16 << 20)
#define LDM_PIXEL_SCRATCH  ((size_t) 16 << 20)

/* Y[M, n] = X[M, K] W[n, K]^T + bias[n] + residual, where Y and the residual are columns
 * column .. column + n - 1 of arrays with N columns, and bias begins at `column`, too. */
typedef struct {
    size_t M, n, K, N, column;
    const float *x, *w;
    LdmWeights bias;
    const float *residual;
    float *y; /* at column 0 */
} LdmProduct;
bool ldm_product_run(const LdmProduct *product, GCancellable *cancellable);

/* Expands `n` constants from `first` on into dst, in parallel. */
bool ldm_weights_expand(LdmWeights weights, size_t first, size_t n, float *dst,
                        GCancellable *cancellable);
