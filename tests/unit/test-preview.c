/* Previews: the linear map, and runs of the default model that are watched by it and by a tiny
 * decoder: the same result to the bit, and ended early the picture that was seen. */
#include "decode/rgb-map.h"
#include "decode/tiny-decoder.h"
#include "made-array.h"
#include "made-model.h"
#include "pipeline/preview-map.h"
#include "pipeline/preview.h"
#include "weights/tiny.h"

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

static LdmModel *model;
static char *folder; /* also the cache */

/* ---- the map ---- */

static float noise(guint32 *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / (float)(1u << 24) - 0.5f;
}

/* What is linear is found again; a channel that is always zero does not matter. */
static void test_map(void)
{
    static const float truth[4][3] = {
        {0.3f, -0.2f, 0.1f}, {-0.5f, 0.4f, 0.2f}, {0.0f, 0.0f, 0.0f}, {0.5f, 0.6f, 0.4f}};
    g_autoptr(LdmTensor) z = ldm_tensor_new_nhwc(2, 9, 7, 3, NULL);
    g_autoptr(LdmTensor) rgb = ldm_tensor_new_nhwc(2, 9, 7, 3, NULL);
    g_autoptr(GError) error = NULL;
    guint32 state = 1;

    for (size_t i = 0; i < 2 * 9 * 7; i++) {
        float *from = ldm_tensor_f32(z) + i * 3;
        from[0] = 4.0f * noise(&state);
        from[1] = 4.0f * noise(&state) + from[0];
        for (size_t c = 0; c < 3; c++)
            ldm_tensor_f32(rgb)[i * 3 + c] =
                truth[0][c] * from[0] + truth[1][c] * from[1] + truth[3][c];
    }
    g_autoptr(LdmTensor) map = ldm_rgb_map_fit(z, rgb, &error);
    g_assert_no_error(error);
    g_assert_true(ldm_rgb_map_fits(map, 3));
    g_assert_false(ldm_rgb_map_fits(map, 4));
    for (size_t i = 0; i < 12; i++)
        g_assert_cmpfloat_with_epsilon(ldm_tensor_f32(map)[i], truth[i / 3][i % 3], 1e-3);
    g_autoptr(LdmTensor) got = ldm_rgb_map_apply(map, z, &error);
    g_assert_no_error(error);
    for (size_t i = 0; i < ldm_tensor_count(rgb); i++)
        g_assert_cmpfloat_with_epsilon(ldm_tensor_f32(got)[i], ldm_tensor_f32(rgb)[i], 2e-3);
    ldm_tensor_f32(z)[5] = NAN;
    g_assert_null(ldm_rgb_map_fit(z, rgb, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_NONFINITE);
}

/* A red disc before a slope from blue to green, [1, side, side, 3] in -1..1. */
static LdmTensor *scene(size_t side)
{
    LdmTensor *x = ldm_tensor_new_nhwc(1, side, side, 3, NULL);
    double middle = (double)side / 2.0;

    for (size_t i = 0; i < side * side; i++) {
        double v = (double)(i / side) / (double)side;
        bool inside = hypot((double)(i / side) - middle, (double)(i % side) - middle) < middle / 2;
        double colours[3] = {inside ? 0.9 : 0.1, inside ? 0.1 : v, inside ? 0.1 : 1.0 - v};
        for (size_t c = 0; c < 3; c++)
            ldm_tensor_f32(x)[i * 3 + c] = (float)(2.0 * colours[c] - 1.0);
    }
    return x;
}

static double psnr(double squares, size_t n)
{
    return -10.0 * log10(squares / (double)n);
}

/* The map of the model shows a scene that it was not made from. */
static void test_map_of_model(void)
{
    const size_t cells = 16, f = (size_t)ldm_model_info(model)->downsampling;
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmTensor) map = ldm_preview_map_make(model, NULL, &error);
    g_assert_no_error(error);
    g_autoptr(LdmTensor) x = scene(cells * f);
    g_autoptr(LdmTensor) z = ldm_encode(model, x, -1, NULL, &error);
    g_autoptr(LdmTensor) rgb = ldm_rgb_map_apply(map, z, &error);
    double squares = 0.0, grey = 0.0;

    g_assert_no_error(error);
    for (size_t i = 0; i < cells * cells * 3; i++) {
        size_t cell = i / 3, row = cell / cells * f, column = cell % cells * f;
        double mean = 0.0;
        for (size_t p = 0; p < f * f; p++)
            mean += ldm_tensor_f32(x)[((row + p / f) * cells * f + column + p % f) * 3 + i % 3];
        mean = (mean / (double)(f * f) + 1.0) / 2.0;
        squares += pow(ldm_tensor_f32(rgb)[i] - mean, 2.0);
        grey += pow(0.5 - mean, 2.0);
    }
    g_test_message("map: %.1f dB, plain grey: %.1f dB", psnr(squares, cells * cells * 3),
                   psnr(grey, cells * cells * 3));
    g_assert_cmpfloat(psnr(squares, cells * cells * 3), >, 17.0);
}

static guint cached(void)
{
    g_autofree char *path = g_build_filename(folder, "pentimento", "previews", NULL);
    GDir *dir = g_dir_open(path, 0, NULL);
    guint count = 0;

    while (dir != NULL && g_dir_read_name(dir) != NULL)
        count++;
    if (dir != NULL)
        g_dir_close(dir);
    return count;
}

/* A kept map is taken for no latents of another scale. */
static void test_map_of_scale(void)
{
    g_autoptr(GError) error = NULL;
    LdmVaeConfig *vae = &model->config.vae, own = *vae;

    g_autoptr(LdmTensor) kept = ldm_preview_map(model, NULL, &error);
    vae->scale_factor *= 2.0;
    g_autoptr(LdmTensor) scaled = ldm_preview_map(model, NULL, &error);
    vae->shift_factor += 0.5;
    g_autoptr(LdmTensor) shifted = ldm_preview_map(model, NULL, &error);
    *vae = own;
    g_assert_no_error(error);
    size_t constant = (size_t)own.latent_channels * 3;
    g_assert_cmpfloat(*ldm_tensor_f32(scaled), !=, *ldm_tensor_f32(kept));
    g_assert_cmpfloat(ldm_tensor_f32(shifted)[constant], !=, ldm_tensor_f32(scaled)[constant]);
    g_assert_cmpuint(cached(), ==, 3);
}

/* ---- runs ---- */

typedef struct {
    int count, finish_at, width, height;
    GCancellable *finish;
    guint8 *pixels; /* of the last one */
} Watch;

static void on_preview(const LdmPreview *preview, gpointer data)
{
    Watch *watch = data;
    gsize bytes = (gsize)preview->width * (gsize)preview->height * 3;

    g_assert_cmpint(preview->step, ==, ++watch->count);
    g_assert_cmpint(preview->steps, ==, 6);
    watch->width = preview->width;
    watch->height = preview->height;
    g_free(watch->pixels);
    watch->pixels = g_memdup2(preview->pixels, bytes);
    if (preview->step == watch->finish_at)
        g_cancellable_cancel(watch->finish);
}

static LdmRequest *request_new(int width, int height)
{
    LdmRequest *request = ldm_request_new(LDM_TASK_GENERATE);

    request->width = width;
    request->height = height;
    request->steps = 6;
    request->seed = 11;
    request->sampler = LDM_SAMPLER_EULER_A;
    g_free(request->prompt);
    request->prompt = g_strdup("a red apple");
    return request;
}

static LdmResult *run(const LdmRequest *request, const LdmMonitor *monitor)
{
    g_autoptr(GError) error = NULL;
    LdmResult *result = ldm_generate(model, request, monitor, &error);

    g_assert_no_error(error);
    return result;
}

static void assert_same(const LdmResult *a, const LdmResult *b)
{
    size_t bytes = ldm_tensor_count(a->pixels) * sizeof(float);

    g_assert_cmpmem(a->pixels->data, bytes, b->pixels->data, bytes);
}

static void test_watched(void)
{
    g_autoptr(LdmRequest) request = request_new(50, 64);
    Watch watch = {0};
    LdmMonitor monitor = {.preview = on_preview, .preview_data = &watch};

    g_autoptr(LdmResult) alone = run(request, NULL);
    g_assert_cmpuint(cached(), ==, 0); /* nobody asked */
    g_autoptr(LdmResult) watched = run(request, &monitor);
    g_assert_cmpint(watch.count, ==, 6);
    g_assert_cmpint(watch.width, ==, 50);
    g_assert_cmpint(watch.height, ==, 64);
    g_assert_cmpint(watched->steps, ==, 6);
    g_assert_cmpint(watched->planned_steps, ==, 6);
    g_assert_cmpuint(cached(), ==, 1);
    assert_same(watched, alone);
    watch.count = 0;
    monitor.preview_seconds = 3600.0; /* the first one only */
    g_autoptr(LdmResult) again = run(request, &monitor);
    g_assert_cmpint(watch.count, ==, 1);
    assert_same(again, alone);
    g_free(watch.pixels);
}

/* The window larger than a preview may be: reduced, in its proportions. */
static void test_large(void)
{
    g_autoptr(LdmRequest) request = request_new(288, 96);
    g_autoptr(GCancellable) finish = g_cancellable_new();
    Watch watch = {.finish_at = 1, .finish = finish};
    const LdmMonitor monitor = {.preview = on_preview, .preview_data = &watch, .finish = finish};

    g_autoptr(LdmResult) result = run(request, &monitor);
    g_assert_cmpint(watch.width, ==, 256);
    g_assert_cmpint(watch.height, ==, 85);
    g_free(watch.pixels);
}

/* PSNR of a preview as large as the picture. */
static double preview_psnr(const Watch *watch, const LdmResult *result)
{
    size_t n = (size_t)(watch->width * watch->height);
    double squares = 0.0;

    for (size_t i = 0; i < n * 3; i++)
        squares += pow(watch->pixels[i] / 255.0 -
                           (double)ldm_tensor_f32(result->pixels)[i / 3 * 4 + i % 3],
                       2.0);
    return psnr(squares, n * 3);
}

static void test_finished(void)
{
    g_autoptr(LdmRequest) request = request_new(64, 64);
    g_autoptr(GCancellable) finish = g_cancellable_new();
    Watch watch = {.finish_at = 4, .finish = finish};
    LdmMonitor monitor = {.preview = on_preview, .preview_data = &watch, .finish = finish};

    g_autoptr(LdmResult) early = run(request, &monitor);
    g_assert_cmpint(watch.count, ==, 4);
    g_assert_cmpint(early->steps, ==, 4);
    g_assert_cmpint(early->planned_steps, ==, 6);
    g_assert_cmpint(early->evaluations, ==, 8);
    g_test_message("finished: %.1f dB from its last preview", preview_psnr(&watch, early));
    g_assert_cmpfloat(preview_psnr(&watch, early), >, 12.0);
    g_autoptr(LdmResult) whole = run(request, NULL);
    g_assert_cmpint(memcmp(whole->pixels->data, early->pixels->data,
                           ldm_tensor_count(whole->pixels) * sizeof(float)),
                    !=, 0);
    monitor = (LdmMonitor){.finish = finish}; /* asked for before it has begun: one step */
    g_autoptr(LdmResult) first = run(request, &monitor);
    g_assert_cmpint(first->steps, ==, 1);
    g_free(watch.pixels);
}

/* What a cancel leaves half made is shown to nobody. */
static void test_cancelled(void)
{
    const size_t latent[] = {1, 8, 8, (size_t)ldm_model_info(model)->latent_channels};
    const LdmPrepared geometry = {.H = 64, .W = 64, .inner_h = 64, .inner_w = 64};
    g_autoptr(LdmTensor) x0 = ldm_tensor_new(LDM_F32, 4, latent, NULL);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(GError) error = NULL;
    Watch watch = {0};
    const LdmMonitor monitor = {
        .preview = on_preview, .preview_data = &watch, .cancellable = cancellable};
    LdmPreviews previews = {.monitor = &monitor, .geometry = &geometry};
    size_t bytes;

    ldm_previews_open(&previews, model, latent, &bytes, &error);
    g_assert_no_error(error);
    ldm_previews_show(&previews, 1, 6, x0);
    g_assert_cmpint(watch.count, ==, 1);
    g_cancellable_cancel(cancellable);
    ldm_previews_show(&previews, 2, 6, x0);
    g_assert_cmpint(watch.count, ==, 1);
    g_free(watch.pixels);
}

/* ---- tiny decoders ---- */

/* Random weights under TAESD's names. */
static void write_tiny(const char *path, const LdmTinyConfig *config)
{
    const LdmNaming naming = {.table = LDM_NAMES_TAESD};
    g_autoptr(LdmParams) params = ldm_params_new();
    MadeModel made = {.data = g_ptr_array_new_with_free_func(g_free)};
    MadeFile *file = made_file_new();

    ldm_tiny_decoder_free(ldm_tiny_decoder_new(config, params));
    made_fill(&made, params);
    for (size_t i = 0; i < ldm_params_length(params); i++) {
        const LdmParam *param = ldm_params_at(params, i);
        for (size_t k = 0; k < made_bytes(param) / 2; k++) /* 1/32 to 1/16 in size */
            ((guint16 *)param->data)[k] = (((guint16 *)param->data)[k] & 0x83ff) | 0x2800;
        made_add_param(file, params, param, &naming, "");
    }
    made_file_write(file, path, 0);
    g_ptr_array_unref(made.data);
}

static void test_tiny(void)
{
    const LdmModelInfo *info = ldm_model_info(model);
    LdmTinyConfig good = {.latent_channels = info->latent_channels, .channels = 8, .levels = 1};
    while (ldm_tiny_factor(&good) < (size_t)info->downsampling)
        good.blocks[good.levels++ - 1] = 1;
    LdmTinyConfig wrong = good;
    wrong.blocks[wrong.levels++ - 1] = 1;
    g_autofree char *says = g_strdup_printf("%zu pixels", ldm_tiny_factor(&wrong));
    g_autofree char *path = g_build_filename(folder, "tiny.safetensors", NULL);
    g_autofree char *other = g_build_filename(folder, "wrong.safetensors", NULL);
    g_autoptr(LdmRequest) request = request_new(64, 64);
    g_autoptr(GError) error = NULL;
    Watch by_map = {0}, by_tiny = {0};
    LdmMonitor monitor = {.preview = on_preview, .preview_data = &by_map};

    write_tiny(path, &good);
    write_tiny(other, &wrong);
    g_autoptr(LdmResult) alone = run(request, &monitor);
    monitor.preview_decoder = path;
    monitor.preview_data = &by_tiny;
    g_autoptr(LdmResult) watched = run(request, &monitor);
    g_assert_cmpint(by_tiny.count, ==, 6);
    assert_same(alone, watched);
    g_assert_cmpint(memcmp(by_map.pixels, by_tiny.pixels, 64 * 64 * 3), !=, 0);
    monitor.preview_decoder = other;
    g_assert_null(ldm_generate(model, request, &monitor, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_SHAPE);
    g_assert_nonnull(strstr(error->message, says));
    g_free(by_map.pixels);
    g_free(by_tiny.pixels);
}

/* The default model comes with one, and needs no map. */
static void test_own(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmModel) whole = ldm_model_load(NULL, &error);
    g_assert_no_error(error);
    g_autoptr(LdmRequest) request = request_new(64, 64);
    Watch by_map = {0}, by_own = {0};
    LdmMonitor monitor = {.preview = on_preview, .preview_data = &by_map};
    guint maps = cached();

    g_autoptr(LdmResult) alone = run(request, &monitor);
    monitor.preview_data = &by_own;
    g_autoptr(LdmResult) watched = ldm_generate(whole, request, &monitor, &error);
    g_assert_no_error(error);
    assert_same(alone, watched);
    g_assert_cmpuint(cached(), ==, MAX(maps, 1));
    double map = preview_psnr(&by_map, alone), own = preview_psnr(&by_own, alone);
    g_test_message("the last preview, from the picture: map %.1f dB, own decoder %.1f dB", map,
                   own);
    g_assert_cmpfloat(own, >, map + 3.0);
    g_free(by_map.pixels);
    g_free(by_own.pixels);
}

/* Mean brightness of the window's left and right halves, 0 and 1. */
static void halves_of_preview(const Watch *watch, double halves[2])
{
    int n = watch->width * watch->height;

    for (int i = 0; i < n * 3; i++)
        halves[i / 3 % watch->width >= watch->width / 2] += watch->pixels[i] / 255.0 / n / 1.5;
}

static void halves_of_result(const LdmResult *result, double halves[2])
{
    size_t n = ldm_tensor_count(result->pixels) / 4, width = result->pixels->shape[2];

    for (size_t i = 0; i < n * 3; i++)
        halves[i / 3 % width >= width / 2] +=
            (double)ldm_tensor_f32(result->pixels)[i / 3 * 4 + i % 3] / (double)n / 1.5;
}

/* Of a large latent the tiny decoder sees means of cells: the same picture, and no more memory. */
static void test_own_large(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmModel) whole = ldm_model_load(NULL, &error);
    g_autoptr(LdmRequest) request = request_new(768, 72);
    g_autoptr(GCancellable) finish = g_cancellable_new();
    Watch watch = {.finish_at = 2, .finish = finish};
    LdmMonitor monitor = {.preview = on_preview, .preview_data = &watch, .finish = finish};
    const size_t sides[] = {64, 1024};
    double shown[2] = {0}, made[2] = {0};
    size_t bytes[2];

    g_autoptr(LdmResult) result = ldm_generate(whole, request, &monitor, &error);
    g_assert_no_error(error);
    g_assert_cmpint(watch.width, ==, 256);
    g_assert_cmpint(watch.height, ==, 24);
    halves_of_preview(&watch, shown);
    halves_of_result(result, made);
    for (int i = 0; i < 2; i++)
        g_assert_cmpfloat(fabs(shown[i] - made[i]), <, 0.06);
    for (int i = 0; i < 2; i++) {
        const size_t side = sides[i], z = (size_t)ldm_model_info(whole)->latent_channels;
        const LdmPrepared geometry = {
            .H = side * 8, .W = side * 8, .inner_h = side * 8, .inner_w = side * 8};
        LdmPreviews previews = {.monitor = &monitor, .geometry = &geometry};
        g_assert_true(
            ldm_previews_open(&previews, whole, (size_t[]){1, side, side, z}, &bytes[i], &error));
    }
    g_assert_cmpuint(bytes[1], <, 3 * bytes[0]); /* 256 times the cells */
    g_free(watch.pixels);
}

/* A broken one that lies with the model is as good as none; one that was asked for is not. */
static void test_broken(void)
{
    g_autofree char *preview = g_build_filename(folder, "bare", "preview", NULL);
    g_autofree char *config = g_build_filename(preview, "config.json", NULL);
    g_autoptr(LdmRequest) request = request_new(64, 64);
    g_autoptr(GError) error = NULL;
    Watch by_map = {0}, by_broken = {0};
    LdmMonitor monitor = {.preview = on_preview, .preview_data = &by_map};

    g_autoptr(LdmResult) alone = run(request, &monitor);
    made_text(folder, "bare/preview", "config.json", "{");
    g_autoptr(LdmModel) broken = ldm_model_load(ldm_model_info(model)->path, &error);
    g_assert_no_error(error);
    monitor.preview_data = &by_broken;
    g_autoptr(LdmResult) watched = ldm_generate(broken, request, &monitor, &error);
    g_assert_no_error(error);
    g_assert_cmpint(by_broken.count, ==, 6);
    g_assert_cmpmem(by_map.pixels, 64 * 64 * 3, by_broken.pixels, 64 * 64 * 3);
    monitor = (LdmMonitor){.preview = on_preview, .preview_decoder = preview};
    g_assert_null(ldm_generate(broken, request, &monitor, &error));
    g_assert_nonnull(error);
    g_assert_cmpint(g_unlink(config) | g_rmdir(preview), ==, 0);
    g_free(by_map.pixels);
    g_free(by_broken.pixels);
}

static void assert_found(const char *name, const char *expected)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autofree char *found = ldm_tiny_source_find(path);
    g_autofree char *wanted = expected != NULL ? g_build_filename(folder, expected, NULL) : NULL;

    g_assert_cmpstr(found, ==, wanted);
}

static void test_find(void)
{
    made_text(folder, "one/vae_tiny", "config.json", "{}");
    made_text(folder, "two/preview", "config.json", "{}");
    made_text(folder, "", "single.preview.safetensors", "x");
    assert_found("one", "one/vae_tiny");
    assert_found("two", "two/preview");
    assert_found("single.safetensors", "single.preview.safetensors");
    assert_found("three", NULL);
    assert_found("other.safetensors", NULL);
}

/* The default model without its tiny decoder. */
static LdmModel *load_bare(GError **error)
{
    g_autoptr(LdmModel) whole = ldm_model_load(NULL, error);
    g_autofree char *bare = g_build_filename(folder, "bare", NULL);
    g_autoptr(GDir) dir = whole != NULL ? g_dir_open(ldm_model_info(whole)->path, 0, error) : NULL;
    const char *name;

    if (dir == NULL || g_mkdir(bare, 0700) != 0)
        return NULL;
    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *from = g_build_filename(ldm_model_info(whole)->path, name, NULL);
        g_autofree char *to = g_build_filename(bare, name, NULL);
        if (!g_str_equal(name, "preview") && symlink(from, to) != 0)
            return NULL;
    }
    return ldm_model_load(bare, error);
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;

    folder = g_dir_make_tmp("pentimento-preview-XXXXXX", NULL);
    g_setenv("XDG_CACHE_HOME", folder, TRUE);
    g_test_init(&argc, &argv, NULL);
    model = load_bare(&error);
    g_assert_no_error(error);
    g_assert_nonnull(model);
    g_test_add_func("/preview/map", test_map);
    g_test_add_func("/preview/map-of-model", test_map_of_model);
    g_test_add_func("/preview/watched", test_watched);
    g_test_add_func("/preview/map-of-scale", test_map_of_scale);
    g_test_add_func("/preview/large", test_large);
    g_test_add_func("/preview/finished", test_finished);
    g_test_add_func("/preview/cancelled", test_cancelled);
    g_test_add_func("/preview/tiny", test_tiny);
    g_test_add_func("/preview/own", test_own);
    g_test_add_func("/preview/own-large", test_own_large);
    g_test_add_func("/preview/broken", test_broken);
    g_test_add_func("/preview/find", test_find);
    int status = g_test_run();
    ldm_model_unref(model);
    made_remove(folder);
    g_free(folder);
    return status;
}
