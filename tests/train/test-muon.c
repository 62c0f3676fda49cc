/* Muon beside torch.optim.Muon, in f32; what it is for, and what its steps are like. */
#include "base/parallel.h"
#include "train/muon.h"
#include "train/optimiser.h"

#include "fixture.h"

#include <math.h>
#include <string.h>

static LdmParams *params_of(const char *name, int rank, const size_t *shape, const float *start)
{
    LdmParams *params = ldm_params_new();
    LdmParam *param = ldm_params_add(params, "", name, rank, shape);

    param->dtype = LDM_F32;
    param->data = start;
    return params;
}

static LdmOptimiser *optimiser_of(LdmParams *params)
{
    LdmOptimiserOptions options = ldm_optimiser_defaults();
    g_autoptr(GError) error = NULL;

    options.kind = LDM_MUON;
    options.rate = 0.02;
    options.weight_decay = 0.05;
    options.warm_up = 0;
    options.decay_from = 1000;
    options.clip = 0.0;
    LdmOptimiser *optimiser = ldm_optimiser_new(&options, &error);
    g_assert_no_error(error);
    g_assert_true(ldm_optimiser_add(optimiser, "net", params, &error));
    return optimiser;
}

static void check_torch(const char *name)
{
    g_autofree char *start_name = g_strdup_printf("muon-%s-start", name);
    g_autofree char *gradients_name = g_strdup_printf("muon-%s-gradients", name);
    g_autofree char *weights_name = g_strdup_printf("muon-%s-weights", name);
    g_autoptr(LdmTensor) start = fixture_array("training", start_name);
    g_autoptr(LdmTensor) gradients = fixture_array("training", gradients_name);
    g_autoptr(LdmTensor) weights = fixture_array("training", weights_name);
    LdmParams *params = params_of("w", 2, start->shape, ldm_tensor_f32(start));
    g_autoptr(LdmOptimiser) optimiser = optimiser_of(params);
    const LdmTrained *trained = ldm_optimiser_at(optimiser, 0);
    size_t count = trained->count;

    g_assert_cmpuint(trained->rows, ==, start->shape[0]);
    for (size_t k = 0; k < gradients->shape[0]; k++) {
        LdmStep step;
        memcpy(trained->gradient, ldm_tensor_f32(gradients) + k * count, count * sizeof(float));
        g_assert_true(ldm_optimiser_step(optimiser, 1.0, &step, NULL));
        for (size_t i = 0; i < count; i++)
            g_assert_cmpfloat_with_epsilon(trained->weight[i],
                                           ldm_tensor_f32(weights)[k * count + i], 1e-5);
    }
    ldm_params_free(params);
}

static void test_torch(void)
{
    check_torch("wide");
    check_torch("tall");
}

/* Hidden matrices, convolutions among them; not what is none, nor the ends, nor tables. */
static void test_which(void)
{
    static const struct {
        const char *name;
        int rank;
        size_t shape[4], rows;
    } cases[] = {
        {"mid.linear_1.weight", 2, {32, 16}, 32},   {"mid.conv1.weight", 4, {16, 4, 3, 3}, 16},
        {"time_embedding.weight", 2, {32, 32}, 0},  {"norm.weight", 1, {64}, 0},
        {"conv_in.weight", 4, {32, 4, 3, 3}, 0},    {"conv_out.weight", 4, {32, 32, 3, 3}, 0},
        {"narrow.weight", 2, {8, 64}, 0},           {"shallow.weight", 2, {64, 8}, 0},
        {"token_embedding.weight", 2, {64, 32}, 0},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree float *start = g_new0(float, 32 * 32 * 9);
        LdmParams *params = params_of(cases[i].name, cases[i].rank, cases[i].shape, start);
        g_autoptr(LdmOptimiser) optimiser = optimiser_of(params);
        g_assert_cmpuint(ldm_optimiser_at(optimiser, 0)->rows, ==, cases[i].rows);
        ldm_params_free(params);
    }
}

/* Rows of the result are about as long as each other and about upright on each other, whatever the
 * matrix was; zeros stay zeros. */
static void check_orthogonal(size_t rows, size_t columns, bool bf16)
{
    size_t n = MIN(rows, columns), count = rows * columns;
    g_autofree float *matrix = g_new(float, count);
    g_autofree void *scratch = g_malloc(ldm_muon_scratch(rows, columns));
    double across = 0.0;

    for (size_t i = 0; i < count; i++)
        matrix[i] =
            (float)(g_test_rand_double_range(-1, 1) * pow(10.0, (double)(i % columns) / 40));
    ldm_muon_orthogonalise(matrix, rows, columns, bf16, scratch);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) {
            double dot = 0.0;
            for (size_t k = 0; k < MAX(rows, columns); k++)
                dot += rows > columns ? (double)matrix[k * columns + i] * matrix[k * columns + j]
                                      : (double)matrix[i * columns + k] * matrix[j * columns + k];
            if (i == j)
                g_assert_true(dot > 0.4 && dot < 1.5);
            across = i == j ? across : MAX(across, fabs(dot));
        }
    g_assert_cmpfloat(across, <, 0.5);
    memset(matrix, 0, count * sizeof(float));
    ldm_muon_orthogonalise(matrix, rows, columns, bf16, scratch);
    for (size_t i = 0; i < count; i++)
        g_assert_cmpfloat(matrix[i], ==, 0.0f);
}

static void test_orthogonal(void)
{
    for (int bf16 = 0; bf16 < 2; bf16++) {
        check_orthogonal(16, 16, bf16);
        check_orthogonal(17, 90, bf16);
        check_orthogonal(70, 33, bf16);
    }
}

/* Beside the arrays of both kinds, what the threads need for the largest matrix. */
static void test_bytes(void)
{
    g_autoptr(LdmParams) wide = params_of("a.weight", 2, (size_t[]){32, 64}, NULL);
    g_autoptr(LdmParams) small = params_of("b.weight", 2, (size_t[]){16, 16}, NULL);
    const LdmParams *const tables[] = {small, wide, NULL};
    LdmOptimiserOptions options = ldm_optimiser_defaults();
    size_t adam = ldm_optimiser_bytes(&options, tables);

    options.kind = LDM_MUON;
    size_t more = ldm_optimiser_bytes(&options, tables) - adam;
    size_t least = (size_t)ldm_threads() * ldm_muon_scratch(32, 64);
    g_assert_cmpuint(adam, ==, (32 * 64 + 16 * 16) * 5 * sizeof(float));
    g_assert_cmpuint(more, >=, least);
    g_assert_cmpuint(more, <=, least + 64 * (size_t)ldm_threads());
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/muon/torch", test_torch);
    g_test_add_func("/muon/which", test_which);
    g_test_add_func("/muon/bytes", test_bytes);
    g_test_add_func("/muon/orthogonal", test_orthogonal);
    return g_test_run();
}
