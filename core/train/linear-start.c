/* Principal components. In: windows of a data set. Out: the weights of an autoencoder's linear
 * path, the best linear map there is by the squared error of what comes back, or of some of its
 * channels. */
#include "train/linear-start.h"

#include "layers/haar.h"
#include "tensor/tensor.h"
#include "train/keyed.h"

#include <math.h>
#include <string.h>

#define WINDOWS 1024 /* of the data set's pictures, at even distances */
#define ROUNDS  300  /* of the iteration */
#define LEAST   1e-9 /* of the largest variance: what varies less is nothing */

/* Of the coefficients of cells: sums over `count` of them. */
typedef struct {
    size_t n; /* coefficients */
    double count;
    double *mean;       /* [n] */
    double *covariance; /* [n, n] */
} Moments;

static void moments_clear(Moments *m)
{
    g_free(m->mean);
    g_free(m->covariance);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Moments, moments_clear)

static void add_cell(Moments *m, const float *c)
{
    m->count += 1.0;
    for (size_t i = 0; i < m->n; i++) {
        m->mean[i] += c[i];
        for (size_t k = 0; k <= i; k++)
            m->covariance[i * m->n + k] += (double)c[i] * c[k];
    }
}

static void finish(Moments *m)
{
    for (size_t i = 0; i < m->n; i++)
        m->mean[i] /= m->count;
    for (size_t i = 0; i < m->n; i++)
        for (size_t k = 0; k <= i; k++) {
            double value = m->covariance[i * m->n + k] / m->count - m->mean[i] * m->mean[k];
            m->covariance[i * m->n + k] = m->covariance[k * m->n + i] = value;
        }
}

/* Splits a picture until its cells are single points, and adds these. */
static void add_picture(Moments *m, const LdmTensor *picture)
{
    LdmTensor from = *picture;
    g_autofree float *bands = g_new(float, ldm_tensor_count(picture));
    g_autofree float *next = g_new(float, ldm_tensor_count(picture));

    while (from.shape[3] < m->n) {
        ldm_haar_split(&from, next);
        for (int side = 1; side <= 2; side++)
            from.shape[side] /= 2;
        from.shape[3] *= 4;
        float *filled = next;
        next = bands;
        bands = filled;
        from.data = filled;
    }
    for (size_t i = 0; i < ldm_tensor_count(&from) / m->n; i++)
        add_cell(m, (const float *)from.data + i * m->n);
}

static bool measure(Moments *m, const LdmWindows *windows, GError **error)
{
    const LdmExamples *found = &windows->found;
    size_t count = MIN(found->count, WINDOWS);

    m->mean = g_new0(double, m->n);
    m->covariance = g_new0(double, m->n * m->n);
    for (size_t i = 0; i < count; i++) {
        size_t example = found->examples[i * found->count / count];
        g_autoptr(LdmTensor) window = ldm_windows_read(windows, example, 0, error);
        if (window == NULL)
            return false;
        add_picture(m, window);
    }
    finish(m);
    return true;
}

/* Takes off what is known of c by the latent a . c: C becomes C - C a (C a)' / (a . C a). */
static void forget(Moments *m, const float *a)
{
    size_t n = m->n;
    g_autofree double *Ca = g_new0(double, n);
    double variance = 0.0;

    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < n; k++)
            Ca[i] += m->covariance[i * n + k] * a[k];
        variance += a[i] * Ca[i];
    }
    for (size_t i = 0; variance > 0.0 && i < n; i++)
        for (size_t k = 0; k < n; k++)
            m->covariance[i * n + k] -= Ca[i] * Ca[k] / variance;
}

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0.0;

    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* v without its parts along the k before it, and of length 1; zero where nothing is left. */
static void straighten(double *v, const double *before, size_t k, size_t n)
{
    double whole = sqrt(dot(v, v, n));

    for (size_t i = 0; i < k; i++) {
        const double *u = before + i * n;
        double along = dot(v, u, n);
        for (size_t j = 0; j < n; j++)
            v[j] -= along * u[j];
    }
    double length = sqrt(dot(v, v, n));
    for (size_t j = 0; j < n; j++)
        v[j] = length > LEAST * whole ? v[j] / length : 0.0;
}

/* The first z eigenvectors of the covariance, [z, n], by orthogonal iteration; their values. */
static double *components(const Moments *m, size_t z, double *lambda)
{
    size_t n = m->n;
    double *u = g_new(double, z *n);
    g_autofree double *next = g_new(double, n);
    LdmKeyed keyed = ldm_keyed(0, LDM_KEY_WEIGHT, 0, 0);

    for (size_t i = 0; i < z * n; i++)
        u[i] = 2.0 * ldm_keyed_uniform(&keyed) - 1.0;
    for (int round = 0; round < ROUNDS; round++)
        for (size_t k = 0; k < z; k++) {
            double *v = u + k * n;
            for (size_t i = 0; i < n; i++)
                next[i] = dot(m->covariance + i * n, v, n);
            lambda[k] = dot(next, v, n);
            memcpy(v, next, n * sizeof *v);
            straighten(v, u, k, n);
        }
    return u;
}

/* With C the covariance of a cell's coefficients c, and C u_k = lambda_k u_k, the largest first,
 *
 *     z_k = s_k u_k . (c - mean),    c' = mean + sum z_k u_k / s_k,    s_k = lambda_k^(-1/4).
 *
 * The scales go half of the way to latents that all vary alike: what is large in the picture stays
 * larger, as suits noise that is the same for all, but not by orders of magnitude. */
static void set_path(LdmModel *model, const Moments *m, size_t known, const double *u,
                     const double *lambda)
{
    size_t n = m->n, z = (size_t)model->config.vae.latent_channels;
    double least = LEAST * lambda[0];
    float *there = (float *)ldm_params_find(model->vae_params, "encoder.linear_path.weight")->data;
    float *shift = (float *)ldm_params_find(model->vae_params, "encoder.linear_path.bias")->data;
    float *back = (float *)ldm_params_find(model->vae_params, "decoder.linear_path.weight")->data;
    float *mean = (float *)ldm_params_find(model->vae_params, "decoder.linear_path.bias")->data;

    for (size_t i = 0; known == 0 && i < n; i++)
        mean[i] = (float)m->mean[i];
    for (size_t k = known; k < z; k++, u += n, lambda++) {
        bool there_is = k < n && *lambda > least;
        double s = there_is ? pow(*lambda, -0.25) : 0.0;
        for (size_t i = 0; i < n; i++) {
            there[k * n + i] = (float)(there_is ? s * u[i] : 0.0);
            back[i * z + k] = (float)(there_is ? u[i] / s : 0.0);
        }
        shift[k] = (float)(there_is ? -s * dot(u, m->mean, n) : 0.0);
    }
}

bool ldm_linear_start(LdmModel *model, const LdmWindows *windows, size_t known, GError **error)
{
    const LdmVaeConfig *vae = &model->config.vae;
    size_t f = ldm_vae_factor(vae), z = (size_t)vae->latent_channels;
    g_auto(Moments) moments = {.n = (size_t)vae->in_channels * f * f};
    g_autofree double *lambda = g_new0(double, z - known);

    if (!vae->linear_path)
        return true;
    if (!measure(&moments, windows, error))
        return false;
    const LdmParam *there = ldm_params_find(model->vae_params, "encoder.linear_path.weight");
    for (size_t k = 0; k < known; k++)
        forget(&moments, (const float *)there->data + k * moments.n);
    g_autofree double *u = components(&moments, z - known, lambda);
    set_path(model, &moments, known, u, lambda);
    return true;
}
