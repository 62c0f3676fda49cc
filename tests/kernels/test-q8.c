/* 8-bit weights: products against loops in double precision over the rounded numbers, exactly, and
 * over the numbers themselves, within what rounding both factors may cost. */
#include "kernels/q8.h"
#include "twin.h"

/* A convolution, its arrays, and its matrix in bytes. */
typedef struct {
    LdmConv c;
    size_t Ho, Wo, taps, length, blocks;
    TwinArray x, y, r, scratch, memory;
    TwinWeights w, b;
    LdmQ8 q8;
} Bench;

static Bench bench_new(LdmConv c, LdmDtype dtype, int residual)
{
    Bench bench = {.c = c, .taps = c.KH * c.KW};
    bench.length = ldm_q8_length(c.Cin);
    bench.blocks = ldm_q8_blocks(c.Cin);
    ldm_conv_output(&c, &bench.Ho, &bench.Wo);
    size_t out = c.N * bench.Ho * bench.Wo * c.Cout;
    bench.x = twin_random(c.N * c.H * c.W * c.Cin);
    bench.y = twin_random(out);
    bench.r = twin_random(out);
    bench.w = twin_weights(c.Cout * c.Cin * bench.taps, dtype);
    bench.b = twin_weights(c.Cout, LDM_F16);
    bench.memory = twin_scratch(ldm_q8_bytes(c.Cout, c.Cin, bench.taps));
    bench.q8 = ldm_q8_place(c.Cout, c.Cin, bench.taps, bench.memory.data);
    bench.scratch = twin_scratch(ldm_q8_conv_scratch(&c));
    bench.c.x = bench.x.data;
    bench.c.bias = bench.b.weights;
    bench.c.y = bench.y.data;
    bench.c.residual = residual == 0 ? NULL : residual == 1 ? bench.r.data : bench.y.data;
    bench.c.scratch = bench.scratch.data;
    return bench;
}

static void bench_free(Bench *bench)
{
    twin_free(bench->x);
    twin_free(bench->y);
    twin_free(bench->r);
    twin_free(bench->scratch);
    twin_free(bench->memory);
    twin_weights_free(bench->w);
    twin_weights_free(bench->b);
}

/* What a matrix in panels stands for. */
static double twin_weight(const Bench *bench, size_t n, size_t c, size_t t, double *scale)
{
    size_t depth = ldm_q8_depth(bench->c.Cin), panel = n / 16 * bench->taps + t;
    *scale = bench->q8.scales[(panel * bench->blocks + c / bench->length) * 16 + n % 16];
    return *scale * bench->q8.bytes[((panel * depth + c) / 4 * 16 + n % 16) * 4 + c % 4];
}

/* The largest |x| of a block of a pixel / 127. */
static double twin_scale(const Bench *bench, const float *pixel, size_t c)
{
    size_t first = c / bench->length * bench->length;
    float most = 0;
    for (size_t i = first; i < MIN(first + bench->length, bench->c.Cin); i++)
        most = MAX(most, fabsf(pixel[i]));
    return most / 127.0;
}

/* The pixel that a tap of output (y, x) reads; NULL: padding. */
static const float *twin_pixel(const LdmConv *c, size_t image, size_t y, size_t x, size_t t)
{
    ptrdiff_t row = (ptrdiff_t)(y * c->stride + t / c->KW) - c->pad_top;
    ptrdiff_t column = (ptrdiff_t)(x * c->stride + t % c->KW) - c->pad_left;
    if (row < 0 || row >= (ptrdiff_t)c->H * c->upsample || column < 0 ||
        column >= (ptrdiff_t)c->W * c->upsample)
        return NULL;
    return c->x + ((image * c->H + row / c->upsample) * c->W + column / c->upsample) * c->Cin;
}

/* One output: its value from the numbers themselves, and the most that rounding may change. */
static void twin_output(const Bench *bench, size_t index, double *value, double *slack)
{
    const LdmConv *c = &bench->c;
    size_t n = index % c->Cout, x = index / c->Cout % bench->Wo;
    size_t y = index / c->Cout / bench->Wo % bench->Ho;
    size_t image = index / c->Cout / bench->Wo / bench->Ho;
    *value = bench->b.values[n] + (c->residual != NULL ? c->residual[index] : 0);
    *slack = 1e-5;
    for (size_t t = 0; t < bench->taps; t++) {
        const float *pixel = twin_pixel(c, image, y, x, t);
        double xs = 0;
        for (size_t i = 0; pixel != NULL && i < c->Cin; i++) {
            double ws, w = bench->w.values[(n * c->Cin + i) * bench->taps + t];
            double got = twin_weight(bench, n, i, t, &ws);
            if (i % bench->length == 0)
                xs = twin_scale(bench, pixel, i);
            if (!(fabs(got - w) <= 0.5001 * ws))
                g_error("weight %g became %g at a scale of %g", w, got, ws);
            *value += w * pixel[i];
            *slack += 0.5001 * (fabs(w) * xs + fabs(pixel[i]) * ws + 0.5001 * xs * ws);
        }
    }
}

static void run(Bench *bench)
{
    g_assert_true(ldm_q8_conv(&bench->c, &bench->q8, NULL));
}

/* Any numbers: no further off than rounding allows. */
static void check_near(LdmConv c, LdmDtype dtype, int residual)
{
    Bench bench = bench_new(c, dtype, residual);
    g_autofree double *value = g_new(double, bench.y.n), *slack = g_new(double, bench.y.n);
    g_assert_true(ldm_q8_round(&bench.q8, bench.w.weights, NULL));
    for (size_t i = 0; i < bench.y.n; i++)
        twin_output(&bench, i, &value[i], &slack[i]);
    run(&bench);
    for (size_t i = 0; i < bench.y.n; i++)
        g_assert_cmpfloat(fabs(bench.y.data[i] - value[i]), <=, slack[i]);
    bench_free(&bench);
}

/* Whole numbers up to 127, which every block has, at scales that are powers of two: nothing is
 * rounded, and the result is exact. */
static void check_exact(LdmConv c, int residual)
{
    Bench bench = bench_new(c, LDM_F32, residual);
    for (size_t i = 0; i < bench.x.n; i++)
        bench.x.data[i] = i % c.Cin % bench.length == 0 ? (i % 3 == 0 ? 127.0f : -127.0f)
                                                        : (float)g_test_rand_int_range(-127, 128);
    for (size_t n = 0; n < c.Cout; n++)
        for (size_t i = 0; i < c.Cin * bench.taps; i++) {
            float *w = &bench.w.values[n * c.Cin * bench.taps + i];
            bool largest = i / bench.taps % bench.length == 0;
            *w = ldexpf(largest ? -127.0f : (float)g_test_rand_int_range(-127, 128), -(int)(n % 9));
            ((float *)bench.w.memory)[n * c.Cin * bench.taps + i] = *w;
        }
    g_autofree double *value = g_new(double, bench.y.n);
    double slack;
    g_assert_true(ldm_q8_round(&bench.q8, bench.w.weights, NULL));
    for (size_t i = 0; i < bench.y.n; i++)
        twin_output(&bench, i, &value[i], &slack);
    run(&bench);
    twin_compare(bench.y.data, value, bench.y.n, 1e-6, "exact bytes");
    bench_free(&bench);
}

static LdmConv linear(size_t M, size_t N, size_t K)
{
    return (LdmConv){1, 1, M, K, N, 1, 1, 1, 0, 0, 0, 0, 1};
}

static void test_linear(void)
{
    static const size_t sizes[][3] = {{1, 1, 1},     {1, 33, 7},    {2, 3, 5},     {17, 19, 23},
                                      {64, 130, 9},  {65, 67, 40},  {31, 37, 641}, {3, 100, 1283},
                                      {29, 48, 643}, {300, 20, 64}, {15, 18, 4096}};
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        LdmConv c = linear(sizes[i][0], sizes[i][1], sizes[i][2]);
        check_near(c, (LdmDtype)(i % 3), (int)i % 3);
        check_exact(c, (int)(i + 1) % 3);
    }
}

/* Padded on some sides, strided, enlarged, larger than the picture's rows, more than one block. */
static void test_conv(void)
{
    static const LdmConv shapes[] = {
        {1, 8, 8, 16, 16, 3, 3, 1, 1, 1, 1, 1, 1},   {2, 7, 9, 5, 19, 3, 3, 1, 1, 1, 1, 1, 1},
        {1, 9, 17, 33, 40, 3, 3, 2, 1, 1, 1, 1, 1},  {1, 8, 8, 20, 7, 3, 3, 2, 0, 0, 1, 1, 1},
        {2, 5, 6, 12, 35, 3, 3, 1, 1, 1, 1, 1, 2},   {1, 1, 1, 9, 3, 3, 3, 1, 1, 1, 1, 1, 1},
        {1, 2, 17, 650, 18, 3, 3, 1, 1, 1, 1, 1, 1}, {3, 6, 5, 8, 64, 1, 1, 1, 0, 0, 0, 0, 1},
        {1, 2, 2, 4, 4, 3, 3, 1, 0, 0, 0, 0, 1},     {1, 5, 40, 10, 17, 2, 3, 1, 0, 1, 1, 1, 1},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++) {
        check_near(shapes[i], (LdmDtype)(i % 3), (int)i % 3);
        check_exact(shapes[i], (int)(i + 1) % 3);
    }
}

/* Expanded, every weight is what its byte and scale stand for, rounded to f16; the two arrays fill
 * the memory; and rounding again changes nothing but the last digit of a scale. */
static void test_expand(void)
{
    enum { N = 21, C = 1290, T = 3 };
    LdmConv c = {1, 1, 1, C, N, 1, T, 1, 0, 1, 0, 1, 1};
    Bench bench = bench_new(c, LDM_F16, 0);
    g_autofree uint16_t *halves = g_new(uint16_t, N *C *T);
    size_t bytes[4], scales[4], of_bytes = 1, of_scales = 4;
    g_assert_true(ldm_q8_round(&bench.q8, bench.w.weights, NULL));
    g_assert_true(ldm_q8_expand(&bench.q8, halves, NULL));
    for (size_t n = 0; n < N; n++)
        for (size_t i = 0; i < C; i++)
            for (size_t t = 0; t < T; t++) {
                double scale, value = twin_weight(&bench, n, i, t, &scale);
                g_assert_cmpuint(halves[(n * C + i) * T + t], ==, ldm_f32_to_f16((float)value));
            }
    ldm_q8_shapes(N, C, T, bytes, scales);
    for (int i = 0; i < 4; i++) {
        of_bytes *= bytes[i];
        of_scales *= scales[i];
    }
    g_assert_cmpuint(of_bytes + of_scales, ==, ldm_q8_bytes(N, C, T));
    g_assert_cmpuint(of_bytes, ==, (size_t)((char *)bench.q8.scales - (char *)bench.q8.bytes));
    TwinArray memory = twin_scratch(ldm_q8_bytes(N, C, T));
    LdmQ8 again = ldm_q8_place(N, C, T, memory.data);
    g_assert_true(ldm_q8_round(&again, (LdmWeights){halves, LDM_F16}, NULL));
    g_assert_cmpmem(again.bytes, of_bytes, bench.q8.bytes, of_bytes);
    g_autoptr(GCancellable) cancelled = twin_cancelled();
    g_assert_false(ldm_q8_expand(&bench.q8, halves, cancelled));
    twin_free(memory);
    bench_free(&bench);
}

/* The number of threads changes who computes, not what: the same bits. */
static void test_threads(void)
{
    TwinArray first = {0};
    for (int threads = 1; threads <= 4; threads++) {
        ldm_set_threads(threads);
        g_random_set_seed(1);
        Bench bench = bench_new((LdmConv){2, 20, 23, 70, 90, 3, 3, 1, 1, 1, 1, 1, 1}, LDM_F16, 0);
        for (size_t i = 0; i < bench.x.n; i++)
            bench.x.data[i] = sinf((float)i);
        for (size_t i = 0; i < 90 * 70 * 9; i++)
            ((uint16_t *)bench.w.memory)[i] = ldm_f32_to_f16(cosf((float)i));
        bench.c.bias = (LdmWeights){0};
        g_assert_true(ldm_q8_round(&bench.q8, bench.w.weights, NULL));
        run(&bench);
        if (threads == 1) {
            first = twin_array(bench.y.n);
            memcpy(first.data, bench.y.data, bench.y.n * 4);
        }
        g_assert_cmpmem(bench.y.data, bench.y.n * 4, first.data, first.n * 4);
        bench_free(&bench);
    }
    ldm_set_threads(0);
    twin_free(first);
}

/* What is not finite stays so, in its own row; zeros and the tiniest numbers are no trouble; old
 * NaN in y do not count. */
static void test_nan(void)
{
    enum { M = 5, N = 20, K = 700 };
    Bench bench = bench_new(linear(M, N, K), LDM_F32, 0);
    g_assert_true(ldm_q8_round(&bench.q8, bench.w.weights, NULL));
    memset(bench.x.data, 0, K * 4);
    for (size_t k = 0; k < K; k++)
        bench.x.data[K + k] = 1e-40f;
    bench.x.data[2 * K + 699] = NAN;
    bench.x.data[3 * K + 1] = -INFINITY;
    for (size_t i = 0; i < bench.y.n; i++)
        bench.y.data[i] = NAN;
    run(&bench);
    for (size_t i = 0; i < bench.y.n; i++) {
        g_assert_cmpint(isfinite(bench.y.data[i]) != 0, ==, i / N < 2 || i / N == 4);
        if (i / N < 2)
            g_assert_cmpfloat_with_epsilon(bench.y.data[i], bench.b.values[i % N], 1e-6f);
    }
    g_autoptr(GCancellable) cancelled = twin_cancelled();
    g_assert_false(ldm_q8_conv(&bench.c, &bench.q8, cancelled));
    g_assert_false(ldm_q8_round(&bench.q8, bench.w.weights, cancelled));
    bench_free(&bench);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_message("products of bytes: %s", ldm_kernels_q8_name());
    g_test_add_func("/q8/linear", test_linear);
    g_test_add_func("/q8/conv", test_conv);
    g_test_add_func("/q8/expand", test_expand);
    g_test_add_func("/q8/threads", test_threads);
    g_test_add_func("/q8/nan", test_nan);
    return g_test_run();
}
