/* Resizing: against formulas in double precision, and against what each filter promises. */
#include "layers/resample.h"
#include "twin.h"

static double twin_filter(LdmResample filter, double x)
{
    x = fabs(x);
    if (filter == LDM_RESAMPLE_BILINEAR)
        return MAX(1 - x, 0);
    if (x < 1e-12)
        return 1;
    return x >= 3 ? 0 : 3 * sin(G_PI * x) * sin(G_PI * x / 3) / (G_PI * G_PI * x * x);
}

/* One output of one axis: sum of w(i) x(i) / sum of w(i), i far beyond both edges. */
static double twin_axis(LdmResample filter, const double *x, size_t in, size_t out, size_t o,
                        size_t stride)
{
    double step = (double)in / out, sum = 0, total = 0;
    double widen = filter == LDM_RESAMPLE_LANCZOS ? MAX(step, 1) : 1;
    for (long i = -20 - 4 * (long)widen; i < (long)in + 20 + 4 * (long)widen; i++) {
        double w;
        if (filter == LDM_RESAMPLE_BOX)
            w = MAX(MIN(i + 1, (o + 1) * step) - MAX(i, o * step), 0);
        else
            w = twin_filter(filter, (i + 0.5 - (o + 0.5) * step) / widen);
        sum += w * x[CLAMP(i, 0, (long)in - 1) * stride];
        total += w;
    }
    return sum / total;
}

static LdmTensor picture(TwinArray array, size_t H, size_t W, size_t C)
{
    return (LdmTensor){LDM_F32, 4, {1, H, W, C}, array.data};
}

static void check(LdmResample filter, size_t H, size_t W, size_t C, size_t Ho, size_t Wo)
{
    TwinArray x = twin_random(H * W * C), y = twin_array(Ho * Wo * C);
    TwinArray scratch = twin_scratch(ldm_resample_scratch(H, W, C, Ho, Wo));
    g_autofree double *in = g_new(double, H *W *C), *middle = g_new(double, H *Wo *C);
    g_autofree double *expected = g_new(double, Ho *Wo *C);
    for (size_t i = 0; i < H * W * C; i++)
        in[i] = x.data[i];
    for (size_t i = 0; i < H * Wo * C; i++)
        middle[i] = twin_axis(filter, in + i / (Wo * C) * W * C + i % C, W, Wo, i / C % Wo, C);
    for (size_t i = 0; i < Ho * Wo * C; i++)
        expected[i] = twin_axis(filter, middle + i % (Wo * C), H, Ho, i / (Wo * C), Wo * C);
    const LdmTensor from = picture(x, H, W, C), to = picture(y, Ho, Wo, C);
    g_assert_true(ldm_resample(filter, &from, &to, scratch.data, NULL));
    twin_compare(y.data, expected, Ho * Wo * C, 2e-6, "resample");
    twin_free(x);
    twin_free(y);
    twin_free(scratch);
}

static void test_filters(void)
{
    for (LdmResample filter = LDM_RESAMPLE_LANCZOS; filter <= LDM_RESAMPLE_BOX; filter++) {
        check(filter, 1, 1, 1, 1, 1);
        check(filter, 1, 1, 3, 5, 4);
        check(filter, 7, 5, 3, 14, 10);
        check(filter, 13, 17, 4, 5, 3);
        check(filter, 16, 16, 1, 2, 2);
        check(filter, 5, 31, 2, 7, 29);
        check(filter, 64, 3, 1, 1, 3);
        check(filter, 3, 200, 4, 2, 7);
    }
}

/* The same size changes nothing; a constant stays a constant; boxes keep the mean. */
static void test_promises(void)
{
    enum { H = 12, W = 18, C = 4 };
    TwinArray x = twin_random(H * W * C), y = twin_array(H * W * C);
    TwinArray scratch = twin_scratch(ldm_resample_scratch(H, W, C, H, W));
    const LdmTensor from = picture(x, H, W, C), same = picture(y, H, W, C);
    const LdmTensor small = picture(y, 5, 7, C);
    for (LdmResample filter = LDM_RESAMPLE_LANCZOS; filter <= LDM_RESAMPLE_BOX; filter++) {
        g_assert_true(ldm_resample(filter, &from, &same, scratch.data, NULL));
        for (size_t i = 0; i < H * W * C; i++)
            g_assert_cmpfloat_with_epsilon(y.data[i], x.data[i], 1e-6);
    }
    double before = 0, after = 0;
    g_assert_true(ldm_resample(LDM_RESAMPLE_BOX, &from, &small, scratch.data, NULL));
    for (size_t i = 0; i < H * W * C; i++)
        before += x.data[i] / (H * W);
    for (size_t i = 0; i < 5 * 7 * C; i++)
        after += y.data[i] / (5 * 7);
    g_assert_cmpfloat_with_epsilon(before, after, 1e-6);
    for (size_t i = 0; i < H * W * C; i++)
        x.data[i] = 0.7f;
    for (LdmResample filter = LDM_RESAMPLE_LANCZOS; filter <= LDM_RESAMPLE_BOX; filter++) {
        g_assert_true(ldm_resample(filter, &from, &small, scratch.data, NULL));
        for (size_t i = 0; i < 5 * 7 * C; i++)
            g_assert_cmpfloat_with_epsilon(y.data[i], 0.7f, 1e-6);
    }
    g_autoptr(GCancellable) c = twin_cancelled();
    g_autoptr(GError) error = NULL;
    g_assert_false(ldm_resample(LDM_RESAMPLE_BOX, &from, &small, scratch.data, c));
    g_assert_null(ldm_tensor_resample(LDM_RESAMPLE_BOX, &from, 5, 7, c, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_CANCELLED);
    twin_free(x);
    twin_free(y);
    twin_free(scratch);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/resample/filters", test_filters);
    g_test_add_func("/resample/promises", test_promises);
    return g_test_run();
}
