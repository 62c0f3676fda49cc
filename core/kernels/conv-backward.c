/* The way back through convolutions and, as 1x1 convolutions, linear layers. dX: a convolution of
 * dY with the weights flipped and their channels swapped; a stride puts zeros between the pixels of
 * dY, an upsampling sums four pixels of the enlarged dX. dW[co, tap, ci] = sum over output pixels p
 * of dY[p, co] X[p at tap, ci]: a product of depth "all pixels", dY transposed band by band, the
 * rows of X gathered as they are packed, so nothing like im2col ever exists; 3x3 kernels go by
 * Winograd instead where that gains (conv-winograd-backward.c). */
#include "kernels/conv.h"

#include "base/parallel.h"

#include <string.h>

/* ---- dX ---- */

typedef struct {
    const LdmConvBackward *back;
    LdmConv conv;                    /* the one that makes dX, or the enlarged dX */
    float *weights, *sparse, *large; /* flipped; dY with gaps; enlarged dX */
    size_t Ho, Wo;                   /* of dY */
    size_t weight_floats, sparse_floats, large_floats;
} InputJob;

static bool is_product(const LdmConv *c)
{
    return c->KH == 1 && c->KW == 1 && c->stride == 1 && c->upsample == 1 &&
           c->pad_top + c->pad_left + c->pad_bottom + c->pad_right == 0;
}

static void input_job_init(InputJob *job, const LdmConv *c)
{
    *job = (InputJob){.weight_floats = ldm_whole_lines(c->Cin * c->Cout * c->KH * c->KW)};
    ldm_conv_output(c, &job->Ho, &job->Wo);
    size_t H = (job->Ho - 1) * c->stride + 1, W = (job->Wo - 1) * c->stride + 1;
    int top = (int)c->KH - 1 - c->pad_top, left = (int)c->KW - 1 - c->pad_left;
    job->conv = (LdmConv){.N = c->N,
                          .H = H,
                          .W = W,
                          .Cin = c->Cout,
                          .Cout = c->Cin,
                          .KH = c->KH,
                          .KW = c->KW,
                          .stride = 1,
                          .pad_top = top,
                          .pad_left = left,
                          .pad_bottom = (int)(c->H * c->upsample + c->KH - 1 - H) - top,
                          .pad_right = (int)(c->W * c->upsample + c->KW - 1 - W) - left,
                          .upsample = 1};
    if (c->stride > 1)
        job->sparse_floats = ldm_whole_lines(c->N * H * W * c->Cout);
    if (c->upsample > 1)
        job->large_floats = ldm_whole_lines(c->N * c->H * c->W * 4 * c->Cin);
}

size_t ldm_conv_backward_input_scratch(const LdmConv *c)
{
    InputJob job;
    if (is_product(c))
        return ldm_gemm_scratch(c->N * c->H * c->W, c->Cin, c->Cout, c->w.dtype);
    input_job_init(&job, c);
    return (job.weight_floats + job.sparse_floats + job.large_floats) * sizeof(float) +
           ldm_conv_scratch(&job.conv);
}

/* W[Cout, Cin, taps] -> [Cin, Cout, taps backwards], for one input channel. */
static void flip_task(size_t ci, int thread, void *data)
{
    const InputJob *job = data;
    const LdmConv *c = job->back->conv;
    size_t taps = c->KH * c->KW;
    float *out = job->weights + ci * c->Cout * taps;
    for (size_t co = 0; co < c->Cout; co++, out += taps) {
        ldm_convert_to_f32(ldm_weights_at(c->w, (co * c->Cin + ci) * taps).data, c->w.dtype, out,
                           taps);
        for (size_t i = 0; i < taps / 2; i++) {
            float value = out[i];
            out[i] = out[taps - 1 - i];
            out[taps - 1 - i] = value;
        }
    }
}

/* One row of dY, zeros between its pixels and, but after the last row, rows of zeros below it. */
static void spread_task(size_t index, int thread, void *data)
{
    const InputJob *job = data;
    const LdmConv *c = job->back->conv;
    size_t n = index / job->Ho, h = index % job->Ho, C = c->Cout;
    size_t row = job->conv.W * C, rows = h + 1 < job->Ho ? (size_t)c->stride : 1;
    float *out = job->sparse + (n * job->conv.H + h * c->stride) * row;
    const float *dy = job->back->dy + index * job->Wo * C;
    memset(out, 0, rows * row * sizeof(float));
    for (size_t w = 0; w < job->Wo; w++)
        memcpy(out + w * c->stride * C, dy + w * C, C * sizeof(float));
}

static bool product_backward_input(const LdmConvBackward *back, GCancellable *cancellable)
{
    const LdmConv *c = back->conv;
    LdmGemm gemm = {.M = c->N * c->H * c->W,
                    .N = c->Cin,
                    .K = c->Cout,
                    .x = back->dy,
                    .w = c->w,
                    .residual = back->add ? back->d : NULL,
                    .y = back->d,
                    .scratch = back->scratch,
                    .transposed = true};
    return ldm_gemm(&gemm, cancellable);
}

bool ldm_conv_backward_input(const LdmConvBackward *back, GCancellable *cancellable)
{
    const LdmConv *c = back->conv;
    InputJob job;
    if (is_product(c))
        return product_backward_input(back, cancellable);
    input_job_init(&job, c);
    job.back = back;
    job.weights = back->scratch;
    job.sparse = job.weights + job.weight_floats;
    job.large = job.sparse + job.sparse_floats;
    if (!ldm_parallel_for(c->Cin, flip_task, &job, cancellable))
        return false;
    if (c->stride > 1 && !ldm_parallel_for(c->N * job.Ho, spread_task, &job, cancellable))
        return false;
    bool large = c->upsample > 1;
    job.conv.x = c->stride > 1 ? job.sparse : back->dy;
    job.conv.w = (LdmWeights){job.weights, LDM_F32};
    job.conv.y = large ? job.large : back->d;
    job.conv.residual = back->add && !large ? back->d : NULL;
    job.conv.scratch = job.large + job.large_floats;
    if (!ldm_conv(&job.conv, cancellable))
        return false;
    if (!large)
        return true;
    LdmUpsampleBackward sum = {.N = c->N,
                               .H = c->H,
                               .W = c->W,
                               .C = c->Cin,
                               .Ho = 2 * c->H,
                               .Wo = 2 * c->W,
                               .dy = job.large,
                               .dx = back->d,
                               .add = back->add};
    return ldm_upsample_backward(&sum, cancellable);
}

/* ---- dW ---- */

#define KC          256 /* depth of a packed block: pixels */
#define PANELS      4
#define BAND_FLOATS ((size_t)2 << 20) /* 8 MB of dY, transposed, at a time */
#define STRIP       64                /* pixels a task transposes */

typedef struct {
    const LdmConvBackward *back;
    const LdmConv *c;
    const LdmLanes *lanes;
    size_t Ho, Wo, columns, pixels; /* columns = taps * Cin of dW, tap after tap */
    size_t band, pitch;             /* pixels of a band; floats from row to row of dY's transpose */
    float *turned;                  /* [Cout][pitch] */
    float *dw;                      /* [Cout][columns]; dW itself where there is one tap */
    size_t first, count;            /* pixels of this band */
    size_t column_blocks, block_rows;
    char *threads;
} WeightsJob;

typedef struct {
    float b[KC * PANELS * LDM_MAX_COLUMNS];
    float corner[LDM_MAX_ROWS * LDM_MAX_COLUMNS];
} WeightsScratch;

static void weights_job_init(WeightsJob *job, const LdmConv *c)
{
    *job = (WeightsJob){.c = c, .lanes = ldm_lanes(), .columns = c->KH * c->KW * c->Cin};
    ldm_conv_output(c, &job->Ho, &job->Wo);
    job->pixels = c->N * job->Ho * job->Wo;
    job->band = MAX(BAND_FLOATS / c->Cout / KC, (size_t)1) * KC;
    job->band = MIN(job->band, job->pixels);
    job->pitch = ldm_whole_lines(job->band) + 16;
    if (ldm_stride_collides(job->pitch))
        job->pitch += 16;
}

static size_t turned_floats(const WeightsJob *job)
{
    return ldm_whole_lines(job->c->Cout * job->pitch);
}

static size_t aside_floats(const WeightsJob *job)
{
    return job->columns == job->c->Cin ? 0 : ldm_whole_lines(job->c->Cout * job->columns);
}

size_t ldm_conv_backward_weights_scratch(const LdmConv *c)
{
    WeightsJob job;
    if (ldm_conv_winograd_backward_fits(c))
        return ldm_conv_winograd_backward_scratch(c);
    weights_job_init(&job, c);
    return (turned_floats(&job) + aside_floats(&job)) * sizeof(float) +
           ldm_threads() * sizeof(WeightsScratch);
}

static void turn_task(size_t index, int thread, void *data)
{
    const WeightsJob *job = data;
    size_t p = index * STRIP, Cout = job->c->Cout;
    job->lanes->transpose(job->back->dy + (job->first + p) * Cout, Cout, MIN(STRIP, job->count - p),
                          Cout, job->turned + p, job->pitch);
}

/* Channels ci .. ci + n - 1 of what a tap sees at `depth` output pixels from `pixel` on -> out, a
 * panel's rows. */
static void gather_tap(const WeightsJob *job, size_t pixel, size_t depth, size_t tap, size_t ci,
                       size_t n, float *out)
{
    const LdmConv *c = job->c;
    const size_t NR = 2 * job->lanes->width, H = c->H * c->upsample, W = c->W * c->upsample;
    size_t wo = pixel % job->Wo, row = pixel / job->Wo;
    int half = c->upsample - 1;
    while (depth > 0) {
        size_t ho = row % job->Ho, picture = row / job->Ho;
        size_t end = MIN(job->Wo, wo + depth);
        depth -= end - wo;
        /* negative positions become huge ones */
        size_t h = ho * c->stride + tap / c->KW - c->pad_top;
        const float *in = c->x + (picture * c->H + (h >> half)) * c->W * c->Cin + ci;
        for (; wo < end; wo++, out += NR) {
            size_t w = wo * c->stride + tap % c->KW - c->pad_left;
            if (h < H && w < W)
                memcpy(out, in + (w >> half) * c->Cin, n * sizeof(float));
            else
                memset(out, 0, n * sizeof(float));
        }
        wo = 0;
        row++;
    }
}

/* Columns j .. j + columns - 1 of the gathered X, zeros up to NR -> out [depth][NR]. */
static void gather_panel(const WeightsJob *job, size_t pixel, size_t depth, size_t j,
                         size_t columns, float *out)
{
    const size_t NR = 2 * job->lanes->width, Cin = job->c->Cin;
    for (size_t done = 0; done < columns;) {
        size_t tap = (j + done) / Cin, ci = (j + done) % Cin, n = MIN(columns - done, Cin - ci);
        gather_tap(job, pixel, depth, tap, ci, n, out + done);
        done += n;
    }
    for (size_t k = 0; k < depth && columns < NR; k++)
        memset(out + k * NR + columns, 0, (NR - columns) * sizeof(float));
}

static void weights_task(size_t index, int thread, void *data)
{
    const WeightsJob *job = data;
    const size_t NR = 2 * job->lanes->width, MR = job->lanes->rows;
    WeightsScratch *s = (WeightsScratch *)job->threads + thread;
    size_t j0 = index % job->column_blocks * PANELS * NR;
    size_t columns = MIN(PANELS * NR, job->columns - j0);
    size_t m0 = index / job->column_blocks * job->block_rows;
    size_t m1 = MIN(m0 + job->block_rows, job->c->Cout);
    for (size_t k0 = 0; k0 < job->count; k0 += KC) {
        size_t depth = MIN((size_t)KC, job->count - k0);
        for (size_t n = 0; n < columns; n += NR)
            gather_panel(job, job->first + k0, depth, j0 + n, MIN(NR, columns - n),
                         s->b + n * depth);
        for (size_t m = m0; m < m1; m += MR)
            for (size_t n = 0; n < columns; n += NR) {
                LdmTile t = {.segments = 1,
                             .K = depth,
                             .a = job->turned + m * job->pitch + k0,
                             .lda = job->pitch,
                             .b = s->b + n * depth,
                             .c = job->dw + m * job->columns + j0 + n,
                             .ldc = job->columns,
                             .add = job->dw == job->back->d || job->first + k0 > 0};
                ldm_tile(job->lanes, (int)MIN(MR, m1 - m), MIN(NR, columns - n), &t, s->corner);
            }
    }
}

/* dW[co] += the sums put aside, [taps][Cin] -> torch's [Cin][taps]. */
static void add_task(size_t co, int thread, void *data)
{
    const WeightsJob *job = data;
    size_t Cin = job->c->Cin, taps = job->columns / Cin;
    const float *from = job->dw + co * job->columns;
    float *to = job->back->d + co * job->columns;
    for (size_t ci = 0; ci < Cin; ci++)
        for (size_t tap = 0; tap < taps; tap++)
            to[ci * taps + tap] += from[tap * Cin + ci];
}

bool ldm_conv_backward_weights(const LdmConvBackward *back, GCancellable *cancellable)
{
    WeightsJob job;
    if (ldm_conv_winograd_backward_fits(back->conv))
        return ldm_conv_winograd_backward(back, cancellable);
    weights_job_init(&job, back->conv);
    bool aside = aside_floats(&job) > 0;
    job.back = back;
    job.turned = back->scratch;
    job.dw = aside ? job.turned + turned_floats(&job) : back->d;
    job.threads = (char *)(job.turned + turned_floats(&job) + aside_floats(&job));
    const size_t MR = job.lanes->rows, Cout = back->conv->Cout;
    job.column_blocks = ldm_parts(job.columns, PANELS * 2 * job.lanes->width);
    /* several tasks a thread, but rows enough to pay for packing */
    size_t row_blocks =
        CLAMP(4 * (size_t)ldm_threads() / job.column_blocks, 1, ldm_parts(Cout, 4 * MR));
    job.block_rows = ldm_parts(ldm_parts(Cout, row_blocks), MR) * MR;
    size_t tasks = job.column_blocks * ldm_parts(Cout, job.block_rows);
    for (job.first = 0; job.first < job.pixels; job.first += job.count) {
        job.count = MIN(job.band, job.pixels - job.first);
        if (!ldm_parallel_for(ldm_parts(job.count, STRIP), turn_task, &job, cancellable) ||
            !ldm_parallel_for(tasks, weights_task, &job, cancellable))
            return false;
    }
    return !aside || ldm_parallel_for(Cout, add_task, &job, cancellable);
}
