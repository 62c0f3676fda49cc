/* The kernels: arithmetic on dense memory, nothing about networks. Activations are f32,
 * channels last; weights come in the file's own precision and layout and are expanded per tile.
 * Each function runs in parallel over output tiles and returns false where `cancellable` was
 * cancelled meanwhile (the output is then undefined). No function here allocates: scratch memory
 * comes from the caller, its size from the matching ldm_*_scratch function.
 *
 * One source per group (gemm conv norm act attention resample convert), compiled once per
 * instruction set by a thin file (base, AVX2, AVX-512, NEON); the table is picked at run time, and
 * PENTIMENTO_CPU=base|avx2|avx512|neon forces one; amx, what a processor with it takes by itself,
 * is avx512 with bf16 on AMX. Each has a plain C twin in tests/kernels. */
#pragma once

#include "ldm.h"

/* Weights or other constants in storage precision. */
typedef struct {
    const void *data;
    LdmDtype dtype;
} LdmWeights;

/* The instruction set in use: "base", "avx2", "avx512", "neon". */
const char *ldm_kernels_name(void);

/* True where products of bf16 numbers with f32 sums are faster than those of f32 here. */
bool ldm_kernels_have_bf16(void);

/* True where they are so much faster (AMX) that they beat Winograd in f32, too. */
bool ldm_kernels_prefer_bf16(void);

/* The instruction set that multiplies 8-bit weights: "base", "avx2", "avx512" (VNNI), "neon". */
const char *ldm_kernels_q8_name(void);

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
    bool transposed; /* w is [K, N]: the way back through a linear layer, dX = dY W */
    bool bf16;       /* may round x and w to bf16 where ldm_kernels_have_bf16 */
    bool split;      /* may make products of f32 of three of bf16, where that is faster (AMX): they
                      * err by 2^-16 of each at most */
    /* X's last K_joined columns lie here instead, [joined_rows, K_joined], which stand beside each
     * joined_rows rows of x; NULL: x has them all */
    const float *joined;
    size_t K_joined, joined_rows;
} LdmGemm;
size_t ldm_gemm_scratch(void); /* of any product */
bool ldm_gemm(const LdmGemm *gemm, GCancellable *cancellable);

/* y [M, C] = v * GELU(g) of v | g = x [M, K] w [2C, K]^T + bias [2C]; bias.data may be NULL. */
typedef struct {
    size_t M, C, K;
    const float *x;
    LdmWeights w, bias;
    float *y;
    void *scratch;
    bool bf16, split; /* as in LdmGemm */
} LdmGemmGeglu;
size_t ldm_gemm_geglu_scratch(size_t K);
bool ldm_gemm_geglu(const LdmGemmGeglu *gemm, GCancellable *cancellable);

/* ---- q8: weights in 8 bits ----
 * W[n, c, t] = byte * scale[n, block of c, t]: output channel, input channel, tap; bytes from -127
 * to 127, and a scale for at most 640 input channels, which are shared out evenly. */
#define LDM_Q8_TAPS 9
typedef struct {
    size_t N, C, taps; /* taps <= LDM_Q8_TAPS */
    int8_t *bytes;     /* in panels (q8-weights.c) */
    float *scales;
} LdmQ8;
size_t ldm_q8_blocks(size_t C);
/* Memory that a matrix needs; the matrix in such memory, yet without content. */
size_t ldm_q8_bytes(size_t N, size_t C, size_t taps);
size_t ldm_q8_scales(size_t N, size_t C, size_t taps); /* of these, how many scales */
LdmQ8 ldm_q8_place(size_t N, size_t C, size_t taps, void *memory);
/* The same memory as two arrays: I8 of rank 4, F32 of rank 3. */
void ldm_q8_shapes(size_t N, size_t C, size_t taps, size_t bytes[4], size_t scales[4]);
/* Its content: w [N, C, taps], rounded; and back, to f16 [N, C, taps]. */
bool ldm_q8_round(const LdmQ8 *q8, LdmWeights w, GCancellable *cancellable);
bool ldm_q8_expand(const LdmQ8 *q8, uint16_t *halves, GCancellable *cancellable);

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
    bool normed;         /* reads x as SiLU(x * factor + shift); only where ldm_conv_reads_normed */
    const float *affine; /* then [N, 2, Cin]: factors, shifts */
    bool measured;       /* tells y's moments; only where ldm_conv_measures */
    double *moments;     /* then LDM_MOMENTS(Cout) of y */
    bool bf16, split;    /* as in LdmGemm; of convolutions, only 1x1 ones */
    bool bf16_taps;      /* larger ones, too, where that makes them faster (ldm_conv_rounds) */
} LdmConv;
void ldm_conv_output(const LdmConv *conv, size_t *Ho, size_t *Wo);
size_t ldm_conv_scratch(const LdmConv *conv);
bool ldm_conv(const LdmConv *conv, GCancellable *cancellable);

/* Whether such a convolution may be `normed`, and gains by it. */
bool ldm_conv_reads_normed(const LdmConv *conv);
/* Whether it may be `measured`, and who norms y gains by it. */
bool ldm_conv_measures(const LdmConv *conv);

/* The same with weights in 8 bits in place of conv->w. Every pixel of x is rounded to bytes, too, a
 * scale for each block of its channels; sums within a block are exact. */
size_t ldm_q8_conv_scratch(const LdmConv *conv);
bool ldm_q8_conv(const LdmConv *conv, const LdmQ8 *q8, GCancellable *cancellable);

/* Of every channel of a picture: C means, then C sums of (x - mean)^2. */
#define LDM_MOMENTS(C) (2 * (C))

/* ---- norm ----
 * GroupNorm over x [N, P, C] (P pixels), statistics per (n, group) in double or compensated f32;
 * y = (x - mean) / sqrt(var + eps) * gamma[C] + beta[C], then SiLU where `silu`. In place allowed.
 */
typedef struct {
    size_t N, P, C, groups;
    float eps;
    bool silu;
    const float *x;
    const double *moments; /* LDM_MOMENTS(C) of x where N = 1 and they are known, or NULL */
    LdmWeights gamma, beta;
    float *y;
    void *scratch;
    /* X's last C_joined channels lie here instead, [N_joined, P, C_joined] with N_joined = N or 1;
     * NULL: x has them all, and y may be x. Not on the way back. */
    const float *joined;
    size_t C_joined, N_joined;
} LdmGroupNorm;
size_t ldm_group_norm_scratch(const LdmGroupNorm *norm);
bool ldm_group_norm(const LdmGroupNorm *norm, GCancellable *cancellable);
/* Its first half: affine [N, 2, C], the factor and the shift of every channel; y is not touched. */
bool ldm_group_norm_affine(const LdmGroupNorm *norm, float *affine, GCancellable *cancellable);

/* LayerNorm over the last index of x [rows, C]: N rows, P = groups = 1; no scratch. */
bool ldm_layer_norm(const LdmGroupNorm *norm, GCancellable *cancellable);

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

/* ---- attention: softmax(q k^T * scale [+ causal mask]) v, tiled, never [Tq, Tk] at once ----
 * q [N, Tq, heads, d] with q_stride floats between tokens; k, v [Nkv, Tk, heads, d] likewise;
 * Nkv is N or 1 (shared). y [N, Tq, heads*d] dense. */
typedef struct {
    size_t N, Nkv, Tq, Tk, heads, d;
    size_t q_stride, k_stride, v_stride;
    float scale;
    bool causal;
    bool bf16, split; /* as in LdmGemm, of q, k, v and the softmax weights */
    const float *q, *k, *v;
    float *y;
    float *logsumexp; /* [N, heads, Tq] of the scaled scores, for the way back; NULL: not wanted */
    void *scratch;
} LdmAttention;
size_t ldm_attention_scratch(const LdmAttention *attention);
bool ldm_attention(const LdmAttention *attention, GCancellable *cancellable);

/* ---- merge: one token for several that say nearly the same (arXiv 2303.17604) ----
 * Of x [N, H, W, C] the upper left token of every 2 x 2 block is a destination. Of the others,
 * those `merged` that are most similar to a destination, by the cosine, go there; rows = H * W -
 * merged stay. */
typedef struct {
    uint32_t place; /* the row that stands for it */
    float share;    /* in the running mean of that row */
} LdmToken;
typedef struct {
    size_t N, H, W, C, merged; /* H, W >= 2; merged <= ldm_merge_most */
    LdmToken *tokens;          /* [N, H * W]: match writes them, the others read them */
    bool bf16;                 /* as in LdmGemm, of the similarities */
    void *scratch;
} LdmMerge;
size_t ldm_merge_most(size_t H, size_t W);
size_t ldm_merge_scratch(const LdmMerge *merge); /* of match; the others need none */
bool ldm_merge_match(const LdmMerge *merge, const float *x, GCancellable *cancellable);
/* y [N, rows, C]: the means of x [N, H, W, C] by place */
bool ldm_merge(const LdmMerge *merge, const float *x, float *y, GCancellable *cancellable);
/* y [N, H, W, C] = x [N, rows, C], for every token that of its place, + residual, which may be y */
bool ldm_unmerge(const LdmMerge *merge, const float *x, const float *residual, float *y,
                 GCancellable *cancellable);

/* ---- resample: x [1, H, W, C] -> y [1, Ho, Wo, C], separable, edges clamped ----
 * LANCZOS (a = 3) widens its kernel when reducing (antialias); BOX averages areas exactly. */
typedef enum { LDM_RESAMPLE_LANCZOS, LDM_RESAMPLE_BILINEAR, LDM_RESAMPLE_BOX } LdmResample;
size_t ldm_resample_scratch(size_t H, size_t W, size_t C, size_t Ho, size_t Wo);
bool ldm_resample(LdmResample filter, const LdmTensor *x, const LdmTensor *y, void *scratch,
                  GCancellable *cancellable);

/* ---- the way back: gradients of inputs are written, or added where `add`; those of parameters are
 * always added, f32 in the parameter's layout. NULL: not wanted. Sums run in an order that
 * depends on shapes and the number of threads only. ---- */

/* Elementwise: dx (+)= dy * f'(x). Of GEGLU x and dx are [rows, 2C], dy [rows, C]. */
typedef struct {
    const float *x, *dy;
    float *dx;
    bool add;
} LdmMapBackward;
bool ldm_activate_backward(LdmActivation act, size_t n, const LdmMapBackward *map,
                           GCancellable *cancellable);
bool ldm_geglu_backward(size_t rows, size_t C, const LdmMapBackward *map,
                        GCancellable *cancellable);

/* y[n, c] (+)= sum over p of x[n, p, c]: a bias (N = 1), the time embedding. */
bool ldm_sum_rows(size_t N, size_t P, size_t C, const float *x, float *y, bool add,
                  GCancellable *cancellable);

/* y [rows, n] (+)= columns first .. first + n - 1 of x [rows, C]: half of a concatenation. */
typedef struct {
    size_t rows, C, first, n;
    const float *x;
    float *y;
    bool add;
} LdmColumns;
bool ldm_take_columns(const LdmColumns *columns, GCancellable *cancellable);

/* x [N, H, W, C] (+)= the sum of those y [N, Ho, Wo, C] that are read from it, y(h, w) = x(h / 2,
 * w / 2); Ho is 2H or 2H - 1, likewise Wo. */
typedef struct {
    size_t N, H, W, C, Ho, Wo;
    const float *dy;
    float *dx;
    bool add;
} LdmUpsampleBackward;
bool ldm_upsample_backward(const LdmUpsampleBackward *upsample, GCancellable *cancellable);

/* Convolution. backward_input reads conv's sizes and w; backward_weights its sizes and x. A linear
 * layer is a 1x1 convolution of one row: its dW goes the same way (H = 1, W = rows). */
typedef struct {
    const LdmConv *conv;
    const float *dy; /* [N, Ho, Wo, Cout] */
    float *d;        /* dx, or dw */
    bool add;        /* dx only */
    void *scratch;
} LdmConvBackward;
size_t ldm_conv_backward_input_scratch(const LdmConv *conv);
bool ldm_conv_backward_input(const LdmConvBackward *back, GCancellable *cancellable);
size_t ldm_conv_backward_weights_scratch(const LdmConv *conv);
bool ldm_conv_backward_weights(const LdmConvBackward *back, GCancellable *cancellable);

/* GroupNorm [+ SiLU], or LayerNorm. Statistics are taken again. */
typedef struct {
    const LdmGroupNorm *norm;
    const float *dy;
    float *dx, *dgamma, *dbeta;
    bool add; /* dx */
    void *scratch;
} LdmNormBackward;
size_t ldm_group_norm_backward_scratch(const LdmGroupNorm *norm);
bool ldm_group_norm_backward(const LdmNormBackward *back, GCancellable *cancellable);
size_t ldm_layer_norm_backward_scratch(const LdmGroupNorm *norm);
bool ldm_layer_norm_backward(const LdmNormBackward *back, GCancellable *cancellable);

/* Attention, with its y and logsumexp; dq, dk, dv are laid out as q, k, v. */
typedef struct {
    const LdmAttention *attention;
    const float *dy;
    float *dq, *dk, *dv;
    bool add_q, add_k, add_v;
    void *scratch;
} LdmAttentionBackward;
size_t ldm_attention_backward_scratch(const LdmAttention *attention);
bool ldm_attention_backward(const LdmAttentionBackward *back, GCancellable *cancellable);
