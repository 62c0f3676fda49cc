/* Products with 8-bit weights: linear layers, and convolutions of any kind as batch-reduce
 * products. In comes a picture in f32; it is laid out once, padded, enlarged and rounded to bytes
 * with a scale for every pixel and block of channels. Each register tile then reads shifted views
 * of it, block by block, and adds up in f32. Weights are read where they lie. */
#include "kernels/q8.h"

#include "base/parallel.h"

#include <string.h>

#define FILL_PIXELS 64
#define GROUP_BYTES ((size_t)256 << 10) /* of weights that serve all rows of a task: half a cache */
#define TASK_WORDS  ((size_t)1 << 25)   /* steps of a vector: 10 to 30 ms */
#define ENOUGH_ROWS 128                 /* pay for fetching those weights */
#define MAX_COLUMNS (2 * LDM_Q8_PANEL)

typedef struct {
    const LdmConv *c;
    const LdmQ8 *q8;
    const LdmQ8Lanes *lanes;
    size_t Ho, Wo, taps, width, height; /* output; padded picture */
    size_t pitch;                       /* bytes a pixel */
    int8_t *x;
    LdmQ8Row *rows; /* [pixels][blocks] */
    float *threads;
    size_t strips, step, all;        /* in an output row, pixels of one; of all rows */
    size_t n_blocks, columns, group; /* column blocks; strips of a task */
} Job;

typedef struct {
    float corner[LDM_MAX_ROWS * MAX_COLUMNS];
    float bias[MAX_COLUMNS];
} Scratch;

/* False where a kernel larger than the picture has no output. */
static bool job_init(Job *job, const LdmConv *c)
{
    *job = (Job){.c = c, .lanes = ldm_q8_lanes(), .taps = c->KH * c->KW};
    ldm_conv_output(c, &job->Ho, &job->Wo);
    if (c->N * job->Ho * job->Wo == 0)
        return false;
    job->width = (job->Wo - 1) * c->stride + c->KW;
    job->height = (job->Ho - 1) * c->stride + c->KH;
    job->pitch = ldm_q8_depth(c->Cin);
    if (ldm_stride_collides(job->pitch / 4))
        job->pitch += 64;
    return true;
}

static size_t byte_floats(const Job *job)
{
    return ldm_whole_lines(ldm_parts(job->c->N * job->height * job->width * job->pitch, 4));
}

static size_t row_floats(const Job *job)
{
    size_t rows = job->c->N * job->height * job->width * ldm_q8_blocks(job->c->Cin);
    return ldm_whole_lines(rows * sizeof(LdmQ8Row) / sizeof(float));
}

size_t ldm_q8_conv_scratch(const LdmConv *c)
{
    Job job;
    if (!job_init(&job, c))
        return 0;
    return (byte_floats(&job) + row_floats(&job)) * sizeof(float) +
           (size_t)ldm_threads() * sizeof(Scratch);
}

/* One pixel of the padded picture. */
static void fill_pixel(const Job *job, size_t pixel)
{
    const LdmConv *c = job->c;
    const size_t length = ldm_q8_length(c->Cin), blocks = ldm_q8_blocks(c->Cin);
    ptrdiff_t y = (ptrdiff_t)(pixel / job->width % job->height) - c->pad_top;
    ptrdiff_t x = (ptrdiff_t)(pixel % job->width) - c->pad_left;
    size_t image = pixel / job->width / job->height;
    int8_t *bytes = job->x + pixel * job->pitch;
    LdmQ8Row *rows = job->rows + pixel * blocks;
    if (y < 0 || y >= (ptrdiff_t)(c->H * c->upsample) || x < 0 ||
        x >= (ptrdiff_t)(c->W * c->upsample)) {
        memset(bytes, 0, job->pitch);
        memset(rows, 0, blocks * sizeof *rows);
        return;
    }
    const float *in = c->x + ((image * c->H + y / c->upsample) * c->W + x / c->upsample) * c->Cin;
    for (size_t b = 0, at = 0; b < blocks; b++, at += length)
        job->lanes->quantise(in + at, MIN(length, c->Cin - at), bytes + at, &rows[b]);
}

static void fill_task(size_t index, int thread, void *data)
{
    const Job *job = data;
    size_t first = index * FILL_PIXELS, all = job->c->N * job->height * job->width;
    for (size_t pixel = first; pixel < MIN(first + FILL_PIXELS, all); pixel++)
        fill_pixel(job, pixel);
}

/* A tile that may stick out on the right. */
static void tile_by(const Job *job, int rows, size_t columns, LdmQ8Tile *t, float *corner)
{
    t->panels = columns > LDM_Q8_PANEL ? 2 : 1;
    if (columns % LDM_Q8_PANEL == 0) {
        job->lanes->tile(rows, t);
        return;
    }
    LdmQ8Tile aside = *t;
    aside.c = corner;
    aside.ldc = MAX_COLUMNS;
    aside.add = false;
    job->lanes->tile(rows, &aside);
    for (int m = 0; m < rows; m++)
        for (size_t n = 0; n < columns; n++) {
            float *to = t->c + m * t->ldc + n;
            *to = corner[m * MAX_COLUMNS + n] + (t->add ? *to : 0.0f);
        }
}

/* Where a strip lies: its first output pixel, and the first pixel of the padded picture that it
 * reads. */
static int strip_place(const Job *job, size_t strip, size_t *out, size_t *pixel)
{
    size_t row = strip / job->strips, x = strip % job->strips * job->step;
    size_t image = row / job->Ho, y = row % job->Ho;
    *out = row * job->Wo + x;
    *pixel = (image * job->height + y * job->c->stride) * job->width + x * job->c->stride;
    return (int)MIN(job->step, job->Wo - x);
}

/* Blocks first .. end - 1, counted over all taps, of one strip and n0's columns. */
static void strip_blocks(const Job *job, Scratch *s, size_t strip, size_t n0, size_t first,
                         size_t end)
{
    const LdmConv *c = job->c;
    const size_t length = ldm_q8_length(c->Cin), blocks = ldm_q8_blocks(c->Cin);
    const size_t depth = ldm_q8_depth(c->Cin), columns = MIN(job->columns, c->Cout - n0);
    const bool in_place = c->residual == c->y;
    size_t out, pixel;
    int rows = strip_place(job, strip, &out, &pixel);
    float *y = c->y + out * c->Cout + n0;
    LdmQ8Tile t = {.ldx = c->stride * job->pitch,
                   .ld_rows = c->stride * blocks,
                   .next_w = job->taps * depth * LDM_Q8_PANEL,
                   .next_scales = job->taps * blocks * LDM_Q8_PANEL,
                   .c = y,
                   .ldc = c->Cout};
    for (size_t i = first; i < end; i++) {
        size_t tap = i / blocks, b = i % blocks;
        size_t at = pixel + tap / c->KW * job->width + tap % c->KW;
        t.words = (MIN(length, c->Cin - b * length) + 3) / 4;
        t.x = job->x + at * job->pitch + b * length;
        t.rows = job->rows + at * blocks + b;
        t.w = job->q8->bytes + n0 * job->taps * depth + (tap * depth + b * length) * LDM_Q8_PANEL;
        t.scales = job->q8->scales + (n0 * job->taps * blocks + i * LDM_Q8_PANEL);
        t.add = i > 0 || in_place;
        tile_by(job, rows, columns, &t, s->corner);
    }
    if (end < job->taps * blocks)
        return;
    for (int m = 0; m < rows; m++, y += c->Cout) {
        const float *residual = c->residual != NULL ? c->residual + (y - c->y) : NULL;
        ldm_lanes()->epilogue(columns, s->bias, in_place ? NULL : residual, y);
    }
}

static void product_task(size_t index, int thread, void *data)
{
    const Job *job = data;
    Scratch *s = (Scratch *)job->threads + thread;
    size_t n0 = index % job->n_blocks * job->columns;
    size_t first = index / job->n_blocks * job->group, end = MIN(first + job->group, job->all);
    size_t blocks = job->taps * ldm_q8_blocks(job->c->Cin);
    size_t bytes = ldm_q8_length(job->c->Cin) * job->columns;
    size_t group = MAX(GROUP_BYTES / bytes, (size_t)1);
    ldm_bias_f32(job->c->bias, n0, MIN(job->columns, job->c->Cout - n0), job->columns, s->bias);
    for (size_t b = 0; b < blocks; b += group)
        for (size_t strip = first; strip < end; strip++)
            strip_blocks(job, s, strip, n0, b, MIN(b + group, blocks));
}

bool ldm_q8_conv(const LdmConv *c, const LdmQ8 *q8, GCancellable *cancellable)
{
    Job job;
    if (!job_init(&job, c))
        return true;
    job.q8 = q8;
    job.x = c->scratch;
    job.rows = (LdmQ8Row *)((float *)c->scratch + byte_floats(&job));
    job.threads = (float *)job.rows + row_floats(&job);
    job.columns = (size_t)job.lanes->panels * LDM_Q8_PANEL;
    job.n_blocks = ldm_parts(c->Cout, job.columns);
    job.strips = ldm_parts(job.Wo, (size_t)job.lanes->rows);
    job.step = ldm_parts(job.Wo, job.strips);
    job.all = c->N * job.Ho * job.strips;
    /* About eight tasks a thread, but rows enough, and soon done when somebody cancels. */
    size_t parts = MAX(8 * (size_t)ldm_threads() / job.n_blocks, (size_t)1);
    size_t soon = TASK_WORDS / (job.taps * job.pitch / 4 * job.step * 2);
    size_t least = ldm_parts(ENOUGH_ROWS, job.step);
    job.group = MAX(MIN(ldm_parts(job.all, parts), soon), least);
    size_t pixels = c->N * job.height * job.width;
    return ldm_parallel_for(ldm_parts(pixels, FILL_PIXELS), fill_task, &job, cancellable) &&
           ldm_parallel_for(job.n_blocks * ldm_parts(job.all, job.group), product_task, &job,
                            cancellable);
}
