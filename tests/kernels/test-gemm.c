/* Linear layers against three loops in double precision. */
#include "twin.h"

typedef struct {
    size_t M, N, K;
} Size;

/* Row m of x by row n of w, both of K numbers, rounded before where asked. */
static double product(const float *x, size_t m, const TwinWeights *w, size_t n, size_t K, bool bf16)
{
    double sum = 0;
    for (size_t k = 0; k < K; k++) {
        float a = x[m * K + k], b = w->values[n * K + k];
        sum += bf16 ? (double)twin_bf16(a) * twin_bf16(b) : (double)a * b;
    }
    return sum;
}

static void check_as(Size s, LdmDtype dtype, bool bias, int residual, bool bf16)
{
    size_t M = s.M, N = s.N, K = s.K;
    TwinArray x = twin_random(M * K), y = twin_random(M * N), r = twin_random(M * N);
    TwinArray scratch = twin_scratch(ldm_gemm_scratch());
    TwinWeights w = twin_weights(N * K, dtype), b = twin_weights(N, dtype);
    const float *added = residual == 0 ? NULL : residual == 1 ? r.data : y.data;
    g_autofree double *expected = g_new(double, M *N);
    for (size_t m = 0; m < M; m++)
        for (size_t n = 0; n < N; n++) {
            double sum = (bias ? b.values[n] : 0) + product(x.data, m, &w, n, K, bf16);
            expected[m * N + n] = sum + (added == NULL ? 0 : added[m * N + n]);
        }
    LdmGemm gemm = {
        .M = M, .N = N, .K = K, .x = x.data, .w = w.weights, .bf16 = bf16, .split = true};
    gemm.bias = bias ? b.weights : (LdmWeights){0};
    gemm.residual = added;
    gemm.y = y.data;
    gemm.scratch = scratch.data;
    g_assert_true(ldm_gemm(&gemm, NULL));
    twin_compare(y.data, expected, M * N, 2e-6 + twin_split(), "gemm");
    twin_free(x);
    twin_free(y);
    twin_free(r);
    twin_free(scratch);
    twin_weights_free(w);
    twin_weights_free(b);
}

static void check(Size s, LdmDtype dtype, bool bias, int residual)
{
    check_as(s, dtype, bias, residual, false);
}

static void test_sizes(void)
{
    static const Size sizes[] = {{1, 1, 1},    {1, 33, 7},     {2, 3, 5},
                                 {3, 1, 64},   {17, 19, 23},   {64, 130, 9},
                                 {65, 67, 40}, {131, 300, 33}, {1, 320, 128}};
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++)
        for (LdmDtype dtype = LDM_F32; dtype <= LDM_BF16; dtype++)
            for (int residual = 0; residual < 3; residual++)
                check(sizes[i], dtype, (i + residual) % 3 != 0, residual);
}

/* Deeper, wider, higher than one block; rows a power of two apart. */
static void test_blocks(void)
{
    check((Size){3, 1030, 5003}, LDM_F16, true, 1);
    check((Size){5, 530, 2003}, LDM_BF16, true, 2);
    check((Size){1031, 37, 67}, LDM_F16, true, 2);
    check((Size){45, 70, 1024}, LDM_F32, true, 0);
    check((Size){6, 129, 769}, LDM_F16, false, 1);
}

/* Rounded to bf16, where the processor gains by it: exactly the rounded numbers' products. Odd
 * depths, rows and columns stick out of pairs, tiles and panels. A few rows stay in f32. */
static void test_bf16(void)
{
    static const Size sizes[] = {{5, 1, 1},    {17, 19, 23},   {64, 130, 9},    {65, 67, 40},
                                 {31, 37, 33}, {29, 130, 771}, {131, 300, 385}, {45, 70, 1024}};
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++)
        for (LdmDtype dtype = LDM_F32; dtype <= LDM_BF16; dtype++)
            check_as(sizes[i], dtype, i % 3 != 0, (int)i % 3, true);
}

/* v * GELU(g) of v | g = x w^T + b: columns that are no whole panels, several blocks, rows that
 * collide in the cache; in bf16 where the processor rounds. */
static void check_geglu(size_t M, size_t C, size_t K, LdmDtype dtype, bool bf16)
{
    TwinArray x = twin_random(M * K), y = twin_array(M * C);
    TwinArray scratch = twin_scratch(ldm_gemm_geglu_scratch(K));
    TwinWeights w = twin_weights(2 * C * K, dtype), b = twin_weights(2 * C, dtype);
    g_autofree double *expected = g_new(double, M *C);
    for (size_t i = 0; i < M * C; i++) {
        double part[2];
        for (size_t half = 0; half < 2; half++) {
            size_t n = half * C + i % C;
            part[half] = b.values[n] + product(x.data, i / C, &w, n, K, bf16);
        }
        expected[i] = part[0] * part[1] * 0.5 * (1.0 + erf(part[1] * sqrt(0.5)));
    }
    g_assert_true(ldm_gemm_geglu(&(LdmGemmGeglu){.M = M,
                                                 .C = C,
                                                 .K = K,
                                                 .x = x.data,
                                                 .w = w.weights,
                                                 .bias = b.weights,
                                                 .y = y.data,
                                                 .scratch = scratch.data,
                                                 .bf16 = bf16,
                                                 .split = true},
                                 NULL));
    twin_compare(y.data, expected, M * C, 4e-6 + 2 * twin_split(), "geglu");
    twin_free(x);
    twin_free(y);
    twin_free(scratch);
    twin_weights_free(w);
    twin_weights_free(b);
}

static void test_geglu(void)
{
    static const struct {
        size_t M, C, K;
    } sizes[] = {{1, 1, 1},     {3, 33, 7},    {17, 64, 40},  {31, 65, 33},
                 {131, 130, 9}, {29, 40, 771}, {45, 70, 1024}};
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++)
        for (LdmDtype dtype = LDM_F32; dtype <= LDM_BF16; dtype++)
            for (int bf16 = 0; bf16 < 2; bf16++)
                check_geglu(sizes[i].M, sizes[i].C, sizes[i].K, dtype, bf16);
    g_autoptr(GCancellable) cancelled = g_cancellable_new();
    g_cancellable_cancel(cancelled);
    g_assert_false(ldm_gemm_geglu(&(LdmGemmGeglu){.M = 1, .C = 1, .K = 1}, cancelled));
}

/* X's last columns in another place, whose rows stand beside all of x's or beside each part of
 * them. */
static void check_joined(Size s, size_t K_joined, size_t parts, LdmDtype dtype, bool bf16)
{
    const size_t M = s.M * parts, N = s.N, K = s.K, own = K - K_joined;
    TwinArray x = twin_random(M * own), joined = twin_random(s.M * K_joined);
    TwinArray whole = twin_array(M * K), y = twin_random(M * N);
    TwinArray scratch = twin_scratch(ldm_gemm_scratch());
    TwinWeights w = twin_weights(N * K, dtype), b = twin_weights(N, dtype);
    g_autofree double *expected = g_new(double, M *N);
    for (size_t m = 0; m < M; m++) {
        const float *beside = joined.data + m % s.M * K_joined;
        memcpy(whole.data + m * K, x.data + m * own, own * sizeof(float));
        memcpy(whole.data + m * K + own, beside, K_joined * sizeof(float));
        for (size_t n = 0; n < N; n++)
            expected[m * N + n] = b.values[n] + product(whole.data, m, &w, n, K, bf16);
    }
    g_assert_true(ldm_gemm(&(LdmGemm){.M = M,
                                      .N = N,
                                      .K = K,
                                      .x = x.data,
                                      .joined = joined.data,
                                      .K_joined = K_joined,
                                      .joined_rows = s.M,
                                      .w = w.weights,
                                      .bias = b.weights,
                                      .y = y.data,
                                      .scratch = scratch.data,
                                      .bf16 = bf16,
                                      .split = true},
                           NULL));
    twin_compare(y.data, expected, M * N, 2e-6 + twin_split(), "joined gemm");
    twin_free(x);
    twin_free(joined);
    twin_free(whole);
    twin_free(y);
    twin_free(scratch);
    twin_weights_free(w);
    twin_weights_free(b);
}

static void test_joined(void)
{
    static const struct {
        Size size;
        size_t K_joined, parts;
    } cases[] = {{{1, 1, 2}, 1, 1},        {{1, 33, 7}, 3, 2},       {{17, 19, 23}, 11, 3},
                 {{65, 130, 960}, 320, 2}, {{256, 64, 768}, 384, 1}, {{37, 40, 1501}, 700, 2}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        for (LdmDtype dtype = LDM_F32; dtype <= LDM_BF16; dtype++)
            for (int bf16 = 0; bf16 < 2; bf16++)
                check_joined(cases[i].size, cases[i].K_joined, cases[i].parts, dtype, bf16);
}

/* The number of threads changes who computes, not what: the same bits. */
static void test_threads(void)
{
    enum { M = 301, N = 270, K = 500 };
    TwinArray x = twin_random(M * K), first = {0};
    TwinWeights w = twin_weights(N * K, LDM_F16);
    for (int threads = 1; threads <= 4; threads++) {
        ldm_set_threads(threads);
        TwinArray y = twin_array(M * N);
        TwinArray scratch = twin_scratch(ldm_gemm_scratch());
        LdmGemm gemm = {.M = M, .N = N, .K = K, .x = x.data, .w = w.weights, .y = y.data};
        gemm.scratch = scratch.data;
        g_assert_true(ldm_gemm(&gemm, NULL));
        twin_free(scratch);
        if (threads > 1) {
            g_assert_cmpmem(y.data, M * N * 4, first.data, M * N * 4);
            twin_free(y);
        } else {
            first = y;
        }
    }
    ldm_set_threads(0);
    twin_free(first);
    twin_free(x);
    twin_weights_free(w);
}

/* A tile is added to y only where asked: old NaN in y do not count. */
static void test_nan(void)
{
    enum { M = 3, N = 5, K = 4 };
    TwinArray x = twin_random(M * K), y = twin_array(M * N);
    TwinWeights w = twin_weights(N * K, LDM_F32);
    LdmGemm gemm = {.M = M, .N = N, .K = K, .x = x.data, .w = w.weights, .y = y.data};
    g_assert_true(ldm_gemm(&gemm, NULL));
    for (size_t i = 0; i < M * N; i++)
        g_assert_true(isfinite(y.data[i]));
    x.data[K + 1] = NAN;
    g_assert_true(ldm_gemm(&gemm, NULL));
    for (size_t i = 0; i < M * N; i++)
        g_assert_cmpint(isnan(y.data[i]) != 0, ==, i / N == 1);
    g_autoptr(GCancellable) cancelled = twin_cancelled();
    g_assert_false(ldm_gemm(&gemm, cancelled));
    twin_weights_free(w);
    twin_free(x);
    twin_free(y);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/gemm/sizes", test_sizes);
    g_test_add_func("/gemm/blocks", test_blocks);
    g_test_add_func("/gemm/bf16", test_bf16);
    g_test_add_func("/gemm/geglu", test_geglu);
    g_test_add_func("/gemm/joined", test_joined);
    g_test_add_func("/gemm/threads", test_threads);
    g_test_add_func("/gemm/nan", test_nan);
    return g_test_run();
}
