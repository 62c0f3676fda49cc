/* The way back through GroupNorm [+ SiLU] and LayerNorm. With v = (x - mean) / deviation,
 * u = gamma v + beta, du = d(loss)/du, and averages over all numbers of one mean and deviation:
 *     dgamma = sum du v,  dbeta = sum du,
 *     dx = (gamma du - average(gamma du) - v average(gamma du v)) / deviation.
 * Statistics are taken from x again: reading it costs less than keeping v. */
#include "base/parallel.h"
#include "kernels/matrix.h"

#include <math.h>
#include <string.h>

#define CHANNELS 64 /* of a task, at most */
#define ROWS     64 /* of a LayerNorm task */

/* Scratch memory of GroupNorm, all [N, C]. */
typedef struct {
    const LdmNormBackward *back;
    size_t channels;           /* of a task */
    double *moments, *squares; /* of a channel; then: sum, dot */
    float *factor, *shift, *mean, *slope, *offset;
} GroupJob;

static size_t cells(const LdmGroupNorm *norm)
{
    return ldm_whole_lines(norm->N * norm->C);
}

size_t ldm_group_norm_backward_scratch(const LdmGroupNorm *norm)
{
    return cells(norm) * (2 * sizeof(double) + 5 * sizeof(float));
}

static void group_job_init(GroupJob *job, const LdmNormBackward *back)
{
    const LdmGroupNorm *norm = back->norm;
    size_t n = cells(norm), wanted = 4 * (size_t)ldm_threads();
    *job = (GroupJob){.back = back, .channels = CHANNELS};
    while (job->channels > 16 && norm->N * ldm_parts(norm->C, job->channels) < wanted)
        job->channels /= 2;
    job->moments = back->scratch;
    job->squares = job->moments + n;
    job->factor = (float *)(job->squares + n);
    job->shift = job->factor + n;
    job->mean = job->shift + n;
    job->slope = job->mean + n;
    job->offset = job->slope + n;
}

/* Task index -> picture and first channel; returns the number of channels. */
static size_t place(const GroupJob *job, size_t index, size_t *n, size_t *c)
{
    size_t C = job->back->norm->C, parts = ldm_parts(C, job->channels);
    *n = index / parts;
    *c = index % parts * job->channels;
    return MIN(job->channels, C - *c);
}

static void moments_task(size_t index, int thread, void *data)
{
    const GroupJob *job = data;
    const LdmGroupNorm *norm = job->back->norm;
    size_t n, c, width = place(job, index, &n, &c), at = n * norm->C + c;
    memset(job->moments + at, 0, width * sizeof(double));
    memset(job->squares + at, 0, width * sizeof(double));
    ldm_lanes()->channel_moments(norm->x + n * norm->P * norm->C + c, norm->P, norm->C, width, 0,
                                 job->moments + at, job->squares + at);
}

/* The moments of channels -> what the forward multiplied by and added; slope: 1 / deviation. */
static void join_groups(const GroupJob *job)
{
    const LdmGroupNorm *norm = job->back->norm;
    size_t width = norm->C / norm->groups;
    for (size_t g = 0; g < norm->N * norm->groups; g++) {
        size_t first = g * width, channel = g % norm->groups * width;
        double mean = 0, squares = 0;
        for (size_t i = first; i < first + width; i++)
            mean += job->moments[i] / (double)width;
        for (size_t i = first; i < first + width; i++) {
            double delta = job->moments[i] - mean;
            squares += job->squares[i] + delta * delta * (double)norm->P;
        }
        double inverse = 1 / sqrt(squares / (double)(norm->P * width) + (double)norm->eps);
        for (size_t i = 0; i < width; i++) {
            float gamma, beta;
            gamma = *ldm_weights_f32(norm->gamma, channel + i, 1, &gamma);
            beta = *ldm_weights_f32(norm->beta, channel + i, 1, &beta);
            job->mean[first + i] = (float)mean;
            job->factor[first + i] = (float)(gamma * inverse);
            job->shift[first + i] = (float)(beta - mean * gamma * inverse);
            job->slope[first + i] = (float)inverse;
        }
    }
}

static LdmNormRows rows_of(const GroupJob *job, size_t n, size_t c, size_t width)
{
    const LdmGroupNorm *norm = job->back->norm;
    size_t at = n * norm->C + c, pixels = n * norm->P * norm->C + c;
    return (LdmNormRows){.x = norm->x + pixels,
                         .dy = job->back->dy + pixels,
                         .pixels = norm->P,
                         .stride = norm->C,
                         .n = width,
                         .factor = job->factor + at,
                         .shift = job->shift + at,
                         .mean = job->mean + at,
                         .silu = norm->silu};
}

static void sums_task(size_t index, int thread, void *data)
{
    const GroupJob *job = data;
    size_t n, c, width = place(job, index, &n, &c), at = n * job->back->norm->C + c;
    LdmNormRows rows = rows_of(job, n, c, width);
    memset(job->moments + at, 0, width * sizeof(double));
    memset(job->squares + at, 0, width * sizeof(double));
    ldm_lanes()->norm_sums(&rows, job->moments + at, job->squares + at);
}

/* Sums over channels and pictures: gradients of the parameters, then dx's two averages. */
static void join_sums(const GroupJob *job)
{
    const LdmNormBackward *back = job->back;
    const LdmGroupNorm *norm = back->norm;
    size_t width = norm->C / norm->groups;
    for (size_t c = 0; c < norm->C; c++) {
        double dgamma = 0, dbeta = 0;
        for (size_t i = c; i < norm->N * norm->C; i += norm->C) {
            dgamma += job->squares[i] * job->slope[i];
            dbeta += job->moments[i];
        }
        if (back->dgamma != NULL)
            back->dgamma[c] += (float)dgamma;
        if (back->dbeta != NULL)
            back->dbeta[c] += (float)dbeta;
    }
    for (size_t first = 0; first < norm->N * norm->C; first += width) {
        double inverse = job->slope[first], sum = 0, dot = 0;
        for (size_t i = first; i < first + width; i++) { /* factor = gamma * inverse */
            sum += job->factor[i] * job->moments[i];
            dot += job->factor[i] * job->squares[i];
        }
        double count = (double)(norm->P * width);
        for (size_t i = first; i < first + width; i++) {
            job->slope[i] = (float)(-dot * inverse * inverse / count);
            job->offset[i] = (float)(-sum / count);
        }
    }
}

static void input_task(size_t index, int thread, void *data)
{
    const GroupJob *job = data;
    const LdmGroupNorm *norm = job->back->norm;
    size_t n, c, width = place(job, index, &n, &c), at = n * norm->C + c;
    LdmNormRows rows = rows_of(job, n, c, width);
    ldm_lanes()->norm_backward(&rows, job->slope + at, job->offset + at,
                               job->back->dx + n * norm->P * norm->C + c, job->back->add);
}

bool ldm_group_norm_backward(const LdmNormBackward *back, GCancellable *cancellable)
{
    GroupJob job;
    group_job_init(&job, back);
    size_t tasks = back->norm->N * ldm_parts(back->norm->C, job.channels);
    if (!ldm_parallel_for(tasks, moments_task, &job, cancellable))
        return false;
    join_groups(&job);
    if (!ldm_parallel_for(tasks, sums_task, &job, cancellable))
        return false;
    join_sums(&job);
    return back->dx == NULL || ldm_parallel_for(tasks, input_task, &job, cancellable);
}

/* ---- LayerNorm ---- */

typedef struct {
    const LdmNormBackward *back;
    const float *gamma;
    float *mean, *inverse; /* [rows] */
} LayerJob;

size_t ldm_layer_norm_backward_scratch(const LdmGroupNorm *norm)
{
    return (ldm_whole_lines(norm->C) + 2 * ldm_whole_lines(norm->N)) * sizeof(float);
}

static void layer_task(size_t index, int thread, void *data)
{
    const LayerJob *job = data;
    const LdmNormBackward *back = job->back;
    const LdmGroupNorm *norm = back->norm;
    const LdmLanes *lanes = ldm_lanes();
    size_t C = norm->C;
    for (size_t r = index * ROWS; r < MIN((index + 1) * ROWS, norm->N); r++) {
        double mean, variance, sum, dot;
        lanes->row_moments(norm->x + r * C, C, &mean, &variance);
        double inverse = 1 / sqrt(variance + (double)norm->eps);
        job->mean[r] = (float)mean;
        job->inverse[r] = (float)inverse;
        if (back->dx == NULL)
            continue;
        LdmRowBackward row = {.x = norm->x + r * C,
                              .dy = back->dy + r * C,
                              .n = C,
                              .mean = (float)mean,
                              .factor = (float)inverse};
        lanes->row_sums(row.x, row.dy, job->gamma, C, row.mean, &sum, &dot);
        row.slope = (float)(-dot * inverse * inverse * inverse / (double)C);
        row.offset = (float)(-sum * inverse / (double)C);
        lanes->row_backward(&row, job->gamma, back->dx + r * C, back->add);
    }
}

static void parameters_task(size_t index, int thread, void *data)
{
    const LayerJob *job = data;
    const LdmNormBackward *back = job->back;
    const LdmGroupNorm *norm = back->norm;
    size_t c = index * CHANNELS, width = MIN(CHANNELS, norm->C - c);
    double dgamma[CHANNELS] = {0}, dbeta[CHANNELS] = {0};
    for (size_t first = 0; first < norm->N; first += ROWS) {
        float gamma[CHANNELS] = {0}, beta[CHANNELS] = {0};
        for (size_t r = first; r < MIN(first + ROWS, norm->N); r++) {
            size_t at = r * norm->C + c;
            LdmRowBackward row = {.x = norm->x + at,
                                  .dy = back->dy + at,
                                  .n = width,
                                  .mean = job->mean[r],
                                  .factor = job->inverse[r]};
            ldm_lanes()->row_parameters(&row, gamma, beta);
        }
        for (size_t i = 0; i < width; i++) {
            dgamma[i] += gamma[i];
            dbeta[i] += beta[i];
        }
    }
    for (size_t i = 0; i < width; i++) {
        if (back->dgamma != NULL)
            back->dgamma[c + i] += (float)dgamma[i];
        if (back->dbeta != NULL)
            back->dbeta[c + i] += (float)dbeta[i];
    }
}

bool ldm_layer_norm_backward(const LdmNormBackward *back, GCancellable *cancellable)
{
    const LdmGroupNorm *norm = back->norm;
    float *gamma = back->scratch;
    LayerJob job = {.back = back, .gamma = ldm_weights_f32(norm->gamma, 0, norm->C, gamma)};
    job.mean = gamma + ldm_whole_lines(norm->C);
    job.inverse = job.mean + ldm_whole_lines(norm->N);
    if (!ldm_parallel_for(ldm_parts(norm->N, ROWS), layer_task, &job, cancellable))
        return false;
    return (back->dgamma == NULL && back->dbeta == NULL) ||
           ldm_parallel_for(ldm_parts(norm->C, CHANNELS), parameters_task, &job, cancellable);
}
