/* Checkpoints: the writer's files, going on bit for bit, two runs on one folder, full disks,
 * damaged files, and runs killed at any moment. A run here is an optimiser fed with gradients that
 * follow from the step, so that its state at every step can be made again. */
#include "made-model.h"
#include "train/checkpoint.h"
#include "weights/safetensors-write.h"
#include "weights/safetensors.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define SETTINGS "seed=1 batch=4"
#define KILLS    200

static const char *self;

/* ---- a small run ---- */

typedef struct {
    LdmParams *params;
    LdmOptimiser *optimiser;
} Run;

static const float start[3000];

static Run run_new(void)
{
    Run run = {.params = ldm_params_new()};
    g_autoptr(GError) error = NULL;
    LdmOptimiserOptions options = ldm_optimiser_defaults();
    LdmParam *param = ldm_params_add(run.params, "a", "weight", 2, (size_t[]){50, 60});

    param->data = start;
    param = ldm_params_add(run.params, "a", "bias", 1, (size_t[]){7});
    param->data = start;
    run.optimiser = ldm_optimiser_new(&options, &error);
    g_assert_no_error(error);
    g_assert_true(ldm_optimiser_add(run.optimiser, "unet", run.params, &error));
    return run;
}

static void run_clear(Run *run)
{
    ldm_optimiser_free(run->optimiser);
    ldm_params_free(run->params);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Run, run_clear)

static void run_step(const Run *run)
{
    guint64 step = ldm_optimiser_state(run->optimiser)->step;
    LdmStep told;

    for (size_t i = 0; i < ldm_optimiser_length(run->optimiser); i++) {
        LdmTrained *trained = ldm_optimiser_at(run->optimiser, i);
        for (size_t k = 0; k < trained->count; k++)
            trained->gradient[k] = (float)sin((double)(step * 31 + i * 7 + k));
    }
    g_assert_true(ldm_optimiser_step(run->optimiser, 1.0 + 0.1 * (double)(step % 3), &told, NULL));
}

static void assert_same(const Run *a, const Run *b)
{
    for (size_t i = 0; i < ldm_optimiser_length(a->optimiser); i++) {
        const LdmTrained *x = ldm_optimiser_at(a->optimiser, i);
        const LdmTrained *y = ldm_optimiser_at(b->optimiser, i);
        size_t bytes = x->count * sizeof(float);
        g_assert_cmpmem(x->weight, bytes, y->weight, bytes);
        g_assert_cmpmem(x->moment1, bytes, y->moment1, bytes);
        g_assert_cmpmem(x->moment2, bytes, y->moment2, bytes);
        g_assert_cmpmem(x->ema, bytes, y->ema, bytes);
    }
    g_assert_cmpmem(ldm_optimiser_state(a->optimiser), sizeof(LdmOptimiserState),
                    ldm_optimiser_state(b->optimiser), sizeof(LdmOptimiserState));
}

static char *folder_new(void)
{
    g_autoptr(GError) error = NULL;
    char *folder = g_dir_make_tmp("pentimento-train-XXXXXX", &error);

    g_assert_no_error(error);
    return folder;
}

static LdmCheckpoints *open_keeping(int keep, const char *folder, const char *settings)
{
    g_autoptr(GError) error = NULL;
    LdmCheckpoints *checkpoints = ldm_checkpoints_open(folder, keep, &error);

    g_assert_no_error(error);
    ldm_checkpoints_set_settings(checkpoints, settings);
    return checkpoints;
}

static LdmCheckpoints *open_folder(const char *folder, const char *settings)
{
    return open_keeping(2, folder, settings);
}

static guint files_in(const char *folder)
{
    g_autofree char *inner = g_build_filename(folder, "checkpoints", NULL);
    g_autoptr(GDir) dir = g_dir_open(inner, 0, NULL);
    guint n = 0;

    while (g_dir_read_name(dir) != NULL)
        n++;
    return n;
}

/* ---- the writer ---- */

static void test_writer(void)
{
    g_autofree char *folder = folder_new();
    g_autofree char *path = g_build_filename(folder, "a.safetensors", NULL);
    g_autoptr(LdmFileWriter) writer = ldm_file_writer_new();
    g_autoptr(LdmFiles) files = ldm_files_new();
    g_autoptr(GError) error = NULL;
    const float values[6] = {1.0f, -2.5f, 0.1f, 3e38f, 65504.0f, 1e-8f};

    ldm_file_writer_declare(writer, "first \"one\"", LDM_F32, 2, (size_t[]){2, 2});
    ldm_file_writer_declare(writer, "second", LDM_F16, 1, (size_t[]){1});
    ldm_file_writer_declare(writer, "third", LDM_BF16, 3, (size_t[]){1, 1, 1});
    g_assert_true(ldm_file_writer_open(writer, path, &error));
    g_assert_true(ldm_file_writer_put(writer, values, 3, &error));
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS)); /* whole or not at all */
    g_assert_true(ldm_file_writer_put(writer, values + 3, 3, &error));
    g_assert_true(ldm_file_writer_close(writer, &error));
    g_assert_no_error(error);

    g_assert_true(ldm_files_add(files, path, &error));
    const LdmFileTensor *t = ldm_files_find(files, "first \"one\"");
    g_assert_cmpmem(t->data, t->bytes, values, 4 * sizeof(float));
    g_assert_cmpint(t->rank, ==, 2);
    t = ldm_files_find(files, "second");
    g_assert_cmpint(t->dtype, ==, LDM_F16);
    g_assert_cmpint(t->data[0] | t->data[1] << 8, ==, 0x7bff);
    t = ldm_files_find(files, "third");
    g_assert_cmpint(t->dtype, ==, LDM_BF16);
    g_assert_cmpint(t->rank, ==, 3);
    made_remove(folder);
}

static void test_writer_faults(void)
{
    g_autofree char *folder = folder_new();
    g_autofree char *path = g_build_filename(folder, "a.safetensors", NULL);
    g_autoptr(LdmFileWriter) writer = ldm_file_writer_new();
    g_autoptr(GError) error = NULL;
    const float values[3] = {70000.0f, 1.0f, 1.0f};

    ldm_file_writer_declare(writer, "a", LDM_F16, 1, (size_t[]){2});
    g_assert_true(ldm_file_writer_open(writer, path, &error));
    g_assert_false(ldm_file_writer_put(writer, values, 1, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_NONFINITE);
    g_clear_error(&error);
    g_assert_false(ldm_file_writer_close(writer, &error)); /* values are missing */
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_clear_error(&error);
    g_assert_false(ldm_file_writer_put(writer, values + 1, 3, &error)); /* too many */
    g_clear_pointer(&writer, ldm_file_writer_free);
    g_clear_error(&error);

    writer = ldm_file_writer_new();
    ldm_file_writer_declare(writer, "a", LDM_F16, 1, (size_t[]){2});
    ldm_file_writer_declare(writer, "a", LDM_F16, 1, (size_t[]){2});
    g_assert_false(ldm_file_writer_open(writer, path, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    made_remove(folder);
}

/* ---- checkpoints ---- */

static void test_resume(void)
{
    g_autofree char *folder = folder_new();
    g_auto(Run) whole = run_new();
    g_auto(Run) first = run_new();
    g_auto(Run) second = run_new();
    g_autoptr(LdmCheckpoints) checkpoints = open_folder(folder, SETTINGS);
    g_autoptr(GError) error = NULL;

    g_assert_false(ldm_checkpoints_exist(checkpoints));
    g_assert_false(ldm_checkpoints_load(checkpoints, &second.optimiser, 1, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_MISSING);
    g_clear_error(&error);
    for (int i = 0; i < 8; i++)
        run_step(&whole);
    for (int i = 0; i < 4; i++) {
        run_step(&first);
        g_assert_true(ldm_checkpoints_save(checkpoints, &first.optimiser, 1, &error));
    }
    g_assert_cmpuint(files_in(folder), ==, 4); /* the last two */
    g_assert_true(ldm_checkpoints_load(checkpoints, &second.optimiser, 1, &error));
    for (int i = 0; i < 4; i++)
        run_step(&second);
    assert_same(&whole, &second);
    made_remove(folder);
}

static void test_refusals(void)
{
    g_autofree char *folder = folder_new();
    g_auto(Run) run = run_new();
    g_autoptr(LdmCheckpoints) checkpoints = open_folder(folder, SETTINGS);
    g_autoptr(GError) error = NULL;

    g_assert_null(ldm_checkpoints_open(folder, 2, &error)); /* locked */
    g_assert_error(error, LDM_ERROR, LDM_ERROR_FILE);
    g_assert_nonnull(strstr(error->message, folder));
    g_clear_error(&error);
    run_step(&run);
    g_assert_true(ldm_checkpoints_save(checkpoints, &run.optimiser, 1, &error));
    g_clear_pointer(&checkpoints, ldm_checkpoints_free);

    checkpoints = open_folder(folder, "seed=2 batch=4");
    g_assert_false(ldm_checkpoints_load(checkpoints, &run.optimiser, 1, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, "(seed=1)"));
    g_clear_error(&error);
    ldm_checkpoints_set_settings(checkpoints, SETTINGS " captions=5 model=6"); /* newer words */
    g_assert_true(ldm_checkpoints_load(checkpoints, &run.optimiser, 1, &error));
    g_assert_true(ldm_checkpoints_save(checkpoints, &run.optimiser, 1, &error));
    ldm_checkpoints_set_settings(checkpoints, SETTINGS " captions=5 model=6 config=8");
    g_assert_true(ldm_checkpoints_load(checkpoints, &run.optimiser, 1, &error));
    ldm_checkpoints_set_settings(checkpoints, SETTINGS " captions=7 model=6 config=8");
    g_assert_false(ldm_checkpoints_load(checkpoints, &run.optimiser, 1, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, "(captions=5)"));
    g_clear_error(&error);
    ldm_checkpoints_set_settings(checkpoints, "batch=4"); /* all that is known by now */
    g_assert_true(ldm_checkpoints_check(checkpoints, &error));
    ldm_checkpoints_set_settings(checkpoints, "seed=2 rate=1");
    g_assert_false(ldm_checkpoints_check(checkpoints, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, "(seed=1)"));
    g_clear_error(&error);
    g_assert_null(ldm_checkpoints_open("/proc/nothing", 2, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_FILE);
    made_remove(folder);
}

static char *newest(const char *folder, const char *ending)
{
    g_autofree char *inner = g_build_filename(folder, "checkpoints", NULL);
    g_autoptr(GDir) dir = g_dir_open(inner, 0, NULL);
    g_autofree char *best = g_strdup("");
    const char *name;

    while ((name = g_dir_read_name(dir)) != NULL) {
        if (g_str_has_suffix(name, ending) && strcmp(name, best) > 0) {
            g_free(best);
            best = g_strdup(name);
        }
    }
    return g_build_filename(inner, best, NULL);
}

static void test_damage(void)
{
    const char *endings[] = {".json", ".safetensors"};

    for (size_t k = 0; k < G_N_ELEMENTS(endings); k++) {
        g_autofree char *folder = folder_new();
        g_auto(Run) run = run_new();
        g_auto(Run) expected = run_new();
        g_autoptr(LdmCheckpoints) checkpoints = open_folder(folder, SETTINGS);
        g_autoptr(GError) error = NULL;
        for (int i = 0; i < 2; i++) {
            run_step(&run);
            g_assert_true(ldm_checkpoints_save(checkpoints, &run.optimiser, 1, &error));
        }
        g_autofree char *path = newest(folder, endings[k]);
        g_assert_cmpint(truncate(path, 40), ==, 0);
        g_assert_true(ldm_checkpoints_load(checkpoints, &run.optimiser, 1, &error)); /* the older */
        g_assert_nonnull(strstr(ldm_checkpoints_passed_over(checkpoints), path));
        run_step(&expected);
        assert_same(&expected, &run);
        /* the damaged one is replaced in its turn */
        run_step(&run);
        g_assert_true(ldm_checkpoints_save(checkpoints, &run.optimiser, 1, &error));
        run_step(&expected);
        g_assert_true(ldm_checkpoints_load(checkpoints, &run.optimiser, 1, &error));
        g_assert_null(ldm_checkpoints_passed_over(checkpoints));
        assert_same(&expected, &run);
        made_remove(folder);
    }
}

/* One that a newer program wrote is no damage: nothing goes on from an older one, which would then
 * take its place. */
static void test_version(void)
{
    g_autofree char *folder = folder_new();
    g_auto(Run) run = run_new();
    g_autoptr(LdmCheckpoints) checkpoints = open_folder(folder, SETTINGS);
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;

    for (int i = 0; i < 2; i++) {
        run_step(&run);
        g_assert_true(ldm_checkpoints_save(checkpoints, &run.optimiser, 1, &error));
    }
    g_autofree char *path = newest(folder, ".json");
    g_assert_true(g_file_get_contents(path, &text, NULL, &error));
    g_autoptr(GString) other = g_string_new(text);
    g_assert_cmpuint(g_string_replace(other, "\"version\" : 1", "\"version\" : 2", 0), ==, 1);
    g_assert_cmpuint(g_string_replace(other, "\"state\"", "\"estate\"", 0), ==, 1);
    g_assert_true(g_file_set_contents(path, other->str, -1, &error));
    g_assert_false(ldm_checkpoints_load(checkpoints, &run.optimiser, 1, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_UNSUPPORTED);
    g_assert_nonnull(strstr(error->message, path));
    made_remove(folder);
}

/* One that cannot be read and lies ahead takes nobody's place, also where one alone is kept. */
static void test_damage_ahead(void)
{
    g_autofree char *folder = folder_new();
    g_auto(Run) run = run_new();
    g_auto(Run) expected = run_new();
    g_autoptr(LdmCheckpoints) checkpoints = open_folder(folder, SETTINGS);
    g_autoptr(GError) error = NULL;

    for (int i = 0; i < 4; i++) {
        run_step(&run);
        if (i % 3 == 0)
            g_assert_true(ldm_checkpoints_save(checkpoints, &run.optimiser, 1, &error));
    }
    g_autofree char *ahead = newest(folder, ".safetensors");
    g_assert_cmpint(truncate(ahead, 40), ==, 0);
    g_clear_pointer(&checkpoints, ldm_checkpoints_free);
    checkpoints = open_keeping(1, folder, SETTINGS);
    g_assert_true(ldm_checkpoints_load(checkpoints, &run.optimiser, 1, &error));
    run_step(&run);
    g_assert_true(ldm_checkpoints_save(checkpoints, &run.optimiser, 1, &error));
    g_assert_false(g_file_test(ahead, G_FILE_TEST_EXISTS));
    run_step(&run);
    g_assert_true(ldm_checkpoints_load(checkpoints, &run.optimiser, 1, &error));
    run_step(&expected);
    run_step(&expected);
    assert_same(&expected, &run);
    made_remove(folder);
}

/* A limit on the size of files stands for the full disk. */
static void test_full_disk(void)
{
    g_autofree char *folder = folder_new();
    g_auto(Run) run = run_new();
    g_auto(Run) expected = run_new();
    g_autoptr(LdmCheckpoints) checkpoints = open_folder(folder, SETTINGS);
    g_autoptr(GError) error = NULL;
    struct rlimit old, small = {20000, 20000};

    run_step(&run);
    run_step(&expected);
    g_assert_true(ldm_checkpoints_save(checkpoints, &run.optimiser, 1, &error));
    run_step(&run);
    g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &old), ==, 0);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &small), ==, 0);
    g_assert_false(ldm_checkpoints_save(checkpoints, &run.optimiser, 1, &error));
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &old), ==, 0);
    g_assert_error(error, LDM_ERROR, LDM_ERROR_FILE);
    g_assert_cmpuint(files_in(folder), ==, 2); /* nothing half-written remains */
    g_clear_error(&error);
    g_assert_true(ldm_checkpoints_load(checkpoints, &run.optimiser, 1, &error));
    assert_same(&expected, &run);
    made_remove(folder);
}

/* The run that is killed: resumes, says so, trains and saves after every step. */
static int child(const char *folder)
{
    g_auto(Run) run = run_new();
    g_autoptr(LdmCheckpoints) checkpoints = ldm_checkpoints_open(folder, 2, NULL);

    if (checkpoints == NULL)
        return 1;
    ldm_checkpoints_set_settings(checkpoints, SETTINGS);
    if ((ldm_checkpoints_exist(checkpoints) &&
         !ldm_checkpoints_load(checkpoints, &run.optimiser, 1, NULL)))
        return 1;
    if (write(STDOUT_FILENO, ".", 1) != 1)
        return 1;
    for (;;) {
        run_step(&run);
        if (!ldm_checkpoints_save(checkpoints, &run.optimiser, 1, NULL))
            return 1;
    }
}

static void kill_once(const char *folder, gulong microseconds)
{
    const char *argv[] = {self, "--child", folder, NULL};
    g_autoptr(GError) error = NULL;
    g_autoptr(GSubprocess) process =
        g_subprocess_newv(argv, G_SUBPROCESS_FLAGS_STDOUT_PIPE, &error);
    char ready;

    g_assert_no_error(error);
    g_assert_cmpint(
        g_input_stream_read(g_subprocess_get_stdout_pipe(process), &ready, 1, NULL, &error), ==, 1);
    g_usleep(microseconds);
    g_subprocess_send_signal(process, SIGKILL);
    g_assert_true(g_subprocess_wait(process, NULL, &error));
    g_assert_true(g_subprocess_get_if_signaled(process)); /* it did not fail by itself before */
}

static void test_kills(void)
{
    g_autofree char *folder = folder_new();
    g_auto(Run) expected = run_new();
    guint64 before = 0;

    for (int i = 0; i < KILLS; i++) {
        kill_once(folder, (gulong)g_test_rand_int_range(0, 15000));
        g_auto(Run) run = run_new();
        g_autoptr(LdmCheckpoints) checkpoints = open_folder(folder, SETTINGS);
        g_autoptr(GError) error = NULL;
        if (!ldm_checkpoints_exist(checkpoints)) {
            g_assert_cmpuint(before, ==, 0);
            continue;
        }
        g_assert_true(ldm_checkpoints_load(checkpoints, &run.optimiser, 1, &error));
        guint64 step = ldm_optimiser_state(run.optimiser)->step;
        g_assert_cmpuint(step, >=, before);
        before = step;
        while (ldm_optimiser_state(expected.optimiser)->step < step)
            run_step(&expected);
        assert_same(&expected, &run);
    }
    g_assert_cmpuint(before, >, 0);
    g_test_message("%d kills, %u steps survived", KILLS, (guint)before);
    made_remove(folder);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--child") == 0)
        return child(argv[2]);
    self = argv[0];
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/safetensors-write/values", test_writer);
    g_test_add_func("/safetensors-write/faults", test_writer_faults);
    g_test_add_func("/checkpoint/resume", test_resume);
    g_test_add_func("/checkpoint/refusals", test_refusals);
    g_test_add_func("/checkpoint/damage", test_damage);
    g_test_add_func("/checkpoint/version", test_version);
    g_test_add_func("/checkpoint/damage-ahead", test_damage_ahead);
    g_test_add_func("/checkpoint/full-disk", test_full_disk);
    g_test_add_func("/checkpoint/kills", test_kills);
    return g_test_run();
}
