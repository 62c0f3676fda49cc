/* The measures of ./dev evaluate-default against values known beforehand. */
#include "metrics.h"

#include "base/rng.h"
#include "tensor/tensor.h"

#include <math.h>

#define SIDE 64

static LdmTensor *grey(float value)
{
    LdmTensor *picture = ldm_tensor_new_nhwc(1, SIDE, SIDE, 3, NULL);

    for (size_t i = 0; i < ldm_tensor_count(picture); i++)
        ldm_tensor_f32(picture)[i] = value;
    return picture;
}

static LdmTensor *noise(uint64_t seed, int rank, const size_t *shape)
{
    LdmTensor *array = ldm_tensor_new(LDM_F32, rank, shape, NULL);
    LdmRng rng;

    ldm_rng_seed(&rng, seed);
    ldm_rng_normal(&rng, ldm_tensor_f32(array), ldm_tensor_count(array));
    return array;
}

/* 1/2 + 1/4 cos(2 pi cycles x), the same in all rows and channels */
static LdmTensor *wave(double cycles)
{
    LdmTensor *picture = grey(0.0f);

    for (size_t i = 0; i < ldm_tensor_count(picture); i++) {
        double x = (double)(i / 3 % SIDE);
        ldm_tensor_f32(picture)[i] = (float)(0.5 + 0.25 * cos(2.0 * G_PI * cycles * x));
    }
    return picture;
}

static void test_psnr(void)
{
    g_autoptr(LdmTensor) a = grey(0.5f), b = grey(0.6f);
    size_t n = ldm_tensor_count(a);

    g_assert_cmpfloat_with_epsilon(metric_psnr(ldm_tensor_f32(a), ldm_tensor_f32(b), n), 20.0,
                                   1e-4);
    g_assert_cmpfloat(metric_psnr(ldm_tensor_f32(a), ldm_tensor_f32(a), n), ==, 99.0);
}

/* Of plain pictures only the first factor is left: (2ab + c) / (a^2 + b^2 + c), c = 1e-4. */
static void test_ssim(void)
{
    g_autoptr(LdmTensor) a = grey(0.2f), b = grey(0.8f), c = wave(0.125), d = wave(0.25);

    g_assert_cmpfloat_with_epsilon(metric_ssim(a, b), 0.3201 / 0.6801, 1e-4);
    g_assert_cmpfloat_with_epsilon(metric_ssim(c, c), 1.0, 1e-9);
    g_assert_cmpfloat(metric_ssim(c, d), <, 0.2);
}

/* The mean square of the windowed wave is (1/4)^2 / 2 (3/8)^2, all of it in one octave. */
static void test_top_octave(void)
{
    g_autoptr(LdmTensor) low = wave(0.125), high = wave(0.375);
    double power = 0.0625 / 2.0 * 9.0 / 64.0;

    g_assert_cmpfloat_with_epsilon(metric_top_octave(high), power, 1e-3 * power);
    g_assert_cmpfloat(metric_top_octave(low), <, 1e-6 * power);
}

static void test_kid(void)
{
    /* kernels within a: 1; within b: 0; across: 8, 0, 1, 1 */
    float a[] = {1, 0, 0, 2}, b[] = {3, 0, -1, 0};
    LdmTensor few = {.dtype = LDM_F32, .rank = 2, .shape = {2, 2, 1, 1}, .data = a}, other = few;
    const size_t shape[] = {200, 16};
    g_autoptr(LdmTensor) x = noise(1, 2, shape), y = noise(2, 2, shape), z = noise(3, 2, shape);

    other.data = b;
    g_assert_cmpfloat_with_epsilon(metric_kid(&few, &other), 1.0 + 0.0 - 2.0 * 2.5, 1e-9);
    for (size_t i = 0; i < ldm_tensor_count(z); i += 4)
        ldm_tensor_f32(z)[i] += 1.0f; /* another distribution */
    double same = metric_kid(x, y), apart = metric_kid(x, z);
    g_test_message("one distribution: %.4f, two: %.4f", same, apart);
    g_assert_cmpfloat(fabs(same), <, 0.01);
    g_assert_cmpfloat(fabs(metric_kid(x, x)), <, 0.1); /* - 2 (8 - mean) / n */
    g_assert_cmpfloat(apart, >, 0.1);
}

/* Unbiased: small sets of one distribution come out at zero in the mean. Two sets of 4, taken with
 * their own pairs (biased), would come out at 2 (8 - mean of the kernel) / 4, some 3. */
static void test_kid_unbiased(void)
{
    const size_t shape[] = {4, 16};
    const int runs = 2000;
    double sum = 0.0, squares = 0.0;

    for (int i = 0; i < runs; i++) {
        g_autoptr(LdmTensor) x = noise(100 + 2 * (uint64_t)i, 2, shape);
        g_autoptr(LdmTensor) y = noise(101 + 2 * (uint64_t)i, 2, shape);
        double kid = metric_kid(x, y);
        sum += kid;
        squares += kid * kid;
    }
    double mean = sum / runs, error = sqrt((squares / runs - mean * mean) / runs);
    g_test_message("mean %.4f, standard error %.4f", mean, error);
    g_assert_cmpfloat(error, <, 0.05);
    g_assert_cmpfloat(fabs(mean), <, 3.0 * error);
}

static void test_kid_subsets(void)
{
    const size_t shape[] = {60, 16};
    g_autoptr(LdmTensor) x = noise(1, 2, shape), y = noise(2, 2, shape), z = noise(3, 2, shape);
    double spread, again, nothing;

    for (size_t i = 0; i < ldm_tensor_count(z); i += 4)
        ldm_tensor_f32(z)[i] += 1.0f;
    double same = metric_kid_subsets(x, y, 30, 50, &spread);
    double apart = metric_kid_subsets(x, z, 30, 50, &again);
    g_test_message("one distribution: %.4f (%.4f), two: %.4f (%.4f)", same, spread, apart, again);
    g_assert_cmpfloat(fabs(same - metric_kid(x, y)), <, spread); /* the subsets are of these */
    g_assert_cmpfloat(fabs(apart - metric_kid(x, z)), <, again);
    g_assert_cmpfloat(spread, >, 0.0);
    g_assert_cmpfloat(metric_kid_subsets(x, y, 30, 50, &again), ==, same);
    /* all rows: nothing is left to chance but their order */
    g_assert_cmpfloat_with_epsilon(metric_kid_subsets(x, y, 60, 3, &nothing), metric_kid(x, y),
                                   1e-9);
    g_assert_cmpfloat(nothing, <, 1e-6);
}

/* Directions in the plane at 0, 10, 20 ... degrees. */
static void set_angles(float *rows, const double *degrees, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        rows[2 * i] = (float)(3.0 * cos(degrees[i] * G_PI / 180.0));
        rows[2 * i + 1] = (float)(3.0 * sin(degrees[i] * G_PI / 180.0));
    }
}

static void test_retrieval(void)
{
    const double asked[] = {0, 90, 180, 270}, there[] = {5, -20, 40, 95, 80, 200, 100, 190};
    const size_t asked_labels[] = {0, 1, 2, 3};
    const size_t there_labels[] = {0, 1, 0, 0, 1, 2, 1, 0}; /* none is of 3 */
    float a[8], b[16];
    LdmTensor queries = {.dtype = LDM_F32, .rank = 2, .shape = {4, 2, 1, 1}, .data = a};
    LdmTensor gallery = {.dtype = LDM_F32, .rank = 2, .shape = {8, 2, 1, 1}, .data = b};

    set_angles(a, asked, 4);
    set_angles(b, there, 8);
    /* 0 finds its own at once, 90 and 180 as second; 270 never */
    g_assert_cmpfloat(metric_retrieval(&queries, asked_labels, &gallery, there_labels, 1), ==,
                      0.25);
    g_assert_cmpfloat(metric_retrieval(&queries, asked_labels, &gallery, there_labels, 2), ==,
                      0.75);
    g_assert_cmpfloat(metric_retrieval(&queries, asked_labels, &gallery, there_labels, 8), ==,
                      0.75);
    set_angles(b, (const double[]){0, 0, 0, 0, 0, 0, 0, 0}, 8); /* a network that sees nothing */
    g_assert_cmpfloat(metric_retrieval(&queries, asked_labels, &gallery, there_labels, 1), ==, 0.0);
}

static void test_nearest_bytes(void)
{
    const uint8_t a[] = {0, 255, 100, 7}, b[] = {255, 0, 0, 0, 0, 204, 100, 7, 0, 255, 0, 7};

    g_assert_cmpfloat_with_epsilon(metric_nearest_bytes(a, b, 4, 3), 0.1, 1e-9); /* 51 / 255 / 2 */
    g_assert_cmpfloat_with_epsilon(metric_nearest_bytes(a, b, 4, 1),
                                   sqrt((2 * 255.0 * 255 + 10000 + 49) / 4) / 255, 1e-9);
    g_assert_cmpfloat(metric_nearest_bytes(a, a, 4, 1), ==, 0.0);
}

static void test_quantile(void)
{
    double values[] = {5, 1, 4, 2, 3};

    g_assert_cmpfloat(metric_quantile(values, 5, 0.5), ==, 3.0);
    g_assert_cmpfloat(metric_quantile(values, 5, 0.05), ==, 1.0);
    g_assert_cmpfloat(metric_quantile(values, 5, 1.0), ==, 5.0);
}

static void test_nearest(void)
{
    float a[] = {0, 5}, b[] = {1, 0, 1, 1, -9, 0};
    LdmTensor one = {.dtype = LDM_F32, .rank = 2, .shape = {1, 2, 1, 1}, .data = a};
    LdmTensor three = {.dtype = LDM_F32, .rank = 2, .shape = {3, 2, 1, 1}, .data = b};
    double distance;

    g_assert_cmpuint(metric_nearest(&one, 0, &three, &distance), ==, 1);
    g_assert_cmpfloat_with_epsilon(distance, 1.0 - sqrt(0.5), 1e-9);
}

/* A plain difference d projects to d |sum of the direction|, about d sqrt(2 / pi); the texture of a
 * picture moved by two pixels is the same. */
static void test_patches(void)
{
    const LdmRect inside = {8, 8, 48, 48};
    g_autoptr(LdmTensor) a = grey(0.5f), b = grey(0.6f), still = wave(0.125), moved = wave(0.125);
    g_autoptr(LdmTensor) other = wave(0.0625);

    for (size_t i = 0; i < ldm_tensor_count(moved); i++)
        ldm_tensor_f32(moved)[i] =
            ldm_tensor_f32(still)[i / 3 / SIDE * SIDE * 3 + (i / 3 + 2) % SIDE * 3];
    g_assert_cmpfloat(metric_patch_distance(a, a, &inside), ==, 0.0);
    g_assert_cmpfloat_with_epsilon(metric_patch_distance(a, b, &inside), 0.08, 0.015);
    double same = metric_patch_distance(still, moved, &inside);
    double apart = metric_patch_distance(still, other, &inside);
    g_test_message("moved: %.4f, another texture: %.4f", same, apart);
    g_assert_cmpfloat(same, <, 0.3 * apart);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/metrics/psnr", test_psnr);
    g_test_add_func("/metrics/ssim", test_ssim);
    g_test_add_func("/metrics/top-octave", test_top_octave);
    g_test_add_func("/metrics/kid", test_kid);
    g_test_add_func("/metrics/kid-unbiased", test_kid_unbiased);
    g_test_add_func("/metrics/kid-subsets", test_kid_subsets);
    g_test_add_func("/metrics/retrieval", test_retrieval);
    g_test_add_func("/metrics/nearest-bytes", test_nearest_bytes);
    g_test_add_func("/metrics/quantile", test_quantile);
    g_test_add_func("/metrics/nearest", test_nearest);
    g_test_add_func("/metrics/patches", test_patches);
    return g_test_run();
}
