/* The plan: sizes, bytes and FLOPs before anything is allocated, and how near they are to what
 * a run then takes. */
#include "base/folder.h"
#include "base/parallel.h"
#include "ldm.h"
#include "pipeline/plan.h"
#include "made-array.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <malloc.h>
#include <string.h>
#include <unistd.h>

static LdmModel *model;

static LdmRequest *generate(int width, int height)
{
    LdmRequest *request = ldm_request_new(LDM_TASK_GENERATE);
    request->width = width;
    request->height = height;
    request->steps = 2;
    return request;
}

static void test_sizes(void)
{
    g_autoptr(LdmRequest) request = generate(0, 0);
    g_autoptr(GError) error = NULL;
    LdmPlan plan;
    const LdmModelInfo *info = ldm_model_info(model);
    g_assert_true(ldm_plan(model, request, &plan, &error));
    g_assert_cmpint(plan.latent_width, ==, info->native_size / info->downsampling);
    g_assert_cmpuint(plan.weight_bytes, ==, info->weight_bytes);
    g_assert_cmpuint(plan.free_bytes, >, 0);
    request->width = 65;
    request->height = 1;
    g_assert_true(ldm_plan(model, request, &plan, &error));
    g_assert_cmpint(plan.latent_width, ==, 64 / info->downsampling + 1);
    g_assert_cmpint(plan.latent_height, ==, 1);
}

static double denoise_flops(const LdmRequest *request)
{
    g_autoptr(GError) error = NULL;
    LdmPlan plan;
    g_assert_true(ldm_plan(model, request, &plan, &error));
    g_assert_no_error(error);
    return plan.flops[LDM_STAGE_DENOISE];
}

/* FLOPs of the loop: as many for every step, but for the prompt's keys and values, made once; with
 * guidance nearly twice as many, since both branches share their beginning; less with strength. */
static void test_flops(void)
{
    g_autoptr(LdmRequest) request = ldm_request_new(LDM_TASK_IMG2IMG);
    g_autoptr(GError) error = NULL;
    LdmPlan plan;
    double flops[4], steps[] = {1, 10, 20, 30};
    request->picture = array(64, 64, 4, 0.5f);
    request->strength = 1.0;
    for (int i = 0; i < 4; i++) {
        request->steps = (int)steps[i];
        flops[i] = denoise_flops(request);
    }
    double step = (flops[3] - flops[2]) / 10.0, once = flops[0] - step;
    g_assert_cmpfloat(step, >, 1e8);
    g_assert_cmpfloat_with_epsilon((flops[2] - flops[1]) / 10.0 / step, 1.0, 1e-9);
    g_assert_cmpfloat_with_epsilon((flops[1] - flops[0]) / 9.0 / step, 1.0, 1e-9);
    g_assert_cmpfloat(once, >, 0.01 * step);
    g_assert_cmpfloat(once, <, 0.2 * step);
    request->guidance = 1.0;
    double single = denoise_flops(request);
    g_assert_cmpfloat(single / flops[3], >, 0.5);
    g_assert_cmpfloat(single / flops[3], <, 0.6);
    request->strength = 0.5;
    g_assert_cmpfloat_with_epsilon((single - denoise_flops(request)) / single, 0.5, 0.01);
    g_assert_true(ldm_plan(model, request, &plan, &error));
    g_assert_cmpfloat(plan.flops[LDM_STAGE_ENCODE], >, 1e6);
    g_assert_cmpfloat(plan.flops[LDM_STAGE_DECODE], >, plan.flops[LDM_STAGE_ENCODE] / 2);
}

/* What the caller will hold beside it leaves less room, and makes tiles sooner. */
static void test_held(void)
{
    g_autoptr(LdmRequest) request = generate(1024, 1024);
    LdmPlan alone, beside;
    g_assert_true(ldm_line_plan_alone(model, request, NULL, 0, &alone, NULL));
    g_assert_true(ldm_line_plan_alone(model, request, NULL, alone.free_bytes, &beside, NULL));
    g_assert_cmpuint(beside.work_bytes, <, alone.work_bytes);
    g_assert_cmpuint(beside.free_bytes, >, 0); /* as it is before */
}

/* Where the whole does not fit, the autoencoder is planned in tiles; where the loop does not, the
 * words say how much. */
static void test_memory(void)
{
    g_autoptr(LdmRequest) request = generate(2048, 1024);
    g_autoptr(GError) error = NULL;
    LdmLinePlan whole, tiled;
    g_assert_true(ldm_line_plan(model, request, NULL, G_MAXUINT64, &whole, &error));
    g_assert_cmpuint(whole.decode_tile, ==, 0);
    g_assert_true(
        ldm_line_plan(model, request, NULL, whole.bytes[LDM_STAGE_DECODE] / 2, &tiled, &error));
    g_assert_cmpuint(tiled.decode_tile, >, 0);
    g_assert_cmpuint(tiled.bytes[LDM_STAGE_DECODE], <, whole.bytes[LDM_STAGE_DECODE] / 2);
    g_assert_true(ldm_plan_fits(ldm_line_plan_peak(&whole), ldm_line_plan_peak(&whole), &error));
    g_assert_false(ldm_plan_fits(3100000000, 2400000000, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_MEMORY);
    g_assert_nonnull(strstr(error->message, "3.1"));
    g_assert_nonnull(strstr(error->message, "2.4"));
}

static void test_refused(void)
{
    g_autoptr(LdmRequest) request = ldm_request_new(LDM_TASK_INPAINT);
    g_autoptr(GError) error = NULL;
    LdmPlan plan;
    const LdmModelInfo *info = ldm_model_info(model);
    size_t side = (size_t)info->native_size;
    int cells = info->native_size / info->downsampling;
    g_autofree char *shape =
        g_strdup_printf("[1, %d, %d, %d]", cells, cells, info->latent_channels);
    request->picture = array(side, side, 4, 0.5f);
    g_assert_false(ldm_plan(model, request, &plan, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_MISSING);
    g_clear_error(&error);
    request->mask = array(side, side, 1, 0.0f);
    g_assert_false(ldm_plan(model, request, &plan, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_clear_error(&error);
    ldm_tensor_f32(request->mask)[0] = 1.0f;
    request->latent = array(3, 3, 4, 0.0f);
    g_assert_false(ldm_plan(model, request, &plan, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_SHAPE);
    g_assert_nonnull(strstr(error->message, shape));
}

/* A line of /proc/self/status, in bytes; 0 where there is none. */
static size_t status_bytes(const char *key)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents("/proc/self/status", &text, NULL, NULL))
        return 0;
    const char *line = strstr(text, key);
    return line == NULL ? 0 : g_ascii_strtoull(line + strlen(key), NULL, 10) * 1024;
}

static void run(const LdmRequest *request)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmResult) result = ldm_generate(model, request, NULL, &error);
    g_assert_no_error(error);
    g_assert_nonnull(result);
}

static void reset_highest(void)
{
    g_autoptr(GError) error = NULL;
    g_file_set_contents_full("/proc/self/clear_refs", "5", 1, G_FILE_SET_CONTENTS_NONE, 0600,
                             &error);
    g_assert_no_error(error);
}

/* Lets the system forget a file, or a folder's files, that were just written: it may have them in
 * pieces of megabytes then, all of which become resident where one page of them is touched. */
static void forget_cached(const char *path)
{
    g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
    const char *name;
    int fd;
    if (folder == NULL && (fd = open(path, O_RDONLY | O_CLOEXEC)) >= 0) {
        fsync(fd);
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
    while (folder != NULL && (name = g_dir_read_name(folder)) != NULL) {
        g_autofree char *inner = g_build_filename(path, name, NULL);
        forget_cached(inner);
    }
}

/* Resident pages at the highest against the plan, of which `held` are there before. A first run
 * touches code; one thread, since the scratch memory of a thread that never comes to work stays
 * untouched. */
static void check_truth_beside(const LdmRequest *request, size_t held)
{
    g_autoptr(GError) error = NULL;
    LdmPlan plan;
    g_assert_true(ldm_plan(model, request, &plan, &error));
    run(request);
    size_t before = status_bytes("VmRSS:");
    reset_highest();
    run(request);
    double used = (double)(status_bytes("VmHWM:") - before);
    double planned = (double)plan.peak_bytes - (double)held;
    g_test_message("planned %.2f MB, used %.2f MB", planned * 1e-6, used * 1e-6);
    g_assert_cmpfloat(used, <=, 1.05 * planned + 2e5); /* and 50 pages */
    g_assert_cmpfloat(used, >=, 0.95 * planned - 2e5);
}

static void check_truth(const LdmRequest *request)
{
    check_truth_beside(request, 0);
}

/* Moves the data of all weights of a folder by one byte, as a space in their headers does. */
static void shift(const char *path)
{
    g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
    g_autofree char *text = NULL;
    const char *name;
    gsize bytes;
    guint64 header;
    while (folder != NULL && (name = g_dir_read_name(folder)) != NULL) {
        g_autofree char *inner = g_build_filename(path, name, NULL);
        shift(inner);
    }
    if (!g_str_has_suffix(path, ".safetensors") || !g_file_get_contents(path, &text, &bytes, NULL))
        return;
    memcpy(&header, text, 8);
    g_autoptr(GString) moved = g_string_new_len(text, (gssize)bytes);
    g_string_insert_c(moved, (gssize)(8 + header), ' ');
    header++;
    memcpy(moved->str, &header, 8);
    g_assert_true(g_file_set_contents(path, moved->str, (gssize)moved->len, NULL));
}

/* What a model is resident with once it is loaded. */
static size_t load(const char *path)
{
    g_autoptr(GError) error = NULL;
    size_t before = status_bytes("VmRSS:");
    model = ldm_model_load(path, &error);
    g_assert_no_error(error);
    return status_bytes("VmRSS:") - before;
}

/* Weights whose place in the file no processor may read from are copied: once, not twice, and the
 * plan knows. */
static void check_copied(LdmRequest *request)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *folder = g_dir_make_tmp("pentimento-plan-XXXXXX", NULL);
    LdmModel *source = model;
    g_assert_true(ldm_convert(source, folder, LDM_F16, false, NULL, &error));
    forget_cached(folder);
    size_t mapped = load(folder);
    ldm_model_unref(model);
    shift(folder);
    forget_cached(folder);
    size_t copied = load(folder), weights = ldm_model_info(model)->weight_bytes;
    g_test_message("loaded: %zu mapped, %zu copied, %zu of weights", mapped, copied, weights);
    g_assert_cmpfloat_with_epsilon((double)copied - (double)mapped, (double)weights,
                                   0.05 * (double)weights);
    check_truth_beside(request, weights);
    request->precision = LDM_PRECISION_EXACT;
    check_truth_beside(request, weights);
    request->precision = LDM_PRECISION_Q8;
    ldm_model_unref(model);
    model = source;
    ldm_folder_clear(folder, NULL);
}

/* The same of a folder with 8-bit weights, which are mapped, or expanded where they are not wanted
 * so. */
static void check_stored(LdmRequest *request)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *folder = g_dir_make_tmp("pentimento-plan-XXXXXX", NULL);
    LdmModel *source = model;
    g_assert_true(ldm_convert(source, folder, LDM_Q8, false, NULL, &error));
    forget_cached(folder);
    model = ldm_model_load(folder, &error);
    g_assert_no_error(error);
    check_truth(request);
    request->precision = LDM_PRECISION_EXACT;
    check_truth(request);
    request->precision = LDM_PRECISION_Q8;
    ldm_model_unref(model);
    model = source;
    ldm_folder_clear(folder, NULL);
}

static void test_truth(void)
{
    g_autoptr(LdmRequest) made = generate(256, 192);
    g_autoptr(LdmRequest) guided = generate(128, 128);
    g_autoptr(LdmRequest) reduced = ldm_request_new(LDM_TASK_IMG2IMG);
    g_autoptr(LdmRequest) painted = ldm_request_new(LDM_TASK_INPAINT);
    if (g_getenv("PENTIMENTO_SANITIZED") != NULL || status_bytes("VmHWM:") == 0 ||
        g_access("/proc/self/clear_refs", W_OK) != 0) {
        g_test_skip("resident memory says nothing here");
        return;
    }
    ldm_set_threads(1);
    mallopt(M_MMAP_THRESHOLD, 65536); /* what is freed leaves the process, */
    mallopt(M_PERTURB, 0);            /* and what is allocated is not touched by that */
    made->guidance = 1.0;
    reduced->picture = array(1500, 2000, 4, 0.5f);
    painted->picture = array(300, 300, 4, 0.5f);
    painted->mask = array(300, 300, 1, 0.0f);
    for (size_t i = 0; i < 300 * 50; i++)
        ldm_tensor_f32(painted->mask)[300 * 100 + i] = i % 300 < 100 ? 1.0f : 0.0f;
    reduced->steps = painted->steps = 2;
    check_truth(made);
    check_truth(guided);
    check_truth(reduced);
    check_truth(painted);
    guided->precision = LDM_PRECISION_Q8;
    check_truth(guided);
    check_stored(guided);
    check_copied(guided);
    painted->steps = 6; /* all that may be stored is */
    painted->guidance_end = 0.5;
    painted->reuse = 2;
    painted->merge = 0.5;
    painted->surroundings = 8;
    check_truth(painted);
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_unsetenv("PENTIMENTO_THREADS");
    g_test_init(&argc, &argv, NULL);
    g_autofree char *path = ldm_model_find(NULL, &error);
    g_assert_no_error(error);
    forget_cached(path);
    model = ldm_model_load(NULL, &error);
    g_assert_no_error(error);
    g_test_add_func("/plan/sizes", test_sizes);
    g_test_add_func("/plan/flops", test_flops);
    g_test_add_func("/plan/held", test_held);
    g_test_add_func("/plan/memory", test_memory);
    g_test_add_func("/plan/refused", test_refused);
    g_test_add_func("/plan/truth", test_truth);
    int status = g_test_run();
    ldm_model_unref(model);
    return status;
}
