/* The measures. In: pictures or features. Out: one number. Sums are double; sizes are those of the
 * evaluation, hundreds of pixels and thousands of features, so the plain way is fast enough. */
#include "metrics.h"

#include "base/rng.h"
#include "tensor/tensor.h"
#include "train/keyed.h"

#include <math.h>
#include <string.h>

#define WINDOW     11 /* of SSIM */
#define DEVIATION  1.5
#define PATCH      7
#define PATCH_STEP 2 /* pixels between patches */
#define DIRECTIONS 128
#define PATCH_SIZE (PATCH * PATCH * 3)

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double metric_quantile(double *values, size_t n, double share)
{
    qsort(values, n, sizeof *values, by_size);
    return values[MIN((size_t)(share * (double)n), n - 1)];
}

double metric_psnr(const float *a, const float *b, size_t n)
{
    double squares = 0.0;

    for (size_t i = 0; i < n; i++)
        squares += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return squares > 0.0 ? MIN(10.0 * log10((double)n / squares), 99.0) : 99.0;
}

/* Rec. 601, [H * W] */
static double *brightness(const LdmTensor *picture)
{
    size_t n = picture->shape[1] * picture->shape[2];
    const float *rgb = ldm_tensor_f32(picture);
    double *y = g_new(double, n);

    for (size_t i = 0; i < n; i++)
        y[i] = 0.299 * rgb[3 * i] + 0.587 * rgb[3 * i + 1] + 0.114 * rgb[3 * i + 2];
    return y;
}

/* ---- SSIM ---- */

typedef struct {
    const double *a, *b;
    size_t W;
    double weights[WINDOW];
} Windows;

/* The index of one window, its corner at (x, y). */
static double similarity(const Windows *windows, size_t x, size_t y)
{
    const double c1 = 0.01 * 0.01, c2 = 0.03 * 0.03;
    double a = 0.0, b = 0.0, aa = 0.0, bb = 0.0, ab = 0.0;

    for (size_t j = 0; j < WINDOW; j++) {
        for (size_t i = 0; i < WINDOW; i++) {
            size_t at = (y + j) * windows->W + x + i;
            double w = windows->weights[j] * windows->weights[i];
            double p = windows->a[at], q = windows->b[at];
            a += w * p;
            b += w * q;
            aa += w * p * p;
            bb += w * q * q;
            ab += w * p * q;
        }
    }
    return (2.0 * a * b + c1) * (2.0 * (ab - a * b) + c2) /
           ((a * a + b * b + c1) * (aa - a * a + bb - b * b + c2));
}

double metric_ssim(const LdmTensor *a, const LdmTensor *b)
{
    size_t H = a->shape[1], W = a->shape[2];
    g_autofree double *p = brightness(a), *q = brightness(b);
    Windows windows = {.a = p, .b = q, .W = W};
    double sum = 0.0, weight = 0.0;

    for (int i = 0; i < WINDOW; i++) {
        double d = i - WINDOW / 2;
        weight += windows.weights[i] = exp(-d * d / (2.0 * DEVIATION * DEVIATION));
    }
    for (int i = 0; i < WINDOW; i++)
        windows.weights[i] /= weight;
    for (size_t y = 0; y + WINDOW <= H; y++)
        for (size_t x = 0; x + WINDOW <= W; x++)
            sum += similarity(&windows, x, y);
    return sum / (double)((H - WINDOW + 1) * (W - WINDOW + 1));
}

/* ---- the top octave ---- */

/* One frequency of a row or column: x[k * stride] (real, imaginary), n of them. */
static void transform(const double *x, size_t n, size_t stride, size_t frequency, double sum[2])
{
    double turn = -2.0 * G_PI * (double)frequency / (double)n;
    double step[2] = {cos(turn), sin(turn)}, at[2] = {1.0, 0.0};

    sum[0] = sum[1] = 0.0;
    for (size_t k = 0; k < n; k++) {
        const double *value = x + 2 * k * stride;
        double next = at[0] * step[0] - at[1] * step[1];
        sum[0] += at[0] * value[0] - at[1] * value[1];
        sum[1] += at[0] * value[1] + at[1] * value[0];
        at[1] = at[0] * step[1] + at[1] * step[0];
        at[0] = next;
    }
}

static double hann(size_t i, size_t n)
{
    return 0.5 - 0.5 * cos(2.0 * G_PI * ((double)i + 0.5) / (double)n);
}

/* The brightness less its mean, windowed, as complex numbers [H][W][2]. */
static double *windowed(const LdmTensor *picture)
{
    size_t H = picture->shape[1], W = picture->shape[2];
    g_autofree double *y = brightness(picture);
    double *x = g_new0(double, 2 * H * W), mean = 0.0;

    for (size_t i = 0; i < H * W; i++)
        mean += y[i] / (double)(H * W);
    for (size_t i = 0; i < H * W; i++)
        x[2 * i] = (y[i] - mean) * hann(i / W, H) * hann(i % W, W);
    return x;
}

/* -1/2 .. 1/2 cycles a pixel */
static double cycles(size_t frequency, size_t n)
{
    return frequency > n / 2 ? (double)frequency / (double)n - 1.0 : (double)frequency / (double)n;
}

double metric_top_octave(const LdmTensor *picture)
{
    size_t H = picture->shape[1], W = picture->shape[2];
    g_autofree double *x = windowed(picture);
    g_autofree double *rows = g_new(double, 2 * H * W);
    double power = 0.0, value[2];

    for (size_t y = 0; y < H; y++)
        for (size_t u = 0; u < W; u++)
            transform(x + 2 * y * W, W, 1, u, rows + 2 * (y * W + u));
    for (size_t u = 0; u < W; u++) {
        for (size_t v = 0; v < H; v++) {
            double radius = hypot(cycles(u, W), cycles(v, H));
            if (radius < 0.25 || radius > 0.5)
                continue;
            transform(rows + 2 * u, H, W, v, value);
            power += value[0] * value[0] + value[1] * value[1];
        }
    }
    return power / ((double)(H * W) * (double)(H * W));
}

/* ---- features ---- */

static double cosine(const LdmTensor *a, size_t i, const LdmTensor *b, size_t j)
{
    size_t D = a->shape[1];
    const float *x = ldm_tensor_f32(a) + i * D, *y = ldm_tensor_f32(b) + j * D;
    double xy = 0.0, xx = 0.0, yy = 0.0;

    for (size_t k = 0; k < D; k++) {
        xy += (double)x[k] * y[k];
        xx += (double)x[k] * x[k];
        yy += (double)y[k] * y[k];
    }
    return xx > 0.0 && yy > 0.0 ? xy / sqrt(xx * yy) : 0.0;
}

/* Mean of the kernel over pairs of a row of a and one of b, or, where they are the same set, over
 * pairs of two of its rows. */
static double kernel_mean(const LdmTensor *a, const LdmTensor *b)
{
    size_t n = a->shape[0], m = b->shape[0];
    double sum = 0.0;

    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < m; j++) {
            double k = cosine(a, i, b, j) + 1.0;
            sum += a == b && i == j ? 0.0 : k * k * k;
        }
    }
    return sum / ((double)n * (double)(a == b ? m - 1 : m));
}

double metric_kid(const LdmTensor *a, const LdmTensor *b)
{
    LdmTensor other = *b; /* two sets, also where the caller gives one twice */

    return kernel_mean(a, a) + kernel_mean(&other, &other) - 2.0 * kernel_mean(a, &other);
}

/* `size` rows of x, drawn from `order`, a permutation of all that goes on being shuffled. */
static LdmTensor *subset(const LdmTensor *x, size_t *order, size_t size, LdmKeyed *keyed)
{
    size_t n = x->shape[0], D = x->shape[1];
    LdmTensor *some = ldm_tensor_new(LDM_F32, 2, (size_t[]){size, D}, NULL);

    g_assert(some != NULL && size <= n); /* a few kilobytes */
    for (size_t i = 0; i < size; i++) {
        size_t k = i + ldm_keyed_below(keyed, n - i), row = order[k];
        order[k] = order[i];
        order[i] = row;
        memcpy(ldm_tensor_f32(some) + i * D, ldm_tensor_f32(x) + row * D, D * sizeof(float));
    }
    return some;
}

static size_t *numbers(size_t n)
{
    size_t *order = g_new(size_t, n);

    for (size_t i = 0; i < n; i++)
        order[i] = i;
    return order;
}

double metric_kid_subsets(const LdmTensor *a, const LdmTensor *b, size_t size, size_t count,
                          double *spread)
{
    g_autofree size_t *of_a = numbers(a->shape[0]), *of_b = numbers(b->shape[0]);
    LdmKeyed keyed = ldm_keyed(1, LDM_KEY_ORDER, 0, 0);
    double sum = 0.0, squares = 0.0;

    for (size_t k = 0; k < count; k++) {
        g_autoptr(LdmTensor) some_a = subset(a, of_a, size, &keyed);
        g_autoptr(LdmTensor) some_b = subset(b, of_b, size, &keyed);
        double kid = metric_kid(some_a, some_b);
        sum += kid;
        squares += kid * kid;
    }
    double mean = sum / (double)count;
    *spread = sqrt(MAX(squares / (double)count - mean * mean, 0.0));
    return mean;
}

double metric_retrieval(const LdmTensor *a, const size_t *a_labels, const LdmTensor *b,
                        const size_t *b_labels, size_t most)
{
    size_t n = a->shape[0], m = b->shape[0], found = 0;

    for (size_t i = 0; i < n; i++) {
        double own = -2.0; /* the nearest of the right ones */
        size_t nearer = 0;
        for (size_t j = 0; j < m; j++)
            if (b_labels[j] == a_labels[i])
                own = MAX(own, cosine(a, i, b, j));
        for (size_t j = 0; j < m; j++)
            nearer += b_labels[j] != a_labels[i] && cosine(a, i, b, j) >= own;
        found += nearer < most && own >= -1.5; /* in doubt it was not found */
    }
    return (double)found / (double)n;
}

double metric_nearest_bytes(const uint8_t *a, const uint8_t *b, size_t n, size_t m)
{
    int32_t least = INT32_MAX;

    for (size_t j = 0; j < m; j++) {
        int32_t sum = 0;
        for (size_t k = 0; k < n; k++) {
            int32_t d = (int32_t)a[k] - b[j * n + k];
            sum += d * d;
        }
        least = MIN(least, sum);
    }
    return sqrt(least / (double)n) / 255.0;
}

size_t metric_nearest(const LdmTensor *a, size_t row, const LdmTensor *b, double *distance)
{
    double best = -2.0;
    size_t nearest = 0;

    for (size_t j = 0; j < b->shape[0]; j++) {
        double similarity = cosine(a, row, b, j);
        if (similarity > best) {
            best = similarity;
            nearest = j;
        }
    }
    if (distance != NULL)
        *distance = 1.0 - best;
    return nearest;
}

/* ---- patches ---- */

static size_t patch_count(const LdmRect *inside)
{
    return (size_t)((inside->width - PATCH) / PATCH_STEP + 1) *
           (size_t)((inside->height - PATCH) / PATCH_STEP + 1);
}

/* The patches' products with a direction [PATCH_SIZE], sorted. */
static void project(const LdmTensor *picture, const LdmRect *inside, const float *direction,
                    double *out)
{
    size_t W = picture->shape[2], n = 0;

    for (int y = inside->y; y + PATCH <= inside->y + inside->height; y += PATCH_STEP) {
        for (int x = inside->x; x + PATCH <= inside->x + inside->width; x += PATCH_STEP) {
            double sum = 0.0;
            for (size_t j = 0; j < PATCH; j++) {
                const float *row = ldm_tensor_f32(picture) + (((size_t)y + j) * W + (size_t)x) * 3;
                for (size_t i = 0; i < PATCH * 3; i++)
                    sum += (double)row[i] * direction[j * PATCH * 3 + i];
            }
            out[n++] = sum;
        }
    }
    qsort(out, n, sizeof *out, by_size);
}

double metric_patch_distance(const LdmTensor *a, const LdmTensor *b, const LdmRect *inside)
{
    size_t n = patch_count(inside);
    g_autofree double *p = g_new(double, n), *q = g_new(double, n);
    float direction[PATCH_SIZE];
    double total = 0.0;
    LdmRng rng;

    ldm_rng_seed(&rng, 1);
    for (int k = 0; k < DIRECTIONS; k++) {
        double squares = 0.0, sum = 0.0;
        ldm_rng_normal(&rng, direction, PATCH_SIZE);
        for (int i = 0; i < PATCH_SIZE; i++)
            squares += (double)direction[i] * direction[i];
        project(a, inside, direction, p);
        project(b, inside, direction, q);
        for (size_t i = 0; i < n; i++)
            sum += fabs(p[i] - q[i]);
        total += sum / sqrt(squares) / (double)n;
    }
    return total / DIRECTIONS;
}
