/* Whole trajectories of every sampler, and the times they visit, against diffusers'
 * (tests/reference/make_samplers.py), with a network both sides can compute. */
#include "base/rng.h"
#include "denoise/loop.h"
#include "diffuse/latents.h"
#include "diffuse/schedule.h"
#include "parity/analytic.h"
#include "tensor/tensor.h"

#include <string.h>

enum { H = 3, W = 5, Z = 4, COUNT = H * W * Z };

static const size_t channels = Z;

typedef struct {
    LdmSampler sampler;
    LdmSigmas sigmas;
    LdmScheduleConfig schedule;
    int K;
    double strength, eta;
    bool pure, half; /* start from noise alone; repaint the left three columns */
} Case;

static char *fixture(const char *name)
{
    const char *folder = g_getenv("PENTIMENTO_FIXTURES");

    return g_build_filename(folder != NULL ? folder : "tests/reference/data", "samplers", name,
                            NULL);
}

static LdmTensor *read_values(const char *name)
{
    g_autofree char *path = fixture(name);
    g_autoptr(GError) error = NULL;
    LdmTensor *values = ldm_npy_read(path, &error);

    g_assert_no_error(error);
    return values;
}

static char **read_lines(const char *name)
{
    g_autofree char *path = fixture(name);
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;

    g_file_get_contents(path, &text, NULL, &error);
    g_assert_no_error(error);
    return g_strsplit(g_strchomp(text), "\n", -1);
}

static int index_of(const char *word, const char *const *words)
{
    for (int i = 0; words[i] != NULL; i++)
        if (strcmp(word, words[i]) == 0)
            return i;
    g_assert_not_reached();
}

static int sampler_index(const char *word)
{
    return index_of(word, (const char *const[]){"ddim", "euler", "euler-a", "dpmpp-2m", NULL});
}

static int spacing_index(const char *word)
{
    return index_of(word, (const char *const[]){"leading", "linspace", "trailing", NULL});
}

static int betas_index(const char *word)
{
    return index_of(word,
                    (const char *const[]){"linear", "scaled_linear", "squaredcos_cap_v2", NULL});
}

/* sampler sigmas spacing betas prediction K strength eta offset final_one zero_snr mask */
static Case parse_case(const char *line)
{
    g_auto(GStrv) word = g_strsplit(line, " ", -1);

    g_assert_cmpuint(g_strv_length(word), ==, 12);
    return (Case){
        .sampler = sampler_index(word[0]),
        .sigmas = index_of(word[1], (const char *const[]){"model", "karras", NULL}),
        .schedule = {.spacing = spacing_index(word[2]),
                     .betas = betas_index(word[3]),
                     .beta_start = 0.00085,
                     .beta_end = 0.012,
                     .train_steps = 1000,
                     .prediction = index_of(
                         word[4], (const char *const[]){"epsilon", "v_prediction", "sample", NULL}),
                     .steps_offset = atoi(word[8]),
                     .final_alpha_one = atoi(word[9]),
                     .zero_terminal_snr = atoi(word[10])},
        .K = atoi(word[5]),
        .strength = g_ascii_strtod(word[6], NULL),
        .eta = g_ascii_strtod(word[7], NULL),
        .half = strcmp(word[11], "half") == 0,
        .pure = strcmp(word[11], "pure") == 0};
}

/* Greatest difference from the reference, relative to its greatest value, of all steps so far. */
typedef struct {
    const float *expected; /* [COUNT] of the next step, NCHW */
    int steps;
    double worst;
} Comparison;

static double difference(const float *got, const float *expected, size_t n)
{
    double worst = 0.0, scale = 0.0;

    for (size_t i = 0; i < n; i++) {
        worst = MAX(worst, fabs((double)got[i] - expected[i]));
        scale = MAX(scale, fabs(expected[i]));
        g_assert_true(isfinite(got[i]) && isfinite(expected[i]));
    }
    return worst / scale;
}

static bool compare_step(int step, int steps, const LdmTensor *z, const LdmTensor *x0, void *data)
{
    Comparison *comparison = data;
    float nchw[COUNT];

    g_assert_cmpint(step, ==, comparison->steps + 1);
    ldm_nhwc_to_nchw(ldm_tensor_f32(z), nchw, 1, Z, H, W);
    comparison->worst = MAX(comparison->worst, difference(nchw, comparison->expected, COUNT));
    comparison->expected += COUNT;
    comparison->steps++;
    return true;
}

static LdmTensor *left_columns(void)
{
    LdmTensor *cells = ldm_tensor_new_nhwc(1, H, W, 1, NULL);

    for (int i = 0; i < H * W; i++)
        ldm_tensor_f32(cells)[i] = i % W < 3 ? 1.0f : 0.0f;
    return cells;
}

static void run_case(const Case *c, Comparison *comparison)
{
    g_autoptr(GError) error = NULL;
    g_auto(LdmTimes) times = {0};
    g_auto(LdmLatents) latents = {0};
    g_autoptr(LdmTensor) cells = c->half ? left_columns() : NULL;
    LdmConditioning conditioning = {0};
    LdmRng rng, other;

    ldm_rng_seed(&rng, 7);
    ldm_rng_seed(&other, 99);
    latents.noise = ldm_noise_new(&rng, H, W, Z, &error);
    latents.z0 = ldm_noise_new(&other, H, W, Z, &error);
    ldm_times_init(&times, &c->schedule, c->sampler, c->sigmas, c->K, c->strength, &error);
    g_assert_no_error(error);
    ldm_latents_start(&latents, &times, c->pure || (c->half && c->strength == 1.0), &error);
    g_assert_no_error(error);
    LdmDenoise job = {.network = analytic_network,
                      .network_data = &channels,
                      .times = &times,
                      .prediction = c->schedule.prediction,
                      .conditioning = &conditioning,
                      .guidance = 1.0,
                      .sampler = c->sampler,
                      .eta = c->eta,
                      .rng = &rng,
                      .cells = cells,
                      .strength = c->strength,
                      .latents = &latents,
                      .hooks = {.stepped = compare_step, .data = comparison}};
    ldm_denoise(&job, latents.zt, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpint(comparison->steps, ==, times.steps - times.start);
}

static void test_trajectories(gconstpointer sampler)
{
    g_autoptr(LdmTensor) values = read_values("trajectories.npy");
    g_auto(GStrv) lines = read_lines("cases.txt");
    const float *expected = ldm_tensor_f32(values);
    int runs = 0;

    for (int i = 0; lines[i] != NULL; i++) {
        Case c = parse_case(lines[i]);
        if ((int)c.sampler != GPOINTER_TO_INT(sampler)) {
            expected += (size_t)COUNT * (c.K - ldm_start_step(c.K, c.strength));
            continue;
        }
        Comparison comparison = {.expected = expected};
        run_case(&c, &comparison);
        if (comparison.worst > 1e-4) {
            g_test_message("%s: differs by %.2g", lines[i], comparison.worst);
            g_test_fail();
        }
        expected = comparison.expected;
        runs++;
    }
    g_assert_cmpint(runs, >, 20);
    g_assert_true(expected == ldm_tensor_f32(values) + ldm_tensor_count(values));
}

static void test_times(void)
{
    g_autoptr(LdmTensor) values = read_values("times.npy");
    g_auto(GStrv) lines = read_lines("times.txt");
    const float *expected = ldm_tensor_f32(values);

    for (int i = 0; lines[i] != NULL; i++) {
        g_auto(GStrv) word = g_strsplit(lines[i], " ", -1);
        LdmScheduleConfig schedule = {.spacing = spacing_index(word[2]),
                                      .beta_start = 0.00085,
                                      .beta_end = 0.012,
                                      .train_steps = 1000,
                                      .steps_offset = 1,
                                      .betas = betas_index(word[3])};
        LdmSigmas sigmas = word[1][0] == 'k' ? LDM_SIGMAS_KARRAS : LDM_SIGMAS_MODEL;
        g_auto(LdmTimes) times = {0};
        int K = atoi(word[4]);
        g_assert_true(
            ldm_times_init(&times, &schedule, sampler_index(word[0]), sigmas, K, 1.0, NULL));
        for (int j = 0; j < 16; j++, expected += 2) {
            int k = j * (K - 1) / 15;
            if (fabs(times.timesteps[k] - expected[0]) > 1e-3 ||
                fabs(times.alpha_bar[k] - expected[1]) > 1e-6) {
                g_test_message("%s, step %d: t %.4f, not %.4f; alpha_bar %.7f, not %.7f", lines[i],
                               k, times.timesteps[k], expected[0], times.alpha_bar[k], expected[1]);
                g_test_fail();
            }
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/samplers/times", test_times);
    g_test_add_data_func("/samplers/ddim", GINT_TO_POINTER(LDM_SAMPLER_DDIM), test_trajectories);
    g_test_add_data_func("/samplers/euler", GINT_TO_POINTER(LDM_SAMPLER_EULER), test_trajectories);
    g_test_add_data_func("/samplers/euler-a", GINT_TO_POINTER(LDM_SAMPLER_EULER_A),
                         test_trajectories);
    g_test_add_data_func("/samplers/dpmpp-2m", GINT_TO_POINTER(LDM_SAMPLER_DPMPP_2M),
                         test_trajectories);
    return g_test_run();
}
