/* Token merging (arXiv 2303.17604): which tokens of a picture are near enough to one another that
 * one may stand for them, their means, and the way back. In come features [N, H, W, C]; out goes
 * one place a token, then [N, rows, C] means, and in the end [N, H, W, C] again. Similarities are
 * made in blocks of tokens, so memory grows with the pixels and not with their square. */
#include "kernels/matrix.h"

#include "base/parallel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK   256 /* tokens whose similarities exist at a time */
#define COLUMNS 64  /* channels of a task */
#define ROWS    64  /* tokens of a task */

/* A token that may go, and the destination nearest to it. */
typedef struct {
    uint32_t token, destination; /* the latter counted among destinations */
    float similarity;
} Edge;

typedef struct {
    const LdmMerge *m;
    GCancellable *cancellable;
    const float *x; /* [T, C] of the picture at work */
    LdmToken *tokens;
    size_t T, D;                   /* tokens, destinations */
    Edge *edges;                   /* [T - D] */
    float *near, *block, *similar; /* [D, C] and [BLOCK, C] of length 1, [BLOCK, D] */
    void *gemm;
} MatchJob;

static size_t destinations_of(const LdmMerge *m)
{
    return (m->H / 2) * (m->W / 2);
}

size_t ldm_merge_most(size_t H, size_t W)
{
    return H * W - (H / 2) * (W / 2);
}

/* The upper left corner of every 2 x 2 block. */
static size_t destination(const LdmMerge *m, size_t d)
{
    size_t blocks = m->W / 2;
    return d / blocks * 2 * m->W + d % blocks * 2;
}

static bool is_destination(const LdmMerge *m, size_t token)
{
    size_t y = token / m->W, x = token % m->W;
    return y % 2 == 0 && x % 2 == 0 && y + 1 < m->H && x + 1 < m->W;
}

/* Lays the arrays into scratch memory, which may be NULL; returns their bytes. */
static size_t lay_scratch(MatchJob *job, const LdmMerge *m)
{
    char *at = m->scratch;
    job->T = m->H * m->W;
    job->D = destinations_of(m);
    size_t bytes[] = {job->D * m->C * sizeof(float), BLOCK * m->C * sizeof(float),
                      BLOCK * job->D * sizeof(float), (job->T - job->D) * sizeof(Edge),
                      ldm_gemm_scratch()};
    size_t begin[G_N_ELEMENTS(bytes)], total = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(bytes); i++) {
        begin[i] = total;
        total += ldm_whole_lines(bytes[i] / sizeof(float)) * sizeof(float);
    }
    if (at == NULL)
        return total;
    job->near = (float *)(at + begin[0]);
    job->block = (float *)(at + begin[1]);
    job->similar = (float *)(at + begin[2]);
    job->edges = (Edge *)(at + begin[3]);
    job->gemm = at + begin[4];
    return total;
}

size_t ldm_merge_scratch(const LdmMerge *m)
{
    LdmMerge empty = *m;
    empty.scratch = NULL;
    return lay_scratch(&(MatchJob){0}, &empty);
}

/* All tokens but the destinations. */
static void lay_edges(MatchJob *job)
{
    Edge *edge = job->edges;
    for (size_t i = 0; i < job->T; i++)
        if (!is_destination(job->m, i))
            *edge++ = (Edge){.token = (uint32_t)i, .similarity = -INFINITY};
}

/* x of a token, made as long as 1; zeros stay zeros. */
static void unit_row(const MatchJob *job, size_t token, float *out)
{
    const float *x = job->x + token * job->m->C;
    double squares = 0;
    for (size_t c = 0; c < job->m->C; c++)
        squares += (double)x[c] * x[c];
    float factor = squares > 0 ? (float)(1 / sqrt(squares)) : 0;
    for (size_t c = 0; c < job->m->C; c++)
        out[c] = x[c] * factor;
}

static void near_task(size_t index, int thread, void *data)
{
    const MatchJob *job = data;
    for (size_t d = index * ROWS; d < MIN((index + 1) * ROWS, job->D); d++)
        unit_row(job, destination(job->m, d), job->near + d * job->m->C);
}

/* One block of edges, cut into tasks. */
typedef struct {
    MatchJob *job;
    size_t first, n;
} Block;

static void block_task(size_t index, int thread, void *data)
{
    const Block *block = data;
    for (size_t i = index * ROWS; i < MIN((index + 1) * ROWS, block->n); i++)
        unit_row(block->job, block->job->edges[block->first + i].token,
                 block->job->block + i * block->job->m->C);
}

/* The first of the most similar. */
static void nearest_task(size_t index, int thread, void *data)
{
    const Block *block = data;
    for (size_t i = index * ROWS; i < MIN((index + 1) * ROWS, block->n); i++) {
        const float *similar = block->job->similar + i * block->job->D;
        Edge *edge = &block->job->edges[block->first + i];
        for (size_t d = 0; d < block->job->D; d++)
            if (similar[d] > edge->similarity) {
                edge->similarity = similar[d];
                edge->destination = (uint32_t)d;
            }
    }
}

static bool match_edges(MatchJob *job)
{
    size_t edges = job->T - job->D, C = job->m->C;
    if (!ldm_parallel_for(ldm_parts(job->D, ROWS), near_task, job, job->cancellable))
        return false;
    for (size_t first = 0; first < edges; first += BLOCK) {
        Block block = {job, first, MIN((size_t)BLOCK, edges - first)};
        LdmGemm gemm = {.M = block.n,
                        .N = job->D,
                        .K = C,
                        .x = job->block,
                        .w = {job->near, LDM_F32},
                        .y = job->similar,
                        .scratch = job->gemm,
                        .bf16 = job->m->bf16};
        size_t tasks = ldm_parts(block.n, ROWS);
        if (!ldm_parallel_for(tasks, block_task, &block, job->cancellable) ||
            !ldm_gemm(&gemm, job->cancellable) ||
            !ldm_parallel_for(tasks, nearest_task, &block, job->cancellable))
            return false;
    }
    return true;
}

static int compare_edges(const void *a, const void *b)
{
    const Edge *p = a, *q = b;
    if (p->similarity != q->similarity)
        return p->similarity > q->similarity ? -1 : 1;
    return p->token < q->token ? -1 : 1;
}

/* The nearest go; the tokens that stay are counted in their order. */
static void give_places(MatchJob *job)
{
    const LdmMerge *m = job->m;
    LdmToken *tokens = job->tokens;
    uint32_t row = 0;
    qsort(job->edges, job->T - job->D, sizeof(Edge), compare_edges);
    for (size_t i = 0; i < job->T; i++)
        tokens[i].place = 0;
    for (size_t e = 0; e < m->merged; e++)
        tokens[job->edges[e].token].place = UINT32_MAX;
    for (size_t i = 0; i < job->T; i++)
        if (tokens[i].place == 0)
            tokens[i].place = row++;
    for (size_t e = 0; e < m->merged; e++)
        tokens[job->edges[e].token].place = tokens[destination(m, job->edges[e].destination)].place;
    /* shares of a running mean: the n-th of a place weighs 1/n */
    uint32_t *met = (uint32_t *)job->similar;
    memset(met, 0, row * sizeof *met);
    for (size_t i = 0; i < job->T; i++)
        tokens[i].share = 1.0f / (float)++met[tokens[i].place];
}

bool ldm_merge_match(const LdmMerge *m, const float *x, GCancellable *cancellable)
{
    MatchJob job = {.m = m, .cancellable = cancellable};
    lay_scratch(&job, m);
    for (size_t n = 0; n < m->N; n++) {
        job.x = x + n * job.T * m->C;
        job.tokens = m->tokens + n * job.T;
        lay_edges(&job);
        if (!match_edges(&job))
            return false;
        give_places(&job);
    }
    return true;
}

/* ---- there and back ---- */

typedef struct {
    const LdmMerge *m;
    const float *x, *residual;
    float *y;
    size_t T, rows, parts;
} MoveJob;

/* Some channels of one picture. */
static void merge_task(size_t index, int thread, void *data)
{
    const MoveJob *job = data;
    size_t C = job->m->C, n = index / job->parts, first = index % job->parts * COLUMNS;
    size_t columns = MIN((size_t)COLUMNS, C - first);
    const LdmToken *tokens = job->m->tokens + n * job->T;
    for (size_t i = 0; i < job->T; i++) {
        const float *x = job->x + (n * job->T + i) * C + first;
        float *y = job->y + (n * job->rows + tokens[i].place) * C + first, share = tokens[i].share;
        if (share == 1.0f)
            memcpy(y, x, columns * sizeof *y);
        else
            for (size_t c = 0; c < columns; c++)
                y[c] += (x[c] - y[c]) * share;
    }
}

bool ldm_merge(const LdmMerge *m, const float *x, float *y, GCancellable *cancellable)
{
    MoveJob job = {.m = m, .x = x, .y = y, .T = m->H * m->W, .parts = ldm_parts(m->C, COLUMNS)};
    job.rows = job.T - m->merged;
    return ldm_parallel_for(m->N * job.parts, merge_task, &job, cancellable);
}

static void unmerge_task(size_t index, int thread, void *data)
{
    const MoveJob *job = data;
    size_t C = job->m->C;
    for (size_t i = index * ROWS; i < MIN((index + 1) * ROWS, job->m->N * job->T); i++)
        ldm_lanes()->add(job->x + (i / job->T * job->rows + job->m->tokens[i].place) * C,
                         job->residual + i * C, job->y + i * C, C);
}

bool ldm_unmerge(const LdmMerge *m, const float *x, const float *residual, float *y,
                 GCancellable *cancellable)
{
    MoveJob job = {.m = m, .x = x, .residual = residual, .y = y, .T = m->H * m->W};
    job.rows = job.T - m->merged;
    return ldm_parallel_for(ldm_parts(m->N * job.T, ROWS), unmerge_task, &job, cancellable);
}
