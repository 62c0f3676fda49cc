/* Convolution as a product: for a block of output pixels the taps they see are gathered into rows
 * [pixel][kh][kw][Cin] (im2col), and multiplied with the weights brought into the same order. 1x1
 * convolutions are a product on the picture itself. Nearest-neighbour enlarging happens while
 * gathering. */
#include "base/parallel.h"
#include "kernels/gemm.h"

#include <string.h>

void ldm_conv_output(const LdmConv *conv, size_t *Ho, size_t *Wo)
{
    size_t H = conv->H * conv->upsample + conv->pad_top + conv->pad_bottom;
    size_t W = conv->W * conv->upsample + conv->pad_left + conv->pad_right;
    *Ho = H < conv->KH ? 0 : (H - conv->KH) / conv->stride + 1;
    *Wo = W < conv->KW ? 0 : (W - conv->KW) / conv->stride + 1;
}

/* How the work is cut: K columns of the product; `block` output channels have their weights
 * expanded at a time, `pixels` output pixels are gathered at a time. */
typedef struct {
    const LdmConv *conv;
    size_t Ho, Wo, K, total, block, pixels;
    size_t first;          /* output channel or pixel the current block begins with */
    size_t count;          /* how many are in it */
    size_t per_tile;
    float *weights, *taps; /* [block, K], [pixels, K] */
} ConvJob;

static size_t parts(size_t n, size_t size)
{
    return (n + size - 1) / size;
}

/* The even share of n of at most `most` floats / K rows. */
static size_t even_block(size_t n, size_t K, size_t bytes)
{
    size_t most = CLAMP(bytes / sizeof(float) / K, 1, MAX(n, 1));
    return parts(n, parts(n, most));
}

static bool is_product(const LdmConv *conv)
{
    return conv->KH == 1 && conv->KW == 1 && conv->stride == 1 && conv->upsample == 1 &&
           conv->pad_top + conv->pad_left + conv->pad_bottom + conv->pad_right == 0;
}

static ConvJob plan(const LdmConv *conv)
{
    ConvJob job = {.conv = conv, .K = conv->KH * conv->KW * conv->Cin};
    ldm_conv_output(conv, &job.Ho, &job.Wo);
    job.total = MAX(conv->N * job.Ho * job.Wo, 1);
    job.block = even_block(conv->Cout, job.K, LDM_WEIGHT_SCRATCH);
    job.pixels = even_block(job.total, job.K, LDM_PIXEL_SCRATCH);
    return job;
}

size_t ldm_conv_scratch(const LdmConv *conv)
{
    if (is_product(conv))
        return ldm_gemm_scratch(conv->N * conv->H * conv->W, conv->Cout, conv->Cin, conv->w.dtype);
    ConvJob job = plan(conv);
    return (job.block + job.pixels) * job.K * sizeof(float);
}

/* One output channel's [Cin][taps] to [taps][Cin]; the source is expanded a stretch at a time. */
static void weights_tile(size_t index, int thread, void *data)
{
    enum { STRETCH = 1024 };
    const ConvJob *job = data;
    const LdmConv *conv = job->conv;
    size_t taps = conv->KH * conv->KW, Cin = conv->Cin;
    float buffer[STRETCH];
    size_t channels = MAX(STRETCH / taps, 1);
    for (size_t o = index * job->per_tile; o < MIN((index + 1) * job->per_tile, job->count); o++) {
        float *dst = job->weights + o * job->K;
        size_t src = (job->first + o) * job->K;
        for (size_t c = 0; c < Cin; c += channels) {
            size_t n = MIN(channels, Cin - c);
            for (size_t t0 = 0; t0 < taps; t0 += STRETCH) {
                size_t width = MIN(STRETCH, taps - t0);
                const float *w =
                    ldm_weights_f32(conv->w, src + c * taps + t0, n * width, buffer);
                for (size_t t = 0; t < width; t++)
                    for (size_t i = 0; i < n; i++)
                        dst[(t0 + t) * Cin + c + i] = w[i * width + t];
            }
        }
    }
}

/* The taps of one kernel row for one output pixel: KW * Cin floats. iy, ix: the first tap's place
 * in the enlarged picture. */
static void gather_row(const LdmConv *conv, size_t n, ptrdiff_t iy, ptrdiff_t ix, float *dst)
{
    size_t Cin = conv->Cin, size = conv->KW * Cin;
    ptrdiff_t W = (ptrdiff_t) conv->W * conv->upsample, KW = (ptrdiff_t) conv->KW;
    if (iy < 0 || iy >= (ptrdiff_t) conv->H * conv->upsample) {
        memset(dst, 0, size * sizeof *dst);
        return;
    }
    const float *row = conv->x + (n * conv->H + iy / conv->upsample) * conv->W * Cin;
    ptrdiff_t from = CLAMP(-ix, 0, KW), to = CLAMP(W - ix, from, KW);
    memset(dst, 0, from * Cin * sizeof *dst);
    if (conv->upsample == 1)
        memcpy(dst + from * Cin, row + (ix + from) * Cin, (to - from) * Cin * sizeof *dst);
    else
        for (ptrdiff_t k = from; k < to; k++)
            memcpy(dst + k * Cin, row + (ix + k) / 2 * Cin, Cin * sizeof *dst);
    memset(dst + to * Cin, 0, (KW - to) * Cin * sizeof *dst);
}

static void gather_tile(size_t index, int thread, void *data)
{
    const ConvJob *job = data;
    const LdmConv *conv = job->conv;
    size_t end = MIN((index + 1) * job->per_tile, job->count);
    for (size_t i = index * job->per_tile; i < end; i++) {
        size_t pixel = job->first + i, n = pixel / (job->Ho * job->Wo);
        size_t oy = pixel / job->Wo % job->Ho, ox = pixel % job->Wo;
        ptrdiff_t iy = (ptrdiff_t) oy * conv->stride - conv->pad_top;
        ptrdiff_t ix = (ptrdiff_t) ox * conv->stride - conv->pad_left;
        float *dst = job->taps + i * job->K;
        for (size_t kh = 0; kh < conv->KH; kh++)
            gather_row(conv, n, iy + (ptrdiff_t) kh, ix, dst + kh * conv->KW * conv->Cin);
    }
}

/* Weights or pixels of one block; tiles of about 256 KiB. */
static bool run_block(ConvJob job, size_t first, size_t count, LdmTileFunc tile,
                      GCancellable *cancellable)
{
    job.first = first;
    job.count = count;
    job.per_tile = MAX(((size_t) 1 << 16) / job.K, 1);
    return ldm_parallel_for(parts(count, job.per_tile), tile, &job, cancellable);
}

static bool multiply_block(const ConvJob *job, size_t channel, size_t pixel,
                           GCancellable *cancellable)
{
    const LdmConv *conv = job->conv;
    size_t row = pixel * conv->Cout;
    LdmProduct product = {
        .M = MIN(job->pixels, job->total - pixel),
        .n = MIN(job->block, conv->Cout - channel),
        .K = job->K,
        .N = conv->Cout,
        .column = channel,
        .x = job->taps,
        .w = job->weights,
        .bias = conv->bias,
        .residual = conv->residual == NULL ? NULL : conv->residual + row,
        .y = conv->y + row,
    };
    return ldm_product_run(&product, cancellable);
}

static bool conv_product(const LdmConv *conv, GCancellable *cancellable)
{
    LdmGemm gemm = {
        .M = conv->N * conv->H * conv->W, .N = conv->Cout, .K = conv->Cin,
        .x = conv->x, .w = conv->w, .bias = conv->bias,
        .residual = conv->residual, .y = conv->y, .scratch = conv->scratch,
    };
    return ldm_gemm(&gemm, cancellable);
}

/* Large weights are expanded once per call; where they come in several blocks, the pixels, which
 * are fewer then, are gathered again for each, unless they all fit. */
bool ldm_conv(const LdmConv *conv, GCancellable *cancellable)
{
    if (is_product(conv))
        return conv_product(conv, cancellable);
    ConvJob job = plan(conv);
    job.weights = conv->scratch;
    job.taps = job.weights + job.block * job.K;
    for (size_t channel = 0; channel < conv->Cout; channel += job.block) {
        size_t channels = MIN(job.block, conv->Cout - channel);
        if (!run_block(job, channel, channels, weights_tile, cancellable))
            return false;
        for (size_t pixel = 0; pixel < job.total; pixel += job.pixels) {
            size_t pixels = MIN(job.pixels, job.total - pixel);
            bool gathered = channel > 0 && pixels == job.total;
            if (!gathered && !run_block(job, pixel, pixels, gather_tile, cancellable))
                return false;
            if (!multiply_block(&job, channel, pixel, cancellable))
                return false;
        }
    }
    return true;
}
