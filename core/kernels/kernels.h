/* The kernels: arithmetic on dense memory, nothing about networks. Activations are f32,
 * channels last; weights come in the file's own precision and layout and are expanded per tile.
 * Each function runs in parallel over output tiles and returns false where `cancellable` was
 * cancelled meanwhile (the output is then undefined). No function here allocates: scratch memory
 * comes from the caller, its size from the matching ldm_*_scratch function.
 *
 * One source per group (gemm conv norm act attention resample convert), compiled once per
 * instruction set by a thin file (base, AVX2, AVX-512); the table is picked at run time, and
 * PENTIMENTO_CPU=base|avx2|avx512 forces one. Each has a plain C twin in tests/kernels. */
#pragma once

#include "ldm.h"

/* Weights or other constants in storage precision. */
typedef struct {
    const void *data;
    LdmDtype dtype;
} LdmWeights;

/* The instruction set in use: "base", "avx2", "avx512". */
const char *ldm_kernels_name(void);

/* Elementwise conversion of n values. */
void ldm_convert_to_f32(const void *src, LdmDtype dtype, float *dst, size_t n);
void ldm_convert_from_f32(const float *src, LdmDtype dtype, void *dst, size_t n);

/* ---- gemm: Y[M, N] = X[M, K] * W[N, K]^T + bias[N] + residual[M, N] ----
 * W as in torch's Linear and 1x1 convolutions. bias.data and residual may be NULL;
 * residual may be Y itself. */
typedef struct {
    size_t M, N, K;
    const float *x;
    LdmWeights w, bias;
    const float *residual;
    float *y;
    void *scratch;
} LdmGemm;
size_t ldm_gemm_scratch(size_t M, size_t N, size_t K, LdmDtype dtype);
bool ldm_gemm(const LdmGemm *gemm, GCancellable *cancellable);

/* ---- conv: NHWC x, W[Cout, Cin, KH, KW] as in torch, Y [N, Ho, Wo, Cout] ----
 * Ho = (H + pad_top + pad_bottom - KH) / stride + 1. residual [N, Ho, Wo, Cout] may be NULL or y.
 * `upsample` = 2 reads x as if enlarged by nearest neighbour first (H, W are x's own). */
typedef struct {
    size_t N, H, W, Cin, Cout, KH, KW;
    int stride, pad_top, pad_left, pad_bottom, pad_right, upsample; /* upsample 1 or 2 */
    const float *x;
    LdmWeights w, bias;
    const float *residual;
    float *y;
    void *scratch;
} LdmConv;
void ldm_conv_output(const LdmConv *conv, size_t *Ho, size_t *Wo);
size_t ldm_conv_scratch(const LdmConv *conv);
bool ldm_conv(const LdmConv *conv, GCancellable *cancellable);

/* ---- norm ----
 * GroupNorm over x [N, P, C] (P pixels), statistics per (n, group) in double or compensated f32;
 * y = (x - mean) / sqrt(var + eps) * gamma[C] + beta[C], then SiLU where `silu`. In place allowed. */
typedef struct {
    size_t N, P, C, groups;
    float eps;
    bool silu;
    const float *x;
    LdmWeights gamma, beta;
    float *y;
} LdmGroupNorm;
bool ldm_group_norm(const LdmGroupNorm *norm, GCancellable *cancellable);

/* LayerNorm over the last index of x [rows, C]. */
bool ldm_layer_norm(size_t rows, size_t C, float eps, const float *x, LdmWeights gamma,
                    LdmWeights beta, float *y, GCancellable *cancellable);

/* ---- act: elementwise, in place allowed ---- */
typedef enum { LDM_ACT_SILU, LDM_ACT_GELU, LDM_ACT_QUICK_GELU } LdmActivation; /* GELU: exact erf */
bool ldm_activate(LdmActivation act, size_t n, const float *x, float *y, GCancellable *cancellable);
/* y [rows, C] = x[rows, 0:C] * GELU(x[rows, C:2C]), x [rows, 2C] */
bool ldm_geglu(size_t rows, size_t C, const float *x, float *y, GCancellable *cancellable);
bool ldm_add_arrays(size_t n, const float *a, const float *b, float *y, GCancellable *cancellable);
/* y [N, P, C] = x [N, P, C] + b [N, C] (time embedding); in place allowed */
bool ldm_add_rows(size_t N, size_t P, size_t C, const float *x, const float *b, float *y,
                  GCancellable *cancellable);
/* y [rows, Ca + Cb] = a [rows, Ca] | b [rows, Cb] */
bool ldm_concat(size_t rows, size_t Ca, size_t Cb, const float *a, const float *b, float *y,
                GCancellable *cancellable);
bool ldm_upsample_nearest2(size_t N, size_t H, size_t W, size_t C, const float *x, float *y,
                           GCancellable *cancellable);

/* ---- attention: softmax(q k^T * scale [+ causal mask]) v, tiled, never [Tq, Tk] at once ----
 * q [N, Tq, heads, d] with q_stride floats between tokens; k, v [Nkv, Tk, heads, d] likewise;
 * Nkv is N or 1 (shared). y [N, Tq, heads*d] dense. */
typedef struct {
    size_t N, Nkv, Tq, Tk, heads, d;
    size_t q_stride, k_stride, v_stride;
    float scale;
    bool causal;
    const float *q, *k, *v;
    float *y;
    void *scratch;
} LdmAttention;
size_t ldm_attention_scratch(const LdmAttention *attention);
bool ldm_attention(const LdmAttention *attention, GCancellable *cancellable);

/* ---- resample: [H, W, C] -> [Ho, Wo, C], separable, edges clamped ----
 * LANCZOS (a = 3) widens its kernel when reducing (antialias); BOX averages areas exactly. */
typedef enum { LDM_RESAMPLE_LANCZOS, LDM_RESAMPLE_BILINEAR, LDM_RESAMPLE_BOX } LdmResample;
size_t ldm_resample_scratch(size_t H, size_t W, size_t C, size_t Ho, size_t Wo);
bool ldm_resample(LdmResample filter, size_t H, size_t W, size_t C, const float *x, size_t Ho,
                  size_t Wo, float *y, void *scratch, GCancellable *cancellable);
