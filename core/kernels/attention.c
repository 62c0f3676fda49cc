/* Attention in tiles with a running softmax (arXiv 2205.14135): for a block of queries, keys pass
 * by in blocks; scores never exist but for one block. Keys are packed transposed and values in
 * panels once a head, so both products run on the register tile. */
#include "kernels/matrix.h"
#include "kernels/pairs.h"

#include "base/parallel.h"

#include <math.h>
#include <string.h>

#define QUERIES 56          /* a block of them: four register tiles of 14 rows */
#define KEYS    256         /* scores of a register tile's rows stay in the first cache */
#define S_PITCH (KEYS + 16) /* no power of two, for the cache */
/* Of rows of a head, copied where their distance is bad for the cache. */
#define QUERY_PITCH LDM_PAIRS_HEAD

typedef struct {
    const LdmAttention *a;
    const LdmLanes *lanes;
    const LdmPairs *pairs; /* NULL: in f32 */
    LdmTileFunction *tile;
    size_t rows;                     /* of it */
    size_t depth, wide;              /* words of a query or key; d rounded up to NR */
    size_t key_floats, value_floats; /* packed words a head */
    float *packed;                   /* [Nkv, heads] of keys, then values */
    size_t blocks;                   /* of queries */
} AttentionJob;

typedef struct {
    float scores[LDM_MAX_ROWS * S_PITCH];
    float top[QUERIES], sum[QUERIES];
    float query[LDM_MAX_ROWS * QUERY_PITCH];
} AttentionScratch; /* then [QUERIES][wide] floats of output */

static void job_init(AttentionJob *job, const LdmAttention *a)
{
    *job = (AttentionJob){.a = a, .lanes = ldm_lanes()};
    const size_t NR = 2 * job->lanes->width;
    job->pairs = a->bf16 && a->d <= LDM_PAIRS_HEAD ? ldm_pairs() : NULL;
    job->tile = ldm_pairs_tile(job->pairs);
    job->rows = ldm_pairs_rows(job->pairs);
    job->depth = ldm_pairs_words(job->pairs, a->d);
    job->wide = ldm_parts(a->d, NR) * NR;
    job->key_floats = ldm_parts(a->Tk, NR) * NR * job->depth;
    job->value_floats = ldm_pairs_words(job->pairs, a->Tk) * job->wide;
    job->blocks = ldm_parts(a->Tq, QUERIES);
}

static float *out_of(AttentionScratch *s)
{
    return (float *)s + ldm_whole_lines(sizeof *s / 4);
}

static size_t thread_bytes(const AttentionJob *job)
{
    return (ldm_whole_lines(sizeof(AttentionScratch) / 4) + ldm_whole_lines(QUERIES * job->wide)) *
           4;
}

static size_t head_bytes(const AttentionJob *job)
{
    return ldm_whole_lines(job->key_floats + job->value_floats) * 4;
}

size_t ldm_attention_scratch(const LdmAttention *a)
{
    AttentionJob job;
    job_init(&job, a);
    return a->Nkv * a->heads * head_bytes(&job) + ldm_threads() * thread_bytes(&job);
}

static float *head_of(const AttentionJob *job, size_t n, size_t head)
{
    size_t index = (job->a->Nkv == 1 ? 0 : n) * job->a->heads + head;
    return (float *)((char *)job->packed + index * head_bytes(job));
}

/* Keys [Tk, d] -> panels [depth][NR]. */
static void pack_keys(const AttentionJob *job, const float *k, float *panel, float *out)
{
    const LdmAttention *a = job->a;
    const size_t NR = 2 * job->lanes->width;
    for (size_t t = 0; t < a->Tk; t += NR, out += NR * job->depth) {
        job->lanes->pack(&(LdmPack){.src = {k + t * a->k_stride, LDM_F32},
                                    .ld = a->k_stride,
                                    .rows = MIN(NR, a->Tk - t),
                                    .J = a->d,
                                    .taps = 1,
                                    .tap_stride = a->d,
                                    .out = job->pairs != NULL ? panel : out});
        if (job->pairs != NULL)
            ldm_pairs_panel(job->pairs, panel, a->d, NR, out);
    }
}

/* Values [Tk, d] -> panels [words of Tk][NR], zeros beyond d. */
static void pack_values(const AttentionJob *job, const float *v, float *out)
{
    const LdmAttention *a = job->a;
    const size_t NR = 2 * job->lanes->width, step = job->pairs != NULL ? 2 : 1;
    for (size_t c = 0; c < a->d; c += NR) {
        size_t part = MIN(NR, a->d - c);
        for (size_t t = 0; t < a->Tk; t += step, out += NR) {
            const float *row = v + t * a->v_stride + c;
            if (job->pairs != NULL)
                job->pairs->interleave(row, t + 1 < a->Tk ? row + a->v_stride : NULL, part, out);
            else
                memcpy(out, row, part * sizeof(float));
            memset(out + part, 0, (NR - part) * sizeof(float));
        }
    }
}

static AttentionScratch *scratch_of(const AttentionJob *job, int thread)
{
    char *threads = (char *)job->packed + job->a->Nkv * job->a->heads * head_bytes(job);
    return (AttentionScratch *)(threads + thread * thread_bytes(job));
}

static void pack_task(size_t index, int thread, void *data)
{
    const AttentionJob *job = data;
    const LdmAttention *a = job->a;
    size_t n = index / a->heads, head = index % a->heads;
    float *out = head_of(job, n, head);
    pack_keys(job, a->k + n * a->Tk * a->k_stride + head * a->d, scratch_of(job, thread)->scores,
              out);
    pack_values(job, a->v + n * a->Tk * a->v_stride + head * a->d, out + job->key_floats);
}

/* Softmax weights of query `row` of the block, in row `i` of the scores, over a block of keys;
 * `valid` of them are not masked. */
static void weigh_row(const AttentionJob *job, AttentionScratch *s, size_t row, size_t i,
                      size_t keys, size_t valid)
{
    float *scores = s->scores + i * S_PITCH, shrink = 1;
    if (valid > 0)
        shrink = job->lanes->softmax_step(scores, valid, job->a->scale, &s->top[row], &s->sum[row]);
    memset(scores + valid, 0, (keys - valid) * sizeof(float));
    if (shrink != 1)
        job->lanes->scale(shrink, out_of(s) + row * job->wide, job->wide);
    if (job->pairs != NULL)
        job->pairs->round(scores, keys, scores);
}

static const float *query_rows(const AttentionJob *job, AttentionScratch *s, const float *q,
                               int rows, size_t *lda)
{
    const LdmAttention *a = job->a;
    *lda = a->q_stride;
    if (job->pairs == NULL && (!ldm_stride_collides(a->q_stride) || a->d > QUERY_PITCH))
        return q;
    *lda = QUERY_PITCH;
    for (int i = 0; i < rows; i++)
        if (job->pairs != NULL)
            job->pairs->round(q + i * a->q_stride, a->d, s->query + i * *lda);
        else
            memcpy(s->query + i * *lda, q + i * a->q_stride, a->d * sizeof(float));
    return s->query;
}

/* What a step of attend_task looks at: some rows of its queries from q on, and some keys. */
typedef struct {
    const float *packed, *q;
    size_t row, query; /* of the block, of all queries */
    int rows;
    size_t k0, keys;
} Step;

/* Scores, their weights, and what these add to the output, all within the first cache. */
static void attend_keys(const AttentionJob *job, AttentionScratch *s, const Step *step)
{
    const LdmAttention *a = job->a;
    const size_t NR = 2 * job->lanes->width, keys = step->keys, k0 = step->k0;
    LdmTile t = {.segments = 1, .K = job->depth, .ldc = S_PITCH, .vectors = 2};
    t.a = query_rows(job, s, step->q, step->rows, &t.lda);
    for (size_t k = 0; k < keys; k += NR) {
        t.b = step->packed + (k0 + k) * job->depth;
        t.c = s->scores + k;
        job->tile(step->rows, &t);
    }
    for (size_t i = 0; i < (size_t)step->rows; i++) {
        size_t valid = keys;
        if (a->causal)
            valid = step->query + i < k0 ? 0 : MIN(keys, step->query + i - k0 + 1);
        weigh_row(job, s, step->row + i, i, keys, valid);
    }
    const float *values = step->packed + job->key_floats + ldm_pairs_words(job->pairs, k0) * NR;
    float *out = out_of(s) + step->row * job->wide;
    for (size_t c = 0; c < a->d; c += NR)
        job->tile(step->rows, &(LdmTile){.segments = 1,
                                         .K = ldm_pairs_words(job->pairs, keys),
                                         .a = s->scores,
                                         .lda = S_PITCH,
                                         .b = values + c * ldm_pairs_words(job->pairs, a->Tk),
                                         .c = out + c,
                                         .ldc = job->wide,
                                         .add = true,
                                         .vectors = a->d - c > (size_t)job->lanes->width ? 2 : 1});
}

static void attend_task(size_t index, int thread, void *data)
{
    const AttentionJob *job = data;
    const LdmAttention *a = job->a;
    size_t block = index % job->blocks, head = index / job->blocks % a->heads;
    size_t n = index / job->blocks / a->heads, q0 = block * QUERIES;
    size_t queries = MIN((size_t)QUERIES, a->Tq - q0);
    AttentionScratch *s = scratch_of(job, thread);
    float *out = out_of(s);
    memset(out, 0, queries * job->wide * sizeof(float));
    for (size_t i = 0; i < queries; i++) {
        s->top[i] = -INFINITY;
        s->sum[i] = 0;
    }
    const float *q = a->q + (n * a->Tq + q0) * a->q_stride + head * a->d;
    size_t end = a->causal ? MIN(a->Tk, q0 + queries) : a->Tk;
    for (size_t k0 = 0; k0 < end; k0 += KEYS)
        for (size_t i = 0; i < queries; i += job->rows)
            attend_keys(job, s,
                        &(Step){.packed = head_of(job, n, head),
                                .q = q + i * a->q_stride,
                                .row = i,
                                .query = q0 + i,
                                .rows = (int)MIN(job->rows, queries - i),
                                .k0 = k0,
                                .keys = MIN((size_t)KEYS, a->Tk - k0)});
    for (size_t i = 0; i < queries; i++) {
        float *y = a->y + (n * a->Tq + q0 + i) * a->heads * a->d + head * a->d;
        float inverse = 1.0f / s->sum[i];
        if (a->logsumexp != NULL)
            a->logsumexp[(n * a->heads + head) * a->Tq + q0 + i] = s->top[i] + logf(s->sum[i]);
        for (size_t c = 0; c < a->d; c++)
            y[c] = out[i * job->wide + c] * inverse;
    }
}

bool ldm_attention(const LdmAttention *a, GCancellable *cancellable)
{
    AttentionJob job;
    job_init(&job, a);
    job.packed = a->scratch;
    return ldm_parallel_for(a->Nkv * a->heads, pack_task, &job, cancellable) &&
           ldm_parallel_for(a->N * a->heads * job.blocks, attend_task, &job, cancellable);
}
