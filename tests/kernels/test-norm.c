/* GroupNorm and LayerNorm against two passes in double precision. */
#include "twin.h"

static void twin_group_norm(const LdmGroupNorm *g, const float *gamma, const float *beta, double *y)
{
    size_t width = g->C / g->groups;
    for (size_t n = 0; n < g->N; n++)
        for (size_t k = 0; k < g->groups; k++) {
            double mean = 0, variance = 0, count = (double)(g->P * width);
            const float *x = g->x + n * g->P * g->C + k * width;
            for (size_t p = 0; p < g->P; p++)
                for (size_t c = 0; c < width; c++)
                    mean += x[p * g->C + c] / count;
            for (size_t p = 0; p < g->P; p++)
                for (size_t c = 0; c < width; c++)
                    variance += pow(x[p * g->C + c] - mean, 2) / count;
            for (size_t p = 0; p < g->P; p++)
                for (size_t c = 0; c < width; c++) {
                    double v = (x[p * g->C + c] - mean) / sqrt(variance + g->eps);
                    v = v * (gamma == NULL ? 1 : gamma[k * width + c]) +
                        (beta == NULL ? 0 : beta[k * width + c]);
                    y[(n * g->P + p) * g->C + k * width + c] = g->silu ? v / (1 + exp(-v)) : v;
                }
        }
}

typedef struct {
    size_t N, P, C, groups;
    LdmDtype dtype;
    float offset; /* added to x: a mean far from 0 */
} Case;

static void check_group(const Case *k, bool silu, bool affine)
{
    size_t total = k->N * k->P * k->C;
    TwinArray x = twin_random(total), y = twin_array(total);
    TwinWeights gamma = twin_weights(k->C, k->dtype), beta = twin_weights(k->C, k->dtype);
    for (size_t i = 0; i < total; i++)
        x.data[i] += k->offset;
    LdmGroupNorm norm = {.N = k->N, .P = k->P, .C = k->C, .groups = k->groups, .eps = 1e-5f};
    norm.silu = silu;
    norm.x = x.data;
    norm.y = y.data;
    if (affine) {
        norm.gamma = gamma.weights;
        norm.beta = beta.weights;
    }
    TwinArray scratch = twin_scratch(ldm_group_norm_scratch(&norm));
    norm.scratch = scratch.data;
    g_autofree double *expected = g_new(double, total);
    twin_group_norm(&norm, affine ? gamma.values : NULL, affine ? beta.values : NULL, expected);
    g_assert_true(ldm_group_norm(&norm, NULL));
    twin_compare(y.data, expected, total, 2e-6 + 2e-7 * fabsf(k->offset), "group norm");
    norm.y = x.data;
    g_assert_true(ldm_group_norm(&norm, NULL));
    g_assert_cmpmem(x.data, total * 4, y.data, total * 4);
    twin_free(scratch);
    twin_free(x);
    twin_free(y);
    twin_weights_free(gamma);
    twin_weights_free(beta);
}

/* Channels in two places: the very numbers of one, of one skip for each picture or for all. */
static void check_joined(size_t N, size_t P, size_t C, size_t C_joined, size_t N_joined)
{
    const size_t own = C - C_joined;
    TwinArray x = twin_random(N * P * own), joined = twin_random(N_joined * P * C_joined);
    TwinArray whole = twin_array(N * P * C), expected = twin_array(N * P * C);
    TwinArray y = twin_array(N * P * C);
    for (size_t i = 0; i < N * P; i++) {
        const float *skip = joined.data + i % (N_joined * P) * C_joined;
        memcpy(whole.data + i * C, x.data + i * own, own * sizeof(float));
        memcpy(whole.data + i * C + own, skip, C_joined * sizeof(float));
    }
    LdmGroupNorm norm = {.N = N, .P = P, .C = C, .groups = 2, .eps = 1e-5f, .silu = true};
    TwinArray scratch = twin_scratch(ldm_group_norm_scratch(&norm));
    norm.scratch = scratch.data;
    norm.x = whole.data;
    norm.y = expected.data;
    g_assert_true(ldm_group_norm(&norm, NULL));
    norm.x = x.data;
    norm.joined = joined.data;
    norm.C_joined = C_joined;
    norm.N_joined = N_joined;
    norm.y = y.data;
    g_assert_true(ldm_group_norm(&norm, NULL));
    g_assert_cmpmem(y.data, N * P * C * 4, expected.data, N * P * C * 4);
    twin_free(x);
    twin_free(joined);
    twin_free(whole);
    twin_free(expected);
    twin_free(y);
    twin_free(scratch);
}

static void test_joined(void)
{
    check_joined(1, 5, 6, 1, 1);
    check_joined(2, 130, 96, 40, 2);
    check_joined(3, 700, 66, 33, 1);
    check_joined(2, 64, 960, 320, 1);
}

static void test_group(void)
{
    static const Case cases[] = {
        {1, 2, 1, 1, LDM_F32, 0},        {2, 3, 6, 3, LDM_F16, 0},
        {1, 65, 32, 32, LDM_F32, 0},     {2, 130, 40, 4, LDM_BF16, 0},
        {1, 49, 320, 32, LDM_F16, 5},    {1, 17, 300, 1, LDM_F32, 0},
        {1, 4200, 12, 3, LDM_F32, 0},    {2, 64, 262, 2, LDM_F32, 0},
        {1, 1000, 64, 32, LDM_F32, 100}, {1, 6, 2560, 32, LDM_F16, 0},
        {2, 530, 160, 32, LDM_F16, 3},   {1, 33, 1400, 2, LDM_BF16, 0},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        check_group(&cases[i], false, true);
        check_group(&cases[i], true, true);
        check_group(&cases[i], i % 2 == 0, false);
    }
}

static LdmGroupNorm layer_norm(size_t rows, size_t C, const float *x, float *y)
{
    return (LdmGroupNorm){.N = rows, .P = 1, .C = C, .groups = 1, .eps = 1e-5f, .x = x, .y = y};
}

static void check_layer(size_t rows, size_t C, LdmDtype dtype, float offset)
{
    TwinArray x = twin_random(rows * C), y = twin_array(rows * C);
    TwinWeights gamma = twin_weights(C, dtype), beta = twin_weights(C, dtype);
    g_autofree double *expected = g_new(double, rows *C);
    for (size_t r = 0; r < rows; r++) {
        double mean = 0, variance = 0;
        for (size_t c = 0; c < C; c++)
            mean += (x.data[r * C + c] += offset) / (double)C;
        for (size_t c = 0; c < C; c++)
            variance += pow(x.data[r * C + c] - mean, 2) / (double)C;
        for (size_t c = 0; c < C; c++)
            expected[r * C + c] =
                (x.data[r * C + c] - mean) / sqrt(variance + 1e-5f) * gamma.values[c] +
                beta.values[c];
    }
    LdmGroupNorm norm = layer_norm(rows, C, x.data, y.data);
    norm.gamma = gamma.weights;
    norm.beta = beta.weights;
    g_assert_true(ldm_layer_norm(&norm, NULL));
    twin_compare(y.data, expected, rows * C, 2e-6 + 2e-7 * fabsf(offset), "layer norm");
    norm.y = x.data;
    g_assert_true(ldm_layer_norm(&norm, NULL));
    g_assert_cmpmem(x.data, rows * C * 4, y.data, rows * C * 4);
    twin_free(x);
    twin_free(y);
    twin_weights_free(gamma);
    twin_weights_free(beta);
}

static void test_layer(void)
{
    check_layer(1, 2, LDM_F32, 0);
    check_layer(3, 7, LDM_F16, 0);
    check_layer(77, 131, LDM_BF16, 3);
    check_layer(130, 320, LDM_F16, 0);
    check_layer(5, 2049, LDM_F32, 50);
}

/* A NaN spoils its own group or row, and nothing else. */
static void test_nan(void)
{
    enum { P = 20, C = 12 };
    TwinArray x = twin_random(P * C), y = twin_array(P * C);
    x.data[3 * C + 5] = NAN;
    LdmGroupNorm norm = {.N = 1, .P = P, .C = C, .groups = 3, .eps = 1e-5f, .silu = true};
    norm.x = x.data;
    norm.y = y.data;
    TwinArray scratch = twin_scratch(ldm_group_norm_scratch(&norm));
    norm.scratch = scratch.data;
    g_assert_true(ldm_group_norm(&norm, NULL));
    for (size_t i = 0; i < P * C; i++)
        g_assert_cmpint(isnan(y.data[i]) != 0, ==, i % C / 4 == 1);
    TwinWeights w = twin_weights(C, LDM_F32);
    LdmGroupNorm layer = layer_norm(P, C, x.data, y.data);
    layer.gamma = layer.beta = w.weights;
    g_assert_true(ldm_layer_norm(&layer, NULL));
    for (size_t i = 0; i < P * C; i++)
        g_assert_cmpint(isnan(y.data[i]) != 0, ==, i / C == 3);
    g_autoptr(GCancellable) cancelled = twin_cancelled();
    g_assert_false(ldm_group_norm(&norm, cancelled));
    g_assert_false(ldm_layer_norm(&layer, cancelled));
    twin_weights_free(w);
    twin_free(scratch);
    twin_free(x);
    twin_free(y);
}

/* The number of threads changes who computes, not what: the same bits. */
static void test_threads(void)
{
    enum { N = 2, P = 700, C = 96 };
    TwinArray x = twin_random(N * P * C), one = twin_array(N * P * C), y = twin_array(N * P * C);
    LdmGroupNorm norm = {.N = N, .P = P, .C = C, .groups = 32, .eps = 1e-5f, .x = x.data};
    for (int threads = 1; threads <= 4; threads++) {
        ldm_set_threads(threads);
        TwinArray scratch = twin_scratch(ldm_group_norm_scratch(&norm));
        norm.scratch = scratch.data;
        norm.y = threads == 1 ? one.data : y.data;
        g_assert_true(ldm_group_norm(&norm, NULL));
        twin_free(scratch);
        if (threads > 1)
            g_assert_cmpmem(y.data, sizeof(float) * y.n, one.data, sizeof(float) * one.n);
    }
    ldm_set_threads(0);
    twin_free(x);
    twin_free(one);
    twin_free(y);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/norm/group", test_group);
    g_test_add_func("/norm/joined", test_joined);
    g_test_add_func("/norm/layer", test_layer);
    g_test_add_func("/norm/nan", test_nan);
    g_test_add_func("/norm/threads", test_threads);
    return g_test_run();
}
