/* Guidance, what raw output means, and what the loop hands to the network. */
#include "denoise/guidance.h"
#include "denoise/loop.h"
#include "diffuse/schedule.h"
#include "tensor/tensor.h"

#include "fixture.h"

#include <math.h>

enum { H = 2, W = 3, Z = 4, COUNT = H * W * Z, TOKENS = 2, WIDTH = 3 };

static void test_formula(void)
{
    const float o_u[] = {1.0f, -2.0f, 0.5f}, o_c[] = {2.0f, -2.0f, 0.0f};
    float out[3];

    ldm_guide(out, o_u, o_c, 3, 7.5);
    g_assert_cmpfloat(out[0], ==, 8.5f);
    g_assert_cmpfloat(out[1], ==, -2.0f);
    g_assert_cmpfloat(out[2], ==, -3.25f);
    ldm_guide(out, o_u, o_c, 3, 0.0);
    g_assert_cmpmem(out, sizeof out, o_u, sizeof o_u);
}

/* As diffusers' rescale_noise_cfg (reference/make_samplers.py); without effect where phi is 0, or
 * where nothing is spread. */
static void test_rescale(void)
{
    g_autoptr(LdmTensor) noise = fixture_array("samplers", "noise");
    g_autoptr(LdmTensor) expected = fixture_array("samplers", "rescaled");
    size_t n = ldm_tensor_count(expected);
    const float *o_u = ldm_tensor_f32(noise), *o_c = o_u + n;
    g_autofree float *out = g_new(float, n), *same = g_new(float, n);

    ldm_guide(out, o_u, o_c, n, 7.5);
    memcpy(same, out, n * sizeof *out);
    ldm_guide_rescale(same, o_c, n, 0.0);
    g_assert_cmpmem(same, n * sizeof *same, out, n * sizeof *out);
    ldm_guide_rescale(out, o_c, n, 0.7);
    for (size_t i = 0; i < n; i++)
        g_assert_cmpfloat_with_epsilon(out[i], ldm_tensor_f32(expected)[i], 1e-5);
    for (size_t i = 0; i < n; i++)
        out[i] = 2.0f;
    ldm_guide_rescale(out, o_c, n, 1.0);
    g_assert_cmpfloat(out[0], ==, 2.0f);
}

/* From known x0 and epsilon, all three kinds of output lead back to them. */
static void test_prediction(void)
{
    const double a = 0.3, x0 = 0.7, eps = -1.2, z = sqrt(a) * x0 + sqrt(1 - a) * eps;
    const double raw[] = {[LDM_PREDICTION_EPSILON] = eps,
                          [LDM_PREDICTION_V] = sqrt(a) * eps - sqrt(1 - a) * x0,
                          [LDM_PREDICTION_SAMPLE] = x0};

    for (int kind = 0; kind < 3; kind++) {
        float in = (float)z, out = (float)raw[kind], got_x0, got_eps;
        ldm_predict_x0(kind, a, &in, &out, 1, &got_x0, &got_eps);
        g_assert_cmpfloat_with_epsilon(got_x0, x0, 1e-6);
        g_assert_cmpfloat_with_epsilon(got_eps, eps, 1e-6);
    }
}

/* Notes what it is shown; its output is the first value of its branch's context. */
typedef struct {
    size_t batch, branches, channels; /* of x; of the context */
    float extra;                      /* the concat channel of the last cell */
    int calls;
} Witness;

static LdmTensor *witness_network(LdmPass *pass, const void *data, LdmTensor *x,
                                  const double *timesteps, LdmTensor *context)
{
    Witness *witness = (Witness *)data;
    size_t N = context != NULL ? context->shape[0] : 1;
    LdmTensor *out = ldm_pass_nhwc(pass, N, H, W, Z);

    if (!ldm_pass_op(
            pass,
            &(LdmOp){.name = "witness", .inputs = {x}, .n_inputs = 1, .output = out, .flops = 1.0}))
        return out;
    witness->batch = x->shape[0];
    witness->branches = N;
    witness->channels = x->shape[3];
    witness->calls++;
    witness->extra = ldm_tensor_f32(x)[H * W * x->shape[3] - 1];
    for (size_t n = 0; n < N; n++) {
        float value = context != NULL ? ldm_tensor_f32(context)[n * TOKENS * WIDTH] : 1.0f;
        for (int i = 0; i < COUNT; i++)
            ldm_tensor_f32(out)[n * COUNT + i] = value;
    }
    ldm_pass_check(pass, true);
    return out;
}

static LdmTensor *filled(int rank, const size_t *shape, float value)
{
    LdmTensor *tensor = ldm_tensor_new(LDM_F32, rank, shape, NULL);

    for (size_t i = 0; i < ldm_tensor_count(tensor); i++)
        ldm_tensor_f32(tensor)[i] = value;
    return tensor;
}

/* One step of x0 prediction with DDIM to alpha_bar 1: the result is the guided output. */
static float run_guided(Witness *witness, double guidance, bool negative, bool concat,
                        int *evaluations)
{
    LdmScheduleConfig config = {
        .beta_start = 0.00085, .beta_end = 0.012, .train_steps = 1000, .final_alpha_one = true};
    g_auto(LdmTimes) times = {0};
    g_auto(LdmConditioning)
        c = {.context = filled(3, (size_t[]){1, TOKENS, WIDTH}, 3.0f),
             .negative = negative ? filled(3, (size_t[]){1, TOKENS, WIDTH}, 1.0f) : NULL,
             .concat = concat ? filled(4, (size_t[]){1, H, W, 1 + Z}, 0.25f) : NULL};
    g_autoptr(LdmTensor) z = filled(4, (size_t[]){1, H, W, Z}, 0.5f);
    g_autoptr(GError) error = NULL;

    if (concat) /* the last cell differs from the others */
        ldm_tensor_f32(c.concat)[H * W * (1 + Z) - 1] = 0.75f;
    g_assert_true(
        ldm_times_init(&times, &config, LDM_SAMPLER_DDIM, LDM_SIGMAS_MODEL, 1, 1.0, NULL));
    LdmDenoise job = {.network = witness_network,
                      .network_data = witness,
                      .times = &times,
                      .prediction = LDM_PREDICTION_SAMPLE,
                      .conditioning = &c,
                      .guidance = guidance,
                      .guidance_end = 1.0,
                      .sampler = LDM_SAMPLER_DDIM};
    ldm_denoise(&job, z, evaluations, &error);
    g_assert_no_error(error);
    return ldm_tensor_f32(z)[COUNT - 1];
}

static void test_branches(void)
{
    Witness witness = {0};
    int evaluations;

    g_assert_cmpfloat(run_guided(&witness, 4.0, true, true, &evaluations), ==, 9.0f);
    g_assert_cmpuint(witness.batch, ==, 1);
    g_assert_cmpuint(witness.branches, ==, 2);
    g_assert_cmpuint(witness.channels, ==, Z + 1 + Z);
    g_assert_cmpfloat(witness.extra, ==, 0.75f);
    g_assert_cmpint(witness.calls, ==, 1);
    g_assert_cmpint(evaluations, ==, 2);
    g_assert_cmpfloat(run_guided(&witness, 0.0, true, false, &evaluations), ==, 1.0f);
}

/* With g = 1, or nothing to compare with, one branch suffices: the prompt's. */
static void test_unguided(void)
{
    Witness witness = {0};
    int evaluations;

    g_assert_cmpfloat(run_guided(&witness, 1.0, true, false, &evaluations), ==, 3.0f);
    g_assert_cmpuint(witness.branches, ==, 1);
    g_assert_cmpint(evaluations, ==, 1);
    g_assert_cmpfloat(run_guided(&witness, 4.0, false, false, &evaluations), ==, 3.0f);
    g_assert_cmpuint(witness.branches, ==, 1);
}

/* Steps of a run in the given part of the schedule, of ten from the start. */
static int evaluations_between(double start, double end, LdmTensor *z)
{
    LdmScheduleConfig config = {.beta_start = 0.00085, .beta_end = 0.012, .train_steps = 1000};
    g_auto(LdmTimes) times = {0};
    g_auto(LdmConditioning) c = {.context = filled(3, (size_t[]){1, TOKENS, WIDTH}, 3.0f),
                                 .negative = filled(3, (size_t[]){1, TOKENS, WIDTH}, 1.0f)};
    g_autoptr(GError) error = NULL;
    Witness witness = {0};
    int evaluations;
    size_t bytes;
    double flops;

    g_assert_true(
        ldm_times_init(&times, &config, LDM_SAMPLER_DDIM, LDM_SIGMAS_MODEL, 10, 1.0, NULL));
    LdmDenoise job = {.network = witness_network,
                      .network_data = &witness,
                      .times = &times,
                      .prediction = LDM_PREDICTION_SAMPLE,
                      .conditioning = &c,
                      .guidance = 4.0,
                      .guidance_start = start,
                      .guidance_end = end,
                      .sampler = LDM_SAMPLER_DDIM};
    g_assert_true(ldm_denoise_measure(&job, z, &bytes, &flops, NULL));
    g_assert_cmpfloat(flops, ==, 10.0);
    for (int i = 0; i < COUNT; i++)
        ldm_tensor_f32(z)[i] = 0.5f;
    ldm_denoise(&job, z, &evaluations, &error);
    g_assert_no_error(error);
    g_assert_cmpint(witness.calls, ==, 10);
    g_assert_cmpuint(witness.branches, ==, end < 1.0 ? 1 : 2);
    return evaluations;
}

/* Guidance in an interval: the other steps have one branch, and the last one's decides here. */
static void test_interval(void)
{
    g_autoptr(LdmTensor) all = filled(4, (size_t[]){1, H, W, Z}, 0.5f);
    g_autoptr(LdmTensor) none = filled(4, (size_t[]){1, H, W, Z}, 0.5f);
    g_autoptr(LdmTensor) middle = filled(4, (size_t[]){1, H, W, Z}, 0.5f);

    g_assert_cmpint(evaluations_between(0.0, 1.0, all), ==, 20);
    g_assert_cmpint(evaluations_between(0.0, 0.0, none), ==, 10);
    g_assert_cmpint(evaluations_between(0.2, 0.6, middle), ==, 14);
    g_assert_cmpint(evaluations_between(0.85, 1.0, all), ==, 11);
    g_assert_cmpfloat(ldm_tensor_f32(none)[0], <, ldm_tensor_f32(all)[0]);
    g_assert_cmpfloat(ldm_tensor_f32(middle)[0], >, ldm_tensor_f32(none)[0] - 1e-3f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/guidance/formula", test_formula);
    g_test_add_func("/guidance/rescale", test_rescale);
    g_test_add_func("/guidance/prediction", test_prediction);
    g_test_add_func("/guidance/branches", test_branches);
    g_test_add_func("/guidance/unguided", test_unguided);
    g_test_add_func("/guidance/interval", test_interval);
    return g_test_run();
}
