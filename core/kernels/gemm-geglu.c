/* A linear layer and the GEGLU behind it in one: y = (x w0^T + b0) * GELU(x w1^T + b1). A thread
 * multiplies a few rows with some columns of both halves and gates what it has in cache: the
 * product, eight times as wide as x in a transformer, never lies in memory. */
#include "kernels/matrix.h"
#include "kernels/pairs.h"

#include "base/parallel.h"

#define PANELS 2                              /* of each half, at a time */
#define WIDE   (2 * PANELS * LDM_MAX_COLUMNS) /* columns of a product */

typedef struct {
    const LdmGemmGeglu *g;
    const LdmLanes *lanes;
    const LdmPairs *pairs; /* NULL: in f32 */
    LdmTileFunction *tile;
    size_t rows, NR, words;                     /* of the tile, of a row of x */
    size_t block_rows, columns, columns_blocks; /* of a task: rows, columns of y; tasks abreast */
} GegluJob;

/* One thread's scratch memory; then 2 PANELS panels of weights, each with room for [K][NR] floats
 * or as many words, and rows of x. */
typedef struct {
    float product[LDM_MAX_ROWS * WIDE];
    float bias[WIDE];
} GegluScratch;

/* What the depth takes, in floats or in words. */
static size_t deepest(size_t K)
{
    return ldm_whole_lines(MAX(K, ldm_pairs_words(ldm_pairs_exact(), K)));
}

static size_t panel_floats(size_t K)
{
    return deepest(K) * LDM_MAX_COLUMNS;
}

/* A row's distance that is no power of two. */
static size_t strip_pitch(size_t K)
{
    return deepest(K) + LDM_LINE;
}

static size_t thread_bytes(size_t K)
{
    return sizeof(GegluScratch) +
           (2 * PANELS * panel_floats(K) + LDM_MAX_ROWS * strip_pitch(K)) * sizeof(float);
}

size_t ldm_gemm_geglu_scratch(size_t K)
{
    return ldm_threads() * thread_bytes(K);
}

/* Of half 0 or 1, from its column n of this task on. */
static float *weights_of(const GegluJob *job, GegluScratch *s, size_t half, size_t n)
{
    return (float *)(s + 1) + (half * PANELS * job->NR + n) * MAX(job->g->K, job->words);
}

static float *strip_of(const GegluJob *job, GegluScratch *s)
{
    return (float *)(s + 1) + 2 * PANELS * panel_floats(job->g->K);
}

static void pack_half(const GegluJob *job, GegluScratch *s, size_t half, size_t n0, size_t columns)
{
    const LdmGemmGeglu *g = job->g;

    for (size_t n = 0; n < columns; n += job->NR) {
        float *out = weights_of(job, s, half, n);
        float *panel = job->pairs != NULL ? strip_of(job, s) : out; /* no rows are there yet */
        job->lanes->pack(&(LdmPack){.src = ldm_weights_at(g->w, (half * g->C + n0 + n) * g->K),
                                    .ld = g->K,
                                    .rows = MIN(job->NR, columns - n),
                                    .J = g->K,
                                    .taps = 1,
                                    .tap_stride = g->K,
                                    .next = job->NR * g->K,
                                    .out = panel});
        if (job->pairs != NULL)
            ldm_pairs_panel(job->pairs, panel, g->K, job->NR, out);
    }
    ldm_bias_f32(g->bias, half * g->C + n0, columns, columns, s->bias + half * columns);
}

/* Rows m on: values | gates side by side in the scratch memory, the gates' panels over what the
 * last one of the values has too much; then their product goes to y. */
static void geglu_strip(const GegluJob *job, GegluScratch *s, size_t m, size_t rows, size_t n0,
                        size_t columns)
{
    const LdmGemmGeglu *g = job->g;
    LdmTile t = {.segments = 1, .K = job->words, .lda = g->K, .ldc = WIDE, .vectors = 2};
    size_t panel = 0;

    const float *next = m + 2 * rows <= g->M ? g->x + (m + rows) * g->K : NULL;
    t.a = ldm_pairs_strip(job->pairs, g->x + m * g->K, &t.lda, rows, g->K, strip_of(job, s),
                          strip_pitch(g->K));
    for (size_t half = 0; half < 2; half++)
        for (size_t n = 0; n < columns; n += job->NR) {
            t.b = weights_of(job, s, half, n);
            /* the next rows come into the cache meanwhile */
            ldm_tile_ahead_strip(&t, next, g->K, g->K, panel++);
            t.c = s->product + half * columns + n;
            job->tile((int)rows, &t);
        }
    for (size_t i = 0; i < rows; i++) {
        float *product = s->product + i * WIDE;
        job->lanes->epilogue(2 * columns, s->bias, NULL, product);
        job->lanes->geglu(product, g->y + (m + i) * g->C + n0, columns);
    }
}

static void geglu_task(size_t index, int thread, void *data)
{
    const GegluJob *job = data;
    const LdmGemmGeglu *g = job->g;
    GegluScratch *s = (GegluScratch *)((char *)g->scratch + (size_t)thread * thread_bytes(g->K));
    size_t n0 = index % job->columns_blocks * job->columns;
    size_t m0 = index / job->columns_blocks * job->block_rows;
    size_t columns = MIN(job->columns, g->C - n0), m1 = MIN(m0 + job->block_rows, g->M);

    for (size_t half = 0; half < 2; half++)
        pack_half(job, s, half, n0, columns);
    for (size_t m = m0; m < m1; m += job->rows)
        geglu_strip(job, s, m, MIN(job->rows, m1 - m), n0, columns);
}

bool ldm_gemm_geglu(const LdmGemmGeglu *g, GCancellable *cancellable)
{
    GegluJob job = {.g = g, .lanes = ldm_lanes(), .pairs = ldm_pairs_for(g->bf16, g->split)};
    job.tile = ldm_pairs_tile(job.pairs);
    job.rows = ldm_pairs_rows(job.pairs);
    job.NR = 2 * (size_t)job.lanes->width;
    job.words = ldm_pairs_words(job.pairs, g->K);
    job.columns = PANELS * job.NR;
    job.columns_blocks = ldm_parts(g->C, job.columns);
    job.block_rows = ldm_task_rows(g->M, job.columns_blocks, 2 * job.columns * g->K, job.rows);
    return ldm_parallel_for(job.columns_blocks * ldm_parts(g->M, job.block_rows), geglu_task, &job,
                            cancellable);
}
