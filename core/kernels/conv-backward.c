/* The way back through convolutions and, as 1x1 convolutions, linear layers. dX: a convolution of
 * dY with the weights flipped and their channels swapped; a stride puts zeros between the pixels of
 * dY, an upsampling sums four pixels of the enlarged dX. dW[co, tap, ci] = sum over output pixels p
 * of dY[p, co] X[p at tap, ci]: a product of depth "all pixels", dY read depth outside, the
 * rows of X gathered as they are packed, so nothing like im2col ever exists; 3x3 kernels go by
 * Winograd instead where that gains (conv-winograd-backward.c). */
#include "kernels/conv.h"
#include "kernels/pairs.h"

#include "base/parallel.h"

#include <string.h>

/* ---- dX ---- */

typedef struct {
    const LdmConvBackward *back;
    LdmConv conv;                    /* the one that makes dX, or the enlarged dX */
    float *weights, *sparse, *large; /* flipped; dY with gaps; enlarged dX */
    size_t Ho, Wo;                   /* of dY */
    size_t down, right;              /* where in the spread picture its first pixel lies */
    size_t weight_floats, sparse_floats, large_floats;
} InputJob;

static bool is_product(const LdmConv *c)
{
    return c->KH == 1 && c->KW == 1 && c->stride == 1 && c->upsample == 1 &&
           c->pad_top + c->pad_left + c->pad_bottom + c->pad_right == 0;
}

/* A 3x3 kernel with a stride: dY spread over a picture of x's own size, so that every side
 * has one pixel of padding, which Winograd takes. */
static bool spreads_evenly(const LdmConv *c)
{
    return c->stride > 1 && c->KH == 3 && c->KW == 3 && c->upsample == 1 && c->pad_top >= 0 &&
           c->pad_top <= 1 && c->pad_left >= 0 && c->pad_left <= 1 && c->pad_bottom <= 1 &&
           c->pad_right <= 1;
}

static void input_job_init(InputJob *job, const LdmConv *c)
{
    *job = (InputJob){.weight_floats = ldm_whole_lines(c->Cin * c->Cout * c->KH * c->KW)};
    ldm_conv_output(c, &job->Ho, &job->Wo);
    size_t H = (job->Ho - 1) * c->stride + 1, W = (job->Wo - 1) * c->stride + 1;
    int top = (int)c->KH - 1 - c->pad_top, left = (int)c->KW - 1 - c->pad_left;
    if (spreads_evenly(c)) {
        job->down = (size_t)top - 1;
        job->right = (size_t)left - 1;
        top = left = 1;
        H = c->H;
        W = c->W;
    }
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
                          .upsample = 1,
                          .bf16 = c->bf16,
                          .bf16_taps = c->bf16_taps};
    if (c->stride > 1)
        job->sparse_floats = ldm_whole_lines(c->N * H * W * c->Cout);
    if (c->upsample > 1)
        job->large_floats = ldm_whole_lines(c->N * c->H * c->W * 4 * c->Cin);
}

size_t ldm_conv_backward_input_scratch(const LdmConv *c)
{
    InputJob job;
    if (is_product(c))
        return ldm_gemm_scratch();
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

/* One row of the spread picture: zeros but where a pixel of dY lies. */
static void spread_task(size_t index, int thread, void *data)
{
    const InputJob *job = data;
    const LdmConv *c = job->back->conv;
    size_t C = c->Cout, step = (size_t)c->stride * C, n = index / job->conv.H;
    size_t row = index % job->conv.H - job->down, h = row / c->stride; /* above it: huge */
    float *out = job->sparse + index * job->conv.W * C;
    memset(out, 0, job->conv.W * C * sizeof(float));
    if (row % c->stride != 0 || h >= job->Ho)
        return;
    const float *dy = job->back->dy + (n * job->Ho + h) * job->Wo * C;
    for (size_t w = 0; w < job->Wo; w++)
        memcpy(out + job->right * C + w * step, dy + w * C, C * sizeof(float));
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
                    .transposed = true,
                    .bf16 = c->bf16};
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
    if (c->stride > 1 && !ldm_parallel_for(c->N * job.conv.H, spread_task, &job, cancellable))
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

#define KC     256 /* depth of a packed block: pixels */
#define PANELS 4
#define STRIPS 16        /* of dY's channels, the rows of a register tile each */
#define BAND   (32 * KC) /* pixels of a task */

#define WORD_PITCH (KC / 2 + LDM_LINE) /* from row to row of dY turned round, in pairs */

typedef struct {
    const LdmConvBackward *back;
    const LdmConv *c;
    const LdmLanes *lanes;
    const LdmPairs *pairs;          /* NULL: in f32 */
    size_t Ho, Wo, columns, pixels; /* columns = taps * Cin of dW, tap after tap */
    float *dw;                      /* [Cout][columns]; dW itself where there is one tap */
    size_t first, count;            /* pixels of this band */
    size_t column_blocks, block_columns, block_rows, strip; /* rows: whole strips of a tile */
    char *threads;
} WeightsJob;

typedef struct {
    float b[KC * PANELS * LDM_MAX_COLUMNS];
    float a[KC * STRIPS * LDM_MAX_ROWS];
    float corner[LDM_MAX_ROWS * LDM_MAX_COLUMNS];
} WeightsScratch;

static void weights_job_init(WeightsJob *job, const LdmConv *c)
{
    *job = (WeightsJob){.c = c, .lanes = ldm_lanes(), .columns = c->KH * c->KW * c->Cin};
    job->pairs = ldm_conv_rounds(c, ldm_conv_winograd_backward_fits(c)) ? ldm_pairs() : NULL;
    const size_t NR = 2 * job->lanes->width;
    size_t panels = ldm_parts(job->columns, NR);
    ldm_conv_output(c, &job->Ho, &job->Wo);
    job->pixels = c->N * job->Ho * job->Wo;
    job->column_blocks = ldm_parts(panels, PANELS);
    job->block_columns = ldm_parts(panels, job->column_blocks) * NR;
    /* Of even number, for two threads. How they lie depends on Cout alone: the compiler may round
     * differently in tiles of another height. */
    size_t MR = ldm_pairs_rows(job->pairs);
    size_t strips = ldm_parts(ldm_parts(c->Cout, MR), 2) * 2;
    job->strip = ldm_parts(c->Cout, c->Cout > MR ? strips : 1);
    /* several tasks a thread, but rows enough to pay for packing */
    size_t wanted = 4 * (size_t)ldm_threads() / job->column_blocks;
    strips = ldm_parts(strips, CLAMP(wanted, 1, ldm_parts(c->Cout, 3 * MR)));
    job->block_rows = MIN(strips, (size_t)STRIPS) * job->strip;
}

static bool goes_by_winograd(const LdmConv *c)
{
    return ldm_conv_winograd_backward_fits(c) && !ldm_conv_rounds(c, true);
}

static size_t aside_floats(const WeightsJob *job)
{
    return job->columns == job->c->Cin ? 0 : ldm_whole_lines(job->c->Cout * job->columns);
}

size_t ldm_conv_backward_weights_scratch(const LdmConv *c)
{
    WeightsJob job;
    if (goes_by_winograd(c))
        return ldm_conv_winograd_backward_scratch(c);
    weights_job_init(&job, c);
    return aside_floats(&job) * sizeof(float) + ldm_threads() * sizeof(WeightsScratch);
}

/* Channels ci .. ci + n - 1 of what a tap sees at `depth` output pixels from `pixel` on -> out, a
 * panel's rows. */
static void gather_tap(const WeightsJob *job, size_t pixel, size_t depth, size_t tap, size_t ci,
                       size_t n, float *out)
{
    const LdmConv *c = job->c;
    const size_t NR = 2 * job->lanes->width, W = c->W * c->upsample, stride = c->stride;
    size_t wo = pixel % job->Wo, row = pixel / job->Wo, half = c->upsample - 1;
    while (depth > 0) {
        size_t ho = row % job->Ho, picture = row / job->Ho;
        size_t end = MIN(job->Wo, wo + depth);
        depth -= end - wo;
        /* negative positions become huge ones */
        size_t h = ho * stride + tap / c->KW - c->pad_top;
        size_t w = wo * stride + tap % c->KW - c->pad_left;
        const float *in = c->x + (picture * c->H + (h >> half)) * c->W * c->Cin + ci;
        while (wo < end) {
            size_t run = 1;
            if (h >= c->H * c->upsample || w >= W) {
                memset(out, 0, n * sizeof(float));
            } else {
                run = half > 0 ? 1 : MIN(end - wo, (W - w - 1) / stride + 1);
                job->lanes->copy_rows(in + (w >> half) * c->Cin, stride * c->Cin, run, n, out, NR);
            }
            out += run * NR;
            w += run * stride;
            wo += run;
        }
        wo = 0;
        row++;
    }
}

/* A task's part of dW and a block of pixels. */
typedef struct {
    size_t j0, columns, m0, rows, pixel, depth;
} WeightsBlock;

/* A panel: a task's columns from n on of the gathered X, zeros up to NR -> out [depth][NR]. */
static void gather_panel(const WeightsJob *job, const WeightsBlock *b, size_t n, float *out)
{
    const size_t NR = 2 * job->lanes->width, Cin = job->c->Cin, columns = MIN(NR, b->columns - n);
    for (size_t done = 0; done < columns;) {
        size_t j = b->j0 + n + done, tap = j / Cin, ci = j % Cin;
        size_t part = MIN(columns - done, Cin - ci);
        gather_tap(job, b->pixel, b->depth, tap, ci, part, out + done);
        done += part;
    }
    for (size_t k = 0; k < b->depth && columns < NR; k++)
        memset(out + k * NR + columns, 0, (NR - columns) * sizeof(float));
    if (job->pairs != NULL)
        ldm_pairs_panel(job->pairs, out, b->depth, NR, out);
}

/* Pixel after pixel, since both arrays are read where they lie in memory: whole panels of X where
 * nothing is to be gathered, returning their columns, and strips of dY [depth][strip]. */
static size_t copy_panels(const WeightsJob *job, const WeightsBlock *b, float *out)
{
    const size_t NR = 2 * job->lanes->width, Cin = job->c->Cin, panels = b->columns / NR;
    if (!is_product(job->c))
        return 0;
    if (job->pairs == NULL)
        for (size_t k = 0; k < b->depth; k++)
            job->lanes->copy_rows(job->c->x + (b->pixel + k) * Cin + b->j0, NR, panels, NR,
                                  out + k * NR, b->depth * NR);
    else
        for (size_t k = 0; k < b->depth; k += 2)
            for (size_t n = 0; n < panels * NR; n += NR) {
                const float *x = job->c->x + (b->pixel + k) * Cin + b->j0 + n;
                job->pairs->interleave(x, k + 1 < b->depth ? x + Cin : NULL, NR,
                                       out + n * ldm_pairs_words(job->pairs, b->depth) + k / 2 * NR,
                                       false);
            }
    return panels * NR;
}

static const float *back_dy(const WeightsJob *job, const WeightsBlock *b)
{
    return job->back->dy + b->pixel * job->c->Cout + b->m0;
}

static void copy_strips(const WeightsJob *job, const WeightsBlock *b, float *out)
{
    const size_t Cout = job->c->Cout, strip = job->strip, strips = b->rows / strip;
    const size_t whole = strips * strip, rest = b->rows - whole;
    for (size_t k = 0; k < b->depth; k++) {
        const float *dy = back_dy(job, b) + k * Cout;
        job->lanes->copy_rows(dy, strip, strips, strip, out + k * strip, b->depth * strip);
        job->lanes->copy_rows(dy + whole, strip, rest > 0, rest, out + whole * b->depth + k * strip,
                              strip);
    }
}

/* The i-th cache line that the pixel of the next block has for this task; NULL: no more. */
static const float *line_ahead(const WeightsJob *job, const WeightsBlock *b, size_t i)
{
    size_t pixel = b->pixel + b->depth, lines = ldm_parts(b->rows, LDM_LINE);
    if (pixel + b->depth > job->pixels)
        return NULL;
    if (i < lines)
        return job->back->dy + pixel * job->c->Cout + b->m0 + i * LDM_LINE;
    if (!is_product(job->c) || i >= lines + ldm_parts(b->columns, LDM_LINE))
        return NULL;
    return job->c->x + pixel * job->c->Cin + b->j0 + (i - lines) * LDM_LINE;
}

/* Some rows of dW: + a block of pixels, packed. */
static void multiply_block(const WeightsJob *job, WeightsScratch *s, const WeightsBlock *b)
{
    const size_t NR = 2 * job->lanes->width, lines = ldm_parts(b->rows, LDM_LINE);
    const size_t depth = ldm_pairs_words(job->pairs, b->depth);
    size_t i = 0;
    for (size_t m = 0; m < b->rows; m += job->strip)
        for (size_t n = 0; n < b->columns; n += NR, i++) {
            LdmTile t = {.segments = 1,
                         .K = depth,
                         .a = s->a + m * (job->pairs != NULL ? WORD_PITCH : depth),
                         .lda = job->pairs != NULL ? WORD_PITCH : job->strip,
                         .b = s->b + n * depth,
                         .c = job->dw + (b->m0 + m) * job->columns + b->j0 + n,
                         .ldc = job->columns,
                         .add = job->dw == job->back->d || b->pixel > 0,
                         .ahead = line_ahead(job, b, i),
                         .ahead_step = i < lines ? job->c->Cout : job->c->Cin};
            t.ahead_turn = LDM_LINE * t.ahead_step;
            ldm_tile_by(job->pairs != NULL ? job->pairs->tile : job->lanes->tile_turned, NR / 2,
                        (int)MIN(job->strip, b->rows - m), MIN(NR, b->columns - n), &t, s->corner);
        }
}

static void weights_task(size_t index, int thread, void *data)
{
    const WeightsJob *job = data;
    const size_t NR = 2 * job->lanes->width;
    WeightsScratch *s = (WeightsScratch *)job->threads + thread;
    WeightsBlock b = {.j0 = index % job->column_blocks * job->block_columns,
                      .m0 = index / job->column_blocks * job->block_rows};
    b.columns = MIN(job->block_columns, job->columns - b.j0);
    b.rows = MIN(job->block_rows, job->c->Cout - b.m0);
    for (size_t k0 = 0; k0 < job->count; k0 += KC) {
        b.pixel = job->first + k0;
        b.depth = MIN((size_t)KC, job->count - k0);
        for (size_t n = copy_panels(job, &b, s->b); n < b.columns; n += NR)
            gather_panel(job, &b, n, s->b + n * ldm_pairs_words(job->pairs, b.depth));
        if (job->pairs != NULL)
            ldm_pairs_turn(job->pairs, back_dy(job, &b), job->c->Cout, b.depth, b.rows, s->a,
                           WORD_PITCH);
        else
            copy_strips(job, &b, s->a);
        multiply_block(job, s, &b);
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
    if (goes_by_winograd(back->conv))
        return ldm_conv_winograd_backward(back, cancellable);
    weights_job_init(&job, back->conv);
    bool aside = aside_floats(&job) > 0;
    const size_t Cout = back->conv->Cout;
    job.back = back;
    job.dw = aside ? back->scratch : back->d;
    job.threads = (char *)back->scratch + aside_floats(&job) * sizeof(float);
    size_t tasks = job.column_blocks * ldm_parts(Cout, job.block_rows);
    for (job.first = 0; job.first < job.pixels; job.first += job.count) {
        job.count = MIN((size_t)BAND, job.pixels - job.first);
        if (!ldm_parallel_for(tasks, weights_task, &job, cancellable))
            return false;
    }
    return !aside || ldm_parallel_for(Cout, add_task, &job, cancellable);
}
