/* What deep features will be in a later step, from what they were in earlier ones. The two latest
 * lie at the far end of the arena, where no reset reaches. */
#include "base/error.h"
#include "base/parallel.h"
#include "layers/pass-private.h"
#include "tensor/tensor.h"

#include <string.h>

#define TILE ((size_t)1 << 16) /* numbers */

/* How much of the way they went last they are taken to go on. All of it overshoots where the way
 * bends: measured (docs/performance-fast.md), half errs least. */
#define MOMENTUM 0.5

static History *find(LdmPass *pass, const void *key)
{
    for (guint i = 0; i < pass->histories->len; i++) {
        History *history = &g_array_index(pass->histories, History, i);
        if (history->key == key)
            return history;
    }
    return NULL;
}

/* Leaves the last N of what was remembered: where guidance has ended, the prompt's branch. */
static void narrow(History *history, size_t N)
{
    for (int i = 0; i < history->count; i++) {
        LdmTensor *tensor = &history->tensor[i];
        size_t each = ldm_tensor_count(tensor) / tensor->shape[0];
        if (tensor->data != NULL)
            tensor->data = ldm_tensor_f32(tensor) + (tensor->shape[0] - N) * each;
        tensor->shape[0] = N;
    }
}

/* Of arrays like x: what is there of another shape, or of fewer, is forgotten. */
static History *history_for(LdmPass *pass, const void *key, const LdmTensor *x)
{
    History *history = find(pass, key);

    if (history == NULL) {
        g_array_append_val(pass->histories, ((History){.key = key}));
        history = &g_array_index(pass->histories, History, pass->histories->len - 1);
    }
    if (history->count > 0 && history->tensor[0].shape[0] > x->shape[0])
        narrow(history, x->shape[0]);
    if (history->count > 0 && !ldm_tensor_same_shape(&history->tensor[0], x))
        history->count = 0;
    return history;
}

void ldm_pass_remember(LdmPass *pass, const void *key, const LdmTensor *x, double at)
{
    if (pass->error != NULL)
        return;
    History *history = history_for(pass, key, x);
    LdmTensor latest = history->tensor[1];
    if (history->count < 2) {
        latest = *x;
        if (!ldm_pass_store_place(pass, &latest))
            return;
        history->count++;
    }
    history->tensor[1] = history->tensor[0];
    history->at[1] = history->at[0];
    history->tensor[0] = latest;
    history->at[0] = at;
    if (pass->computes)
        memcpy(latest.data, x->data, ldm_tensor_count(x) * sizeof(float));
}

typedef struct {
    size_t n;
    float on; /* share of the latest way */
    const float *latest, *before;
    float *y;
} Job;

static void extrapolate_tile(size_t index, int thread, void *data)
{
    const Job *job = data;

    for (size_t i = index * TILE; i < MIN((index + 1) * TILE, job->n); i++)
        job->y[i] = job->latest[i] + job->on * (job->latest[i] - job->before[i]);
}

LdmTensor *ldm_pass_forecast(LdmPass *pass, const void *key, size_t N, double at)
{
    History *history = find(pass, key);

    if (history == NULL || history->count == 0 || history->tensor[0].shape[0] < N)
        return NULL;
    if (history->tensor[0].shape[0] > N)
        narrow(history, N);
    LdmTensor *latest = ldm_pass_input(pass, &history->tensor[0]);
    double way = history->at[0] - history->at[1];
    if (history->count < 2 || way == 0.0)
        return latest;
    LdmTensor *y = ldm_pass_like(pass, latest, latest->shape[latest->rank - 1]);
    Job job = {.n = ldm_tensor_count(latest),
               .on = (float)(MOMENTUM * (at - history->at[0]) / way),
               .latest = latest->data,
               .before = history->tensor[1].data,
               .y = y->data};
    if (ldm_pass_op(pass, &(LdmOp){.name = "forecast",
                                   .inputs = {latest},
                                   .n_inputs = 1,
                                   .output = y,
                                   .flops = 3.0 * (double)job.n}))
        ldm_pass_check(pass, ldm_parallel_for((job.n + TILE - 1) / TILE, extrapolate_tile, &job,
                                              ldm_pass_cancellable(pass)));
    ldm_pass_drop(pass, latest);
    return y;
}

void ldm_pass_set_features(LdmPass *pass, LdmFeatures features)
{
    pass->features = features;
}

LdmFeatures ldm_pass_features(const LdmPass *pass)
{
    return pass->features;
}
