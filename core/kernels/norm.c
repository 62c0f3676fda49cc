/* GroupNorm and LayerNorm. GroupNorm goes over bands of whole rows of pixels, since memory is read
 * fastest in its own order: first the moments of every channel in every band, where who made x did
 * not tell them, then those of each group are joined, then all pixels are read for the result. */
#include "base/parallel.h"
#include "kernels/matrix.h"

#include <math.h>

#define CHANNELS    128 /* of constants handled at a time; sizes the arrays on the stack */
#define BAND_FLOATS ((size_t)1 << 15)
#define BANDS       64 /* of a picture, at most */
#define ROWS        64 /* of a LayerNorm tile; of a band a multiple of that where it has as many */

typedef struct {
    const LdmGroupNorm *norm;
    size_t rows, bands; /* of a band; of a picture */
    double *moments;    /* [N, bands, LDM_MOMENTS(C)] */
    float *affine;      /* [N, 2, C]: factors, shifts */
} GroupJob;

/* Bands depend on the shape alone, lest results depend on the number of threads. */
static void group_job_init(GroupJob *job, const LdmGroupNorm *norm)
{
    size_t rows = BAND_FLOATS / norm->C, unit = rows >= ROWS ? ROWS : 16;
    rows = MAX(rows, ldm_parts(norm->P, BANDS));
    *job = (GroupJob){.norm = norm, .rows = ldm_parts(MAX(rows, (size_t)1), unit) * unit};
    job->bands = ldm_parts(norm->P, job->rows);
    job->moments = norm->scratch;
    job->affine = (float *)(job->moments + norm->N * job->bands * LDM_MOMENTS(norm->C));
}

size_t ldm_group_norm_scratch(const LdmGroupNorm *norm)
{
    LdmGroupNorm sizes = *norm;
    GroupJob job;
    sizes.scratch = NULL;
    group_job_init(&job, &sizes);
    return 2 * norm->N * norm->C * (job.bands * sizeof(double) + sizeof(float));
}

/* Task index -> first pixel of a band, counted over all pictures; returns the band's pixels. */
static size_t band_place(const GroupJob *job, size_t index, size_t *first)
{
    size_t row = index % job->bands * job->rows, P = job->norm->P;
    *first = index / job->bands * P + row;
    return MIN(job->rows, P - row);
}

/* A band's channels lie in one or two places. */
typedef struct {
    const float *x;
    size_t first, n; /* channels */
} Part;

static int band_parts(const LdmGroupNorm *norm, size_t pixel, Part *parts)
{
    size_t own = norm->C - norm->C_joined;
    parts[0] = (Part){norm->x + pixel * own, 0, own};
    if (norm->joined == NULL)
        return 1;
    pixel %= norm->N_joined * norm->P;
    parts[1] = (Part){norm->joined + pixel * norm->C_joined, own, norm->C_joined};
    return 2;
}

static void moments_task(size_t index, int thread, void *data)
{
    const GroupJob *job = data;
    size_t C = job->norm->C, first, pixels = band_place(job, index, &first);
    double *mean = job->moments + index * LDM_MOMENTS(C), *m2 = mean + C;
    Part parts[2];
    for (size_t i = 0; i < C; i++)
        mean[i] = m2[i] = 0;
    for (int i = 0, n = band_parts(job->norm, first, parts); i < n; i++)
        ldm_lanes()->channel_moments(parts[i].x, pixels, parts[i].n, parts[i].n, 0,
                                     mean + parts[i].first, m2 + parts[i].first);
}

/* Chan, Golub, LeVeque (1979): those of `count` more numbers come in. */
typedef struct {
    double count, mean, m2;
} Moments;

static void join(Moments *moments, double count, double mean, double m2)
{
    double delta = mean - moments->mean, before = moments->count;
    moments->count += count;
    double share = count / moments->count;
    moments->mean += delta * share;
    moments->m2 += m2 + delta * delta * before * share;
}

/* What turns x into (x - mean) * gamma * inverse + beta, for n <= CHANNELS channels from c on. */
static void factors(const LdmGroupNorm *norm, size_t c, size_t n, double mean, double inverse,
                    float *factor, float *shift)
{
    float gamma_buffer[CHANNELS], beta_buffer[CHANNELS];
    const float *gamma =
        norm->gamma.data == NULL ? NULL : ldm_weights_f32(norm->gamma, c, n, gamma_buffer);
    const float *beta =
        norm->beta.data == NULL ? NULL : ldm_weights_f32(norm->beta, c, n, beta_buffer);
    for (size_t i = 0; i < n; i++) {
        double g = (gamma == NULL ? 1 : gamma[i]) * inverse;
        factor[i] = (float)g;
        shift[i] = (float)((beta == NULL ? 0 : beta[i]) - mean * g);
    }
}

/* Channels `from` to `end` of one picture, of which they are known. */
static Moments join_known(const LdmGroupNorm *norm, size_t from, size_t end)
{
    Moments moments = {0};
    for (size_t c = from; c < end; c++)
        join(&moments, (double)norm->P, norm->moments[c], norm->moments[norm->C + c]);
    return moments;
}

/* The same of picture n, from its bands. */
static Moments join_bands(const GroupJob *job, size_t n, size_t from, size_t end)
{
    size_t C = job->norm->C;
    Moments moments = {0};
    for (size_t band = n * job->bands; band < (n + 1) * job->bands; band++) {
        size_t first, pixels = band_place(job, band, &first);
        const double *mean = job->moments + band * LDM_MOMENTS(C);
        for (size_t c = from; c < end; c++)
            join(&moments, (double)pixels, mean[c], mean[C + c]);
    }
    return moments;
}

/* One group of one picture. */
static void join_task(size_t index, int thread, void *data)
{
    const GroupJob *job = data;
    const LdmGroupNorm *norm = job->norm;
    size_t n = index / norm->groups, width = norm->C / norm->groups;
    size_t from = index % norm->groups * width, end = from + width;
    Moments moments =
        norm->moments != NULL ? join_known(norm, from, end) : join_bands(job, n, from, end);
    double inverse = 1 / sqrt(moments.m2 / moments.count + (double)norm->eps);
    float *factor = job->affine + n * 2 * norm->C, *shift = factor + norm->C;
    for (size_t c = from; c < end; c += CHANNELS)
        factors(norm, c, MIN(CHANNELS, end - c), moments.mean, inverse, factor + c, shift + c);
}

static void apply_task(size_t index, int thread, void *data)
{
    const GroupJob *job = data;
    const LdmGroupNorm *norm = job->norm;
    size_t C = norm->C, first, pixels = band_place(job, index, &first);
    const float *factor = job->affine + index / job->bands * 2 * C;
    Part parts[2];
    for (int i = 0, n = band_parts(norm, first, parts); i < n; i++) {
        size_t c = parts[i].first;
        ldm_lanes()->channel_affine(parts[i].x, parts[i].n, norm->y + first * C + c, C, pixels,
                                    parts[i].n, factor + c, factor + C + c, norm->silu);
    }
}

static bool find_affine(GroupJob *job, GCancellable *cancellable)
{
    const LdmGroupNorm *norm = job->norm;
    return (norm->moments != NULL ||
            ldm_parallel_for(norm->N * job->bands, moments_task, job, cancellable)) &&
           ldm_parallel_for(norm->N * norm->groups, join_task, job, cancellable);
}

bool ldm_group_norm_affine(const LdmGroupNorm *norm, float *affine, GCancellable *cancellable)
{
    GroupJob job;
    group_job_init(&job, norm);
    job.affine = affine;
    return find_affine(&job, cancellable);
}

bool ldm_group_norm(const LdmGroupNorm *norm, GCancellable *cancellable)
{
    GroupJob job;
    group_job_init(&job, norm);
    return find_affine(&job, cancellable) &&
           ldm_parallel_for(norm->N * job.bands, apply_task, &job, cancellable);
}

static void layer_tile(size_t index, int thread, void *data)
{
    const LdmGroupNorm *norm = data;
    const LdmLanes *lanes = ldm_lanes();
    size_t C = norm->C, first = index * ROWS, rows = MIN(ROWS, norm->N - first);
    float mean[ROWS], factor[ROWS], gamma_buffer[CHANNELS], beta_buffer[CHANNELS];
    for (size_t r = 0; r < rows; r++) {
        double m, variance;
        lanes->row_moments(norm->x + (first + r) * C, C, &m, &variance);
        mean[r] = (float)m;
        factor[r] = (float)(1 / sqrt(variance + norm->eps));
    }
    for (size_t c = 0; c < C; c += CHANNELS) {
        size_t n = MIN(CHANNELS, C - c);
        const float *gamma = ldm_weights_f32(norm->gamma, c, n, gamma_buffer);
        const float *beta = ldm_weights_f32(norm->beta, c, n, beta_buffer);
        for (size_t r = 0; r < rows; r++) {
            size_t at = (first + r) * C + c;
            lanes->row_normalise(norm->x + at, norm->y + at, n, mean[r], factor[r], gamma, beta);
        }
    }
}

bool ldm_layer_norm(const LdmGroupNorm *norm, GCancellable *cancellable)
{
    return ldm_parallel_for((norm->N + ROWS - 1) / ROWS, layer_tile, (void *)norm, cancellable);
}
