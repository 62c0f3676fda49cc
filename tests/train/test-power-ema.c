/* Averages over power profiles: the paper's figures, the closed forms against sums, what the
 * optimiser follows against sums in double, and a model put together from snapshots against an
 * average that was followed all along. */
#include "place.h"
#include "train/snapshots.h"
#include "weights/safetensors-write.h"
#include "weights/safetensors.h"

#include <math.h>

#define COUNT  200
#define STEPS  640
#define FROZEN 9

/* ---- arithmetic ---- */

/* arXiv 2312.02696, section 3: 6.94 and 16.97 stand for 10 % and 5 %. */
static void test_gamma(void)
{
    g_assert_cmpfloat_with_epsilon(ldm_power_gamma(0.10), 6.94, 5e-3);
    g_assert_cmpfloat_with_epsilon(ldm_power_gamma(0.05), 16.97, 5e-3);
    for (double width = LDM_POWER_LEAST; width <= LDM_POWER_MOST; width += 0.01) {
        double g = ldm_power_gamma(width);
        double mean = (g + 1.0) / (g + 2.0), square = (g + 1.0) / (g + 3.0); /* of tau / t */
        g_assert_cmpfloat_with_epsilon(sqrt(square - mean * mean), width, 1e-9);
    }
}

/* The product of two profiles, summed over the middle of small pieces. */
static double summed(LdmPower a, LdmPower b)
{
    const size_t n = 200000;
    double end = MIN(a.t, b.t), sum = 0.0;

    for (size_t i = 0; i < n; i++) {
        double tau = end * ((double)i + 0.5) / (double)n;
        sum += (a.gamma + 1.0) / a.t * pow(tau / a.t, a.gamma) * (b.gamma + 1.0) / b.t *
               pow(tau / b.t, b.gamma);
    }
    return sum * end / (double)n;
}

static void test_product(void)
{
    const LdmPower powers[] = {{6.94, 3.0}, {16.97, 3.0}, {0.5, 2.0}, {40.0, 2.5}};

    for (size_t i = 0; i < G_N_ELEMENTS(powers); i++)
        for (size_t k = 0; k < G_N_ELEMENTS(powers); k++)
            g_assert_cmpfloat_with_epsilon(
                ldm_power_product(powers[i], powers[k]) / summed(powers[i], powers[k]), 1.0, 1e-6);
}

/* A profile that is among those at hand is that one alone, be it twice; the sum is 1 for any. */
static void test_fit(void)
{
    const LdmPower have[] = {
        {6.94, 50.0}, {16.97, 50.0}, {6.94, 100.0}, {16.97, 100.0}, {16.97, 100.0}};
    double factors[5], sum = 0.0;

    ldm_power_fit(have, 5, have[2], factors);
    for (size_t i = 0; i < 5; i++)
        g_assert_cmpfloat_with_epsilon(factors[i], i == 2 ? 1.0 : 0.0, 1e-5);
    ldm_power_fit(have, 5, (LdmPower){10.0, 100.0}, factors);
    for (size_t i = 0; i < 5; i++)
        sum += factors[i];
    g_assert_cmpfloat_with_epsilon(sum, 1.0, 1e-12);
    g_assert_cmpfloat_with_epsilon(factors[3], factors[4], 1e-4); /* they share */
}

static void test_due(void)
{
    size_t seen = 0;

    for (uint64_t step = 1; step <= 1000; step++)
        seen += ldm_snapshot_due(step, 1000, 7);
    g_assert_cmpuint(seen, ==, 7);
    g_assert_true(ldm_snapshot_due(1000, 1000, 7));
    g_assert_true(ldm_snapshot_due(1, 3, 16)); /* a run shorter than that: every step */
}

/* ---- a run ---- */

typedef struct {
    char *folder;
    LdmParams *params;
    LdmOptimiser *optimiser;
    double followed[4][COUNT]; /* as the profiles of `widths`, all along */
} Run;

/* The first two are the optimiser's own. */
static const double widths[4] = {0.05, 0.10, 0.07, 0.14};
static const float start[COUNT] = {0.3f, -0.2f};

static Run run_new(void)
{
    Run run = {.folder = g_dir_make_tmp("pentimento-ema-XXXXXX", NULL), .params = ldm_params_new()};
    g_autoptr(GError) error = NULL;
    LdmOptimiserOptions options = ldm_optimiser_defaults();

    ldm_params_add(run.params, "", "w", 2, (size_t[]){COUNT / 10, 10});
    ldm_params_add(run.params, "", "frozen", 1, (size_t[]){FROZEN});
    for (size_t i = 0; i < 2; i++) {
        ldm_params_at(run.params, i)->dtype = LDM_F32;
        ldm_params_at(run.params, i)->data = start;
    }
    options.rate = 0.02;
    options.warm_up = 0;
    options.steps = 1000000000; /* the rate stays: the weights go on wandering to the end */
    options.outlier = 0.0;
    options.profiles[0] = widths[0];
    options.profiles[1] = widths[1];
    run.optimiser = ldm_optimiser_new(&options, &error);
    g_assert_no_error(error);
    g_assert_true(ldm_optimiser_add(run.optimiser, "unet", run.params, &error));
    ldm_params_at(run.params, 1)->trained = false;
    return run;
}

static void run_clear(Run *run)
{
    made_remove(run->folder);
    g_free(run->folder);
    ldm_optimiser_free(run->optimiser);
    ldm_params_free(run->params);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Run, run_clear)

/* Weights that wander at several paces; with every sixteenth of the run a snapshot. Some steps are
 * not taken: they are no time. */
static void run_all(Run *run)
{
    LdmTrained *w = ldm_optimiser_at(run->optimiser, 0);
    const LdmOptimiserState *state = ldm_optimiser_state(run->optimiser);
    g_autoptr(GError) error = NULL;

    for (uint64_t step = 1; step <= STEPS; step++) {
        LdmStep told;
        for (size_t i = 0; i < COUNT; i++)
            w->gradient[i] = (float)(sin((double)(step * (i + 1)) * 2e-3) +
                                     0.5 * sin((double)(step * 7919 + i * 104729)));
        g_assert_true(ldm_optimiser_step(run->optimiser, step % 50 == 0 ? NAN : 1.0, &told, NULL));
        double t = (double)state->taken;
        for (size_t k = 0; told.kind == LDM_STEP_TAKEN && k < G_N_ELEMENTS(widths); k++) {
            double share = 1.0 - pow(1.0 - 1.0 / t, ldm_power_gamma(widths[k]) + 1.0);
            for (size_t i = 0; i < COUNT; i++)
                run->followed[k][i] += share * (w->weight[i] - run->followed[k][i]);
        }
        if (ldm_snapshot_due(step, STEPS, 16))
            g_assert_true(ldm_snapshot_write(run->optimiser, run->folder, &error));
        g_assert_no_error(error);
    }
    g_assert_cmpuint(state->taken, ==, STEPS - STEPS / 50);
}

/* |a - b| / |b - c|, c: the last weights, which an average is there to leave. */
static double distance(const Run *run, const float *a, const double *b)
{
    const float *c = ldm_optimiser_at(run->optimiser, 0)->weight;
    double apart = 0.0, size = 0.0;

    for (size_t i = 0; i < COUNT; i++) {
        apart += (a[i] - b[i]) * (a[i] - b[i]);
        size += (b[i] - c[i]) * (b[i] - c[i]);
    }
    return sqrt(apart / size);
}

/* As a finished run leaves it: weights in f32, one of them not trained. */
static void finish(const Run *run)
{
    g_autofree char *unet = g_build_filename(run->folder, "unet", NULL);
    g_autofree char *path = g_build_filename(unet, "diffusion_pytorch_model.safetensors", NULL);
    g_autoptr(LdmFileWriter) writer = ldm_file_writer_new();
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(g_mkdir(unet, 0777), ==, 0);
    for (size_t i = 0; i < 2; i++) {
        const LdmParam *param = ldm_params_at(run->params, i);
        ldm_file_writer_declare(writer, param->name, LDM_F32, param->rank, param->shape);
    }
    g_assert_true(ldm_file_writer_open(writer, path, &error));
    for (size_t i = 0; i < 2; i++) {
        const LdmTrained *t = ldm_optimiser_at(run->optimiser, i);
        g_assert_true(ldm_file_writer_put(writer, t->ema, t->count, &error));
    }
    g_assert_true(ldm_file_writer_close(writer, &error));
}

static LdmFiles *averaged(const Run *run, double width)
{
    g_autofree char *name = g_strdup_printf("averaged-%d", (int)(1000 * width));
    g_autofree char *folder = g_build_filename(run->folder, name, NULL);
    g_autofree char *path =
        g_build_filename(folder, "unet", "diffusion_pytorch_model.safetensors", NULL);
    g_autoptr(GError) error = NULL;
    LdmFiles *files = ldm_files_new();

    g_assert_true(ldm_snapshots_average(run->folder, width, folder, &error));
    g_assert_no_error(error);
    g_assert_true(ldm_files_add(files, path, &error));
    g_assert_cmpuint(ldm_files_length(files), ==, 2);
    g_assert_false(ldm_snapshots_average(run->folder, width, folder, &error)); /* not over it */
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    return files;
}

static void test_followed(void)
{
    g_auto(Run) run = run_new();
    const LdmTrained *w = ldm_optimiser_at(run.optimiser, 0);
    double nearest = INFINITY;

    run_all(&run);
    finish(&run);
    for (size_t k = 0; k < 2; k++) { /* the sums in float */
        g_assert_cmpfloat(distance(&run, w->profiles[k], run.followed[k]), <=, 1e-4);
        nearest = MIN(nearest, distance(&run, w->profiles[k], run.followed[2]));
    }
    for (size_t k = 0; k < G_N_ELEMENTS(widths); k++) {
        g_autoptr(LdmFiles) files = averaged(&run, widths[k]);
        const LdmFileTensor *t = ldm_files_find(files, "w");
        const LdmFileTensor *frozen = ldm_files_find(files, "frozen");
        double apart = distance(&run, (const float *)(const void *)t->data, run.followed[k]);
        g_test_message("%.2f: %.1e from the average followed", widths[k], apart);
        g_assert_cmpfloat(apart, <=, 3e-3); /* of rounding to f16 */
        g_assert_cmpmem(frozen->data, frozen->bytes, start, FROZEN * sizeof(float));
    }
    g_test_message("0.07: %.2f from the nearer of the two kept", nearest);
    g_assert_cmpfloat(nearest, >, 0.1); /* it is not enough to take one of these */
}

static void test_refusals(void)
{
    g_auto(Run) run = run_new();
    g_autofree char *folder = g_build_filename(run.folder, "averaged", NULL);
    g_autoptr(GError) error = NULL;
    LdmOptimiserOptions options = ldm_optimiser_defaults();

    g_assert_false(ldm_snapshots_average(run.folder, 0.07, folder, &error)); /* none */
    g_assert_error(error, LDM_ERROR, LDM_ERROR_MISSING);
    g_clear_error(&error);
    run_all(&run);
    g_assert_false(ldm_snapshots_average(run.folder, 0.07, folder, &error)); /* not finished */
    g_assert_error(error, LDM_ERROR, LDM_ERROR_MISSING);
    g_clear_error(&error);
    g_assert_false(g_file_test(folder, G_FILE_TEST_EXISTS));
    g_assert_false(ldm_snapshots_average(run.folder, 0.3, folder, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_clear_error(&error);
    finish(&run);
    ldm_snapshots_cut(run.folder, STEPS / 2);
    g_autofree char *snapshots = g_build_filename(run.folder, "snapshots", NULL);
    g_autoptr(GDir) dir = g_dir_open(snapshots, 0, NULL);
    size_t left = 0;
    while (g_dir_read_name(dir) != NULL)
        left++;
    g_assert_cmpuint(left, ==, 8);
    made_text(run.folder, "snapshots", "step-0000000999.safetensors", "nothing");
    g_assert_false(ldm_snapshots_average(run.folder, 0.07, folder, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_FORMAT);
    g_clear_error(&error);
    options.profiles[0] = 0.1;
    options.profiles[1] = 0.05;
    g_assert_null(ldm_optimiser_new(&options, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_clear_error(&error);
    options.profiles[1] = NAN;
    g_assert_null(ldm_optimiser_new(&options, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/power-ema/gamma", test_gamma);
    g_test_add_func("/power-ema/product", test_product);
    g_test_add_func("/power-ema/fit", test_fit);
    g_test_add_func("/power-ema/due", test_due);
    g_test_add_func("/power-ema/followed", test_followed);
    g_test_add_func("/power-ema/refusals", test_refusals);
    return g_test_run();
}
