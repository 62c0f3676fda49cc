/* The denoise loop around an analytic network: soft masks as strength per cell, hooks, cancelling,
 * numbers that are not finite, planning. Trajectories are in tests/parity/test-samplers.c. */
#include "base/checked.h"
#include "denoise/loop.h"
#include "diffuse/latents.h"
#include "diffuse/schedule.h"
#include "parity/analytic.h"
#include "tensor/tensor.h"

#include <string.h>

enum { H = 4, W = 5, Z = 4, COUNT = H * W * Z, CELLS = H * W };

static const size_t channels = Z;
static LdmConditioning no_conditioning;

typedef struct {
    LdmSampler sampler;
    LdmSigmas sigmas;
    LdmSpacing spacing;
    LdmPrediction prediction;
    int K;
    double strength, eta;
    const LdmTensor *cells;
    bool pure;
    LdmLoopHooks hooks;
    int evaluations;
} Run;

static LdmScheduleConfig config_of(const Run *run)
{
    return (LdmScheduleConfig){.betas = LDM_BETAS_SCALED_LINEAR,
                               .beta_start = 0.00085,
                               .beta_end = 0.012,
                               .train_steps = 1000,
                               .spacing = run->spacing,
                               .steps_offset = 1,
                               .prediction = run->prediction};
}

static void start_latents(LdmLatents *latents, const Run *run, LdmTimes *times, LdmRng *rng)
{
    LdmScheduleConfig config = config_of(run);

    ldm_rng_seed(rng, 3);
    latents->z0 = ldm_noise_new(rng, H, W, Z, NULL);
    latents->noise = ldm_noise_new(rng, H, W, Z, NULL);
    g_assert_true(
        ldm_times_init(times, &config, run->sampler, run->sigmas, run->K, run->strength, NULL));
    g_assert_true(ldm_latents_start(latents, times, run->pure, NULL));
}

static LdmTensor *run_loop(Run *run)
{
    g_auto(LdmLatents) latents = {0};
    g_auto(LdmTimes) times = {0};
    g_autoptr(GError) error = NULL;
    LdmRng rng;

    start_latents(&latents, run, &times, &rng);
    LdmDenoise job = {.network = analytic_network,
                      .network_data = &channels,
                      .times = &times,
                      .prediction = run->prediction,
                      .conditioning = &no_conditioning,
                      .guidance = 1.0,
                      .sampler = run->sampler,
                      .eta = run->eta,
                      .rng = &rng,
                      .cells = run->cells,
                      .strength = run->strength,
                      .latents = &latents,
                      .hooks = run->hooks};
    ldm_denoise(&job, latents.zt, &run->evaluations, &error);
    g_assert_no_error(error);
    return g_steal_pointer(&latents.zt);
}

static LdmTensor *mask_of(float s)
{
    LdmTensor *cells = ldm_tensor_new_nhwc(1, H, W, 1, NULL);

    for (int i = 0; i < CELLS; i++)
        ldm_tensor_f32(cells)[i] = s;
    return cells;
}

/* ---- masks ---- */

/* s everywhere with overall strength S is img2img at S * s, with every sampler and its noise. */
static void assert_same_as_img2img(Run run, float s, double strength)
{
    g_autoptr(LdmTensor) cells = mask_of(s);
    Run plain = run, masked = run;

    plain.strength *= strength;
    g_autoptr(LdmTensor) expected = run_loop(&plain);
    masked.cells = cells;
    g_autoptr(LdmTensor) got = run_loop(&masked);
    g_assert_cmpmem(got->data, COUNT * sizeof(float), expected->data, COUNT * sizeof(float));
    g_assert_cmpint(masked.evaluations, ==, plain.evaluations);
}

static void test_uniform_mask(void)
{
    static const struct {
        float s;
        double strength;
    } greys[] = {{1.0f, 1.0},   {0.5f, 0.5},        {0.7f, 0.7},
                 {0.29f, 0.29}, {51 / 255.0f, 0.2}, {0.0f, 0.0}};
    static const int counts[] = {1, 2, 7, 10, 20, 100};

    for (int kind = 0; kind < 4 * 2 * 3; kind++)
        for (size_t i = 0; i < G_N_ELEMENTS(counts); i++)
            for (size_t j = 0; j < G_N_ELEMENTS(greys); j++) {
                Run run = {.sampler = kind % 4,
                           .sigmas = kind / 4 % 2,
                           .spacing = kind / 8,
                           .K = counts[i],
                           .strength = 1.0,
                           .eta = 1.0};
                assert_same_as_img2img(run, greys[j].s, greys[j].strength);
                run.strength = 0.6;
                assert_same_as_img2img(run, greys[j].s, greys[j].strength);
            }
}

/* Cells of several greys side by side: each is its own img2img, bit for bit, where the sampler
 * draws no noise on its way; untouched cells are the picture's own latent. */
static void test_soft_mask(void)
{
    static const float greys[W] = {0.0f, 0.25f, 0.5f, 0.75f, 1.0f};
    g_autoptr(LdmTensor) cells = mask_of(0.0f);

    for (int i = 0; i < CELLS; i++)
        ldm_tensor_f32(cells)[i] = greys[i % W];
    for (int kind = 0; kind < 4 * 3 * 2; kind++) {
        Run run = {.sampler = kind % 4,
                   .spacing = kind / 4 % 3,
                   .K = 12,
                   .strength = 1.0,
                   .prediction = kind / 12,
                   .cells = cells,
                   .pure = false};
        if (run.sampler == LDM_SAMPLER_EULER_A)
            continue;
        g_autoptr(LdmTensor) got = run_loop(&run);
        for (int g = 0; g < W; g++) {
            Run plain = run;
            plain.cells = NULL;
            plain.strength = greys[g];
            g_autoptr(LdmTensor) expected = run_loop(&plain);
            for (int i = g; i < CELLS; i += W)
                g_assert_cmpmem(ldm_tensor_f32(got) + i * Z, Z * sizeof(float),
                                ldm_tensor_f32(expected) + i * Z, Z * sizeof(float));
        }
    }
}

/* Inpainting at strength 1 begins with noise alone; what is not repainted ends as z0 all the
 * same. */
static void test_pure_start(void)
{
    g_autoptr(LdmTensor) cells = mask_of(0.0f);
    g_auto(LdmLatents) latents = {0};
    g_auto(LdmTimes) times = {0};
    LdmRng rng;

    ldm_tensor_f32(cells)[7] = 1.0f;
    Run run = {.K = 6, .strength = 1.0, .cells = cells, .pure = true};
    start_latents(&latents, &run, &times, &rng);
    g_autoptr(LdmTensor) got = run_loop(&run);
    g_assert_cmpmem(got->data, 7 * Z * sizeof(float), latents.z0->data, 7 * Z * sizeof(float));
    g_assert_cmpint(
        memcmp(ldm_tensor_f32(got) + 7 * Z, ldm_tensor_f32(latents.z0) + 7 * Z, Z * sizeof(float)),
        !=, 0);
}

static void test_nothing_to_do(void)
{
    g_autoptr(LdmTensor) cells = mask_of(0.0f);
    g_auto(LdmLatents) latents = {0};
    g_auto(LdmTimes) times = {0};
    LdmRng rng;
    Run run = {.K = 9, .strength = 0.1}, masked = {.K = 9, .strength = 1.0, .cells = cells};

    start_latents(&latents, &run, &times, &rng);
    g_autoptr(LdmTensor) weak = run_loop(&run), held = run_loop(&masked);
    g_assert_cmpmem(weak->data, COUNT * sizeof(float), latents.z0->data, COUNT * sizeof(float));
    g_assert_cmpmem(held->data, COUNT * sizeof(float), latents.z0->data, COUNT * sizeof(float));
    g_assert_cmpint(run.evaluations, ==, 0);
    g_assert_cmpint(masked.evaluations, ==, 0);
}

/* ---- any number of steps ---- */

static void test_any_steps(void)
{
    static const int counts[] = {1, 2, 3, 30, 110, 300, 499, 500, 501, 999, 1000};

    for (int kind = 0; kind < 4 * 2 * 3 * 3; kind++)
        for (size_t i = 0; i < G_N_ELEMENTS(counts); i++) {
            Run run = {.sampler = kind % 4,
                       .sigmas = kind / 4 % 2,
                       .spacing = kind / 8 % 3,
                       .prediction = kind / 24,
                       .K = counts[i],
                       .strength = 1.0,
                       .pure = true};
            g_autoptr(LdmTensor) got = run_loop(&run);
            g_assert_cmpint(run.evaluations, ==, counts[i]);
            for (int j = 0; j < COUNT; j++)
                g_assert_true(isfinite(ldm_tensor_f32(got)[j]));
        }
}

/* Betas at the limits of what a file may say (alpha_bar rounds to 1, or to 0): an answer, or one
 * sentence, whatever the sampler. */
static void test_extreme_betas(void)
{
    static const double betas[][2] = {{1e-12, 1e-12}, {0.999, 0.999}, {1e-12, 0.999}};

    for (int kind = 0; kind < 4 * 2 * 3 * 3 * 3; kind++) {
        LdmScheduleConfig config = {.beta_start = betas[kind / 72][0],
                                    .beta_end = betas[kind / 72][1],
                                    .train_steps = 1000,
                                    .spacing = kind / 8 % 3,
                                    .steps_offset = 999,
                                    .prediction = kind / 24 % 3,
                                    .zero_terminal_snr = kind % 2};
        g_auto(LdmTimes) times = {0};
        g_autoptr(GError) error = NULL;
        LdmRng rng;
        ldm_rng_seed(&rng, 1);
        g_autoptr(LdmTensor) z = ldm_noise_new(&rng, H, W, Z, NULL);
        g_assert_true(ldm_times_init(&times, &config, kind % 4, kind / 4 % 2, 9, 1.0, NULL));
        LdmDenoise job = {.network = analytic_network,
                          .network_data = &channels,
                          .times = &times,
                          .prediction = config.prediction,
                          .conditioning = &no_conditioning,
                          .guidance = 1.0,
                          .sampler = kind % 4,
                          .rng = &rng};
        if (!ldm_denoise(&job, z, NULL, &error))
            g_assert_error(error, LDM_ERROR, LDM_ERROR_NONFINITE);
    }
}

/* ---- hooks, errors, planning ---- */

typedef struct {
    int steps;
    double fraction;
    GCancellable *cancel_at_2;
} Watch;

static void note_progress(int step, int steps, double fraction, void *data)
{
    Watch *watch = data;

    g_assert_cmpint(steps, ==, 6);
    g_assert_cmpfloat(fraction, >=, watch->fraction);
    g_assert_cmpfloat(fraction, <=, (double)step / steps + 1e-12);
    watch->fraction = fraction;
}

static bool note_step(int step, int steps, const LdmTensor *z, const LdmTensor *x0, void *data)
{
    Watch *watch = data;

    g_assert_cmpint(step, ==, ++watch->steps);
    g_assert_cmpint(steps, ==, 6);
    g_assert_true(ldm_tensor_same_shape(z, x0));
    if (step == 2 && watch->cancel_at_2 != NULL)
        g_cancellable_cancel(watch->cancel_at_2);
    return true;
}

static bool watched_run(Watch *watch, LdmNetwork network, GError **error)
{
    Run run = {.K = 10, .strength = 0.6};
    g_auto(LdmLatents) latents = {0};
    g_auto(LdmTimes) times = {0};
    LdmRng rng;

    start_latents(&latents, &run, &times, &rng);
    LdmDenoise job = {.network = network,
                      .network_data = &channels,
                      .times = &times,
                      .conditioning = &no_conditioning,
                      .guidance = 1.0,
                      .cancellable = watch->cancel_at_2,
                      .hooks = {.progress = note_progress, .stepped = note_step, .data = watch}};
    return ldm_denoise(&job, latents.zt, NULL, error);
}

static void test_hooks(void)
{
    Watch watch = {0};
    g_autoptr(GError) error = NULL;

    g_assert_true(watched_run(&watch, analytic_network, &error));
    g_assert_cmpint(watch.steps, ==, 6);
    g_assert_cmpfloat_with_epsilon(watch.fraction, 1.0, 1e-12);
}

static void test_cancel(void)
{
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    Watch watch = {.cancel_at_2 = cancellable};
    g_autoptr(GError) error = NULL;

    g_assert_false(watched_run(&watch, analytic_network, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_CANCELLED);
    g_assert_cmpint(watch.steps, ==, 2);
}

/* ---- ended by a callback ---- */

typedef struct {
    int last, told; /* ends after step `last`; steps told of */
    LdmTensor *x0;  /* of the last step told of */
} End;

static bool end_at(int step, int steps, const LdmTensor *z, const LdmTensor *x0, void *data)
{
    End *end = data;

    end->told = step;
    g_clear_pointer(&end->x0, ldm_tensor_free);
    end->x0 = ldm_tensor_copy(x0, NULL);
    return step < end->last;
}

/* Whoever watches sees x0 and changes nothing, with every sampler, mask and without. */
static void test_watched_is_the_same(void)
{
    g_autoptr(LdmTensor) cells = mask_of(0.3f);

    ldm_tensor_f32(cells)[3] = 1.0f;
    for (int kind = 0; kind < 4 * 2; kind++) {
        Run run = {.sampler = kind % 4,
                   .K = 10,
                   .strength = 0.8,
                   .eta = 1.0,
                   .cells = kind / 4 == 1 ? cells : NULL};
        End end = {.last = 100};
        g_autoptr(LdmTensor) alone = run_loop(&run);
        run.hooks = (LdmLoopHooks){.stepped = end_at, .data = &end};
        g_autoptr(LdmTensor) watched = run_loop(&run);
        g_assert_cmpmem(watched->data, COUNT * sizeof(float), alone->data, COUNT * sizeof(float));
        g_assert_cmpint(end.told, ==, 8);
        ldm_tensor_free(end.x0);
    }
}

/* Ended early, the result is the last x0; cells that have not begun are the picture's own. */
static void test_ended(void)
{
    g_autoptr(LdmTensor) cells = mask_of(0.5f);
    g_auto(LdmLatents) latents = {0};
    g_auto(LdmTimes) times = {0};
    LdmRng rng;
    End end = {.last = 4};

    ldm_tensor_f32(cells)[7] = 1.0f;
    Run run = {.K = 10,
               .strength = 1.0,
               .cells = cells,
               .sampler = LDM_SAMPLER_DPMPP_2M,
               .hooks = {.stepped = end_at, .data = &end}};
    start_latents(&latents, &run, &times, &rng);
    g_autoptr(LdmTensor) got = run_loop(&run);
    g_assert_cmpint(end.told, ==, 4);
    g_assert_cmpint(run.evaluations, ==, 4);
    g_assert_cmpmem(got->data, COUNT * sizeof(float), end.x0->data, COUNT * sizeof(float));
    for (int i = 0; i < CELLS; i++)
        g_assert_cmpint(memcmp(ldm_tensor_f32(got) + i * Z, ldm_tensor_f32(latents.z0) + i * Z,
                               Z * sizeof(float)) == 0,
                        ==, i != 7);
    g_clear_pointer(&end.x0, ldm_tensor_free);
    end.last = 6; /* now the others have begun, too */
    g_autoptr(LdmTensor) later = run_loop(&run);
    g_assert_cmpint(run.evaluations, ==, 6);
    g_assert_cmpint(memcmp(later->data, latents.z0->data, Z * sizeof(float)), !=, 0);
    g_clear_pointer(&end.x0, ldm_tensor_free);
    end.last = 10; /* the last step is the end anyhow */
    g_autoptr(LdmTensor) whole = run_loop(&run);
    run.hooks = (LdmLoopHooks){0};
    g_autoptr(LdmTensor) alone = run_loop(&run);
    g_assert_cmpmem(whole->data, COUNT * sizeof(float), alone->data, COUNT * sizeof(float));
    ldm_tensor_free(end.x0);
}

static LdmTensor *nan_later(LdmPass *pass, const void *data, LdmTensor *x, const double *timesteps,
                            LdmTensor *context)
{
    LdmTensor *out = analytic_network(pass, data, x, timesteps, context);

    if (out->data != NULL && timesteps[0] < 400.0)
        ldm_tensor_f32(out)[5] = NAN;
    return out;
}

/* Timesteps 501, 401, 301 ...: the third step is the broken one. */
static void test_not_finite(void)
{
    Watch watch = {0};
    g_autoptr(GError) error = NULL;

    g_assert_false(watched_run(&watch, nan_later, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_NONFINITE);
    g_assert_nonnull(strstr(error->message, "3 of 6"));
    g_assert_cmpint(watch.steps, ==, 2);
}

static void test_refused(void)
{
    g_autoptr(LdmTensor) z = ldm_tensor_new_nhwc(1, H, W, Z, NULL);
    g_autoptr(LdmTensor) small = ldm_tensor_new_nhwc(1, H, W - 1, 1, NULL);
    LdmLatents latents = {.z0 = z, .noise = z};
    LdmConditioning wrong = {.concat = small};
    g_auto(LdmTimes) times = {0};
    Run run = {0};
    LdmScheduleConfig config = config_of(&run);
    LdmDenoise job = {.network = analytic_network,
                      .network_data = &channels,
                      .times = &times,
                      .conditioning = &no_conditioning,
                      .guidance = 1.0,
                      .strength = 1.0,
                      .sampler = LDM_SAMPLER_EULER_A,
                      .latents = &latents};
    GError *error = NULL;

    g_assert_true(ldm_times_init(&times, &config, job.sampler, LDM_SIGMAS_MODEL, 2, 1.0, NULL));
    g_assert_false(ldm_denoise(&job, z, NULL, &error)); /* noise without a generator */
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_clear_error(&error);
    job.cells = small;
    g_assert_false(ldm_denoise(&job, z, NULL, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_SHAPE);
    g_clear_error(&error);
    job.cells = NULL;
    job.conditioning = &wrong;
    g_assert_false(ldm_denoise(&job, z, NULL, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_SHAPE);
    g_clear_error(&error);
}

/* Every allocation may fail: one sentence, nothing leaked, and the same run succeeds afterwards. */
static void test_no_memory(void)
{
    g_autoptr(LdmTensor) cells = mask_of(0.5f);
    int failures = 0;

    for (bool done = false; !done; failures += !done) {
        Run run = {.K = 4, .strength = 1.0, .sampler = LDM_SAMPLER_EULER_A};
        g_auto(LdmLatents) latents = {0};
        g_auto(LdmTimes) times = {0};
        g_autoptr(GError) error = NULL;
        LdmRng rng;
        start_latents(&latents, &run, &times, &rng);
        LdmDenoise job = {.network = analytic_network,
                          .network_data = &channels,
                          .times = &times,
                          .conditioning = &no_conditioning,
                          .guidance = 1.0,
                          .sampler = run.sampler,
                          .rng = &rng,
                          .cells = cells,
                          .strength = 1.0,
                          .latents = &latents};
        ldm_alloc_fail_after(failures + 1, false);
        done = ldm_denoise(&job, latents.zt, NULL, &error);
        ldm_alloc_fail_after(-1, false);
        if (!done)
            g_assert_error(error, LDM_ERROR, LDM_ERROR_MEMORY);
        g_assert_cmpint(failures, <, 50);
    }
    g_assert_cmpint(failures, >=, 6);
}

/* Planning sees shapes only, and counts both branches of a guided pair. */
static void test_measure(void)
{
    LdmTensor z = {.dtype = LDM_F32, .rank = 4, .shape = {1, H, W, Z}};
    LdmTensor text = {.dtype = LDM_F32, .rank = 3, .shape = {1, 2, 3, 1}};
    LdmConditioning conditioning = {.context = &text, .negative = &text};
    g_auto(LdmTimes) times = {0};
    Run run = {0};
    LdmScheduleConfig config = config_of(&run);
    LdmDenoise job = {.network = analytic_network,
                      .network_data = &channels,
                      .times = &times,
                      .conditioning = &conditioning,
                      .guidance = 1.0};
    size_t one, two;
    double flops;

    g_assert_true(ldm_times_init(&times, &config, 0, LDM_SIGMAS_MODEL, 20, 0.5, NULL));
    g_assert_true(ldm_denoise_measure(&job, &z, &one, &flops, NULL));
    g_assert_cmpfloat(flops, ==, 10.0);
    g_assert_cmpuint(one, >=, 6 * COUNT * sizeof(float));
    job.guidance = 5.0;
    job.guidance_end = 1.0;
    g_assert_true(ldm_denoise_measure(&job, &z, &two, &flops, NULL));
    g_assert_cmpuint(two, >=, one + (COUNT + 2 * 2 * 3) * sizeof(float));
}

/* What the network is asked for in each step: c, compute; r, and remember; f, foretell. */
typedef struct {
    GString *asked;
    size_t channels;
} Asked;

static LdmTensor *note_features(LdmPass *pass, const void *data, LdmTensor *x,
                                const double *timesteps, LdmTensor *context)
{
    const Asked *asked = data;

    if (ldm_pass_computes(pass))
        g_string_append_c(asked->asked, "crf"[ldm_pass_features(pass)]);
    return analytic_network(pass, &asked->channels, x, timesteps, context);
}

static void assert_asked(int K, int start, int reuse, const char *expected)
{
    g_auto(LdmLatents) latents = {0};
    g_auto(LdmTimes) times = {0};
    g_autoptr(GString) text = g_string_new(NULL);
    const Asked asked = {text, Z};
    Run run = {.K = K, .strength = 1.0 - (double)start / K};
    LdmRng rng;

    start_latents(&latents, &run, &times, &rng);
    const LdmDenoise job = {.network = note_features,
                            .network_data = &asked,
                            .times = &times,
                            .conditioning = &no_conditioning,
                            .guidance = 1.0,
                            .reuse = reuse,
                            .latents = &latents};
    g_assert_true(ldm_denoise(&job, latents.zt, NULL, NULL));
    g_assert_cmpstr(text->str, ==, expected);
}

static void test_foretold(void)
{
    assert_asked(4, 0, 1, "cccc");
    assert_asked(2, 0, 3, "rr");
    assert_asked(20, 0, 2, "rrrfrfrfrfrfrfrfrfrf");
    assert_asked(20, 0, 3, "rrrfrffrffrffrffrffr");
    assert_asked(20, 5, 3, "rrrfrffrffrffrf"); /* from where the run begins */
    assert_asked(20, 0, 20, "rrrfrffrfffrffffrfff");
}

/* A network that goes another way where products are rounded, which takes more memory. */
static LdmTensor *round_more(LdmPass *pass, const void *data, LdmTensor *x, const double *timesteps,
                             LdmTensor *context)
{
    LdmTensor *scratch = ldm_pass_scratch(pass, ldm_pass_bf16(pass) ? 1 << 20 : 64);
    LdmTensor *out = analytic_network(pass, data, x, timesteps, context);

    ldm_pass_drop(pass, scratch);
    return out;
}

/* The plan goes the ways that the run will go. */
static void test_rounding_is_planned(void)
{
    size_t bytes[2];
    double flops;

    for (int bf16 = 0; bf16 < 2; bf16++) {
        g_auto(LdmLatents) latents = {0};
        g_auto(LdmTimes) times = {0};
        g_autoptr(GError) error = NULL;
        Run run = {.K = 2, .strength = 1.0};
        LdmRng rng;

        start_latents(&latents, &run, &times, &rng);
        const LdmDenoise job = {.network = round_more,
                                .network_data = &channels,
                                .times = &times,
                                .conditioning = &no_conditioning,
                                .guidance = 1.0,
                                .latents = &latents,
                                .bf16 = bf16 == 1};
        g_assert_true(ldm_denoise_measure(&job, latents.zt, &bytes[bf16], &flops, &error));
        ldm_denoise(&job, latents.zt, NULL, &error);
        g_assert_no_error(error);
    }
    g_assert_cmpuint(bytes[1], >=, bytes[0] + (1 << 20) - 64);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/loop/uniform-mask", test_uniform_mask);
    g_test_add_func("/loop/soft-mask", test_soft_mask);
    g_test_add_func("/loop/pure-start", test_pure_start);
    g_test_add_func("/loop/nothing-to-do", test_nothing_to_do);
    g_test_add_func("/loop/any-steps", test_any_steps);
    g_test_add_func("/loop/extreme-betas", test_extreme_betas);
    g_test_add_func("/loop/hooks", test_hooks);
    g_test_add_func("/loop/cancel", test_cancel);
    g_test_add_func("/loop/watched", test_watched_is_the_same);
    g_test_add_func("/loop/ended", test_ended);
    g_test_add_func("/loop/not-finite", test_not_finite);
    g_test_add_func("/loop/refused", test_refused);
    g_test_add_func("/loop/no-memory", test_no_memory);
    g_test_add_func("/loop/measure", test_measure);
    g_test_add_func("/loop/foretold", test_foretold);
    g_test_add_func("/loop/rounding-is-planned", test_rounding_is_planned);
    return g_test_run();
}
