/* Convolution as a batch-reduce product: a band of the padded picture is laid out once, and each
 * register tile reads KH * KW shifted views of it. No im2col. */
#include "kernels/conv.h"
#include "kernels/pairs.h"

#include "base/parallel.h"

#include <string.h>

#define BAND_FLOATS ((size_t)2 << 20) /* 8 MB of padded picture at a time */
#define DEPTH       576               /* taps * channels of a packed block */
#define PANELS      4

typedef struct {
    const LdmConv *c;
    const LdmLanes *lanes;
    const LdmPairs *pairs; /* NULL: in f32 */
    LdmTileFunction *tile;
    size_t tile_rows;
    size_t Ho, Wo, taps, channels;   /* channels of a packed block */
    size_t pitch, width, image_rows; /* of the padded picture: floats a pixel, pixels a row, rows */
    float *band;
    size_t first, rows; /* output rows of this band, counted over all images */
    size_t n_blocks, group_rows;
    ptrdiff_t *offsets; /* [taps] of the first tap of a pixel */
} DirectJob;

typedef struct {
    float corner[LDM_MAX_ROWS * LDM_MAX_COLUMNS];
    float bias[PANELS * LDM_MAX_COLUMNS];
    float b[]; /* [channels * taps][PANELS * NR] */
} DirectScratch;

static void job_init(DirectJob *job, const LdmConv *c)
{
    *job = (DirectJob){.c = c, .lanes = ldm_lanes(), .taps = c->KH * c->KW};
    ldm_conv_output(c, &job->Ho, &job->Wo);
    job->pairs = ldm_conv_rounds(c, ldm_conv_winograd_fits(c)) ? ldm_pairs() : NULL;
    job->tile = ldm_pairs_tile(job->pairs);
    job->tile_rows = ldm_pairs_rows(job->pairs);
    job->channels = MIN(c->Cin, MAX(DEPTH / job->taps / 2 * 2, (size_t)2)); /* whole pairs */
    job->pitch = ldm_pairs_words(job->pairs, c->Cin);
    job->pitch += ldm_stride_collides(job->pitch * c->stride) ? 16 : 0;
    job->width = (job->Wo - 1) * c->stride + c->KW;
    job->image_rows = (job->Ho - 1) * c->stride + c->KH;
}

static size_t thread_bytes(const DirectJob *job)
{
    size_t b = job->channels * job->taps * PANELS * LDM_MAX_COLUMNS * sizeof(float);
    return ldm_whole_lines((sizeof(DirectScratch) + b) / 4) * 4;
}

/* Output rows in a band: whole images where they fit, else part of one. */
static size_t band_rows(const DirectJob *job)
{
    size_t row = job->width * job->pitch, image = job->image_rows * row;
    if (image <= BAND_FLOATS)
        return MIN(job->c->N, BAND_FLOATS / image) * job->Ho;
    size_t fit = BAND_FLOATS / row;
    return fit > job->c->KH ? (fit - job->c->KH) / job->c->stride + 1 : 1;
}

static size_t band_floats(const DirectJob *job)
{
    size_t rows = band_rows(job), row = job->width * job->pitch;
    if (rows >= job->Ho)
        return rows / job->Ho * job->image_rows * row;
    return ((rows - 1) * job->c->stride + job->c->KH) * row;
}

static size_t offset_bytes(const DirectJob *job)
{
    return ldm_whole_lines(job->taps * 2) * 4;
}

size_t ldm_conv_direct_scratch(const LdmConv *c)
{
    DirectJob job;
    job_init(&job, c);
    return ldm_whole_lines(band_floats(&job)) * 4 + offset_bytes(&job) +
           ldm_threads() * thread_bytes(&job);
}

/* One row of the padded picture. */
static void fill_task(size_t index, int thread, void *data)
{
    const DirectJob *job = data;
    const LdmConv *c = job->c;
    bool whole = job->rows >= job->Ho;
    size_t image = whole ? job->first / job->Ho + index / job->image_rows : job->first / job->Ho;
    size_t row = whole ? index % job->image_rows : job->first % job->Ho * c->stride + index;
    float *out = job->band + index * job->width * job->pitch;
    ptrdiff_t y = (ptrdiff_t)row - c->pad_top;
    if (y < 0 || y >= (ptrdiff_t)(c->H * c->upsample)) {
        memset(out, 0, job->width * job->pitch * sizeof(float));
        return;
    }
    const float *in = c->x + (image * c->H + y / c->upsample) * c->W * c->Cin;
    for (size_t i = 0; i < job->width; i++, out += job->pitch) {
        ptrdiff_t x = (ptrdiff_t)i - c->pad_left;
        if (x < 0 || x >= (ptrdiff_t)(c->W * c->upsample))
            memset(out, 0, ldm_pairs_words(job->pairs, c->Cin) * sizeof(float));
        else if (job->pairs != NULL)
            job->pairs->round(in + x / c->upsample * c->Cin, c->Cin, out, false);
        else
            memcpy(out, in + x / c->upsample * c->Cin, c->Cin * sizeof(float));
    }
}

/* Where output row r (counted from the band's first) begins in the band. */
static const float *row_start(const DirectJob *job, size_t r)
{
    size_t row = r * job->c->stride;
    if (job->rows >= job->Ho)
        row = r / job->Ho * job->image_rows + r % job->Ho * job->c->stride;
    return job->band + row * job->width * job->pitch;
}

static void direct_row(const DirectJob *job, DirectScratch *s, size_t r, size_t n0, size_t columns,
                       size_t c0, size_t depth)
{
    const LdmConv *c = job->c;
    const size_t NR = 2 * job->lanes->width, MR = job->tile_rows;
    bool in_place = c->residual == c->y;
    size_t step = ldm_evenly(job->Wo, MR);
    for (size_t x = 0; x < job->Wo; x += step) {
        size_t at = ((job->first + r) * job->Wo + x) * c->Cout + n0;
        int rows = (int)MIN(step, job->Wo - x);
        LdmTile t = {.segments = job->taps,
                     .K = ldm_pairs_words(job->pairs, depth),
                     .offsets = job->offsets,
                     .a = row_start(job, r) + x * c->stride * job->pitch +
                          ldm_pairs_words(job->pairs, c0),
                     .lda = c->stride * job->pitch,
                     .ldc = c->Cout,
                     .add = c0 > 0 || in_place};
        for (size_t n = 0; n < columns; n += NR) {
            t.b = s->b + n * t.K * job->taps;
            t.c = c->y + at + n;
            ldm_tile_by(job->tile, NR / 2, rows, MIN(NR, columns - n), &t, s->corner);
        }
        if (c0 + depth < c->Cin)
            continue;
        for (int i = 0; i < rows; i++, at += c->Cout)
            job->lanes->epilogue(columns, s->bias,
                                 c->residual != NULL && !in_place ? c->residual + at : NULL,
                                 c->y + at);
    }
}

/* Weights of some output and some input channels -> panels [taps][words of depth][NR]. */
static void pack_block(const DirectJob *job, float *out, size_t n0, size_t columns, size_t c0,
                       size_t depth)
{
    const LdmConv *c = job->c;
    const size_t NR = 2 * job->lanes->width;
    for (size_t n = 0; n < columns; n += NR) {
        float *panel = out + n * depth * job->taps;
        job->lanes->pack(
            &(LdmPack){.src = ldm_weights_at(c->w, ((n0 + n) * c->Cin + c0) * job->taps),
                       .ld = c->Cin * job->taps,
                       .rows = MIN(NR, columns - n),
                       .J = depth * job->taps,
                       .taps = job->taps,
                       .tap_stride = depth,
                       .next = NR * c->Cin * job->taps,
                       .out = panel});
        for (size_t t = 0; t < job->taps && job->pairs != NULL; t++) /* never beyond its source */
            ldm_pairs_panel(job->pairs, panel + t * depth * NR, depth, NR,
                            out + (n * job->taps + t * NR) * ldm_pairs_words(job->pairs, depth));
    }
}

static void direct_task(size_t index, int thread, void *data)
{
    const DirectJob *job = data;
    const LdmConv *c = job->c;
    const size_t NR = 2 * job->lanes->width, wide = PANELS * NR;
    char *threads = (char *)job->offsets + offset_bytes(job);
    DirectScratch *s = (DirectScratch *)(threads + thread * thread_bytes(job));
    size_t n0 = index % job->n_blocks * wide, columns = MIN(wide, c->Cout - n0);
    size_t r0 = index / job->n_blocks * job->group_rows, r1 = MIN(r0 + job->group_rows, job->rows);
    ldm_bias_f32(c->bias, n0, columns, wide, s->bias);
    for (size_t c0 = 0; c0 < c->Cin; c0 += job->channels) {
        size_t depth = MIN(job->channels, c->Cin - c0);
        pack_block(job, s->b, n0, columns, c0, depth);
        for (size_t r = r0; r < r1; r++)
            direct_row(job, s, r, n0, columns, c0, depth);
    }
}

bool ldm_conv_direct(const LdmConv *c, GCancellable *cancellable)
{
    DirectJob job;
    job_init(&job, c);
    job.band = c->scratch;
    job.offsets = (ptrdiff_t *)(job.band + ldm_whole_lines(band_floats(&job)));
    for (size_t kh = 0; kh < c->KH; kh++)
        for (size_t kw = 0; kw < c->KW; kw++)
            job.offsets[kh * c->KW + kw] = (ptrdiff_t)((kh * job.width + kw) * job.pitch);
    size_t wide = PANELS * 2 * job.lanes->width, band = band_rows(&job), all = c->N * job.Ho;
    job.n_blocks = ldm_parts(c->Cout, wide);
    for (job.first = 0; job.first < all; job.first += job.rows) {
        /* A part of an image never reaches into the next. */
        size_t left = band >= job.Ho ? all - job.first : job.Ho - job.first % job.Ho;
        job.rows = MIN(band, left);
        bool whole = band >= job.Ho;
        size_t filled =
            whole ? job.rows / job.Ho * job.image_rows : (job.rows - 1) * c->stride + c->KH;
        size_t groups = MAX(1, 8 * ldm_threads() / job.n_blocks);
        size_t enough = ldm_parts(128, job.Wo); /* rows that pay for packing */
        job.group_rows = MAX(ldm_parts(job.rows, groups), enough);
        size_t tasks = job.n_blocks * ldm_parts(job.rows, job.group_rows);
        if (!ldm_parallel_for(filled, fill_task, &job, cancellable) ||
            !ldm_parallel_for(tasks, direct_task, &job, cancellable))
            return false;
    }
    return true;
}
