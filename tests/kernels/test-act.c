/* Elementwise kernels against formulas in double precision. */
#include "twin.h"

static double twin_act(LdmActivation act, double x)
{
    if (act == LDM_ACT_GELU)
        return 0.5 * x * erfc(-x / sqrt(2));
    return x / (1 + exp(act == LDM_ACT_SILU ? -x : -1.702 * x));
}

/* From deep in one tail to deep in the other, every length of remainder. */
static void test_activations(void)
{
    for (LdmActivation act = LDM_ACT_SILU; act <= LDM_ACT_QUICK_GELU; act++) {
        for (size_t n = 1; n < 70000; n = n < 40 ? n + 1 : n * 9 + 1) {
            TwinArray x = twin_array(n), y = twin_array(n);
            for (size_t i = 0; i < n; i++)
                x.data[i] = (float)g_test_rand_double_range(-1, 1) * (i % 3 == 0 ? 90 : 4);
            g_assert_true(ldm_activate(act, n, x.data, y.data, NULL));
            for (size_t i = 0; i < n; i++) {
                double expected = twin_act(act, x.data[i]);
                g_assert_cmpfloat_with_epsilon(y.data[i], expected,
                                               2e-7 * MAX(1, fabs((double)x.data[i])));
            }
            g_assert_true(ldm_activate(act, n, x.data, x.data, NULL));
            g_assert_cmpmem(x.data, n * 4, y.data, n * 4);
            twin_free(x);
            twin_free(y);
        }
    }
}

/* Absolute error of erf <= 1e-6, seen through GELU; tails keep their relative accuracy. */
static void test_gelu_accuracy(void)
{
    enum { N = 20001 };
    TwinArray x = twin_array(N);
    for (int i = 0; i < N; i++)
        x.data[i] = (float)(i - N / 2) / 2000;
    TwinArray y = twin_array(N);
    g_assert_true(ldm_activate(LDM_ACT_GELU, N, x.data, y.data, NULL));
    for (int i = 0; i < N; i++) {
        double exact = twin_act(LDM_ACT_GELU, x.data[i]);
        g_assert_cmpfloat_with_epsilon(y.data[i], exact, 3e-6 * fabs(exact) + 1e-30);
    }
    twin_free(x);
    twin_free(y);
}

static void test_special_values(void)
{
    float x[] = {NAN, 0, -0.0f, 1e30f, -1e30f, 200, -200, 88.9f, -88.9f};
    float y[G_N_ELEMENTS(x)];
    for (LdmActivation act = LDM_ACT_SILU; act <= LDM_ACT_QUICK_GELU; act++) {
        g_assert_true(ldm_activate(act, G_N_ELEMENTS(x), x, y, NULL));
        g_assert_true(isnan(y[0]));
        g_assert_cmpfloat(y[1], ==, 0);
        g_assert_cmpfloat(y[2], ==, 0);
        g_assert_cmpfloat(y[3], ==, 1e30f);
        g_assert_cmpfloat_with_epsilon(y[4], 0, 1e-30);
        g_assert_cmpfloat(y[5], ==, 200);
        g_assert_cmpfloat_with_epsilon(y[6], 0, 1e-30);
        g_assert_cmpfloat_with_epsilon(y[7], 88.9f, 1e-4);
        g_assert_cmpfloat_with_epsilon(y[8], 0, 1e-30);
    }
}

static void test_geglu(void)
{
    static const size_t sizes[] = {1, 2, 3, 17, 160};
    for (size_t k = 0; k < G_N_ELEMENTS(sizes); k++) {
        size_t C = sizes[k], rows = 501;
        TwinArray x = twin_random(rows * 2 * C), y = twin_array(rows * C);
        g_autofree double *expected = g_new(double, rows *C);
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < C; c++)
                expected[r * C + c] =
                    x.data[r * 2 * C + c] * twin_act(LDM_ACT_GELU, x.data[r * 2 * C + C + c]);
        g_assert_true(ldm_geglu(rows, C, x.data, y.data, NULL));
        twin_compare(y.data, expected, rows * C, 1e-6, "geglu");
        twin_free(x);
        twin_free(y);
    }
}

static void test_sums(void)
{
    enum { N = 2, P = 7, C = 19, TOTAL = N * P * C };
    TwinArray a = twin_random(TOTAL), b = twin_random(TOTAL), y = twin_array(TOTAL);
    g_assert_true(ldm_add_arrays(TOTAL, a.data, b.data, y.data, NULL));
    for (size_t i = 0; i < TOTAL; i++)
        g_assert_cmpfloat(y.data[i], ==, a.data[i] + b.data[i]);
    g_assert_true(ldm_add_rows(N, P, C, a.data, b.data, y.data, NULL));
    for (size_t i = 0; i < TOTAL; i++)
        g_assert_cmpfloat(y.data[i], ==, a.data[i] + b.data[i / (P * C) * C + i % C]);
    g_assert_true(ldm_add_arrays(TOTAL, a.data, b.data, a.data, NULL));
    g_assert_true(ldm_add_rows(N, P, C, b.data, b.data, y.data, NULL));
    twin_free(a);
    twin_free(b);
    twin_free(y);
}

static void test_moves(void)
{
    enum { Ca = 3, Cb = 18, ROWS = 30 };
    TwinArray a = twin_random(ROWS * Ca), b = twin_random(ROWS * Cb);
    TwinArray y = twin_array(ROWS * (Ca + Cb));
    g_assert_true(ldm_concat(ROWS, Ca, Cb, a.data, b.data, y.data, NULL));
    for (size_t r = 0; r < ROWS; r++)
        for (size_t c = 0; c < Ca + Cb; c++)
            g_assert_cmpfloat(y.data[r * (Ca + Cb) + c], ==,
                              c < Ca ? a.data[r * Ca + c] : b.data[r * Cb + c - Ca]);
    twin_free(a);
    twin_free(b);
    twin_free(y);
}

static void test_cancelled(void)
{
    g_autoptr(GCancellable) c = twin_cancelled();
    float x[4] = {0}, y[4];
    g_assert_false(ldm_activate(LDM_ACT_SILU, 4, x, y, c));
    g_assert_false(ldm_geglu(1, 2, x, y, c));
    g_assert_false(ldm_add_arrays(4, x, x, y, c));
    g_assert_false(ldm_add_rows(1, 2, 2, x, x, y, c));
    g_assert_false(ldm_concat(1, 2, 2, x, x, y, c));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/act/activations", test_activations);
    g_test_add_func("/act/gelu-accuracy", test_gelu_accuracy);
    g_test_add_func("/act/special-values", test_special_values);
    g_test_add_func("/act/geglu", test_geglu);
    g_test_add_func("/act/sums", test_sums);
    g_test_add_func("/act/moves", test_moves);
    g_test_add_func("/act/cancelled", test_cancelled);
    return g_test_run();
}
