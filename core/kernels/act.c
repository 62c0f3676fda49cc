/* Elementwise layers and moves of whole arrays, cut into tiles of about 64 Ki numbers: long enough
 * to hide the hand-out, short enough to balance. */
#include "base/parallel.h"
#include "kernels/lanes.h"

#include <string.h>

#define TILE ((size_t)1 << 16)

static size_t tiles(size_t n, size_t per_tile)
{
    return (n + per_tile - 1) / per_tile;
}

/* Rows of a tile where a row has `width` numbers. */
static size_t rows_per_tile(size_t width)
{
    return MAX(TILE / MAX(width, 1), 1);
}

typedef struct {
    size_t rows, per_tile; /* rows: of whatever the function calls a row */
    size_t P, Ca, Cb;
    const float *a, *b;
    float *y;
    LdmMapFunc *map;
} Job;

static void map_tile(size_t index, int thread, void *data)
{
    const Job *job = data;
    size_t first = index * TILE;
    job->map(job->a + first, job->y + first, MIN(TILE, job->rows - first));
}

bool ldm_activate(LdmActivation act, size_t n, const float *x, float *y, GCancellable *cancellable)
{
    const LdmLanes *lanes = ldm_lanes();
    LdmMapFunc *const maps[] = {
        [LDM_ACT_SILU] = lanes->silu,
        [LDM_ACT_GELU] = lanes->gelu,
        [LDM_ACT_QUICK_GELU] = lanes->quick_gelu,
    };
    Job job = {.rows = n, .a = x, .y = y, .map = maps[act]};
    return ldm_parallel_for(tiles(n, TILE), map_tile, &job, cancellable);
}

static void geglu_tile(size_t index, int thread, void *data)
{
    const Job *job = data;
    size_t C = job->Ca, first = index * job->per_tile;
    for (size_t r = first; r < MIN(first + job->per_tile, job->rows); r++)
        ldm_lanes()->geglu(job->a + r * 2 * C, job->y + r * C, C);
}

bool ldm_geglu(size_t rows, size_t C, const float *x, float *y, GCancellable *cancellable)
{
    Job job = {.rows = rows, .per_tile = rows_per_tile(C), .Ca = C, .a = x, .y = y};
    return ldm_parallel_for(tiles(rows, job.per_tile), geglu_tile, &job, cancellable);
}

static void add_tile(size_t index, int thread, void *data)
{
    const Job *job = data;
    size_t i = index * TILE;
    ldm_lanes()->add(job->a + i, job->b + i, job->y + i, MIN(TILE, job->rows - i));
}

bool ldm_add_arrays(size_t n, const float *a, const float *b, float *y, GCancellable *cancellable)
{
    Job job = {.rows = n, .a = a, .b = b, .y = y};
    return ldm_parallel_for(tiles(n, TILE), add_tile, &job, cancellable);
}

static void add_rows_tile(size_t index, int thread, void *data)
{
    const Job *job = data;
    size_t C = job->Ca, first = index * job->per_tile;
    for (size_t r = first; r < MIN(first + job->per_tile, job->rows); r++)
        ldm_lanes()->add(job->a + r * C, job->b + r / job->P * C, job->y + r * C, C);
}

bool ldm_add_rows(size_t N, size_t P, size_t C, const float *x, const float *b, float *y,
                  GCancellable *cancellable)
{
    Job job = {
        .rows = N * P, .per_tile = rows_per_tile(C), .P = P, .Ca = C, .a = x, .b = b, .y = y};
    return ldm_parallel_for(tiles(job.rows, job.per_tile), add_rows_tile, &job, cancellable);
}

static void concat_tile(size_t index, int thread, void *data)
{
    const Job *job = data;
    size_t Ca = job->Ca, Cb = job->Cb, first = index * job->per_tile;
    for (size_t r = first; r < MIN(first + job->per_tile, job->rows); r++) {
        float *y = job->y + r * (Ca + Cb);
        memcpy(y, job->a + r * Ca, Ca * sizeof *y);
        memcpy(y + Ca, job->b + r * Cb, Cb * sizeof *y);
    }
}

bool ldm_concat(size_t rows, size_t Ca, size_t Cb, const float *a, const float *b, float *y,
                GCancellable *cancellable)
{
    Job job = {.rows = rows, .per_tile = rows_per_tile(Ca + Cb), .Ca = Ca, .Cb = Cb};
    job.a = a;
    job.b = b;
    job.y = y;
    return ldm_parallel_for(tiles(rows, job.per_tile), concat_tile, &job, cancellable);
}
