/* Matrix products: Y[M, N] = X[M, K] W[N, K]^T + bias + residual. X is read where it lies; blocks
 * of W are packed (and expanded to f32) into a thread's own scratch memory, small enough for its
 * second-level cache, and serve many rows. */
#include "kernels/matrix.h"
#include "kernels/pairs.h"

#include "base/parallel.h"

#include <string.h>

#define KC          640 /* depth of a packed block, */
#define SPLIT_KC    384 /* and of one of numbers that are split, three words for two */
#define STRIP_PITCH (KC + LDM_LINE)
#define PANELS      6                 /* panels of NR columns in it */
#define TASK_STEPS  ((size_t)1 << 25) /* multiply-adds of a vector lane: 10 to 30 ms */

typedef struct {
    const LdmGemm *g;
    const LdmLanes *lanes;
    const LdmPairs *pairs; /* NULL: in f32 */
    LdmTileFunction *tile;
    size_t rows;  /* of it */
    size_t depth; /* of a block */
    size_t block_rows, block_columns, n_blocks;
} GemmJob;

/* One thread's scratch memory. */
typedef struct {
    float b[KC * PANELS * LDM_MAX_COLUMNS];
    float strip[LDM_MAX_ROWS * STRIP_PITCH];
    float corner[LDM_MAX_ROWS * LDM_MAX_COLUMNS];
    float bias[PANELS * LDM_MAX_COLUMNS];
} GemmScratch;

size_t ldm_gemm_scratch(void)
{
    return (size_t)ldm_threads() * sizeof(GemmScratch);
}

void ldm_tile_by(LdmTileFunction *tile, size_t width, int rows, size_t columns, LdmTile *t,
                 float *corner)
{
    size_t NR = 2 * width;
    t->vectors = columns > width ? 2 : 1;
    if (columns == NR || columns == width) {
        tile(rows, t);
        return;
    }
    LdmTile aside = *t;
    aside.c = corner;
    aside.ldc = NR;
    aside.add = false;
    tile(rows, &aside);
    for (int m = 0; m < rows; m++) {
        const float *from = corner + m * NR;
        float *to = t->c + m * t->ldc;
        for (size_t n = 0; n < columns; n++)
            to[n] = t->add ? to[n] + from[n] : from[n];
    }
}

/* What the epilogue will add to a tile comes while that is made. */
static void ask_residual(const GemmJob *job, size_t m, int rows, size_t n)
{
    const LdmGemm *g = job->g;
    for (int i = 0; i < rows; i++)
        for (size_t v = 0; v < 2 * (size_t)job->lanes->width; v += LDM_LINE)
            __builtin_prefetch(g->residual + (m + i) * g->N + n + v);
}

/* X's row m from column k on, and how far apart its rows are there. */
static const float *row_from(const LdmGemm *g, size_t m, size_t k, size_t *ld)
{
    size_t own = g->K - g->K_joined;
    *ld = k < own ? own : g->K_joined;
    return k < own ? g->x + m * own + k : g->joined + m % g->joined_rows * g->K_joined + k - own;
}

/* Rows from m on that lie one after another everywhere, `most` at most. */
static size_t rows_together(const LdmGemm *g, size_t m, size_t most)
{
    return g->joined != NULL ? MIN(most, g->joined_rows - m % g->joined_rows) : most;
}

static void gemm_strip(const GemmJob *job, GemmScratch *s, size_t m, int rows, size_t k0,
                       size_t depth, size_t n0, size_t columns)
{
    const LdmGemm *g = job->g;
    const size_t NR = 2 * job->lanes->width;
    bool in_place = g->residual == g->y, last = k0 + depth == g->K;
    const float *residual = in_place ? NULL : g->residual;
    LdmTile t = {.segments = 1, .ldc = g->N, .add = k0 > 0 || in_place};
    const float *x = row_from(g, m, k0, &t.lda);
    const size_t ld = t.lda;
    /* The next strip comes into the cache while this one is multiplied. */
    const float *next = rows_together(g, m, 2 * rows) == 2 * (size_t)rows && m + 2 * rows <= g->M
                            ? x + rows * ld
                            : NULL;
    t.K = ldm_pairs_words(job->pairs, depth);
    t.a = ldm_pairs_strip(job->pairs, x, &t.lda, (size_t)rows, depth, s->strip, STRIP_PITCH);
    for (size_t n = 0; n < columns; n += NR) {
        t.b = s->b + n * t.K;
        t.c = g->y + m * g->N + n0 + n;
        if (last && residual != NULL)
            ask_residual(job, m, rows, n0 + n);
        ldm_tile_ahead_strip(&t, next, ld, depth, n / NR);
        ldm_tile_by(job->tile, NR / 2, rows, MIN(NR, columns - n), &t, s->corner);
    }
    if (!last || (g->bias.data == NULL && residual == NULL))
        return;
    for (size_t i = m; i < m + rows; i++) {
        size_t at = i * g->N + n0;
        job->lanes->epilogue(columns, s->bias, residual != NULL ? residual + at : NULL, g->y + at);
    }
}

void ldm_bias_f32(LdmWeights bias, size_t first, size_t n, size_t padded, float *out)
{
    memset(out, 0, padded * sizeof(float));
    if (bias.data != NULL)
        ldm_convert_to_f32(ldm_weights_at(bias, first).data, bias.dtype, out, n);
}

/* W [depth, columns] as it lies -> panels [depth][NR], or of pairs, zeros beyond its columns. */
static void pack_transposed(const GemmJob *job, LdmWeights w, size_t depth, size_t columns,
                            float *out)
{
    const size_t NR = 2 * job->lanes->width, step = job->pairs != NULL ? 2 : 1;
    float even[LDM_MAX_COLUMNS], odd[LDM_MAX_COLUMNS];
    for (size_t n = 0; n < columns; n += NR) {
        size_t part = MIN(NR, columns - n);
        for (size_t k = 0; k < depth; k += step, out += NR) {
            LdmWeights row = ldm_weights_at(w, k * job->g->N + n);
            LdmWeights next = ldm_weights_at(row, job->g->N);
            bool alone = k + 1 == depth;
            if (job->pairs != NULL)
                job->pairs->interleave(ldm_weights_f32(row, 0, part, even),
                                       alone ? NULL : ldm_weights_f32(next, 0, part, odd), part,
                                       out, false);
            else if (row.dtype == LDM_F32)
                memcpy(out, row.data, part * sizeof(float));
            else
                ldm_convert_to_f32(row.data, row.dtype, out, part);
            memset(out + part, 0, (NR - part) * sizeof(float));
        }
    }
}

static void pack_block(const GemmJob *job, float *out, size_t k0, size_t depth, size_t n0,
                       size_t columns)
{
    const LdmGemm *g = job->g;
    const size_t NR = 2 * job->lanes->width;
    if (g->transposed) {
        pack_transposed(job, ldm_weights_at(g->w, k0 * g->N + n0), depth, columns, out);
        return;
    }
    /* Pairs leave room, at the end, for the panel that they are made of. */
    float *panel = out + (KC * PANELS - job->depth) * NR;
    size_t words = ldm_pairs_words(job->pairs, depth);
    for (size_t n = 0; n < columns; n += NR) {
        job->lanes->pack(&(LdmPack){.src = ldm_weights_at(g->w, (n0 + n) * g->K + k0),
                                    .ld = g->K,
                                    .rows = MIN(NR, columns - n),
                                    .J = depth,
                                    .taps = 1,
                                    .tap_stride = depth,
                                    .next = NR * g->K,
                                    .out = job->pairs != NULL ? panel : out + n * depth});
        if (job->pairs != NULL)
            ldm_pairs_panel(job->pairs, panel, depth, NR, out + n * words);
    }
}

static void gemm_task(size_t index, int thread, void *data)
{
    const GemmJob *job = data;
    const LdmGemm *g = job->g;
    GemmScratch *s = (GemmScratch *)g->scratch + thread;
    const size_t NR = 2 * job->lanes->width;
    size_t n0 = index % job->n_blocks * job->block_columns;
    size_t m0 = index / job->n_blocks * job->block_rows;
    size_t columns = MIN(job->block_columns, g->N - n0), m1 = MIN(m0 + job->block_rows, g->M);
    ldm_bias_f32(g->bias, n0, columns, PANELS * NR, s->bias);
    const size_t own = g->K - g->K_joined;
    for (size_t k0 = 0, depth; k0 < g->K; k0 += depth) {
        depth = MIN(job->depth, (k0 < own ? own : g->K) - k0);
        pack_block(job, s->b, k0, depth, n0, columns);
        for (size_t m = m0, rows; m < m1; m += rows) {
            rows = rows_together(g, m, MIN(job->rows, m1 - m));
            gemm_strip(job, s, m, (int)rows, k0, depth, n0, columns);
        }
    }
}

/* Few rows (a time embedding): reading the weights once is all the work there is. */
#define DOT_ROWS    4
#define DOT_COLUMNS 32

static void dot_task(size_t index, int thread, void *data)
{
    const GemmJob *job = data;
    const LdmGemm *g = job->g;
    size_t n0 = index * DOT_COLUMNS, columns = MIN((size_t)DOT_COLUMNS, g->N - n0);
    LdmWeights w = ldm_weights_at(g->w, n0 * g->K);
    float bias[DOT_COLUMNS], y[DOT_COLUMNS];
    ldm_bias_f32(g->bias, n0, columns, DOT_COLUMNS, bias);
    for (size_t m = 0; m < g->M; m++) {
        size_t at = m * g->N + n0;
        job->lanes->rows_dot(g->x + m * g->K, w, columns, g->K, y);
        job->lanes->epilogue(columns, bias, g->residual != NULL ? g->residual + at : NULL, y);
        memcpy(g->y + at, y, columns * sizeof(float));
    }
}

size_t ldm_task_rows(size_t M, size_t blocks, size_t row_steps, size_t tile_rows)
{
    size_t row_blocks = MAX(1, 8 * ldm_threads() / blocks);
    size_t soon = TASK_STEPS * (size_t)ldm_lanes()->width / row_steps;
    size_t rows = MAX(MIN(ldm_parts(M, row_blocks), soon), (size_t)128);

    return ldm_parts(rows, tile_rows) * tile_rows;
}

static size_t count_tasks(const GemmJob *job)
{
    return job->n_blocks * ldm_parts(job->g->M, job->block_rows);
}

/* As many columns a task as there is room for, or fewer where that leaves the busiest thread less
 * to do: seven tasks take two threads as long as eight. */
static void job_cut(GemmJob *job)
{
    const LdmGemm *g = job->g;
    const size_t NR = 2 * job->lanes->width, panels = ldm_parts(g->N, NR);
    size_t least = SIZE_MAX;
    for (size_t most = PANELS; most >= PANELS / 2; most--) {
        GemmJob cut = *job;
        cut.block_columns = ldm_evenly(panels, most) * NR;
        cut.n_blocks = ldm_parts(g->N, cut.block_columns);
        cut.block_rows = ldm_task_rows(g->M, cut.n_blocks, cut.block_columns * g->K, cut.rows);
        size_t busiest = ldm_parts(count_tasks(&cut), (size_t)ldm_threads()) *
                         MIN(cut.block_rows, g->M) * cut.block_columns;
        if (busiest < least) {
            least = busiest;
            *job = cut;
        }
    }
}

bool ldm_gemm(const LdmGemm *g, GCancellable *cancellable)
{
    GemmJob job = {.g = g, .lanes = ldm_lanes()};
    job.pairs = ldm_pairs_for(g->bf16, g->split && !g->transposed);
    job.depth = job.pairs != NULL && job.pairs->sections > 1 ? SPLIT_KC : KC;
    job.tile = ldm_pairs_tile(job.pairs);
    job.rows = ldm_pairs_rows(job.pairs);
    if (g->M <= DOT_ROWS && !g->transposed && g->joined == NULL)
        return ldm_parallel_for(ldm_parts(g->N, DOT_COLUMNS), dot_task, &job, cancellable);
    job_cut(&job);
    return ldm_parallel_for(count_tasks(&job), gemm_task, &job, cancellable);
}
