/* Attention, one tile per block of queries of one head: blocks of keys pass by, each giving scores
 * S = q k^T [queries, keys] and adding its share to y, with the softmax's maximum and sum carried
 * along (Dao et al., arXiv 2205.14135; Rabe and Staats, arXiv 2112.05682). Both products are
 * OpenBLAS's; the heads lie side by side in memory, so strides pick them out without copying. */
#include "base/parallel.h"
#include "kernels/lanes.h"

#include <cblas.h>
#include <math.h>

#define QUERIES 128 /* of a tile */
#define KEYS    512 /* at a time: S takes 256 KiB and stays in the second cache */

/* Scratch of one thread. */
typedef struct {
    float scores[QUERIES * KEYS];
    float max[QUERIES], sum[QUERIES];
} Scratch;

typedef struct {
    const LdmAttention *attention;
    size_t blocks; /* of queries */
} Job;

size_t ldm_attention_scratch(const LdmAttention *attention)
{
    return (size_t) ldm_threads() * sizeof(Scratch);
}

/* One head's block of queries. */
typedef struct {
    const float *q, *k, *v;
    float *y;
    size_t first, rows; /* queries first .. first + rows - 1 */
} Tile;

static void scores(const LdmAttention *a, const Tile *tile, size_t key, size_t keys, float *s)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int) tile->rows, (int) keys, (int) a->d, 1,
                tile->q, (int) a->q_stride, tile->k + key * a->k_stride, (int) a->k_stride, 0, s,
                KEYS);
}

/* Scores become weights; what is already in y shrinks to the new common maximum. */
static void weigh(const LdmAttention *a, const Tile *tile, size_t key, size_t keys, Scratch *s)
{
    const LdmLanes *lanes = ldm_lanes();
    for (size_t r = 0; r < tile->rows; r++) {
        float *row = s->scores + r * KEYS;
        size_t seen = keys;
        if (a->causal) /* query i sees keys 0 .. i */
            seen = CLAMP((ptrdiff_t) (tile->first + r + 1) - (ptrdiff_t) key, 0, (ptrdiff_t) keys);
        for (size_t i = seen; i < keys; i++)
            row[i] = 0;
        if (seen == 0)
            continue;
        float shrink = lanes->softmax_step(row, seen, a->scale, &s->max[r], &s->sum[r]);
        if (key > 0 && shrink != 1)
            lanes->scale(shrink, tile->y + r * a->heads * a->d, a->d);
    }
}

static void gather_values(const LdmAttention *a, const Tile *tile, size_t key, size_t keys,
                          const float *s)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int) tile->rows, (int) a->d, (int) keys,
                1, s, KEYS, tile->v + key * a->v_stride, (int) a->v_stride, key > 0, tile->y,
                (int) (a->heads * a->d));
}

static void attention_tile(size_t index, int thread, void *data)
{
    const Job *job = data;
    const LdmAttention *a = job->attention;
    Scratch *s = (Scratch *) a->scratch + thread;
    size_t block = index % job->blocks, head = index / job->blocks % a->heads;
    size_t n = index / job->blocks / a->heads, kv = a->Nkv == 1 ? 0 : n;
    Tile tile = {.first = block * QUERIES, .rows = MIN(QUERIES, a->Tq - block * QUERIES)};
    tile.q = a->q + (n * a->Tq + tile.first) * a->q_stride + head * a->d;
    tile.k = a->k + kv * a->Tk * a->k_stride + head * a->d;
    tile.v = a->v + kv * a->Tk * a->v_stride + head * a->d;
    tile.y = a->y + ((n * a->Tq + tile.first) * a->heads + head) * a->d;
    for (size_t r = 0; r < tile.rows; r++) {
        s->max[r] = -INFINITY;
        s->sum[r] = 0;
    }
    size_t end = a->causal ? MIN(a->Tk, tile.first + tile.rows) : a->Tk;
    for (size_t key = 0; key < end; key += KEYS) {
        size_t keys = MIN(KEYS, end - key);
        scores(a, &tile, key, keys, s->scores);
        weigh(a, &tile, key, keys, s);
        gather_values(a, &tile, key, keys, s->scores);
    }
    for (size_t r = 0; r < tile.rows; r++)
        ldm_lanes()->scale(1 / s->sum[r], tile.y + r * a->heads * a->d, a->d);
}

bool ldm_attention(const LdmAttention *attention, GCancellable *cancellable)
{
    Job job = {attention, (attention->Tq + QUERIES - 1) / QUERIES};
    return ldm_parallel_for(attention->N * attention->heads * job.blocks, attention_tile, &job,
                            cancellable);
}
