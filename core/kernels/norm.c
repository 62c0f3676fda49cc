/* GroupNorm and LayerNorm. A GroupNorm tile is a few neighbouring groups of one picture: all its
 * pixels are read for the statistics and again for the result, in strips of whole cache lines. */
#include "base/parallel.h"
#include "kernels/lanes.h"

#include <math.h>

#define CHANNELS 128  /* handled at a time; sizes the arrays on the stack */
#define PIXELS   4096 /* between two looks at the cancellable */
#define ROWS     64   /* of a LayerNorm tile */

typedef struct {
    const LdmGroupNorm *norm;
    size_t groups_per_tile, tiles_per_picture;
    GCancellable *cancellable;
} GroupJob;

/* Moments of the n <= CHANNELS channels from c on, each over all pixels of picture x; false where
 * cancelled. */
static bool picture_moments(const GroupJob *job, const float *x, size_t c, size_t n, double *mean,
                            double *m2)
{
    const LdmGroupNorm *norm = job->norm;
    for (size_t i = 0; i < n; i++)
        mean[i] = m2[i] = 0;
    for (size_t p = 0; p < norm->P; p += PIXELS) {
        if (g_cancellable_is_cancelled(job->cancellable))
            return false;
        ldm_lanes()->channel_moments(x + p * norm->C + c, MIN(PIXELS, norm->P - p), norm->C, n, p,
                                     mean, m2);
    }
    return true;
}

/* What turns x into (x - mean) * gamma / sqrt(var + eps) + beta, for the channels from c on; `mean`
 * and `m2` are those of their group: m2 the sum over `count` numbers. */
static void factors(const LdmGroupNorm *norm, size_t c, size_t n, const double *mean,
                    const double *inverse, float *factor, float *shift)
{
    float gamma_buffer[CHANNELS], beta_buffer[CHANNELS];
    const float *gamma =
        norm->gamma.data == NULL ? NULL : ldm_weights_f32(norm->gamma, c, n, gamma_buffer);
    const float *beta =
        norm->beta.data == NULL ? NULL : ldm_weights_f32(norm->beta, c, n, beta_buffer);
    for (size_t i = 0; i < n; i++) {
        double g = (gamma == NULL ? 1 : gamma[i]) * inverse[i];
        factor[i] = (float)g;
        shift[i] = (float)((beta == NULL ? 0 : beta[i]) - mean[i] * g);
    }
}

static void apply(const GroupJob *job, const float *x, float *y, size_t c, size_t n,
                  const double *mean, const double *inverse)
{
    const LdmGroupNorm *norm = job->norm;
    float factor[CHANNELS], shift[CHANNELS];
    factors(norm, c, n, mean, inverse, factor, shift);
    for (size_t p = 0; p < norm->P && !g_cancellable_is_cancelled(job->cancellable); p += PIXELS) {
        size_t offset = p * norm->C + c;
        ldm_lanes()->channel_affine(x + offset, y + offset, MIN(PIXELS, norm->P - p), norm->C, n,
                                    factor, shift, norm->silu);
    }
}

/* Joins the moments of the channels of one group: all have P numbers. */
typedef struct {
    double count, mean, m2;
} Moments;

static void join(Moments *moments, size_t P, const double *mean, const double *m2, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double delta = mean[i] - moments->mean, before = moments->count;
        moments->count += (double)P;
        double share = (double)P / moments->count;
        moments->mean += delta * share;
        moments->m2 += m2[i] + delta * delta * before * share;
    }
}

static double inverse_deviation(const Moments *moments, float eps)
{
    return 1 / sqrt(moments->m2 / moments->count + (double)eps);
}

/* Groups of more than CHANNELS channels: in pieces, statistics first. */
static void wide_group(const GroupJob *job, const float *x, float *y, size_t first, size_t width)
{
    double mean[CHANNELS], m2[CHANNELS];
    Moments moments = {0};
    for (size_t c = 0; c < width; c += CHANNELS) {
        size_t n = MIN(CHANNELS, width - c);
        if (!picture_moments(job, x, first + c, n, mean, m2))
            return;
        join(&moments, job->norm->P, mean, m2, n);
    }
    for (size_t i = 0; i < CHANNELS; i++) {
        mean[i] = moments.mean;
        m2[i] = inverse_deviation(&moments, job->norm->eps);
    }
    for (size_t c = 0; c < width; c += CHANNELS)
        apply(job, x, y, first + c, MIN(CHANNELS, width - c), mean, m2);
}

/* Several groups that together have at most CHANNELS channels. */
static void narrow_groups(const GroupJob *job, const float *x, float *y, size_t first,
                          size_t groups, size_t width)
{
    double mean[CHANNELS], m2[CHANNELS];
    size_t n = groups * width;
    if (!picture_moments(job, x, first, n, mean, m2))
        return;
    for (size_t g = 0; g < groups; g++) {
        Moments moments = {0};
        join(&moments, job->norm->P, mean + g * width, m2 + g * width, width);
        double inverse = inverse_deviation(&moments, job->norm->eps);
        for (size_t i = g * width; i < (g + 1) * width; i++) {
            mean[i] = moments.mean;
            m2[i] = inverse;
        }
    }
    apply(job, x, y, first, n, mean, m2);
}

static void group_tile(size_t index, int thread, void *data)
{
    const GroupJob *job = data;
    const LdmGroupNorm *norm = job->norm;
    size_t picture = index / job->tiles_per_picture * norm->P * norm->C;
    size_t g = index % job->tiles_per_picture * job->groups_per_tile;
    size_t groups = MIN(job->groups_per_tile, norm->groups - g), width = norm->C / norm->groups;
    if (width > CHANNELS)
        wide_group(job, norm->x + picture, norm->y + picture, g * width, width);
    else
        narrow_groups(job, norm->x + picture, norm->y + picture, g * width, groups, width);
}

/* Groups of a tile: so many that their channels are whole vectors where that is possible, and as
 * few as give every thread several tiles. */
static size_t groups_per_tile(const LdmGroupNorm *norm)
{
    size_t width = norm->C / norm->groups, most = MAX(CHANNELS / width, 1), unit = 1;
    while (unit * width % 16 != 0 && unit < 16)
        unit *= 2;
    unit = MIN(unit, most);
    size_t wanted = 4 * (size_t)ldm_threads(), groups = most / unit * unit;
    while (groups > unit && norm->N * norm->groups / groups < wanted)
        groups -= unit;
    return groups;
}

bool ldm_group_norm(const LdmGroupNorm *norm, GCancellable *cancellable)
{
    GroupJob job = {.norm = norm, .cancellable = cancellable};
    job.groups_per_tile = groups_per_tile(norm);
    job.tiles_per_picture = (norm->groups + job.groups_per_tile - 1) / job.groups_per_tile;
    return ldm_parallel_for(norm->N * job.tiles_per_picture, group_tile, &job, cancellable);
}

typedef struct {
    size_t rows, C;
    double eps;
    const float *x;
    LdmWeights gamma, beta;
    float *y;
} LayerJob;

static void layer_tile(size_t index, int thread, void *data)
{
    const LayerJob *job = data;
    const LdmLanes *lanes = ldm_lanes();
    size_t C = job->C, first = index * ROWS, rows = MIN(ROWS, job->rows - first);
    float mean[ROWS], factor[ROWS], gamma_buffer[CHANNELS], beta_buffer[CHANNELS];
    for (size_t r = 0; r < rows; r++) {
        double m, variance;
        lanes->row_moments(job->x + (first + r) * C, C, &m, &variance);
        mean[r] = (float)m;
        factor[r] = (float)(1 / sqrt(variance + job->eps));
    }
    for (size_t c = 0; c < C; c += CHANNELS) {
        size_t n = MIN(CHANNELS, C - c);
        const float *gamma = ldm_weights_f32(job->gamma, c, n, gamma_buffer);
        const float *beta = ldm_weights_f32(job->beta, c, n, beta_buffer);
        for (size_t r = 0; r < rows; r++) {
            size_t at = (first + r) * C + c;
            lanes->row_normalise(job->x + at, job->y + at, n, mean[r], factor[r], gamma, beta);
        }
    }
}

bool ldm_layer_norm(size_t rows, size_t C, float eps, const float *x, LdmWeights gamma,
                    LdmWeights beta, float *y, GCancellable *cancellable)
{
    LayerJob job = {rows, C, eps, x, gamma, beta, y};
    return ldm_parallel_for((rows + ROWS - 1) / ROWS, layer_tile, &job, cancellable);
}
