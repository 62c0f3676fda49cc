/* dW of a 3x3 convolution by Winograd's F(4x4, 3x3), turned round (arXiv 1509.09308): from
 * y = A^T [(G g G^T) * V] A with V = B^T d B follows
 *     dU[p] = sum over tiles of (A dy A^T)[p]^T V[p],  dg = G^T dU G,
 * 36 products of [Cout, tiles] x [tiles, Cin] instead of 144. Tiles go by in bands that fit in
 * cache; dU of a block of input channels stays until all tiles have gone by. In: x, dy. Out: dw. */
#include "kernels/conv.h"

#include "base/parallel.h"

#include <string.h>

#define BAND_FLOATS ((size_t)3 << 20) /* transformed tiles of x and dy at a time: 12 MB */
#define U_FLOATS    ((size_t)6 << 20) /* dU of a block of input channels: 24 MB */
#define MIN_BAND    64                /* tiles */

typedef struct {
    const LdmConvBackward *back;
    const LdmConv *c;
    const LdmLanes *lanes;
    size_t Ho, Wo, down, across, total; /* output size; tiles a column, a row, over all images */
    size_t block, c0, channels;         /* input channels of a block; this one's first and number */
    size_t band, first, tiles;          /* tiles a band holds; this band's first and number */
    size_t pitch;                       /* floats from tile to tile of transformed dy */
    size_t v_plane, m_plane, u_plane;   /* floats of one of the 36 planes */
    size_t parts, part;                 /* of the output channels, for the threads */
    float *v, *m, *u, *zeros; /* v [36][panels][band][NR], m [36][band][pitch], u as v, by Cout */
} Job;

static void job_init(Job *job, const LdmConv *c)
{
    *job = (Job){.c = c, .lanes = ldm_lanes()};
    const size_t NR = 2 * job->lanes->width, MR = job->lanes->rows;
    size_t panels = ldm_parts(c->Cin, NR);
    ldm_conv_output(c, &job->Ho, &job->Wo);
    job->down = ldm_parts(job->Ho, 4);
    job->across = ldm_parts(job->Wo, 4);
    job->total = c->N * job->down * job->across;
    panels = CLAMP(U_FLOATS / (36 * c->Cout * NR), (size_t)1, panels);
    job->block = panels * NR;
    job->pitch = ldm_whole_lines(c->Cout);
    if (ldm_stride_collides(job->pitch))
        job->pitch += LDM_LINE;
    size_t fit = MAX(BAND_FLOATS / (36 * (job->block + job->pitch)), (size_t)MIN_BAND);
    job->band = MIN(ldm_evenly(job->total, fit), job->total);
    /* planes an odd number of cache lines apart fall into different sets */
    job->v_plane = job->band * job->block + LDM_LINE;
    job->m_plane = job->band * job->pitch + LDM_LINE;
    job->u_plane = c->Cout * job->block + LDM_LINE;
    size_t wanted = ldm_parts(4 * (size_t)ldm_threads(), 36);
    job->part = ldm_parts(ldm_parts(c->Cout, wanted), MR) * MR;
    job->parts = ldm_parts(c->Cout, job->part);
}

bool ldm_conv_winograd_backward_fits(const LdmConv *c)
{
    if (!ldm_conv_is_even(c))
        return false;
    size_t Ho, Wo;
    ldm_conv_output(c, &Ho, &Wo);
    size_t tiles = c->N * ldm_parts(Ho, 4) * ldm_parts(Wo, 4);
    /* of 16 pixels a tile has, 4 would pay for its products */
    return tiles >= 16 && c->N * Ho * Wo >= 6 * tiles && c->Cin >= 16 && c->Cout >= 16;
}

size_t ldm_conv_winograd_backward_scratch(const LdmConv *c)
{
    Job job;
    job_init(&job, c);
    return (36 * (job.v_plane + job.m_plane + job.u_plane) +
            ldm_whole_lines(MAX(c->Cin, c->Cout))) *
           sizeof(float);
}

static void place_of(const Job *job, size_t tile, size_t *image, size_t *y, size_t *x)
{
    *image = tile / (job->down * job->across);
    *y = tile / job->across % job->down * 4;
    *x = tile % job->across * 4;
}

/* B^T d B of the block's channels. */
static void transform_x(const Job *job, size_t index)
{
    const LdmConv *c = job->c;
    const size_t NR = 2 * job->lanes->width;
    size_t image, y, x;
    place_of(job, job->first + index, &image, &y, &x);
    const float *picture = c->x + image * c->H * c->W * c->Cin + job->c0, *pixels[36];
    for (size_t i = 0; i < 36; i++) {
        size_t row = y + i / 6 - 1, column = x + i % 6 - 1; /* -1 becomes huge */
        bool inside = row < c->H * c->upsample && column < c->W * c->upsample;
        pixels[i] = inside ? picture + (row / c->upsample * c->W + column / c->upsample) * c->Cin
                           : job->zeros;
    }
    for (size_t k = 0; k < job->channels; k += NR) {
        LdmWinogradInput in = {.C = MIN(NR, job->channels - k),
                               .v = job->v + k * job->band + index * NR,
                               .v_stride = job->v_plane};
        for (int i = 0; i < 36; i++)
            in.pixels[i] = pixels[i] + (pixels[i] != job->zeros ? k : 0);
        job->lanes->winograd_input(LDM_WINOGRAD, &in);
    }
}

/* A dy A^T of all output channels. */
static void transform_dy(const Job *job, size_t index)
{
    const LdmConv *c = job->c;
    size_t image, y, x;
    place_of(job, job->first + index, &image, &y, &x);
    const float *picture = job->back->dy + image * job->Ho * job->Wo * c->Cout;
    LdmWinogradInput in = {
        .C = c->Cout, .v = job->m + index * job->pitch, .v_stride = job->m_plane};
    for (size_t i = 0; i < 16; i++) {
        in.pixels[i] =
            ldm_conv_pixel(picture, job->Ho, job->Wo, c->Cout, y + i / 4, x + i % 4, job->zeros);
    }
    job->lanes->winograd_gradient(&in);
}

static void transform_task(size_t index, int thread, void *data)
{
    transform_x(data, index);
    transform_dy(data, index);
}

/* One plane of dU, some of its output channels. */
static void product_task(size_t index, int thread, void *data)
{
    const Job *job = data;
    const size_t NR = 2 * job->lanes->width, MR = job->lanes->rows, Cout = job->c->Cout;
    size_t p = index / job->parts, m0 = index % job->parts * job->part;
    size_t m1 = MIN(m0 + job->part, Cout);
    for (size_t k = 0; k < job->channels; k += NR) {
        LdmTile t = {.segments = 1,
                     .K = job->tiles,
                     .lda = job->pitch,
                     .b = job->v + p * job->v_plane + k * job->band,
                     .ldc = NR,
                     .add = job->first > 0,
                     .vectors = job->channels - k > (size_t)job->lanes->width ? 2 : 1};
        for (size_t m = m0; m < m1; m += MR) {
            t.a = job->m + p * job->m_plane + m;
            t.c = job->u + p * job->u_plane + k * Cout + m * NR;
            job->lanes->tile_turned((int)MIN(MR, m1 - m), &t);
        }
    }
}

/* dW of one output channel. */
static void weights_task(size_t co, int thread, void *data)
{
    const Job *job = data;
    const LdmConv *c = job->c;
    const size_t NR = 2 * job->lanes->width;
    for (size_t k = 0; k < job->channels; k += NR)
        job->lanes->winograd_weights_backward(job->u + k * c->Cout + co * NR, job->u_plane,
                                              MIN(NR, job->channels - k),
                                              job->back->d + (co * c->Cin + job->c0 + k) * 9);
}

bool ldm_conv_winograd_backward(const LdmConvBackward *back, GCancellable *cancellable)
{
    const LdmConv *c = back->conv;
    Job job;
    job_init(&job, c);
    job.back = back;
    job.v = back->scratch;
    job.m = job.v + 36 * job.v_plane;
    job.u = job.m + 36 * job.m_plane;
    job.zeros = job.u + 36 * job.u_plane;
    memset(job.zeros, 0, MAX(c->Cin, c->Cout) * sizeof(float));
    if (c->Cin % (2 * (size_t)job.lanes->width) != 0) /* the last panel's empty columns */
        memset(job.v, 0, 36 * job.v_plane * sizeof(float));
    for (job.c0 = 0; job.c0 < c->Cin; job.c0 += job.channels) {
        job.channels = MIN(job.block, c->Cin - job.c0);
        for (job.first = 0; job.first < job.total; job.first += job.tiles) {
            job.tiles = MIN(job.band, job.total - job.first);
            if (!ldm_parallel_for(job.tiles, transform_task, &job, cancellable) ||
                !ldm_parallel_for(36 * job.parts, product_task, &job, cancellable))
                return false;
        }
        if (!ldm_parallel_for(c->Cout, weights_task, &job, cancellable))
            return false;
    }
    return true;
}
