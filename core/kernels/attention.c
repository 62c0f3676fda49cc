/* Attention in tiles with a running softmax (arXiv 2205.14135): for some blocks of queries, keys
 * pass by in blocks; scores never exist but for one block. Queries are the register tile's columns:
 * scores lie as [keys][queries], so that the softmax runs down columns without a sum across a
 * vector, its weights are the next product's panel as they are, and a head's width, now counted in
 * rows, wastes nothing where it is no multiple of a vector. */
#include "kernels/matrix.h"
#include "kernels/pairs.h"

#include "base/parallel.h"

#include <math.h>
#include <string.h>

#define KEYS   192 /* scores of a block stay in the first cache */
#define PANELS 2   /* blocks of queries, NR each, that a block of keys comes by for */
#define MAX_NR LDM_MAX_COLUMNS

typedef struct {
    const LdmAttention *a;
    GCancellable *cancellable;
    const LdmLanes *lanes;
    const LdmPairs *pairs; /* NULL: in f32 */
    LdmTileFunction *tile;
    size_t rows, NR;  /* of it: at most, columns */
    size_t depth;     /* words of a query or key */
    size_t block;     /* words of KEYS keys */
    size_t key_words; /* of a head: [Tk][depth]; then values: for every KEYS keys [d][block] */
    float *packed;    /* [Nkv, heads] of keys and values */
    size_t blocks;    /* of PANELS * NR queries */
} AttentionJob;

/* For a block of queries; then [d][NR] of output and as much or more words for the queries, all
 * PANELS times. */
typedef struct {
    float scores[KEYS * MAX_NR];
    float words[KEYS * LDM_PAIRS_SPLIT / 2 * MAX_NR]; /* of their weights, where they are split */
    float top[PANELS * MAX_NR], sum[PANELS * MAX_NR], shrink[MAX_NR];
} AttentionScratch;

static void job_init(AttentionJob *job, const LdmAttention *a)
{
    *job = (AttentionJob){.a = a, .lanes = ldm_lanes()};
    job->pairs = a->d <= LDM_PAIRS_HEAD ? ldm_pairs_for(a->bf16, a->split) : NULL;
    job->tile = ldm_pairs_tile(job->pairs);
    job->rows = ldm_pairs_rows(job->pairs);
    job->NR = 2 * (size_t)job->lanes->width;
    job->depth = ldm_pairs_words(job->pairs, a->d);
    job->block = ldm_pairs_words(job->pairs, KEYS);
    job->key_words = ldm_whole_lines(a->Tk * job->depth);
    job->blocks = ldm_parts(a->Tq, PANELS * job->NR);
}

/* Packed words of a head. */
static size_t head_words(const AttentionJob *job)
{
    return job->key_words + ldm_parts(job->a->Tk, KEYS) * job->a->d * job->block;
}

static float *out_of(const AttentionJob *job, AttentionScratch *s, size_t panel)
{
    return (float *)s + ldm_whole_lines(sizeof *s / 4) + panel * job->a->d * job->NR;
}

/* Floats of a panel of queries: as they are, or rounded. */
static size_t query_words(const AttentionJob *job)
{
    return MAX(job->a->d, job->depth) * job->NR;
}

static float *query_of(const AttentionJob *job, AttentionScratch *s, size_t panel)
{
    return out_of(job, s, PANELS) + panel * query_words(job);
}

static size_t thread_words(const AttentionJob *job)
{
    return ldm_whole_lines(sizeof(AttentionScratch) / 4) +
           ldm_whole_lines(PANELS * (job->a->d * job->NR + query_words(job)));
}

size_t ldm_attention_scratch(const LdmAttention *a)
{
    AttentionJob job;
    job_init(&job, a);
    return (a->Nkv * a->heads * ldm_whole_lines(head_words(&job)) +
            ldm_threads() * thread_words(&job)) *
           sizeof(float);
}

static float *head_of(const AttentionJob *job, size_t n, size_t head)
{
    size_t index = (job->a->Nkv == 1 ? 0 : n) * job->a->heads + head;
    return job->packed + index * ldm_whole_lines(head_words(job));
}

static AttentionScratch *scratch_of(const AttentionJob *job, int thread)
{
    float *threads = job->packed + job->a->Nkv * job->a->heads * ldm_whole_lines(head_words(job));
    return (AttentionScratch *)(threads + (size_t)thread * thread_words(job));
}

/* `rows` rows of d numbers -> their columns, [d][NR], zeros beyond them. */
static void turn_panel(const AttentionJob *job, const float *x, size_t stride, size_t rows,
                       float *out)
{
    job->lanes->pack(&(LdmPack){.src = {x, LDM_F32},
                                .ld = stride,
                                .rows = MIN(job->NR, rows),
                                .J = job->a->d,
                                .taps = 1,
                                .tap_stride = job->a->d,
                                .out = out});
}

/* Up to KEYS values [keys][d] -> [d][block]; `panel` has room for [d][NR]. */
static void pack_values(const AttentionJob *job, const float *v, size_t keys, float *panel,
                        float *out)
{
    const LdmAttention *a = job->a;

    if (job->pairs != NULL) {
        ldm_pairs_turn(job->pairs, v, a->v_stride, keys, a->d, out, job->block);
        return;
    }
    for (size_t t = 0; t < keys; t += job->NR) {
        turn_panel(job, v + t * a->v_stride, a->v_stride, keys - t, panel);
        job->lanes->copy_rows(panel, job->NR, a->d, MIN(job->NR, keys - t), out + t, job->block);
    }
}

/* KEYS keys and values of a head, at most. */
static void pack_task(size_t index, int thread, void *data)
{
    const AttentionJob *job = data;
    const LdmAttention *a = job->a;
    size_t blocks = ldm_parts(a->Tk, KEYS), k0 = index % blocks * KEYS;
    size_t n = index / blocks / a->heads, head = index / blocks % a->heads;
    size_t keys = MIN((size_t)KEYS, a->Tk - k0), first = n * a->Tk + k0;
    float *out = head_of(job, n, head), *panel = out_of(job, scratch_of(job, thread), 0);

    ldm_pairs_copy_rows(job->pairs, a->k + first * a->k_stride + head * a->d, a->k_stride, keys,
                        a->d, out + k0 * job->depth, job->depth);
    pack_values(job, a->v + first * a->v_stride + head * a->d, keys, panel,
                out + job->key_words + k0 / KEYS * a->d * job->block);
}

static void pack_queries(const AttentionJob *job, AttentionScratch *s, const float *q,
                         size_t queries, size_t panel)
{
    float *out = query_of(job, s, panel), *columns = job->pairs != NULL ? s->words : out;

    turn_panel(job, q, job->a->q_stride, queries, columns);
    if (job->pairs != NULL)
        ldm_pairs_panel(job->pairs, columns, job->a->d, job->NR, out);
}

/* C [M][NR] (+)= A [M][lda], of `depth` words, by a panel. */
static void multiply(const AttentionJob *job, size_t M, const float *a, size_t lda, size_t depth,
                     const float *b, float *c, bool add)
{
    LdmTile t = {
        .segments = 1, .K = depth, .lda = lda, .b = b, .ldc = job->NR, .vectors = 2, .add = add};
    for (size_t m = 0; m < M; m += job->rows) {
        t.a = a + m * lda;
        t.c = c + m * job->NR;
        ldm_tile_ahead(&t, t.a + job->rows * lda);
        job->tile((int)MIN(job->rows, M - m), &t);
    }
}

/* Scores of keys from k0 on that come after their query do not count. */
static void mask_causal(const AttentionJob *job, AttentionScratch *s, size_t query, size_t k0,
                        size_t keys)
{
    for (size_t k = 0; k < keys; k++)
        for (size_t i = 0; i < job->NR && query + i < k0 + k; i++)
            s->scores[k * job->NR + i] = -INFINITY;
}

/* The softmax weights as a panel, [words of keys][NR]. */
static const float *weights_panel(const AttentionJob *job, AttentionScratch *s, size_t keys)
{
    if (job->pairs == NULL)
        return s->scores;
    float *words = job->pairs->sections > 1 ? s->words : s->scores;
    ldm_pairs_panel(job->pairs, s->scores, keys, job->NR, words);
    return words;
}

/* Scores of a panel of queries from `query` on, their weights, and what these add to the output. */
static void attend_keys(const AttentionJob *job, AttentionScratch *s, const float *packed,
                        size_t panel, size_t query, size_t k0)
{
    const LdmAttention *a = job->a;
    const size_t keys = MIN((size_t)KEYS, a->Tk - k0), first = panel * job->NR;
    const float *values = packed + job->key_words + k0 / KEYS * a->d * job->block;
    float *out = out_of(job, s, panel);

    multiply(job, keys, packed + k0 * job->depth, job->depth, job->depth, query_of(job, s, panel),
             s->scores, false);
    if (a->causal)
        mask_causal(job, s, query, k0, keys);
    if (job->lanes->softmax_columns(s->scores, keys, a->scale, s->top + first, s->sum + first,
                                    s->shrink))
        job->lanes->scale_columns(s->shrink, a->d, out);
    multiply(job, a->d, values, job->block, ldm_pairs_words(job->pairs, keys),
             weights_panel(job, s, keys), out, true);
}

/* Columns of the output become rows of y. */
static void write_queries(const AttentionJob *job, AttentionScratch *s, size_t n, size_t head,
                          size_t panel, size_t query)
{
    const LdmAttention *a = job->a;
    const float *out = out_of(job, s, panel);

    for (size_t i = 0; i < MIN(job->NR, a->Tq - query); i++) {
        float *y = a->y + (n * a->Tq + query + i) * a->heads * a->d + head * a->d;
        float sum = s->sum[panel * job->NR + i], inverse = 1.0f / sum;
        if (a->logsumexp != NULL)
            a->logsumexp[(n * a->heads + head) * a->Tq + query + i] =
                s->top[panel * job->NR + i] + logf(sum);
        for (size_t c = 0; c < a->d; c++)
            y[c] = out[c * job->NR + i] * inverse;
    }
}

/* All keys pass by, which takes long where they are many: the cancellable is looked at between. */
static void attend_task(size_t index, int thread, void *data)
{
    const AttentionJob *job = data;
    const LdmAttention *a = job->a;
    size_t block = index % job->blocks, head = index / job->blocks % a->heads;
    size_t n = index / job->blocks / a->heads, q0 = block * PANELS * job->NR;
    size_t panels = ldm_parts(MIN(PANELS * job->NR, a->Tq - q0), job->NR);
    size_t end = a->causal ? MIN(a->Tk, q0 + panels * job->NR) : a->Tk;
    const float *q = a->q + n * a->Tq * a->q_stride + head * a->d;
    AttentionScratch *s = scratch_of(job, thread);

    for (size_t p = 0; p < panels; p++) {
        size_t query = q0 + p * job->NR;
        pack_queries(job, s, q + query * a->q_stride, a->Tq - query, p);
    }
    memset(out_of(job, s, 0), 0, panels * a->d * job->NR * sizeof(float));
    for (size_t i = 0; i < panels * job->NR; i++) {
        s->top[i] = -INFINITY;
        s->sum[i] = 0;
    }
    for (size_t k0 = 0; k0 < end && !g_cancellable_is_cancelled(job->cancellable); k0 += KEYS)
        for (size_t p = 0; p < panels; p++)
            attend_keys(job, s, head_of(job, n, head), p, q0 + p * job->NR, k0);
    for (size_t p = 0; p < panels; p++)
        write_queries(job, s, n, head, p, q0 + p * job->NR);
}

bool ldm_attention(const LdmAttention *a, GCancellable *cancellable)
{
    AttentionJob job;
    job_init(&job, a);
    job.packed = a->scratch;
    job.cancellable = cancellable;
    return ldm_parallel_for(a->Nkv * a->heads * ldm_parts(a->Tk, KEYS), pack_task, &job,
                            cancellable) &&
           ldm_parallel_for(a->N * a->heads * job.blocks, attend_task, &job, cancellable);
}
