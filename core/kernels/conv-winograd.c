/* 3x3 convolution by Winograd's F(4x4, 3x3): 36 products of [tiles, Cin] x [Cin, Cout] instead of
 * 144 (arXiv 1509.09308). Large pictures: the layer's weights are transformed once, into scratch
 * memory; then a thread takes a few tiles at a time through all three steps within its own cache.
 * Small ones: all input tiles are transformed first, then each panel of output channels goes alone,
 * its weights transformed block by block into cache. No transformed copy of the model exists. */
#include "kernels/conv.h"

#include "base/parallel.h"

#include <string.h>

#define V_FLOATS  ((size_t)1 << 19) /* transformed input of a chunk, about: 2 MB stay in caches */
#define MIN_TILES 64                /* what pays for the transformed weights */
#define DEPTH     128 /* input channels whose transformed weights are held at a time */

/* Of large pictures: weights stream by, the products of four panels stay in the second cache. */
#define LARGE      100                /* tiles */
#define STRETCH    48                 /* most tiles that a thread takes through at a time */
#define PANELS     4                  /* of output channels, between two readings of the tiles */
#define U_FLOATS   ((size_t)16 << 20) /* most transformed weights: 64 MB */
#define KEPT_DEPTH 320                /* input channels summed up in registers */

typedef struct {
    const LdmConv *c;
    const LdmLanes *lanes;
    size_t Ho, Wo, down, across, total; /* output size; tiles a column, a row, over all images */
    size_t pitch, v_stride, m_stride;   /* floats: a tile's channels; a plane of V; of M */
    size_t chunk, first, tiles;         /* tiles a chunk holds; this chunk's first and number */
    size_t panels, groups, group;       /* output panels; tile groups and tiles in one */
    float *v, *zeros;
    bool keeps; /* transformed weights: a large picture */
    float *u;   /* [panels][36] planes [Cin][NR], u_stride floats apart */
    size_t u_stride;
    size_t shared, thread; /* floats of scratch memory: of all threads together, of each */
} WinogradJob;

/* Scratch memory of a picture with few tiles. */
static void job_init_small(WinogradJob *job)
{
    const size_t NR = 2 * job->lanes->width;
    size_t fit = MAX(V_FLOATS / (36 * job->pitch), (size_t)MIN_TILES);
    job->chunk = ldm_parts(job->total, MAX((job->total + fit / 2) / fit, (size_t)1));
    /* Planes an odd number of cache lines apart fall into different sets. */
    job->v_stride = job->chunk * job->pitch + 16;
    size_t wanted = ldm_parts(2 * ldm_threads(), job->panels);
    job->group = MAX(ldm_parts(job->chunk, wanted), MIN((size_t)56, job->chunk));
    job->m_stride = job->group * NR + 16;
    job->thread =
        ldm_whole_lines(36 * (DEPTH * NR + 16) + 9 * DEPTH * NR + 36 * job->m_stride + NR);
}

static void job_init_large(WinogradJob *job)
{
    const size_t NR = 2 * job->lanes->width;
    /* Stretches of the same size, as many for each thread. */
    size_t threads = ldm_threads(), each = ldm_parts(job->total, STRETCH * threads);
    job->chunk = ldm_parts(job->total, each * threads);
    job->v_stride = job->chunk * job->pitch + 16;
    job->m_stride = job->chunk * NR + 16;
    size_t packed = 9 * DEPTH * NR; /* at another time than tiles and products */
    size_t stretch = 36 * (job->v_stride + PANELS * job->m_stride) + NR;
    job->thread = ldm_whole_lines(MAX(packed, stretch));
}

static void job_init(WinogradJob *job, const LdmConv *c)
{
    *job = (WinogradJob){.c = c, .lanes = ldm_lanes()};
    const size_t NR = 2 * job->lanes->width;
    ldm_conv_output(c, &job->Ho, &job->Wo);
    job->down = ldm_parts(job->Ho, 4);
    job->across = ldm_parts(job->Wo, 4);
    job->total = c->N * job->down * job->across;
    job->pitch = ldm_whole_lines(c->Cin);
    if (ldm_stride_collides(job->pitch))
        job->pitch += 16;
    job->panels = ldm_parts(c->Cout, NR);
    job->u_stride = c->Cin * NR + 16;
    job->keeps = job->total >= LARGE && 36 * job->panels * job->u_stride <= U_FLOATS;
    if (job->keeps)
        job_init_large(job);
    else
        job_init_small(job);
    job->shared = 36 * (job->keeps ? job->panels * job->u_stride : job->v_stride);
}

bool ldm_conv_winograd_fits(const LdmConv *c)
{
    if (c->KH != 3 || c->KW != 3 || c->stride != 1 || c->pad_top != 1 || c->pad_left != 1 ||
        c->pad_bottom != 1 || c->pad_right != 1)
        return false;
    size_t Ho, Wo;
    ldm_conv_output(c, &Ho, &Wo);
    size_t tiles = c->N * ldm_parts(Ho, 4) * ldm_parts(Wo, 4);
    /* nine products a pixel against 36 a tile and a third more for its transforms; those of the
     * weights cost what six tiles do */
    return c->N * Ho * Wo * 9 >= 48 * (tiles + 6) && c->Cin >= 16 && c->Cout >= 16;
}

size_t ldm_conv_winograd_scratch(const LdmConv *c)
{
    WinogradJob job;
    job_init(&job, c);
    return (job.shared + job.pitch + ldm_threads() * job.thread) * sizeof(float);
}

static void tile_place(const WinogradJob *job, size_t tile, size_t *image, size_t *y, size_t *x)
{
    *image = tile / (job->down * job->across);
    *y = tile / job->across % job->down * 4;
    *x = tile % job->across * 4;
}

static void transform_tile(const WinogradJob *job, size_t tile, float *v)
{
    const LdmConv *c = job->c;
    size_t image, y, x;
    tile_place(job, tile, &image, &y, &x);
    LdmWinogradInput in = {.C = c->Cin, .v = v, .v_stride = job->v_stride};
    const float *picture = c->x + image * c->H * c->W * c->Cin;
    for (int i = 0; i < 36; i++) {
        size_t row = y + i / 6,
               column = x + i % 6; /* one more than the pixel's own, for the padding */
        bool inside =
            row >= 1 && row <= c->H * c->upsample && column >= 1 && column <= c->W * c->upsample;
        in.pixels[i] =
            inside
                ? picture + ((row - 1) / c->upsample * c->W + (column - 1) / c->upsample) * c->Cin
                : job->zeros;
    }
    job->lanes->winograd_input(&in);
}

static void input_task(size_t index, int thread, void *data)
{
    const WinogradJob *job = data;
    transform_tile(job, job->first + index, job->v + index * job->pitch);
}

static void write_tile(const WinogradJob *job, size_t tile, size_t n0, const float *m,
                       const float *bias)
{
    const LdmConv *c = job->c;
    size_t image, y, x;
    tile_place(job, tile, &image, &y, &x);
    LdmWinogradOutput out = {.m = m,
                             .m_stride = job->m_stride,
                             .bias = bias,
                             .channels = MIN((size_t)2 * job->lanes->width, c->Cout - n0)};
    for (int i = 0; i < 16; i++) {
        size_t row = y + i / 4, column = x + i % 4;
        if (row >= job->Ho || column >= job->Wo)
            continue;
        size_t at = ((image * job->Ho + row) * job->Wo + column) * c->Cout + n0;
        out.y[i] = c->y + at;
        out.residual[i] = c->residual != NULL ? c->residual + at : NULL;
    }
    job->lanes->winograd_output(&out);
}

/* Input channels c0 to c0 + depth of the weights to a panel of output channels from n0 on, torch's
 * -> 36 planes [depth][NR], u_stride floats apart; `packed` has room for 9 * DEPTH * NR floats. */
static void transform_weights(const WinogradJob *job, size_t n0, size_t c0, size_t depth,
                              float *packed, float *u, size_t u_stride)
{
    const LdmConv *c = job->c;
    job->lanes->pack(&(LdmPack){.src = ldm_weights_at(c->w, (n0 * c->Cin + c0) * 9),
                                .ld = c->Cin * 9,
                                .rows = MIN((size_t)2 * job->lanes->width, c->Cout - n0),
                                .J = depth * 9,
                                .taps = 9,
                                .tap_stride = depth,
                                .out = packed});
    job->lanes->winograd_weights(packed, depth, u, u_stride);
}

static float *thread_scratch(const WinogradJob *job, int thread)
{
    return job->zeros + job->pitch + thread * job->thread;
}

/* ---- small pictures ---- */

/* One panel of output channels over one group of tiles. */
static void panel_task(size_t index, int thread, void *data)
{
    const WinogradJob *job = data;
    const LdmConv *c = job->c;
    const size_t NR = 2 * job->lanes->width, MR = job->lanes->rows;
    float *u = thread_scratch(job, thread);
    float *packed = u + 36 * (DEPTH * NR + 16), *m = packed + 9 * DEPTH * NR;
    float *bias = m + 36 * job->m_stride;
    size_t n0 = index / job->groups * NR, t0 = index % job->groups * job->group;
    size_t t1 = MIN(t0 + job->group, job->tiles), columns = MIN(NR, c->Cout - n0);
    for (size_t c0 = 0; c0 < c->Cin; c0 += DEPTH) {
        size_t depth = MIN((size_t)DEPTH, c->Cin - c0), u_stride = depth * NR + 16;
        transform_weights(job, n0, c0, depth, packed, u, u_stride);
        for (int p = 0; p < 36; p++) {
            LdmTile t = {.segments = 1,
                         .K = depth,
                         .lda = job->pitch,
                         .b = u + p * u_stride,
                         .ldc = NR,
                         .add = c0 > 0,
                         .vectors = columns > (size_t)job->lanes->width ? 2 : 1};
            for (size_t i = t0; i < t1; i += MR) {
                t.a = job->v + p * job->v_stride + i * job->pitch + c0;
                t.c = m + p * job->m_stride + (i - t0) * NR;
                job->lanes->tile((int)MIN(MR, t1 - i), &t);
            }
        }
    }
    ldm_bias_f32(c->bias, n0, columns, NR, bias);
    for (size_t i = t0; i < t1; i++)
        write_tile(job, job->first + i, n0, m + (i - t0) * NR, bias);
}

static bool convolve_small(WinogradJob *job, GCancellable *cancellable)
{
    job->v = job->c->scratch;
    for (job->first = 0; job->first < job->total; job->first += job->tiles) {
        job->tiles = MIN(job->chunk, job->total - job->first);
        job->groups = ldm_parts(job->tiles, job->group);
        if (!ldm_parallel_for(job->tiles, input_task, job, cancellable) ||
            !ldm_parallel_for(job->panels * job->groups, panel_task, job, cancellable))
            return false;
    }
    return true;
}

/* ---- large pictures ---- */

static void keep_task(size_t index, int thread, void *data)
{
    const WinogradJob *job = data;
    const size_t NR = 2 * job->lanes->width, Cin = job->c->Cin;
    for (size_t c0 = 0; c0 < Cin; c0 += DEPTH)
        transform_weights(job, index * NR, c0, MIN((size_t)DEPTH, Cin - c0),
                          thread_scratch(job, thread),
                          job->u + index * 36 * job->u_stride + c0 * NR, job->u_stride);
}

/* The p-th products of some tiles with one panel of output channels. */
static void multiply_plane(const WinogradJob *job, size_t p, size_t panel, size_t tiles,
                           const float *v, float *m)
{
    const size_t NR = 2 * job->lanes->width, Cin = job->c->Cin;
    size_t rows = ldm_parts(tiles, ldm_parts(tiles, job->lanes->rows));
    const float *u = job->u + (panel * 36 + p) * job->u_stride;
    size_t columns = job->c->Cout - panel * NR, parts = ldm_parts(Cin, KEPT_DEPTH);
    size_t step = ldm_whole_lines(ldm_parts(Cin, parts));
    for (size_t c0 = 0; c0 < Cin; c0 += step)
        for (size_t i = 0; i < tiles; i += rows)
            job->lanes->tile((int)MIN(rows, tiles - i),
                             &(LdmTile){.segments = 1,
                                        .K = MIN(step, Cin - c0),
                                        .a = v + i * job->pitch + c0,
                                        .lda = job->pitch,
                                        .b = u + c0 * NR,
                                        .c = m + i * NR,
                                        .ldc = NR,
                                        .add = c0 > 0,
                                        .vectors = columns > (size_t)job->lanes->width ? 2 : 1});
}

/* Some tiles from input to output. */
static void stretch_task(size_t index, int thread, void *data)
{
    const WinogradJob *job = data;
    const LdmConv *c = job->c;
    const size_t NR = 2 * job->lanes->width;
    float *v = thread_scratch(job, thread), *m = v + 36 * job->v_stride;
    float *bias = m + 36 * PANELS * job->m_stride;
    size_t first = index * job->chunk, tiles = MIN(job->chunk, job->total - first);
    for (size_t i = 0; i < tiles; i++)
        transform_tile(job, first + i, v + i * job->pitch);
    for (size_t panel = 0; panel < job->panels; panel += PANELS) {
        size_t panels = MIN((size_t)PANELS, job->panels - panel);
        for (size_t p = 0; p < 36; p++)
            for (size_t q = 0; q < panels; q++)
                multiply_plane(job, p, panel + q, tiles, v + p * job->v_stride,
                               m + (q * 36 + p) * job->m_stride);
        for (size_t q = 0; q < panels; q++) {
            size_t n0 = (panel + q) * NR;
            ldm_bias_f32(c->bias, n0, MIN(NR, c->Cout - n0), NR, bias);
            for (size_t i = 0; i < tiles; i++)
                write_tile(job, first + i, n0, m + q * 36 * job->m_stride + i * NR, bias);
        }
    }
}

static bool convolve_large(WinogradJob *job, GCancellable *cancellable)
{
    job->u = job->c->scratch;
    return ldm_parallel_for(job->panels, keep_task, job, cancellable) &&
           ldm_parallel_for(ldm_parts(job->total, job->chunk), stretch_task, job, cancellable);
}

bool ldm_conv_winograd(const LdmConv *c, GCancellable *cancellable)
{
    WinogradJob job;
    job_init(&job, c);
    job.zeros = (float *)c->scratch + job.shared;
    memset(job.zeros, 0, job.pitch * sizeof(float));
    return job.keeps ? convolve_large(&job, cancellable) : convolve_small(&job, cancellable);
}
