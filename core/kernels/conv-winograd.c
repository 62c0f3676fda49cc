/* 3x3 convolution by Winograd's F(4x4, 3x3): 36 products of [tiles, Cin] x [Cin, Cout] instead of
 * 144 (arXiv 1509.09308), or another of winograd-vector.h's ways. Large pictures: transformed
 * weights wait in scratch memory; a thread takes a few tiles at a time through all three steps in
 * its own cache. Small ones: all input tiles first, then one panel of output channels or two, their
 * weights transformed in blocks, and nothing is kept; of few tiles these weights are made in
 * registers while they are multiplied. */
#include "kernels/window.h"

#include "base/parallel.h"

#include <string.h>

#define V_FLOATS  ((size_t)1 << 19) /* transformed input of a chunk, about: 2 MB stay in caches */
#define MIN_TILES 64                /* what pays for the transformed weights */
#define DEPTH     128 /* most input channels whose transformed weights are held at a time */
#define PACKED    16  /* of them, those whose weights wait in the first cache */
#define ABREAST   2   /* panels of output channels that a thread takes at a time */
#define DOUBLED_4 12  /* tiles that pay for the weights of the larger doubled ones, */
#define LARGER    5   /* and of the larger of the others */
#define FEW       8   /* smallest tiles whose weights are better transformed in registers */

/* Of large pictures: weights stream by, and serve as many panels as there is room for products. */
#define LARGE      100                /* tiles */
#define STRETCH    ((size_t)48 * 36)  /* most planes of tiles that a thread takes at a time, */
#define STRETCH_6  ((size_t)42 * 64)  /* and of F(6x6, 3x3)'s, whose weights stream by longer */
#define PLANES     ((size_t)5 * 64)   /* of products, between two readings of the tiles */
#define U_FLOATS   ((size_t)17 << 20) /* most transformed weights: 68 MB */
#define KEPT_DEPTH 320                /* input channels summed up in registers */
#define PAST       ((size_t)1 << 22)  /* floats of y that no cache would keep for its reader */
#define MEASURED   6                  /* tiles whose moments are summed up in f32 */

#define MOST_PRODUCTS 81

typedef struct {
    const LdmConv *c;
    const LdmLanes *lanes;
    LdmWinograd way;
    size_t planes, products, sums;      /* of V; of U; of M */
    size_t plane[MOST_PRODUCTS];        /* of V that a product reads */
    size_t sum[MOST_PRODUCTS];          /* of M that it goes to, */
    bool adds[MOST_PRODUCTS];           /* and whether another went there before */
    size_t step, outputs;               /* pixels of x, of y from tile to tile */
    size_t Ho, Wo, down, across, total; /* output size; tiles a column, a row, over all images */
    size_t pitch, v_stride, m_stride;   /* floats: a tile's channels; a plane of V; of M */
    size_t chunk, first, tiles;         /* tiles a chunk holds; this chunk's first and number */
    size_t panels, groups, group;       /* output panels; tile groups and tiles in one */
    size_t depth;                       /* input channels of a block of weights */
    float *v, *zeros;
    bool keeps;            /* transformed weights: a large picture */
    bool past;             /* y goes past the caches */
    bool few;              /* transformed weights wait in no memory */
    float *u;              /* [kept][products] planes [Cin][NR], u_stride floats apart */
    size_t u_stride;       /* floats */
    size_t base, kept;     /* first panel whose weights are kept at a time, how many there fit */
    size_t u_panel;        /* of a small picture: floats of a panel's weights at a time */
    size_t abreast;        /* panels between two readings of the tiles */
    size_t window;         /* floats of copied pixels */
    size_t measured;       /* of MEASURED tiles, how many: their moments are wanted */
    float *partial;        /* [measured, 2, Cout]: means, sums of squares about them */
    size_t shared, thread; /* floats of scratch memory: of all threads together, of each */
} WinogradJob;

/* Scratch memory of a picture with few tiles. */
static void job_init_small(WinogradJob *job)
{
    const size_t NR = 2 * job->lanes->width;
    size_t fit = MAX(V_FLOATS / (job->planes * job->pitch), (size_t)MIN_TILES);
    job->chunk = ldm_parts(job->total, MAX((job->total + fit / 2) / fit, (size_t)1));
    /* Planes an odd number of cache lines apart fall into different sets. */
    job->v_stride = job->chunk * job->pitch + LDM_LINE;
    bool enough = job->panels >= 4 * ABREAST * (size_t)ldm_threads(); /* tasks for all */
    job->abreast = enough ? ABREAST : 1;
    size_t wanted = ldm_parts(2 * ldm_threads(), ldm_parts(job->panels, job->abreast));
    job->group = MAX(ldm_parts(job->chunk, wanted), MIN((size_t)56, job->chunk));
    job->m_stride = job->group * NR + LDM_LINE;
    job->depth = MIN(DEPTH * 36 / job->products, (size_t)DEPTH);
    job->shared = job->planes * job->v_stride;
    job->u_panel = job->products * (job->depth * NR + LDM_LINE);
    job->thread = ldm_whole_lines(job->abreast * (job->u_panel + job->sums * job->m_stride) +
                                  9 * PACKED * NR + NR);
}

/* Of few tiles: a thread's own holds planes of one tile, or packed weights and products. */
static void job_init_few(WinogradJob *job)
{
    const size_t NR = 2 * job->lanes->width;
    job->v_stride = job->pitch;
    job->m_stride = job->total * NR + LDM_LINE;
    job->shared =
        ldm_parts(job->total, LDM_WINOGRAD_FEW) * LDM_WINOGRAD_FEW * job->planes * job->pitch;
    size_t multiplying = 9 * PACKED * NR + job->sums * job->m_stride + NR;
    job->thread = ldm_whole_lines(MAX(multiplying, job->planes * job->v_stride));
}

static bool writes_much(const WinogradJob *job)
{
    return job->c->N * job->Ho * job->Wo * job->c->Cout > PAST;
}

static void job_init_large(WinogradJob *job)
{
    const size_t NR = 2 * job->lanes->width;
    /* Stretches of the same size, as many for each thread. */
    size_t threads = ldm_threads();
    size_t stretch_planes = job->way == LDM_WINOGRAD_6 ? STRETCH_6 : STRETCH;
    size_t each = ldm_parts(job->total, stretch_planes / job->planes * threads);
    job->chunk = ldm_parts(job->total, each * threads);
    if (job->c->measured) {
        /* the same sums whatever the number of threads */
        job->chunk = ldm_parts(job->chunk, MEASURED) * MEASURED;
        job->measured = ldm_parts(job->total, MEASURED);
    }
    bool lines = (uintptr_t)job->c->y % (LDM_LINE * sizeof(float)) == 0;
    job->past = writes_much(job) && lines && job->c->Cout % LDM_LINE == 0;
    job->v_stride = job->chunk * job->pitch + LDM_LINE;
    job->m_stride = job->chunk * NR + LDM_LINE;
    job->depth = DEPTH;
    job->kept = ldm_evenly(job->panels, job->kept);
    job->abreast = MIN(PLANES / job->sums, job->kept);
    job->shared = job->kept * job->products * job->u_stride;
    size_t packed = 9 * PACKED * NR; /* at another time than tiles and products */
    size_t stretch = job->planes * job->v_stride + job->abreast * job->sums * job->m_stride + NR;
    size_t side = (size_t)ldm_winograd_side(job->way);
    stretch += job->window = ldm_window_floats(job->c, side, side, job->pitch);
    job->thread = ldm_whole_lines(MAX(packed, stretch));
}

static size_t count_tiles(const LdmConv *c, size_t step)
{
    return c->N * ldm_parts(c->H, step) * ldm_parts(c->W, step);
}

/* Whether 6x6 outputs a tile win: where that leaves fewer products, edges counted, by a tenth, and
 * the transformed weights of all outputs are kept at a time. */
static bool wins_6(const LdmConv *c, size_t panels, size_t u_stride)
{
    size_t tiles = count_tiles(c, 6);
    return tiles >= LARGE && panels * 64 * u_stride <= U_FLOATS &&
           10 * tiles * 64 <= 9 * count_tiles(c, 4) * 36;
}

/* Which product is made of which plane of V: doubled, even and odd outputs both multiply what x is
 * at a point, but for 0 and 1, which come first, and infinity, which comes last. Which sum it goes
 * to: with a stride, those of the odd pixels, which come last, to those of the even ones. */
static void job_init_way(WinogradJob *job, const LdmConv *c)
{
    if (c->stride == 2)
        job->way = LDM_WINOGRAD_STRIDED;
    else if (c->upsample == 2)
        job->way = count_tiles(c, 4) >= DOUBLED_4 ? LDM_WINOGRAD_DOUBLED_4 : LDM_WINOGRAD_DOUBLED_2;
    else if (count_tiles(c, 4) < LARGER)
        job->way = LDM_WINOGRAD_2;
    else if (wins_6(c, job->panels, job->u_stride))
        job->way = LDM_WINOGRAD_6;
    size_t side = (size_t)ldm_winograd_side(job->way);
    size_t products = (size_t)ldm_winograd_products(job->way);
    size_t sums = (size_t)ldm_winograd_sums(job->way);
    job->planes = side * side;
    job->products = products * products;
    job->sums = sums * sums;
    for (size_t i = 0; i < job->products; i++) {
        size_t row = i / products, column = i % products;
        job->sum[i] = row % sums * sums + column % sums;
        job->adds[i] = row >= sums || column >= sums;
        if (c->upsample == 2) {
            row = row < 2 ? row : row / 2 + 1;
            column = column < 2 ? column : column / 2 + 1;
        }
        job->plane[i] = row * side + column;
    }
    job->outputs = (size_t)ldm_winograd_outputs(job->way);
    job->step = job->outputs * c->stride / c->upsample;
    ldm_conv_output(c, &job->Ho, &job->Wo);
    job->down = ldm_parts(job->Ho, job->outputs);
    job->across = ldm_parts(job->Wo, job->outputs);
    job->total = c->N * job->down * job->across;
}

static void job_init(WinogradJob *job, const LdmConv *c)
{
    *job = (WinogradJob){.c = c, .lanes = ldm_lanes(), .way = LDM_WINOGRAD};
    const size_t NR = 2 * job->lanes->width;
    job->panels = ldm_parts(c->Cout, NR);
    job->u_stride = c->Cin * NR + LDM_LINE;
    job_init_way(job, c);
    job->pitch = ldm_whole_lines(c->Cin);
    if (ldm_stride_collides(job->pitch))
        job->pitch += LDM_LINE;
    job->kept = U_FLOATS / (job->products * job->u_stride);
    job->keeps = job->total >= LARGE && job->kept >= 1;
    job->few = job->way == LDM_WINOGRAD_2 && job->total <= FEW && job->lanes->winograd_few != NULL;
    if (job->keeps)
        job_init_large(job);
    else if (job->few)
        job_init_few(job);
    else
        job_init_small(job);
}

bool ldm_conv_winograd_fits(const LdmConv *c)
{
    bool strided = c->stride == 2 && c->upsample == 1 && c->pad_top >= 0 && c->pad_left >= 0;
    if (c->KH != 3 || c->KW != 3 || !(strided || ldm_conv_is_even(c)) || c->Cin < 16 ||
        c->Cout < 16)
        return false;
    WinogradJob job;
    job_init(&job, c);
    /* nine products a pixel against a tile's and a third more for its transforms; those of the
     * weights cost what two tiles do */
    return c->N * job.Ho * job.Wo * 27 >= 4 * job.products * (job.total + 2);
}

bool ldm_conv_winograd_reads_normed(const LdmConv *c)
{
    WinogradJob job;
    job_init(&job, c);
    return job.keeps && job.kept >= job.panels && c->stride == 1 && c->upsample == 1;
}

bool ldm_conv_winograd_measures(const LdmConv *c)
{
    WinogradJob job;
    job_init(&job, c);
    return job.keeps && c->N == 1 && writes_much(&job);
}

size_t ldm_conv_winograd_scratch(const LdmConv *c)
{
    WinogradJob job;
    job_init(&job, c);
    size_t own = job.shared + job.pitch + ldm_threads() * job.thread;
    return (own + job.measured * LDM_MOMENTS(c->Cout)) * sizeof(float);
}

/* Its place, in tiles. */
static void tile_place(const WinogradJob *job, size_t tile, size_t *image, size_t *y, size_t *x)
{
    *x = tile % job->across;
    *y = tile / job->across % job->down;
    *image = tile / job->across / job->down;
}

/* What a tile reads; `copies`: room for job->window floats. */
static LdmWindow tile_window(const WinogradJob *job, float *copies)
{
    size_t side = (size_t)ldm_winograd_side(job->way);
    return (LdmWindow){.c = job->c,
                       .rows = side,
                       .columns = side,
                       .pitch = job->pitch,
                       .copies = copies,
                       .beyond = job->zeros};
}

static void transform_tile(const WinogradJob *job, size_t tile, LdmWindow *window, float *v)
{
    const LdmConv *c = job->c;
    size_t image, y, x;
    tile_place(job, tile, &image, &y, &x);
    LdmWinogradInput in = {.C = c->Cin, .v = v, .v_stride = job->v_stride};
    ldm_window_move(window, image, y * job->step - c->pad_top, x * job->step - c->pad_left);
    for (size_t i = 0; i < window->rows; i++)
        for (size_t j = 0; j < window->columns; j++)
            in.pixels[i * window->columns + j] = ldm_window_pixel(window, i, j);
    job->lanes->winograd_input(job->way, &in);
}

static void input_task(size_t index, int thread, void *data)
{
    const WinogradJob *job = data;
    LdmWindow window = tile_window(job, NULL);
    transform_tile(job, job->first + index, &window, job->v + index * job->pitch);
}

/* Of a panel of output channels from n0 on, some tiles from `tile` on, whose products lie in m. */
static void write_tiles(const WinogradJob *job, size_t tile, size_t tiles, size_t n0,
                        const float *m, float *bias)
{
    const LdmConv *c = job->c;
    const size_t NR = 2 * job->lanes->width;
    LdmWinogradOutput out = {.m = m,
                             .m_stride = job->m_stride,
                             .bias = bias,
                             .pixel = c->Cout,
                             .row = job->Wo * c->Cout,
                             .channels = MIN(NR, c->Cout - n0),
                             .past = job->past};
    ldm_bias_f32(c->bias, n0, out.channels, NR, bias);
    for (size_t end = tile + tiles; tile < end; tile++, out.m += NR) {
        size_t image, y, x;
        tile_place(job, tile, &image, &y, &x);
        y *= job->outputs;
        x *= job->outputs;
        size_t at = ((image * job->Ho + y) * job->Wo + x) * c->Cout + n0;
        if (job->measured > 0 && tile % MEASURED == 0) {
            out.mean = job->partial + tile / MEASURED * LDM_MOMENTS(c->Cout) + n0;
            out.m2 = out.mean + c->Cout;
            out.seen = 0;
        }
        out.residual = c->residual != NULL ? c->residual + at : NULL;
        out.y = c->y + at;
        out.rows = (int)MIN(job->outputs, job->Ho - y);
        out.columns = (int)MIN(job->outputs, job->Wo - x);
        job->lanes->winograd_output(job->way, &out);
        out.seen += out.rows * out.columns;
    }
}

/* PACKED input channels or fewer from c0 on of the weights to a panel of output channels. */
static void pack_weights(const WinogradJob *job, size_t n0, size_t c0, size_t channels,
                         float *packed)
{
    const LdmConv *c = job->c;
    const size_t NR = 2 * job->lanes->width;
    job->lanes->pack(&(LdmPack){.src = ldm_weights_at(c->w, (n0 * c->Cin + c0) * 9),
                                .ld = c->Cin * 9,
                                .rows = MIN(NR, c->Cout - n0),
                                .J = channels * 9,
                                .taps = 1,
                                .tap_stride = channels * 9,
                                .next = channels * 9,
                                .out = packed});
}

/* Input channels c0 to c0 + depth of the weights to a panel of output channels from n0 on, torch's
 * -> planes [depth][NR], u_stride floats apart; `packed` has room for PACKED channels. */
static void transform_weights(const WinogradJob *job, size_t n0, size_t c0, size_t depth,
                              float *packed, float *u, size_t u_stride)
{
    const size_t NR = 2 * job->lanes->width;
    for (size_t i = 0; i < depth; i += PACKED) {
        size_t channels = MIN(depth - i, (size_t)PACKED);
        pack_weights(job, n0, c0 + i, channels, packed);
        job->lanes->winograd_weights(job->way, packed, channels, u + i * NR, u_stride);
    }
}

static float *thread_scratch(const WinogradJob *job, int thread)
{
    return job->zeros + job->pitch + thread * job->thread;
}

/* ---- small pictures ---- */

/* Some tiles, t0 to t1, and some panels of output channels from channel n0 on. */
typedef struct {
    size_t t0, t1, n0, panels;
    const float *u; /* u_panel floats a panel */
    float *m;       /* [panels][sums] planes [tiles][NR] */
} Group;

/* Of a group of tiles, input channels c0 to c0 + depth of all products with some panels from the
 * one that begins at n0 on: what a strip of tiles holds is read once for all of them. */
static void multiply_group(const WinogradJob *job, const Group *g, size_t c0, size_t depth)
{
    const size_t NR = 2 * job->lanes->width, width = NR / 2, Cout = job->c->Cout;
    size_t rows = ldm_evenly(g->t1 - g->t0, job->lanes->rows);
    LdmTile t = {.segments = 1, .K = depth, .lda = job->pitch, .ldc = NR};
    for (size_t p = 0; p < job->products; p++) {
        const float *v = job->v + job->plane[p] * job->v_stride + c0;
        const float *then = job->v + job->plane[MIN(p + 1, job->products - 1)] * job->v_stride + c0;
        t.add = c0 > 0 || job->adds[p];
        for (size_t i = g->t0; i < g->t1; i += rows) {
            const float *next =
                i + rows < g->t1 ? v + (i + rows) * job->pitch : then + g->t0 * job->pitch;
            t.a = v + i * job->pitch;
            for (size_t q = 0; q < g->panels; q++) {
                t.b = g->u + q * job->u_panel + p * (depth * NR + LDM_LINE);
                t.c = g->m + (q * job->sums + job->sum[p]) * job->m_stride + (i - g->t0) * NR;
                t.vectors = Cout - (g->n0 + q * NR) > width ? 2 : 1;
                ldm_tile_ahead_strip(&t, next, job->pitch, depth, q);
                job->lanes->tile((int)MIN(rows, g->t1 - i), &t);
            }
        }
    }
}

/* Some panels of output channels over one group of tiles. */
static void group_task(size_t index, int thread, void *data)
{
    const WinogradJob *job = data;
    const LdmConv *c = job->c;
    const size_t NR = 2 * job->lanes->width;
    size_t first = index / job->groups * job->abreast, t0 = index % job->groups * job->group;
    float *u = thread_scratch(job, thread), *packed = u + job->abreast * job->u_panel;
    float *m = packed + 9 * PACKED * NR, *bias = m + job->abreast * job->sums * job->m_stride;
    Group g = {.t0 = t0,
               .t1 = MIN(t0 + job->group, job->tiles),
               .n0 = first * NR,
               .panels = MIN(job->abreast, job->panels - first),
               .u = u,
               .m = m};
    for (size_t c0 = 0; c0 < c->Cin; c0 += job->depth) {
        size_t depth = MIN(job->depth, c->Cin - c0);
        for (size_t q = 0; q < g.panels; q++)
            transform_weights(job, g.n0 + q * NR, c0, depth, packed, u + q * job->u_panel,
                              depth * NR + LDM_LINE);
        multiply_group(job, &g, c0, depth);
    }
    for (size_t q = 0; q < g.panels; q++)
        write_tiles(job, job->first + t0, g.t1 - t0, g.n0 + q * NR,
                    m + q * job->sums * job->m_stride, bias);
}

static bool convolve_small(WinogradJob *job, GCancellable *cancellable)
{
    job->v = job->c->scratch;
    for (job->first = 0; job->first < job->total; job->first += job->tiles) {
        job->tiles = MIN(job->chunk, job->total - job->first);
        job->groups = ldm_parts(job->tiles, job->group);
        if (!ldm_parallel_for(job->tiles, input_task, job, cancellable) ||
            !ldm_parallel_for(ldm_parts(job->panels, job->abreast) * job->groups, group_task, job,
                              cancellable))
            return false;
    }
    return true;
}

/* ---- of few tiles ---- */

/* Numbers that meet the same weights side by side: groups of tiles [Cin][16][LDM_WINOGRAD_FEW]. */
static void few_input_task(size_t index, int thread, void *data)
{
    const WinogradJob *job = data;
    LdmWindow window = tile_window(job, NULL);
    float *planes = thread_scratch(job, thread);
    size_t within = index % LDM_WINOGRAD_FEW;
    float *v = job->v + (index - within) * job->pitch * 16 + within;
    transform_tile(job, index, &window, planes);
    for (size_t p = 0; p < 16; p++, v += LDM_WINOGRAD_FEW)
        for (size_t c = 0; c < job->c->Cin; c++)
            v[c * 16 * LDM_WINOGRAD_FEW] = planes[p * job->v_stride + c];
}

/* A panel of output channels. */
static void few_task(size_t index, int thread, void *data)
{
    const WinogradJob *job = data;
    const LdmConv *c = job->c;
    const size_t NR = 2 * job->lanes->width, n0 = index * NR;
    float *packed = thread_scratch(job, thread), *m = packed + 9 * PACKED * NR;
    for (size_t c0 = 0; c0 < c->Cin; c0 += PACKED) {
        size_t channels = MIN(c->Cin - c0, (size_t)PACKED);
        pack_weights(job, n0, c0, channels, packed);
        for (size_t i = 0; i < job->total; i += LDM_WINOGRAD_FEW)
            job->lanes->winograd_few(
                &(LdmWinogradFew){.w = packed,
                                  .K = channels,
                                  .v = job->v + (i * job->pitch + c0 * LDM_WINOGRAD_FEW) * 16,
                                  .m = m + i * NR,
                                  .m_stride = job->m_stride,
                                  .tiles = (int)MIN(job->total - i, (size_t)LDM_WINOGRAD_FEW),
                                  .vectors = c->Cout - n0 > NR / 2 ? 2 : 1,
                                  .add = c0 > 0});
    }
    write_tiles(job, 0, job->total, n0, m, m + job->sums * job->m_stride);
}

static bool convolve_few(WinogradJob *job, GCancellable *cancellable)
{
    job->v = job->c->scratch;
    return ldm_parallel_for(job->total, few_input_task, job, cancellable) &&
           ldm_parallel_for(job->panels, few_task, job, cancellable);
}

/* ---- large pictures ---- */

static void keep_task(size_t index, int thread, void *data)
{
    const WinogradJob *job = data;
    const size_t NR = 2 * job->lanes->width, Cin = job->c->Cin;
    for (size_t c0 = 0; c0 < Cin; c0 += job->depth)
        transform_weights(job, (job->base + index) * NR, c0, MIN(job->depth, Cin - c0),
                          thread_scratch(job, thread),
                          job->u + index * job->products * job->u_stride + c0 * NR, job->u_stride);
}

static const float *kept_weights(const WinogradJob *job, size_t panel, size_t p)
{
    return job->u + ((panel - job->base) * job->products + p) * job->u_stride;
}

/* One of the products of some tiles with one panel of output channels. Weights pass by once a
 * stretch: those that follow, at last `next`, are asked for while the first rows of tiles are
 * multiplied by these, a line a step; else the first rows would wait for all of them. */
static void multiply_plane(const WinogradJob *job, size_t p, size_t panel, size_t tiles,
                           const float *v, float *m, const float *next)
{
    const size_t NR = 2 * job->lanes->width, Cin = job->c->Cin;
    size_t rows = ldm_evenly(tiles, job->lanes->rows);
    const float *u = kept_weights(job, panel, p);
    size_t columns = job->c->Cout - panel * NR, parts = ldm_parts(Cin, KEPT_DEPTH);
    size_t step = ldm_whole_lines(ldm_parts(Cin, parts));
    LdmTile t = {.segments = 1,
                 .lda = job->pitch,
                 .ldc = NR,
                 .vectors = columns > (size_t)job->lanes->width ? 2 : 1};
    for (size_t c0 = 0; c0 < Cin; c0 += step) {
        const float *following = c0 + step < Cin ? u + (c0 + step) * NR : next;
        t.K = MIN(step, Cin - c0);
        t.b = u + c0 * NR;
        t.add = c0 > 0 || job->adds[p];
        for (size_t i = 0; i < tiles; i += rows, following += step * LDM_LINE) {
            t.a = v + i * job->pitch + c0;
            t.c = m + i * NR;
            ldm_tile_ahead(&t, i / rows * LDM_LINE < NR ? following : NULL);
            job->lanes->tile((int)MIN(rows, tiles - i), &t);
        }
    }
}

/* All products of some tiles with some panels of output channels. */
static void multiply_planes(const WinogradJob *job, size_t panel, size_t panels, size_t tiles,
                            const float *v, float *m)
{
    size_t count = job->products * panels;
    for (size_t i = 0; i < count; i++) {
        size_t p = i / panels, q = i % panels, j = MIN(i + 1, count - 1);
        const float *next = kept_weights(job, panel + j % panels, j / panels);
        multiply_plane(job, p, panel + q, tiles, v + job->plane[p] * job->v_stride,
                       m + (q * job->sums + job->sum[p]) * job->m_stride, next);
    }
}

/* Some tiles from input to output, as far as weights are there. */
static void stretch_task(size_t index, int thread, void *data)
{
    const WinogradJob *job = data;
    const size_t NR = 2 * job->lanes->width, sums = job->sums;
    float *v = thread_scratch(job, thread), *m = v + job->planes * job->v_stride;
    float *bias = m + job->abreast * sums * job->m_stride;
    LdmWindow window = tile_window(job, bias + NR);
    size_t first = index * job->chunk, tiles = MIN(job->chunk, job->total - first);
    size_t end = MIN(job->base + job->kept, job->panels);
    for (size_t i = 0; i < tiles; i++)
        transform_tile(job, first + i, &window, v + i * job->pitch);
    for (size_t panel = job->base; panel < end; panel += job->abreast) {
        size_t panels = MIN(job->abreast, end - panel);
        multiply_planes(job, panel, panels, tiles, v, m);
        for (size_t q = 0; q < panels; q++)
            write_tiles(job, first, tiles, (panel + q) * NR, m + q * sums * job->m_stride, bias);
    }
    if (job->past)
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static size_t tile_pixels(const WinogradJob *job, size_t tile)
{
    size_t image, y, x;
    tile_place(job, tile, &image, &y, &x);
    return MIN(job->outputs, job->Ho - y * job->outputs) *
           MIN(job->outputs, job->Wo - x * job->outputs);
}

/* The moments of a panel of output channels, from those of a few tiles each. */
static void moments_task(size_t panel, int thread, void *data)
{
    const WinogradJob *job = data;
    const size_t NR = 2 * job->lanes->width, Cout = job->c->Cout, n0 = panel * NR;
    const size_t channels = MIN(NR, Cout - n0);
    double *mean = job->c->moments + n0, *m2 = mean + Cout, seen = 0;
    for (size_t n = 0; n < channels; n++)
        mean[n] = m2[n] = 0;
    for (size_t tile = 0; tile < job->total;) {
        const float *part_mean = job->partial + tile / MEASURED * LDM_MOMENTS(Cout) + n0;
        const float *part_m2 = part_mean + Cout;
        double count = 0;
        for (size_t end = MIN(tile + MEASURED, job->total); tile < end; tile++)
            count += tile_pixels(job, tile);
        double share = count / (seen + count);
        for (size_t n = 0; n < channels; n++) {
            double delta = part_mean[n] - mean[n];
            mean[n] += delta * share;
            m2[n] += part_m2[n] + delta * delta * seen * share;
        }
        seen += count;
    }
}

static bool convolve_large(WinogradJob *job, GCancellable *cancellable)
{
    job->u = job->c->scratch;
    for (job->base = 0; job->base < job->panels; job->base += job->kept)
        if (!ldm_parallel_for(MIN(job->kept, job->panels - job->base), keep_task, job,
                              cancellable) ||
            !ldm_parallel_for(ldm_parts(job->total, job->chunk), stretch_task, job, cancellable))
            return false;
    return job->measured == 0 || ldm_parallel_for(job->panels, moments_task, job, cancellable);
}

bool ldm_conv_winograd(const LdmConv *c, GCancellable *cancellable)
{
    WinogradJob job;
    job_init(&job, c);
    job.zeros = (float *)c->scratch + job.shared;
    job.partial = job.zeros + job.pitch + ldm_threads() * job.thread;
    memset(job.zeros, 0, job.pitch * sizeof(float));
    if (job.keeps)
        return convolve_large(&job, cancellable);
    return job.few ? convolve_few(&job, cancellable) : convolve_small(&job, cancellable);
}
