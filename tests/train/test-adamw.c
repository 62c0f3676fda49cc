/* The optimiser beside torch.optim.AdamW, and what it does with steps that must not be taken. */
#include "kernels/kernels.h"
#include "train/optimiser.h"

#include "fixture.h"

#include <math.h>
#include <string.h>

#define COUNT 37

typedef struct {
    LdmParams *params;
    LdmOptimiser *optimiser;
    LdmTrained *trained;
} Case;

static Case case_new(const LdmOptimiserOptions *options, const float *start)
{
    Case c = {.params = ldm_params_new()};
    g_autoptr(GError) error = NULL;
    LdmParam *param = ldm_params_add(c.params, "", "w", 1, (size_t[]){COUNT});

    param->dtype = LDM_F32;
    param->data = start;
    c.optimiser = ldm_optimiser_new(options, &error);
    g_assert_no_error(error);
    g_assert_true(ldm_optimiser_add(c.optimiser, "net", c.params, &error));
    g_assert_cmpuint(ldm_optimiser_length(c.optimiser), ==, 1);
    c.trained = ldm_optimiser_at(c.optimiser, 0);
    g_assert_cmpstr(c.trained->name, ==, "net/w");
    g_assert_true(param->data == c.trained->weight); /* the network computes with the copy */
    return c;
}

static void case_clear(Case *c)
{
    ldm_optimiser_free(c->optimiser);
    ldm_params_free(c->params);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Case, case_clear)

static void test_torch(void)
{
    g_autoptr(LdmTensor) start = fixture_array("training", "adamw-start");
    g_autoptr(LdmTensor) gradients = fixture_array("training", "adamw-gradients");
    g_autoptr(LdmTensor) weights = fixture_array("training", "adamw-weights");
    g_autoptr(LdmTensor) norms = fixture_array("training", "adamw-norms");
    g_autoptr(LdmTensor) rates = fixture_array("training", "adamw-rates");
    LdmOptimiserOptions options = ldm_optimiser_defaults();
    options.rate = 0.02;
    options.beta2 = 0.99;
    options.weight_decay = 0.05;
    options.warm_up = 3;
    options.steps = 20;
    options.clip = 10.0;
    g_auto(Case) c = case_new(&options, ldm_tensor_f32(start));

    g_assert_cmpuint(gradients->shape[1], ==, COUNT);
    for (size_t k = 0; k < gradients->shape[0]; k++) {
        g_autoptr(GError) error = NULL;
        LdmStep step;
        memcpy(c.trained->gradient, ldm_tensor_f32(gradients) + k * COUNT, COUNT * sizeof(float));
        g_assert_true(ldm_optimiser_step(c.optimiser, 1.0, &step, &error));
        g_assert_cmpint(step.kind, ==, LDM_STEP_TAKEN);
        g_assert_cmpfloat_with_epsilon(step.rate, ldm_tensor_f32(rates)[k], 1e-8);
        g_assert_cmpfloat_with_epsilon(step.norm / ldm_tensor_f32(norms)[k], 1.0, 1e-6);
        for (size_t i = 0; i < COUNT; i++) {
            g_assert_cmpfloat_with_epsilon(c.trained->weight[i],
                                           ldm_tensor_f32(weights)[k * COUNT + i], 1e-6);
            g_assert_cmpfloat(c.trained->gradient[i], ==, 0.0f);
        }
    }
}

static void fill(const Case *c, float value)
{
    for (size_t i = 0; i < COUNT; i++)
        c->trained->gradient[i] = value;
}

static void test_ema(void)
{
    float start[COUNT] = {0};
    LdmOptimiserOptions options = ldm_optimiser_defaults();
    options.ema = 0.25; /* the warm-up allows (1 + 1) / (10 + 1) first, then 3/12, 4/13 ... */
    g_auto(Case) c = case_new(&options, start);
    double expected = 0.0;
    LdmStep step;

    for (int n = 1; n <= 6; n++) {
        double decay = MIN(0.25, (1.0 + n) / (10.0 + n));
        fill(&c, 1.0f);
        g_assert_true(ldm_optimiser_step(c.optimiser, 1.0, &step, NULL));
        expected = decay * expected + (1.0 - decay) * c.trained->weight[5];
        g_assert_cmpfloat_with_epsilon(c.trained->ema[5] / expected, 1.0, 1e-5);
    }
}

static void test_rate(void)
{
    LdmOptimiserOptions options = ldm_optimiser_defaults();

    options.rate = 0.01;
    options.warm_up = 10;
    options.decay_from = 100;
    g_assert_cmpfloat(ldm_optimiser_rate(&options, 4), ==, 0.005);
    g_assert_cmpfloat(ldm_optimiser_rate(&options, 99), ==, 0.01);
    g_assert_cmpfloat_with_epsilon(ldm_optimiser_rate(&options, 400), 0.005, 1e-15);
    g_assert_cmpfloat_with_epsilon(ldm_optimiser_rate(&options, 10000), 0.001, 1e-15);
    options.steps = 400;
    options.cool_down = 320;
    g_assert_cmpfloat(ldm_optimiser_rate(&options, 80), ==, 0.01);
    g_assert_cmpfloat_with_epsilon(ldm_optimiser_rate(&options, 100), 0.0075, 1e-15);
    g_assert_cmpfloat_with_epsilon(ldm_optimiser_rate(&options, 225),
                                   0.01 / 1.5 * (1.0 - sqrt(145.0 / 320.0)), 1e-15);
    g_assert_cmpfloat(ldm_optimiser_rate(&options, 400), ==, 0.0);
}

/* A cool-down is for runs whose rate does not fall by itself. */
static void test_cool_down_refused(void)
{
    LdmOptimiserOptions options = ldm_optimiser_defaults();
    g_autoptr(GError) error = NULL;

    options.cool_down = 5;
    g_assert_null(ldm_optimiser_new(&options, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, "decay-from"));
    g_clear_error(&error);
    options.decay_from = 1;
    options.cool_down = options.steps + 1;
    g_assert_null(ldm_optimiser_new(&options, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
}

static void test_outlier(void)
{
    float start[COUNT] = {0}, before;
    LdmOptimiserOptions options = ldm_optimiser_defaults();
    g_auto(Case) c = case_new(&options, start);
    LdmStep step;

    for (int n = 0; n < 100; n++) {
        fill(&c, 1.0f + 0.1f * (float)(n % 5));
        g_assert_true(ldm_optimiser_step(c.optimiser, 1.0 + 0.1 * (n % 7), &step, NULL));
        g_assert_cmpint(step.kind, ==, LDM_STEP_TAKEN);
    }
    before = c.trained->weight[0];
    fill(&c, 1.0f);
    g_assert_true(ldm_optimiser_step(c.optimiser, 50.0, &step, NULL)); /* of the loss */
    g_assert_cmpint(step.kind, ==, LDM_STEP_OUTLIER);
    fill(&c, 100.0f);
    g_assert_true(ldm_optimiser_step(c.optimiser, 1.2, &step, NULL)); /* of the gradient */
    g_assert_cmpint(step.kind, ==, LDM_STEP_OUTLIER);
    g_assert_cmpfloat(c.trained->weight[0], ==, before);
    g_assert_cmpuint(ldm_optimiser_state(c.optimiser)->outliers, ==, 2);
    /* a loss that stays high is usual before long */
    for (int n = 0; n < 50; n++) {
        fill(&c, 1.0f);
        g_assert_true(ldm_optimiser_step(c.optimiser, 50.0, &step, NULL));
    }
    g_assert_cmpint(step.kind, ==, LDM_STEP_TAKEN);
}

static void test_nonfinite(void)
{
    float start[COUNT] = {0}, before;
    LdmOptimiserOptions options = ldm_optimiser_defaults();
    options.patience = 2;
    g_auto(Case) c = case_new(&options, start);
    g_autoptr(GError) error = NULL;
    LdmStep step;

    fill(&c, 1.0f);
    g_assert_true(ldm_optimiser_step(c.optimiser, 1.0, &step, NULL));
    before = c.trained->weight[3];
    for (int n = 0; n < 2; n++) {
        fill(&c, 1.0f);
        g_assert_true(ldm_optimiser_step(c.optimiser, NAN, &step, NULL));
        g_assert_cmpint(step.kind, ==, LDM_STEP_NONFINITE);
    }
    fill(&c, 1.0f); /* a good step in between forgives */
    g_assert_true(ldm_optimiser_step(c.optimiser, 1.0, &step, NULL));
    g_assert_cmpint(step.kind, ==, LDM_STEP_TAKEN);
    g_assert_cmpfloat(c.trained->weight[3], !=, before);
    before = c.trained->weight[3];
    for (int n = 0; n < 2; n++) {
        fill(&c, 1.0f);
        c.trained->gradient[7] = n == 0 ? INFINITY : NAN;
        g_assert_true(ldm_optimiser_step(c.optimiser, 1.0, &step, NULL));
        g_assert_cmpint(step.kind, ==, LDM_STEP_NONFINITE);
    }
    g_assert_false(ldm_optimiser_step(c.optimiser, INFINITY, &step, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_NONFINITE);
    g_assert_cmpfloat(c.trained->weight[3], ==, before);
    g_assert_cmpuint(ldm_optimiser_state(c.optimiser)->nonfinite, ==, 5);
}

static void test_options(void)
{
    LdmOptimiserOptions options = ldm_optimiser_defaults();
    g_autoptr(GError) error = NULL;

    options.rate = NAN;
    g_assert_null(ldm_optimiser_new(&options, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_clear_error(&error);
    options = ldm_optimiser_defaults();
    options.beta1 = 1.0;
    g_assert_null(ldm_optimiser_new(&options, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_clear_error(&error);
    options = ldm_optimiser_defaults();
    options.warm_up = options.steps + 1;
    options.decay_from = 1; /* the run may become longer */
    LdmOptimiser *optimiser = ldm_optimiser_new(&options, NULL);
    g_assert_nonnull(optimiser);
    ldm_optimiser_free(optimiser);
    options.decay_from = 0;
    g_assert_null(ldm_optimiser_new(&options, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/adamw/torch", test_torch);
    g_test_add_func("/adamw/ema", test_ema);
    g_test_add_func("/adamw/rate", test_rate);
    g_test_add_func("/adamw/cool-down-refused", test_cool_down_refused);
    g_test_add_func("/adamw/outlier", test_outlier);
    g_test_add_func("/adamw/nonfinite", test_nonfinite);
    g_test_add_func("/adamw/options", test_options);
    return g_test_run();
}
