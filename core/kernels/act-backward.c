/* The way back through elementwise operations and moves of whole arrays: gradients of results come
 * in, gradients of inputs go out. */
#include "base/parallel.h"
#include "kernels/matrix.h"

#include <string.h>

#define TILE     ((size_t)1 << 16) /* numbers */
#define CHANNELS 64                /* summed by one task */

static size_t rows_per_tile(size_t width)
{
    return MAX(TILE / MAX(width, 1), 1);
}

typedef struct {
    const LdmMapBackward *map;
    LdmMapBackwardFunc *func;
    size_t n, rows, C;
} MapJob;

static void map_tile(size_t index, int thread, void *data)
{
    const MapJob *job = data;
    const LdmMapBackward *map = job->map;
    size_t first = index * TILE;
    job->func(map->x + first, map->dy + first, map->dx + first, MIN(TILE, job->n - first),
              map->add);
}

bool ldm_activate_backward(LdmActivation act, size_t n, const LdmMapBackward *map,
                           GCancellable *cancellable)
{
    const LdmLanes *lanes = ldm_lanes();
    LdmMapBackwardFunc *const funcs[] = {
        [LDM_ACT_SILU] = lanes->silu_backward,
        [LDM_ACT_GELU] = lanes->gelu_backward,
        [LDM_ACT_QUICK_GELU] = lanes->quick_gelu_backward,
    };
    MapJob job = {.map = map, .func = funcs[act], .n = n};
    return ldm_parallel_for(ldm_parts(n, TILE), map_tile, &job, cancellable);
}

static void geglu_tile(size_t index, int thread, void *data)
{
    const MapJob *job = data;
    const LdmMapBackward *map = job->map;
    size_t C = job->C, rows = rows_per_tile(C), first = index * rows;
    for (size_t r = first; r < MIN(first + rows, job->rows); r++)
        ldm_lanes()->geglu_backward(map->x + r * 2 * C, map->dy + r * C, map->dx + r * 2 * C, C,
                                    map->add);
}

bool ldm_geglu_backward(size_t rows, size_t C, const LdmMapBackward *map, GCancellable *cancellable)
{
    MapJob job = {.map = map, .rows = rows, .C = C};
    return ldm_parallel_for(ldm_parts(rows, rows_per_tile(C)), geglu_tile, &job, cancellable);
}

typedef struct {
    size_t P, C;
    const float *x;
    float *y;
    bool add;
} SumJob;

static void sum_tile(size_t index, int thread, void *data)
{
    const SumJob *job = data;
    size_t parts = ldm_parts(job->C, CHANNELS), n = index / parts, c = index % parts * CHANNELS;
    size_t width = MIN(CHANNELS, job->C - c);
    double sum[CHANNELS] = {0};
    float *y = job->y + n * job->C + c;
    ldm_lanes()->sum_rows(job->x + n * job->P * job->C + c, job->P, job->C, width, sum);
    for (size_t i = 0; i < width; i++)
        y[i] = (float)(job->add ? y[i] + sum[i] : sum[i]);
}

bool ldm_sum_rows(size_t N, size_t P, size_t C, const float *x, float *y, bool add,
                  GCancellable *cancellable)
{
    SumJob job = {.P = P, .C = C, .x = x, .y = y, .add = add};
    return ldm_parallel_for(N * ldm_parts(C, CHANNELS), sum_tile, &job, cancellable);
}

static void columns_tile(size_t index, int thread, void *data)
{
    const LdmColumns *columns = data;
    size_t rows = rows_per_tile(columns->n), first = index * rows;
    for (size_t r = first; r < MIN(first + rows, columns->rows); r++) {
        const float *x = columns->x + r * columns->C + columns->first;
        float *y = columns->y + r * columns->n;
        if (columns->add)
            ldm_lanes()->add(y, x, y, columns->n);
        else
            memcpy(y, x, columns->n * sizeof(float));
    }
}

bool ldm_take_columns(const LdmColumns *columns, GCancellable *cancellable)
{
    return ldm_parallel_for(ldm_parts(columns->rows, rows_per_tile(columns->n)), columns_tile,
                            (void *)columns, cancellable);
}

/* One row of x; adds the pixels of up to two rows of y. */
static void upsample_row(size_t index, int thread, void *data)
{
    const LdmUpsampleBackward *u = data;
    size_t n = index / u->H, h = index % u->H, C = u->C;
    float *dx = u->dx + index * u->W * C;
    if (!u->add)
        memset(dx, 0, u->W * C * sizeof(float));
    for (size_t y = 2 * h; y < MIN(2 * h + 2, u->Ho); y++) {
        const float *dy = u->dy + (n * u->Ho + y) * u->Wo * C;
        for (size_t x = 0; x < u->Wo; x++)
            ldm_lanes()->add(dx + x / 2 * C, dy + x * C, dx + x / 2 * C, C);
    }
}

bool ldm_upsample_backward(const LdmUpsampleBackward *upsample, GCancellable *cancellable)
{
    return ldm_parallel_for(upsample->N * upsample->H, upsample_row, (void *)upsample, cancellable);
}
