/* The way back through attention, again without the matrix of all pairs (arXiv 2205.14135): for a
 * block of queries and a block of keys the softmax weights P = exp(scale q k^T - logsumexp) are
 * made anew, and with delta = sum over channels of dy y
 *     dV += P^T dY,  dS = P (dY V^T - delta) scale,  dQ += dS K,  dK += dS^T Q.
 * A task is a head of a picture (of all pictures that share their keys): it alone writes these dQ,
 * dK and dV, so sums always run in the same order. */
#include "kernels/matrix.h"
#include "kernels/pairs.h"

#include "base/parallel.h"
#include "tensor/half.h"

#include <string.h>

#define QUERIES 64
#define KEYS    256
#define PITCH   (KEYS + 16)

/* Of pairs: a block of queries turned round, and rows of a head, as the forward takes them. */
#define TURNED_PITCH (QUERIES / 2 + 16)
#define STRIP_PITCH  (LDM_PAIRS_HEAD / 2 + 16)

typedef struct {
    const LdmAttentionBackward *back;
    const LdmAttention *a;
    GCancellable *cancellable;
    const LdmLanes *lanes;
    const LdmPairs *pairs; /* NULL: in f32 */
    LdmTileFunction *tile;
    size_t rows;                     /* of it */
    size_t key_floats, query_floats; /* packed arrays of a block */
} Job;

/* One thread's scratch memory; packed blocks of keys and queries follow. */
typedef struct {
    float p[QUERIES * PITCH], ds[QUERIES * PITCH];
    float corner[LDM_MAX_ROWS * LDM_MAX_COLUMNS];
    float delta[QUERIES], logsumexp[QUERIES];
    float turned[KEYS * TURNED_PITCH]; /* P^T or dS^T in pairs */
    float strip[LDM_MAX_ROWS * STRIP_PITCH];
} Scratch;

/* The arrays after it. */
typedef struct {
    Scratch *s;
    float *k_columns, *v_columns; /* [keys / NR][d][NR]: k^T, v^T */
    float *k_rows;                /* [d / NR][keys][NR] */
    float *q_rows, *dy_rows;      /* [d / NR][queries][NR] */
} Buffers;

/* Where a head's numbers of one picture lie. */
typedef struct {
    const float *q, *k, *v, *y, *dy;
    float *dq, *dk, *dv;
    const float *logsumexp;
    bool add_q;
} Head;

static void job_init(Job *job, const LdmAttention *a)
{
    *job = (Job){.a = a, .lanes = ldm_lanes()};
    job->pairs = a->bf16 && a->d <= LDM_PAIRS_HEAD ? ldm_pairs() : NULL;
    job->tile = ldm_pairs_tile(job->pairs);
    job->rows = ldm_pairs_rows(job->pairs);
    const size_t NR = 2 * job->lanes->width;
    size_t wide = ldm_parts(a->d, NR) * NR;
    job->key_floats = ldm_whole_lines(KEYS * wide); /* KEYS is a multiple of NR */
    job->query_floats = ldm_whole_lines(QUERIES * wide);
}

static size_t thread_bytes(const Job *job)
{
    return (ldm_whole_lines(sizeof(Scratch) / 4) + 3 * job->key_floats + 2 * job->query_floats) * 4;
}

size_t ldm_attention_backward_scratch(const LdmAttention *a)
{
    Job job;
    job_init(&job, a);
    return ldm_threads() * thread_bytes(&job);
}

static Buffers buffers_of(const Job *job, int thread)
{
    Buffers b = {.s = (Scratch *)((char *)job->back->scratch + thread * thread_bytes(job))};
    b.k_columns = (float *)b.s + ldm_whole_lines(sizeof(Scratch) / 4);
    b.v_columns = b.k_columns + job->key_floats;
    b.k_rows = b.v_columns + job->key_floats;
    b.q_rows = b.k_rows + job->key_floats;
    b.dy_rows = b.q_rows + job->query_floats;
    return b;
}

static Head head_of(const Job *job, size_t n, size_t kv, size_t head)
{
    const LdmAttention *a = job->a;
    const LdmAttentionBackward *back = job->back;
    size_t q = n * a->Tq * a->q_stride + head * a->d, k = kv * a->Tk * a->k_stride + head * a->d;
    size_t v = kv * a->Tk * a->v_stride + head * a->d, y = (n * a->Tq * a->heads + head) * a->d;
    return (Head){.q = a->q + q,
                  .k = a->k + k,
                  .v = a->v + v,
                  .y = a->y + y,
                  .dy = back->dy + y,
                  .dq = back->dq != NULL ? back->dq + q : NULL,
                  .dk = back->dk != NULL ? back->dk + k : NULL,
                  .dv = back->dv != NULL ? back->dv + v : NULL,
                  .logsumexp = a->logsumexp + (n * a->heads + head) * a->Tq,
                  .add_q = back->add_q};
}

/* rows x [rows, d] -> panels [d / NR][words of rows][NR], zeros beyond d. */
static void pack_rows(const Job *job, const float *x, size_t stride, size_t rows, float *out)
{
    const size_t NR = 2 * job->lanes->width, d = job->a->d, step = job->pairs != NULL ? 2 : 1;
    for (size_t c = 0; c < d; c += NR) {
        size_t part = MIN(NR, d - c);
        for (size_t r = 0; r < rows; r += step, out += NR) {
            const float *row = x + r * stride + c;
            if (job->pairs != NULL)
                job->pairs->interleave(row, r + 1 < rows ? row + stride : NULL, part, out, false);
            else
                memcpy(out, row, part * sizeof(float));
            memset(out + part, 0, (NR - part) * sizeof(float));
        }
    }
}

/* x [rows, d] -> panels [rows / NR][words of d][NR] of its transpose. */
static void pack_columns(const Job *job, const float *x, size_t stride, size_t rows, float *out)
{
    const size_t NR = 2 * job->lanes->width, d = job->a->d;
    for (size_t r = 0; r < rows; r += NR) {
        float *panel = out + r * d;
        job->lanes->pack(&(LdmPack){.src = {x + r * stride, LDM_F32},
                                    .ld = stride,
                                    .rows = MIN(NR, rows - r),
                                    .J = d,
                                    .taps = 1,
                                    .tap_stride = d,
                                    .out = panel});
        if (job->pairs != NULL) /* never beyond its source */
            ldm_pairs_panel(job->pairs, panel, d, NR, out + r * ldm_pairs_words(job->pairs, d));
    }
}

/* Rows of a head, rounded into the strip or as they lie. */
static const float *strip_rows(const Job *job, Scratch *s, const float *x, size_t rows,
                               size_t *stride)
{
    if (job->pairs == NULL)
        return x;
    ldm_pairs_copy_rows(job->pairs, x, *stride, rows, job->a->d, s->strip, STRIP_PITCH);
    *stride = STRIP_PITCH;
    return s->strip;
}

typedef struct {
    const float *data;
    size_t stride, rows;
} Rows;

/* scores [rows][PITCH] = x [rows, d] times packed columns. */
static void multiply_keys(const Job *job, Scratch *s, const Rows *x, const float *columns,
                          size_t keys, float *scores)
{
    const size_t NR = 2 * job->lanes->width, depth = ldm_pairs_words(job->pairs, job->a->d);
    size_t strip = ldm_evenly(x->rows, job->rows);
    for (size_t i = 0; i < x->rows; i += strip) {
        size_t rows = MIN(strip, x->rows - i);
        LdmTile t = {.segments = 1, .K = depth, .lda = x->stride, .ldc = PITCH, .vectors = 2};
        t.a = strip_rows(job, s, x->data + i * x->stride, rows, &t.lda);
        for (size_t k = 0; k < keys; k += NR) {
            t.b = columns + k * depth;
            t.c = scores + i * PITCH + k;
            job->tile((int)rows, &t);
        }
    }
}

typedef struct {
    float *data;
    size_t stride, rows;
} Sums;

/* y [rows, d] += w [rows, depth], or its transpose, times packed rows [d / NR][depth][NR]; of
 * pairs, w is in words, and depth as many. */
static void add_product(const Job *job, Scratch *s, const LdmTile *from, bool turned, const Sums *y)
{
    const size_t NR = 2 * job->lanes->width, d = job->a->d, rows = y->rows;
    size_t strip = ldm_evenly(rows, job->rows);
    for (size_t i = 0; i < rows; i += strip)
        for (size_t c = 0; c < d; c += NR) {
            LdmTile t = *from;
            t.segments = 1;
            t.a += turned ? i : i * t.lda;
            t.b += c * t.K;
            t.c = y->data + i * y->stride + c;
            t.ldc = y->stride;
            t.add = true;
            ldm_tile_by(turned ? job->lanes->tile_turned : job->tile, NR / 2,
                        (int)MIN(strip, rows - i), MIN(NR, d - c), &t, s->corner);
        }
}

/* y [keys, d] += the transpose of w [queries][PITCH] times packed rows. */
static void add_turned(const Job *job, Scratch *s, const float *w, const float *rows,
                       size_t queries, const Sums *y)
{
    LdmTile t = {.K = ldm_pairs_words(job->pairs, queries), .a = w, .lda = PITCH, .b = rows};
    if (job->pairs != NULL) {
        ldm_pairs_turn(job->pairs, w, PITCH, queries, y->rows, s->turned, TURNED_PITCH);
        t.a = s->turned;
        t.lda = TURNED_PITCH;
    }
    add_product(job, s, &t, job->pairs == NULL, y);
}

/* The gradients' shares of one block of queries and one of keys (packed). */
static void go_back(const Job *job, const Buffers *b, const Head *h, size_t q0, size_t queries,
                    size_t k0, size_t keys)
{
    const LdmAttention *a = job->a;
    Scratch *s = b->s;
    const size_t wide = a->heads * a->d;
    multiply_keys(job, s, &(Rows){h->q + q0 * a->q_stride, a->q_stride, queries}, b->k_columns,
                  keys, s->p);
    multiply_keys(job, s, &(Rows){h->dy + q0 * wide, wide, queries}, b->v_columns, keys, s->ds);
    for (size_t i = 0; i < queries; i++) {
        float *p = s->p + i * PITCH, *ds = s->ds + i * PITCH;
        size_t valid = keys;
        if (a->causal)
            valid = q0 + i < k0 ? 0 : MIN(keys, q0 + i - k0 + 1);
        job->lanes->softmax_backward(p, ds, valid, a->scale, s->logsumexp[i], s->delta[i]);
        memset(p + valid, 0, (keys - valid) * sizeof(float));
        memset(ds + valid, 0, (keys - valid) * sizeof(float));
    }
    if (h->dk != NULL)
        add_turned(job, s, s->ds, b->q_rows, queries,
                   &(Sums){h->dk + k0 * a->k_stride, a->k_stride, keys});
    if (h->dv != NULL)
        add_turned(job, s, s->p, b->dy_rows, queries,
                   &(Sums){h->dv + k0 * a->v_stride, a->v_stride, keys});
    for (size_t i = 0; job->pairs != NULL && i < queries; i++)
        job->pairs->round(s->ds + i * PITCH, keys, s->ds + i * PITCH, false);
    if (h->dq != NULL)
        add_product(
            job, s,
            &(LdmTile){
                .K = ldm_pairs_words(job->pairs, keys), .a = s->ds, .lda = PITCH, .b = b->k_rows},
            false, &(Sums){h->dq + q0 * a->q_stride, a->q_stride, queries});
}

static void clear_rows(float *x, size_t rows, size_t stride, size_t d)
{
    for (size_t i = 0; x != NULL && i < rows; i++)
        memset(x + i * stride, 0, d * sizeof(float));
}

/* Rounded where dY V^T rounds it: else what delta takes off is not what is there. */
static float as_multiplied(const Job *job, float x)
{
    return job->pairs != NULL ? ldm_bf16_to_f32(ldm_f32_to_bf16(x)) : x;
}

/* delta and logsumexp of a block of queries; their packed arrays. */
static void prepare_queries(const Job *job, const Buffers *b, const Head *h, size_t q0,
                            size_t queries)
{
    const LdmAttention *a = job->a;
    size_t stride = a->heads * a->d;
    memcpy(b->s->logsumexp, h->logsumexp + q0, queries * sizeof(float));
    for (size_t i = 0; i < queries; i++) {
        double sum = 0;
        for (size_t c = 0; c < a->d; c++)
            sum += (double)h->y[(q0 + i) * stride + c] *
                   as_multiplied(job, h->dy[(q0 + i) * stride + c]);
        b->s->delta[i] = (float)sum;
    }
    pack_rows(job, h->q + q0 * a->q_stride, a->q_stride, queries, b->q_rows);
    pack_rows(job, h->dy + q0 * stride, stride, queries, b->dy_rows);
}

/* The cancellable is looked at between blocks: a head of many tokens takes seconds. */
static void head_back(const Job *job, const Buffers *b, const Head *h)
{
    const LdmAttention *a = job->a;
    if (!h->add_q)
        clear_rows(h->dq, a->Tq, a->q_stride, a->d);
    for (size_t k0 = 0; k0 < a->Tk; k0 += KEYS) {
        size_t keys = MIN((size_t)KEYS, a->Tk - k0);
        pack_columns(job, h->k + k0 * a->k_stride, a->k_stride, keys, b->k_columns);
        pack_columns(job, h->v + k0 * a->v_stride, a->v_stride, keys, b->v_columns);
        pack_rows(job, h->k + k0 * a->k_stride, a->k_stride, keys, b->k_rows);
        size_t first = a->causal ? k0 / QUERIES * QUERIES : 0; /* earlier ones see none of them */
        for (size_t q0 = first; q0 < a->Tq; q0 += QUERIES) {
            if (g_cancellable_is_cancelled(job->cancellable))
                return;
            size_t queries = MIN((size_t)QUERIES, a->Tq - q0);
            prepare_queries(job, b, h, q0, queries);
            go_back(job, b, h, q0, queries, k0, keys);
        }
    }
}

static void head_task(size_t index, int thread, void *data)
{
    const Job *job = data;
    const LdmAttention *a = job->a;
    Buffers b = buffers_of(job, thread);
    size_t kv = index / a->heads, head = index % a->heads;
    bool shared = a->Nkv == 1;
    size_t first = shared ? 0 : kv, last = shared ? a->N : kv + 1;
    for (size_t n = first; n < last; n++) {
        Head h = head_of(job, n, kv, head);
        if (n == first && !job->back->add_k)
            clear_rows(h.dk, a->Tk, a->k_stride, a->d);
        if (n == first && !job->back->add_v)
            clear_rows(h.dv, a->Tk, a->v_stride, a->d);
        head_back(job, &b, &h);
    }
}

bool ldm_attention_backward(const LdmAttentionBackward *back, GCancellable *cancellable)
{
    Job job;
    job_init(&job, back->attention);
    job.back = back;
    job.cancellable = cancellable;
    return ldm_parallel_for(back->attention->Nkv * back->attention->heads, head_task, &job,
                            cancellable);
}
