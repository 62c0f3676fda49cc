/* The inner loops, one table per instruction set: one thread, one run of numbers, no decisions.
 * The sources convert.c, act.c, norm.c, gemm.c, conv.c, attention.c, resample.c cut arrays into
 * tiles and call these; the *-vector.h files hold the loops, written once for any vector width. */
#pragma once

#include "kernels/kernels.h"

#define LDM_MAX_ROWS    32
#define LDM_MAX_COLUMNS 32
#define LDM_LINE        16 /* floats of a cache line */

typedef void LdmMapFunc(const float *x, float *y, size_t n);

/* C[rows, NR] (+)= sum over segments s and depth k of A[m * lda + offsets[s] + k] B[s][k][NR]: a
 * batch-reduce product (Georganas et al., arXiv 1906.06440). The nine taps of a 3x3 convolution
 * are nine shifted views of the same picture, so nothing is gathered. */
typedef struct {
    size_t segments, K;
    const ptrdiff_t *offsets; /* [segments] floats; NULL: none, one segment */
    const float *a;
    size_t lda;
    const float *b; /* [segments][K][NR] */
    float *c;
    size_t ldc;
    int vectors; /* 2: NR columns; 1: the left half only */
    bool add;    /* to what C holds */
    /* What will be read soon comes while the processor multiplies: a cache line each step down the
     * depth, LDM_LINE of them ahead_step floats apart, as many from ahead_turn floats further on,
     * and so forth. NULL: nothing. */
    const float *ahead;
    size_t ahead_step, ahead_turn;
} LdmTile;
typedef void LdmTileFunction(int rows, const LdmTile *tile);

/* out[row(j)][n] = src[n * ld + j], n < NR (0 from `rows` on), j < J, as f32;
 * row(j) = (j % taps) * tap_stride + j / taps turns torch's [Cin][taps] into [taps][Cin]; with one
 * tap row(j) = j. What lies `next` numbers after src will be packed soon and is asked for. */
typedef struct {
    LdmWeights src;
    size_t ld, rows, J, taps, tap_stride, next;
    float *out;
} LdmPack;

/* Ways of a 3x3 convolution by Winograd: 4 x 4 outputs from 6 x 6 pixels by 36 products, 2 x 2 from
 * 4 x 4 by 16, or 6 x 6 from 8 x 8 by 64; over pixels that count twice each way (LdmConv.upsample),
 * 4 x 4 outputs from 4 x 4 pixels by 25, 8 x 8 from 6 x 6 by 81; with a stride of 2, 4 x 4 outputs
 * from 9 x 9 pixels by 81 products, 25 sums. */
typedef enum {
    LDM_WINOGRAD,
    LDM_WINOGRAD_2,
    LDM_WINOGRAD_6,
    LDM_WINOGRAD_DOUBLED_2,
    LDM_WINOGRAD_DOUBLED_4,
    LDM_WINOGRAD_STRIDED,
} LdmWinograd;

/* Along one side: pixels that a tile reads, products, sums of products, outputs. */
static inline int ldm_winograd_side(LdmWinograd way)
{
    if (way == LDM_WINOGRAD_STRIDED)
        return 9;
    if (way == LDM_WINOGRAD_6)
        return 8;
    return way == LDM_WINOGRAD_2 || way == LDM_WINOGRAD_DOUBLED_2 ? 4 : 6;
}

static inline int ldm_winograd_products(LdmWinograd way)
{
    if (way == LDM_WINOGRAD_2)
        return 4;
    if (way == LDM_WINOGRAD_6)
        return 8;
    return way == LDM_WINOGRAD ? 6 : way == LDM_WINOGRAD_DOUBLED_2 ? 5 : 9;
}

static inline int ldm_winograd_sums(LdmWinograd way)
{
    return way == LDM_WINOGRAD_STRIDED ? 5 : ldm_winograd_products(way);
}

static inline int ldm_winograd_outputs(LdmWinograd way)
{
    if (way == LDM_WINOGRAD_6)
        return 6;
    return way == LDM_WINOGRAD_DOUBLED_4 ? 8 : way == LDM_WINOGRAD_2 ? 2 : 4;
}

/* A tile of side x side pixels with C channels -> V: as many runs of C floats, v_stride apart. */
typedef struct {
    const float *pixels[81];
    size_t C;
    float *v;
    size_t v_stride;
} LdmWinogradInput;

/* Four neighbours in a row, 3x3 taps, few outputs: y [4][outputs] = the sums over taps and
 * channels. w [9][outputs][pitch] has zeros from C on. */
#define LDM_NARROW_PIXELS  4
#define LDM_NARROW_OUTPUTS 4
typedef struct {
    const float *w;
    size_t C, pitch;
    const float *pixels[3][LDM_NARROW_PIXELS + 2]; /* of C floats */
    float *y;
} LdmNarrow;

/* All products of 2 x 2 outputs of a few tiles with K channels of weights [K][9][NR], which are
 * transformed in registers. v [K][16][LDM_WINOGRAD_FEW]; planes of M are [tiles][NR]. */
#define LDM_WINOGRAD_FEW 4
typedef struct {
    const float *w;
    size_t K;
    const float *v;
    float *m;
    size_t m_stride;
    int tiles;   /* <= LDM_WINOGRAD_FEW */
    int vectors; /* 2: NR columns; 1: the left half only */
    bool add;    /* to what M holds */
} LdmWinogradFew;

/* sums x sums runs of NR numbers, m_stride apart -> output pixels + bias + residual. */
typedef struct {
    const float *m;
    size_t m_stride;
    const float *bias;     /* [NR] */
    const float *residual; /* laid out as y; NULL: none */
    float *y;              /* the tile's first pixel */
    size_t pixel, row;     /* floats to the next pixel, to the next row */
    int rows, columns;     /* of the tile that lie in the picture */
    size_t channels;       /* <= NR to be written */
    bool past;             /* the caches; y, pixel and row are whole lines then */
    float *mean, *m2;      /* [channels]: running moments that y joins; NULL: none */
    int seen;              /* pixels that they are of */
} LdmWinogradOutput;

/* Some channels of some pixels on the way back through u = x * factor + shift [, SiLU]. */
typedef struct {
    const float *x, *dy; /* rows `stride` apart */
    size_t pixels, stride, n;
    const float *factor, *shift, *mean; /* [n] */
    bool silu;
} LdmNormRows;

/* n numbers of one row on the way back through (x - mean) * factor * gamma + beta. */
typedef struct {
    const float *x, *dy;
    size_t n;
    float mean, factor, slope, offset;
} LdmRowBackward;

typedef void LdmMapBackwardFunc(const float *x, const float *dy, float *dx, size_t n, bool add);

typedef struct {
    const char *name;
    int width; /* floats a vector; panels have NR = 2 * width columns */
    int rows;  /* of the largest register tile, <= LDM_MAX_ROWS */

    /* matrix */
    void (*tile)(int rows, const LdmTile *tile);
    void (*pack)(const LdmPack *pack);
    /* y[n] = x[K] . w[n][K] for n < N */
    void (*rows_dot)(const float *x, LdmWeights w, size_t N, size_t K, float *y);
    void (*epilogue)(size_t n, const float *bias, const float *residual, float *y); /* y += both */
    void (*narrow)(int outputs, const LdmNarrow *narrow);
    void (*winograd_input)(LdmWinograd way, const LdmWinogradInput *in);
    /* w [K][9][NR] -> U: products x products arrays [K][NR], u_stride floats apart */
    void (*winograd_weights)(LdmWinograd way, const float *w, size_t K, float *u, size_t u_stride);
    void (*winograd_few)(const LdmWinogradFew *few); /* NULL: too few registers */
    void (*winograd_output)(LdmWinograd way, const LdmWinogradOutput *out);

    /* convert */
    void (*f16_to_f32)(const uint16_t *x, float *y, size_t n);
    void (*bf16_to_f32)(const uint16_t *x, float *y, size_t n);
    void (*f32_to_f16)(const float *x, uint16_t *y, size_t n);
    void (*f32_to_bf16)(const float *x, uint16_t *y, size_t n);

    /* act; y may be x */
    LdmMapFunc *silu, *gelu, *quick_gelu;
    void (*geglu)(const float *x, float *y, size_t n); /* y[n] = x[0:n] * GELU(x[n:2n]) */
    void (*add)(const float *a, const float *b, float *y, size_t n);
    void (*add_scaled)(float a, const float *x, float *y, size_t n); /* y += a * x */

    /* norm. Channels c < n of `pixels` rows `stride` floats apart join the running mean[c] and
     * m2[c] = sum of (x - mean)^2 of the `seen` rows before them. */
    void (*channel_moments)(const float *x, size_t pixels, size_t stride, size_t n, size_t seen,
                            double *mean, double *m2);
    /* y = x * scale[c] + shift[c], then SiLU where asked; rows ldx and ldy apart. */
    void (*channel_affine)(const float *x, size_t ldx, float *y, size_t ldy, size_t pixels,
                           size_t n, const float *scale, const float *shift, bool silu);
    void (*row_moments)(const float *x, size_t n, double *mean, double *variance);
    /* y = (x - mean) * factor * gamma + beta */
    void (*row_normalise)(const float *x, float *y, size_t n, float mean, float factor,
                          const float *gamma, const float *beta);

    /* softmaxes of columns, NR = 2 * width side by side, over rows > 0 that come in pieces:
     * x [rows][NR] becomes exp(x * scale - m) where m = max(*max, all x * scale); max becomes m,
     * sum that of all terms so far, all [NR]. shrink: what the earlier terms shrink by; true if
     * any does. */
    bool (*softmax_columns)(float *x, size_t rows, float scale, float *max, float *sum,
                            float *shrink);
    void (*scale_columns)(const float *factors, size_t rows, float *y); /* y[r][i] *= factors[i] */

    /* training */
    void (*tile_turned)(int rows, const LdmTile *tile); /* A[k * lda + m]; one segment */
    /* A dy A^T of 4 x 4 pixels, the first 16, with C channels -> 36 runs of C floats */
    void (*winograd_gradient)(const LdmWinogradInput *in);
    /* u: 36 runs of n gradients of transformed weights -> dw [n][9] += G^T u G */
    void (*winograd_weights_backward)(const float *u, size_t u_stride, size_t n, float *dw);
    /* y[r][i] = x[r][i], i < n */
    void (*copy_rows)(const float *x, size_t ldx, size_t rows, size_t n, float *y, size_t ldy);
    void (*sum_rows)(const float *x, size_t rows, size_t stride, size_t n, double *sum); /* += */
    /* dx = dy * f'(x); of geglu: x and dx [2n], dy [n] */
    LdmMapBackwardFunc *silu_backward, *gelu_backward, *quick_gelu_backward, *geglu_backward;
    /* With du the gradient of u: sum += du, dot += du * (x - mean), a channel each; then
     * dx = du * factor + (x - mean) * slope + offset. */
    void (*norm_sums)(const LdmNormRows *rows, double *sum, double *dot);
    void (*norm_backward)(const LdmNormRows *rows, const float *slope, const float *offset,
                          float *dx, bool add);
    /* The same along a row: sum of dy * gamma, and of that times (x - mean). */
    void (*row_sums)(const float *x, const float *dy, const float *gamma, size_t n, float mean,
                     double *sum, double *dot);
    void (*row_backward)(const LdmRowBackward *row, const float *gamma, float *dx, bool add);
    void (*row_parameters)(const LdmRowBackward *row, float *dgamma, float *dbeta); /* += */
    void (*softmax_backward)(float *score, float *dp, size_t n, float scale, float logsumexp,
                             float delta);
} LdmLanes;

extern const LdmLanes ldm_lanes_base;
#ifdef __x86_64__
extern const LdmLanes ldm_lanes_avx2, ldm_lanes_avx512;
#elif defined __aarch64__
extern const LdmLanes ldm_lanes_neon;
#endif

/* The table in use. */
const LdmLanes *ldm_lanes(void);

/* `n` constants from `first` on, as f32: their own memory where they are f32, else expanded into
 * `buffer` [n]. */
const float *ldm_weights_f32(LdmWeights weights, size_t first, size_t n, float *buffer);
