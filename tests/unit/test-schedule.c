/* Schedules: alpha_bar of every kind, times that stay usable for any number of steps, strengths,
 * and the first latent. Values against diffusers are in tests/parity/test-samplers.c. */
#include "diffuse/latents.h"
#include "diffuse/schedule.h"
#include "tensor/tensor.h"

static LdmScheduleConfig config_of(LdmBetas betas, LdmSpacing spacing, bool zero_snr)
{
    return (LdmScheduleConfig){.betas = betas,
                               .beta_start = 0.00085,
                               .beta_end = 0.012,
                               .train_steps = 1000,
                               .spacing = spacing,
                               .steps_offset = 1,
                               .prediction = LDM_PREDICTION_EPSILON,
                               .zero_terminal_snr = zero_snr};
}

/* alpha_bar at t = 0, 1, 250, 500, 998, 999 as diffusers 0.42 has it. */
static void test_alpha_bar(void)
{
    static const int at[] = {0, 1, 250, 500, 998, 999};
    static const double expected[3][2][6] = {
        {{0.99914998, 0.99828953, 0.56878805, 0.16077162, 0.00159814, 0.00157896},
         {0.99914998, 0.99825400, 0.55356801, 0.14151263, 6.27737e-08, 0.0}},
        {{0.99914998, 0.99829602, 0.67379230, 0.27633247, 0.00471670, 0.00466010},
         {0.99914998, 0.99823350, 0.65245676, 0.24101864, 1.96796e-07, 0.0}},
        {{0.99995869, 0.99991256, 0.84588802, 0.49228504, 2.42877e-06, 2.42873e-09},
         {0.99995887, 0.99991274, 0.84588122, 0.49226505, 2.27781e-06, 0.0}}};
    double alpha_bar[1000];

    for (int betas = 0; betas < 3; betas++)
        for (int zero = 0; zero < 2; zero++) {
            LdmScheduleConfig config = config_of(betas, LDM_SPACING_LEADING, zero);
            ldm_schedule_alpha_bar(&config, alpha_bar);
            for (int i = 0; i < 6; i++)
                g_assert_cmpfloat_with_epsilon(alpha_bar[at[i]], expected[betas][zero][i], 1e-6);
            for (int t = 1; t < 1000; t++)
                g_assert_cmpfloat(alpha_bar[t], <, alpha_bar[t - 1]);
        }
}

static void check_times(const LdmTimes *times, int K)
{
    g_assert_cmpint(times->steps, ==, K);
    g_assert_cmpint(times->start, ==, 0);
    g_assert_cmpfloat(times->noise_scale, >, 0.0);
    g_assert_cmpfloat(times->noise_scale, <=, 1.0);
    for (int k = 0; k < K; k++) {
        g_assert_cmpfloat(times->timesteps[k], >=, 0.0);
        g_assert_cmpfloat(times->timesteps[k], <=, 999.0);
        g_assert_cmpfloat(times->alpha_bar[k], >, 0.0);
        g_assert_cmpfloat(times->alpha_bar[k], <, 1.0);
        g_assert_cmpfloat(times->alpha_bar[k], <=, times->alpha_bar[k + 1] + 1e-7);
        g_assert_cmpfloat(times->alpha_bar[k], <=, times->alpha_next[k] + 1e-7);
        g_assert_cmpfloat(times->alpha_next[k], <=, 1.0);
        if (k > 0)
            g_assert_cmpfloat(times->timesteps[k], <=, times->timesteps[k - 1]);
    }
}

/* Every sampler, spacing and kind of sigmas, also where the reference crashes (1000, 499, 999). */
static void test_any_steps(void)
{
    static const int counts[] = {1,   2,   3,   4,   5,   7,   11,  20,  30,  31,  50,  97,
                                 110, 250, 300, 333, 499, 500, 501, 667, 998, 999, 1000};

    for (int kind = 0; kind < 4 * 2 * 3 * 3 * 2; kind++) {
        LdmScheduleConfig config = config_of(kind / 8 % 3, kind / 24 % 3, kind / 72);
        for (size_t i = 0; i < G_N_ELEMENTS(counts); i++) {
            g_auto(LdmTimes) times = {0};
            g_assert_true(
                ldm_times_init(&times, &config, kind % 4, kind / 4 % 2, counts[i], 1.0, NULL));
            check_times(&times, counts[i]);
        }
    }
}

static void test_final_level(void)
{
    LdmScheduleConfig config = config_of(LDM_BETAS_SCALED_LINEAR, LDM_SPACING_LEADING, false);

    for (int one = 0; one < 2; one++)
        for (int sampler = 0; sampler < 4; sampler++) {
            g_auto(LdmTimes) times = {0};
            config.final_alpha_one = one;
            g_assert_true(
                ldm_times_init(&times, &config, sampler, LDM_SIGMAS_MODEL, 10, 1.0, NULL));
            double end = sampler == LDM_SAMPLER_DDIM && !one ? 0.99915 : 1.0;
            g_assert_cmpfloat_with_epsilon(times.alpha_next[9], end, 1e-6);
            g_assert_cmpfloat(times.alpha_bar[10], ==, times.alpha_next[9]);
        }
}

static void test_refused(void)
{
    LdmScheduleConfig config = config_of(LDM_BETAS_LINEAR, LDM_SPACING_LEADING, false);
    static const struct {
        int steps;
        double strength;
    } bad[] = {{0, 1.0}, {-1, 1.0}, {1001, 1.0}, {10, -0.1}, {10, 1.1}, {10, NAN}};

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_auto(LdmTimes) times = {0};
        g_assert_false(ldm_times_init(&times, &config, LDM_SAMPLER_DDIM, LDM_SIGMAS_MODEL,
                                      bad[i].steps, bad[i].strength, &error));
        g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    }
}

/* Python's int(K * strength) in double: 100 * 0.29 is 28.999999999999996. */
static void test_start_step(void)
{
    g_assert_cmpint(ldm_start_step(20, 1.0), ==, 0);
    g_assert_cmpint(ldm_start_step(20, 0.0), ==, 20);
    g_assert_cmpint(ldm_start_step(20, 0.04), ==, 20);
    g_assert_cmpint(ldm_start_step(20, 0.05), ==, 19);
    g_assert_cmpint(ldm_start_step(10, 0.7), ==, 3);
    g_assert_cmpint(ldm_start_step(100, 0.29), ==, 72);
    g_assert_cmpint(ldm_start_step(100, 0.57), ==, 44);
    g_assert_cmpint(ldm_start_step(1, 0.999), ==, 1);
}

static void test_first_latent(void)
{
    LdmScheduleConfig config = config_of(LDM_BETAS_LINEAR, LDM_SPACING_LEADING, false);
    g_auto(LdmLatents) latents = {0};
    g_auto(LdmTimes) times = {0}, none = {0};
    LdmRng rng;

    ldm_rng_seed(&rng, 1);
    latents.z0 = ldm_noise_new(&rng, 2, 3, 4, NULL);
    latents.noise = ldm_noise_new(&rng, 2, 3, 4, NULL);
    const float *z0 = ldm_tensor_f32(latents.z0), *noise = ldm_tensor_f32(latents.noise);
    g_assert_true(
        ldm_times_init(&times, &config, LDM_SAMPLER_DDIM, LDM_SIGMAS_MODEL, 10, 0.5, NULL));
    g_assert_true(ldm_latents_start(&latents, &times, false, NULL));
    double a = times.alpha_bar[5];
    for (int i = 0; i < 24; i++)
        g_assert_cmpfloat_with_epsilon(ldm_tensor_f32(latents.zt)[i],
                                       sqrt(a) * z0[i] + sqrt(1 - a) * noise[i], 1e-6);
    g_assert_true(
        ldm_times_init(&none, &config, LDM_SAMPLER_DDIM, LDM_SIGMAS_MODEL, 10, 0.09, NULL));
    g_assert_true(ldm_latents_start(&latents, &none, false, NULL));
    g_assert_cmpmem(latents.zt->data, 24 * sizeof(float), z0, 24 * sizeof(float));
    g_assert_true(ldm_latents_start(&latents, &times, true, NULL));
    g_assert_cmpmem(latents.zt->data, 24 * sizeof(float), noise, 24 * sizeof(float));
}

static void test_other_shape(void)
{
    g_autoptr(GError) error = NULL;
    g_auto(LdmLatents) latents = {.z0 = ldm_tensor_new_nhwc(1, 2, 2, 4, NULL),
                                  .noise = ldm_tensor_new_nhwc(1, 2, 3, 4, NULL)};
    LdmTimes times = {.steps = 1, .start = 1};

    g_assert_false(ldm_latents_start(&latents, &times, false, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_SHAPE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/schedule/alpha-bar", test_alpha_bar);
    g_test_add_func("/schedule/any-steps", test_any_steps);
    g_test_add_func("/schedule/final-level", test_final_level);
    g_test_add_func("/schedule/refused", test_refused);
    g_test_add_func("/schedule/start-step", test_start_step);
    g_test_add_func("/schedule/first-latent", test_first_latent);
    g_test_add_func("/schedule/other-shape", test_other_shape);
    return g_test_run();
}
