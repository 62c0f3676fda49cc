/* What a step need not do anew: keys and values of a prompt that stays the same, what two branches
 * have in common, features that can be foretold; and what a pass keeps for that. */
#include "denoise/unet.h"
#include "layers/elementwise.h"
#include "made-model.h"
#include "tensor/tensor.h"

#include <math.h>
#include <string.h>

enum { SIDE = 6, TOKENS = 8, WIDTH = 32 };

/* How far apart one picture and two of them may be: their convolutions go different ways. */
#define WAYS 4e-6

static LdmUnet *unet;
static LdmParams *params;
static float *weights;

/* A network of two levels with cross-attention on the finer one; weights of modest size. */
static void make_unet(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(3);
    LdmModelConfig config = made_config(false, MADE_WORDS);
    params = ldm_params_new();
    unet = ldm_unet_new(&config.unet, params);
    size_t total = 0, used = 0;
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < ldm_params_length(params); i++) {
            LdmParam *param = ldm_params_at(params, i);
            size_t n = 1;
            for (int k = 0; k < param->rank; k++)
                n *= param->shape[k];
            double scale = sqrt(3.0 * (double)param->shape[0] / (double)n);
            for (size_t k = 0; round == 1 && k < n; k++)
                weights[used + k] = (float)(scale * g_rand_double_range(rand, -1, 1));
            param->data = weights != NULL ? weights + used : NULL;
            used += round == 1 ? n : 0;
            total += n;
        }
        if (round == 0)
            weights = g_new(float, total);
    }
}

static LdmTensor *noise(int rank, const size_t *shape, guint32 seed)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    LdmTensor *x = ldm_tensor_new(LDM_F32, rank, shape, NULL);
    for (size_t i = 0; i < ldm_tensor_count(x); i++)
        ldm_tensor_f32(x)[i] = (float)g_rand_double_range(rand, -1, 1);
    return x;
}

/* One step; its result is a copy. */
typedef struct {
    LdmTensor *x, *context;
    bool constant;
    LdmFeatures features;
    double merge;
    double timestep; /* 0: 500 */
    double flops;
} Step;

static LdmTensor *run_step(LdmPass *pass, Step *step)
{
    double timestep = step->timestep > 0 ? step->timestep : 500;
    const double timesteps[2] = {timestep, timestep};
    g_autoptr(GError) error = NULL;
    LdmTensor *x = ldm_pass_input(pass, step->x);
    LdmTensor *context = step->constant ? ldm_pass_constant(pass, step->context)
                                        : ldm_pass_input(pass, step->context);
    ldm_pass_set_features(pass, step->features);
    ldm_pass_set_merge(pass, step->merge);
    LdmTensor *y = ldm_unet_forward(pass, unet, x, timesteps, context);
    step->flops = ldm_pass_flops(pass);
    ldm_pass_end(pass, &error);
    g_assert_no_error(error);
    LdmTensor *copy = ldm_pass_computes(pass) ? ldm_tensor_copy(y, &error) : NULL;
    g_assert_no_error(error);
    ldm_pass_reset(pass);
    return copy;
}

/* Steps on one pass, planned and computed: bytes and FLOPs must agree. */
static void run_steps(Step *steps, LdmTensor **results, int n)
{
    g_autoptr(LdmPass) plan = ldm_pass_new_plan();
    g_autoptr(GError) error = NULL;
    for (int i = 0; i < n; i++)
        run_step(plan, &steps[i]);
    g_autoptr(LdmPass) pass = ldm_pass_new_compute(ldm_pass_peak(plan), NULL, &error);
    g_assert_no_error(error);
    for (int i = 0; i < n; i++) {
        double planned = steps[i].flops;
        results[i] = run_step(pass, &steps[i]);
        g_assert_cmpfloat(steps[i].flops, ==, planned);
    }
    g_assert_cmpuint(ldm_pass_peak(pass), ==, ldm_pass_peak(plan));
}

/* The largest difference, of the largest value. */
static double distance(const LdmTensor *a, const LdmTensor *b)
{
    double worst = 0, top = 0;
    g_assert_true(ldm_tensor_same_shape(a, b));
    for (size_t i = 0; i < ldm_tensor_count(a); i++) {
        worst = fmax(worst, fabs((double)ldm_tensor_f32(a)[i] - ldm_tensor_f32(b)[i]));
        top = fmax(top, fabs((double)ldm_tensor_f32(b)[i]));
    }
    g_assert_cmpfloat(top, >, 0.01);
    return worst / top;
}

static void free_results(LdmTensor **results, int n)
{
    for (int i = 0; i < n; i++)
        ldm_tensor_free(results[i]);
}

/* One latent before two contexts gives what the latent twice gives, for less work. */
static void test_common(void)
{
    g_autoptr(LdmTensor) one = noise(4, (size_t[]){1, SIDE, SIDE, 4}, 1);
    g_autoptr(LdmTensor) two = ldm_tensor_new_nhwc(2, SIDE, SIDE, 4, NULL);
    g_autoptr(LdmTensor) context = noise(3, (size_t[]){2, TOKENS, WIDTH}, 2);
    for (size_t i = 0; i < ldm_tensor_count(two); i++)
        ldm_tensor_f32(two)[i] = ldm_tensor_f32(one)[i % ldm_tensor_count(one)];
    Step steps[] = {{.x = two, .context = context}, {.x = one, .context = context}};
    LdmTensor *results[2];
    run_steps(steps, results, 2);
    g_assert_cmpfloat(distance(results[1], results[0]), <=, WAYS);
    g_assert_cmpfloat(steps[1].flops, <, 0.96 * steps[0].flops);
    free_results(results, 2);
}

/* The prompt's keys and values are made in the first step only; not a bit changes. Another number
 * of contexts has its own. */
static void test_constant(void)
{
    g_autoptr(LdmTensor) x = noise(4, (size_t[]){1, SIDE, SIDE, 4}, 1);
    g_autoptr(LdmTensor) later = noise(4, (size_t[]){1, SIDE, SIDE, 4}, 5);
    g_autoptr(LdmTensor) pair = noise(3, (size_t[]){2, TOKENS, WIDTH}, 2);
    g_autoptr(LdmTensor) single = noise(3, (size_t[]){1, TOKENS, WIDTH}, 4);
    Step steps[8];
    LdmTensor *results[8];
    for (int i = 0; i < 8; i++)
        steps[i] = (Step){.x = i / 2 % 2 == 0 ? x : later,
                          .context = i % 2 == 0 ? pair : single,
                          .constant = i >= 4};
    run_steps(steps, results, 4);
    run_steps(steps + 4, results + 4, 4);
    for (int i = 0; i < 4; i++)
        g_assert_cmpmem(results[i + 4]->data, ldm_tensor_count(results[i + 4]) * sizeof(float),
                        results[i]->data, ldm_tensor_count(results[i]) * sizeof(float));
    g_assert_cmpfloat(steps[4].flops, ==, steps[0].flops);
    /* three transformers, 2 contexts, keys and values: 8 tokens, 32 -> 32 (mid: 64) channels */
    double saved = 2.0 * 2 * 2 * TOKENS * WIDTH * (32 + 32 + 32 + 64);
    g_assert_cmpfloat(steps[0].flops - steps[6].flops, ==, saved);
    g_assert_cmpfloat(steps[1].flops - steps[7].flops, ==, saved / 2);
    free_results(results, 8);
}

/* x with as much of another picture. */
static LdmTensor *on_the_way(const LdmTensor *x, float share)
{
    g_autoptr(LdmTensor) other = noise(x->rank, x->shape, 7);
    LdmTensor *y = ldm_tensor_copy(x, NULL);
    for (size_t i = 0; i < ldm_tensor_count(y); i++)
        ldm_tensor_f32(y)[i] += share * ldm_tensor_f32(other)[i];
    return y;
}

/* Features of the same latent are what would be computed; of a later one, nearly, and the nearer
 * where the way there is known. */
static void test_features(void)
{
    g_autoptr(LdmTensor) x = noise(4, (size_t[]){1, SIDE, SIDE, 4}, 1);
    g_autoptr(LdmTensor) then = on_the_way(x, 0.05f), later = on_the_way(x, 0.1f);
    g_autoptr(LdmTensor) context = noise(3, (size_t[]){2, TOKENS, WIDTH}, 2);
    Step steps[] = {
        {later, context, .features = LDM_FEATURES_FORECAST, .timestep = 498}, /* of nothing */
        {then, context, .features = LDM_FEATURES_REMEMBER, .timestep = 499},
        {then, context, .features = LDM_FEATURES_FORECAST, .timestep = 499},
        {later, context, .features = LDM_FEATURES_FORECAST, .timestep = 498},
        {x, context, .features = LDM_FEATURES_REMEMBER, .timestep = 500},
        {then, context, .features = LDM_FEATURES_REMEMBER, .timestep = 499},
        {later, context, .features = LDM_FEATURES_FORECAST, .timestep = 498},
    };
    LdmTensor *results[7];
    run_steps(steps, results, 7);
    g_assert_cmpfloat(distance(results[2], results[1]), <=, 1e-6);
    double near = distance(results[3], results[0]), nearer = distance(results[6], results[0]);
    g_test_message("features as they were: %.2e, foretold: %.2e", near, nearer);
    g_assert_cmpfloat(near, <, 0.1);
    g_assert_cmpfloat(nearer, >, 0);
    g_assert_cmpfloat(nearer, <, 0.8 * near);
    g_assert_cmpfloat(steps[0].flops, ==, steps[1].flops);
    g_assert_cmpfloat(steps[2].flops, <, 0.6 * steps[1].flops);
    free_results(results, 7);
}

/* Where guidance ends, the prompt's branch goes on from what was remembered of both. */
static void test_features_of_one_branch(void)
{
    g_autoptr(LdmTensor) x = noise(4, (size_t[]){1, SIDE, SIDE, 4}, 1);
    g_autoptr(LdmTensor) then = on_the_way(x, 0.05f);
    g_autoptr(LdmTensor) pair = noise(3, (size_t[]){2, TOKENS, WIDTH}, 2);
    g_autoptr(LdmTensor) prompt = ldm_tensor_new(LDM_F32, 3, (size_t[]){1, TOKENS, WIDTH}, NULL);
    size_t n = ldm_tensor_count(prompt);
    memcpy(prompt->data, ldm_tensor_f32(pair) + n, n * sizeof(float));
    Step steps[] = {
        {x, pair, .features = LDM_FEATURES_REMEMBER, .timestep = 500},
        {then, pair, .features = LDM_FEATURES_REMEMBER, .timestep = 499},
        {then, pair, .features = LDM_FEATURES_FORECAST, .timestep = 498},
        {then, prompt, .features = LDM_FEATURES_FORECAST, .timestep = 498},
        {then, prompt, .features = LDM_FEATURES_REMEMBER, .timestep = 498},
        {then, prompt, .features = LDM_FEATURES_FORECAST, .timestep = 498},
        {then, pair, .features = LDM_FEATURES_FORECAST, .timestep = 498}, /* forgotten */
    };
    LdmTensor *results[7];
    run_steps(steps, results, 7);
    LdmTensor of_pair = *results[2];
    of_pair.shape[0] = 1;
    of_pair.data = ldm_tensor_f32(results[2]) + ldm_tensor_count(results[3]);
    g_assert_cmpfloat(distance(results[3], &of_pair), <=, WAYS);
    g_assert_cmpfloat(distance(results[5], results[4]), <=, 1e-6);
    g_assert_cmpfloat(steps[6].flops, ==, steps[0].flops);
    free_results(results, 7);
}

/* Fewer tokens at the finest level: less work, another result, the same each time. A share of 0, or
 * a small picture, changes no bit. */
static void test_merge(void)
{
    g_autoptr(LdmTensor) x = noise(4, (size_t[]){1, 32, 33, 4}, 1);
    g_autoptr(LdmTensor) small = noise(4, (size_t[]){1, SIDE, SIDE, 4}, 1);
    g_autoptr(LdmTensor) thin = noise(4, (size_t[]){1, 1, 1056, 4}, 1); /* has no cells of 2 x 2 */
    g_autoptr(LdmTensor) context = noise(3, (size_t[]){2, TOKENS, WIDTH}, 2);
    Step steps[] = {{.x = x, .context = context},
                    {.x = x, .context = context, .merge = 0.5},
                    {.x = x, .context = context, .merge = 0.5},
                    {.x = small, .context = context},
                    {.x = small, .context = context, .merge = 0.5},
                    {.x = thin, .context = context},
                    {.x = thin, .context = context, .merge = 0.5}};
    LdmTensor *results[7];
    run_steps(steps, results, 7);
    g_assert_cmpfloat(distance(results[1], results[0]), >, 1e-4);
    g_assert_cmpfloat(distance(results[1], results[0]), <, 0.5);
    g_assert_cmpfloat(distance(results[2], results[1]), ==, 0);
    g_assert_cmpfloat(distance(results[4], results[3]), ==, 0);
    g_assert_cmpfloat(steps[1].flops, <, 0.9 * steps[0].flops);
    g_assert_cmpfloat(steps[4].flops, ==, steps[3].flops);
    g_assert_cmpfloat(distance(results[6], results[5]), ==, 0);
    free_results(results, 7);
}

/* Stored arrays outlive a reset, are replaced, and count as memory; where there is none left, the
 * pass fails. */
static void test_store(void)
{
    g_autoptr(LdmTensor) a = noise(2, (size_t[]){3, 5}, 1), b = noise(2, (size_t[]){3, 5}, 2);
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmPass) pass = ldm_pass_new_compute(64, NULL, &error);
    g_assert_no_error(error);
    g_assert_null(ldm_pass_recall(pass, &a, 3));
    ldm_pass_store(pass, &a, a);
    g_assert_cmpuint(ldm_pass_peak(pass), ==, 64);
    ldm_pass_reset(pass);
    ldm_pass_store(pass, &a, b);
    g_assert_null(ldm_pass_recall(pass, &a, 2));
    g_assert_null(ldm_pass_recall(pass, &b, 3));
    LdmTensor *x = ldm_pass_recall(pass, &a, 3);
    g_assert_cmpmem(x->data, 15 * sizeof(float), b->data, 15 * sizeof(float));
    g_assert_true(ldm_pass_over(pass, x) != x); /* nothing writes over it */
    ldm_pass_reset(pass);
    ldm_pass_store(pass, &b, b);
    g_assert_false(ldm_pass_end(pass, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_MEMORY);
}

/* Half the way on, as far as the steps lie apart; without memory, the pass fails. */
static void test_forecast(void)
{
    const float first[] = {1, 2, 3, 4}, second[] = {2, 2, 1, 8}, expected[] = {3, 2, -1, 12};
    LdmTensor a = {.dtype = LDM_F32, .rank = 2, .shape = {2, 2, 1, 1}, .data = (void *)first};
    LdmTensor b = {.dtype = LDM_F32, .rank = 2, .shape = {2, 2, 1, 1}, .data = (void *)second};
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmPass) pass = ldm_pass_new_compute(3 * 64, NULL, &error);
    g_assert_no_error(error);
    g_assert_null(ldm_pass_forecast(pass, &a, 2, 900));
    ldm_pass_remember(pass, &a, &a, 900);
    ldm_pass_reset(pass);
    LdmTensor *alone = ldm_pass_forecast(pass, &a, 2, 700);
    g_assert_cmpmem(alone->data, sizeof first, first, sizeof first);
    ldm_pass_remember(pass, &a, &b, 800);
    g_assert_null(ldm_pass_forecast(pass, &b, 2, 600));
    g_assert_null(ldm_pass_forecast(pass, &a, 3, 600));
    LdmTensor *y = ldm_pass_forecast(pass, &a, 2, 600);
    g_assert_cmpmem(y->data, sizeof expected, expected, sizeof expected);
    ldm_pass_drop(pass, y);
    y = ldm_pass_forecast(pass, &a, 1, 600);
    g_assert_cmpuint(y->shape[0], ==, 1);
    g_assert_cmpmem(y->data, sizeof expected / 2, expected + 2, sizeof expected / 2);
    ldm_pass_reset(pass);
    ldm_pass_remember(pass, &b, &b, 800);
    ldm_pass_remember(pass, &b, &b, 700);
    g_assert_false(ldm_pass_end(pass, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_MEMORY);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    make_unet();
    g_test_add_func("/steps/common", test_common);
    g_test_add_func("/steps/constant", test_constant);
    g_test_add_func("/steps/features", test_features);
    g_test_add_func("/steps/features/one-branch", test_features_of_one_branch);
    g_test_add_func("/steps/merge", test_merge);
    g_test_add_func("/steps/store", test_store);
    g_test_add_func("/steps/forecast", test_forecast);
    int status = g_test_run();
    ldm_unet_free(unet);
    ldm_params_free(params);
    g_free(weights);
    return status;
}
