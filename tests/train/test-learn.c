/* Learning from the picture that is to be filled: what lies in the hole is never seen, not by a
 * crop, not by a latent, not by what was learnt; the same steps make the same bytes, also in two
 * goes; what was learnt is found again; cancelling; what is refused. */
#include "base/folder.h"
#include "made-array.h"
#include "pipeline/data-path.h"
#include "place.h"
#include "train/crops.h"
#include "train/learn.h"

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>
#include <utime.h>

#define SIDE  128 /* of the pictures */
#define STEPS 6
#define CROPS 60

static LdmModel *model;

/* ---- pictures ---- */

static bool in_hole(size_t x, size_t y)
{
    return x >= 50 && x < 72 && y >= 46 && y < 67;
}

/* Colours from 0.25 to 0.75; the hole in one colour that can be nobody's, and marked. */
static LdmRequest *request_with(float impossible)
{
    LdmRequest *request = ldm_request_new(LDM_TASK_INPAINT);

    request->picture = array(SIDE, SIDE, 4, 1.0f);
    request->mask = array(SIDE, SIDE, 1, 0.0f);
    for (size_t i = 0; i < SIDE * SIDE; i++) {
        size_t x = i % SIDE, y = i / SIDE;
        float *rgba = ldm_tensor_f32(request->picture) + 4 * i;
        for (size_t c = 0; c < 3; c++)
            rgba[c] = in_hole(x, y) ? impossible
                                    : 0.25f + 0.5f * (float)((x * (3 + c) + y * (5 - c)) % 16) / 15;
        ldm_tensor_f32(request->mask)[i] = in_hole(x, y) ? 0.5f : 0.0f;
    }
    request->steps = 2;
    request->seed = 1;
    request->learn = STEPS;
    return request;
}

static LdmCrops crops_of(const LdmRequest *request)
{
    return (LdmCrops){.picture = request->picture,
                      .mask = request->mask,
                      .area = {-8, 4, SIDE, SIDE},
                      .side = 32,
                      .scale = 0.9,
                      .zoom = 2.0,
                      .seed = 5};
}

static const float impossible[] = {NAN, INFINITY, -1e30f, 7.0f, 0.5f};

/* ---- crops ---- */

static LdmTensor *crop(LdmCrops *crops, int number)
{
    g_autofree char *name = g_strdup_printf("crop-%d", number);
    g_autoptr(GError) error = NULL;
    LdmTensor *picture = ldm_crops_read(name, crops, &error);

    g_assert_no_error(error);
    return picture;
}

static char *digest_of(const LdmCrops *crops)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);

    ldm_crops_digest(crops, sum);
    return g_strdup(g_checksum_get_string(sum));
}

/* Whatever is in the hole, not a byte of a crop is another; and there is no colour in it that is
 * not in the picture. */
static void test_crops(void)
{
    g_autoptr(LdmRequest) first = request_with(impossible[0]);
    LdmCrops crops = crops_of(first);
    g_autofree char *key = digest_of(&crops);
    size_t across = 0, whole = 0;

    for (int n = 0; n < CROPS; n++) {
        g_autoptr(LdmTensor) a = crop(&crops, n);
        size_t unknown = 0, pixels = a->shape[1] * a->shape[2];
        g_assert_cmpuint(a->shape[1], >=, 32);
        for (size_t i = 0; i < 4 * pixels; i++) {
            float value = ldm_tensor_f32(a)[i];
            if (i % 4 == 3)
                unknown += value == 0.0f;
            else
                g_assert_true(value >= 0.24f && value <= 0.76f);
        }
        across += unknown > 0;
        whole += unknown == 0;
        for (size_t k = 1; k < G_N_ELEMENTS(impossible); k++) {
            g_autoptr(LdmRequest) other = request_with(impossible[k]);
            LdmCrops others = crops_of(other);
            g_autoptr(LdmTensor) b = crop(&others, n);
            g_autofree char *same = digest_of(&others);
            g_assert_cmpmem(a->data, 4 * pixels * sizeof(float), b->data,
                            ldm_tensor_count(b) * sizeof(float));
            g_assert_cmpstr(key, ==, same);
        }
    }
    g_test_message("%zu crops across the hole, %zu beside it", across, whole);
    g_assert_cmpuint(across, >, 5);
    g_assert_cmpuint(whole, >, 5);
    ldm_tensor_f32(first->picture)[4 * (20 * SIDE + 20)] = 0.3f; /* one known pixel */
    g_autofree char *changed = digest_of(&crops);
    g_assert_cmpstr(key, !=, changed);
}

static void test_crops_differ(void)
{
    g_autoptr(LdmRequest) request = request_with(NAN);
    LdmCrops crops = crops_of(request);
    g_autoptr(LdmTensor) a = crop(&crops, 0), again = crop(&crops, 0), b = crop(&crops, 1);
    size_t bytes = ldm_tensor_count(a) * sizeof(float);

    g_assert_cmpmem(a->data, bytes, again->data, ldm_tensor_count(again) * sizeof(float));
    g_assert_false(a->shape[1] == b->shape[1] && memcmp(a->data, b->data, bytes) == 0);
    crops.seed++;
    g_autoptr(LdmTensor) other = crop(&crops, 0);
    g_assert_false(a->shape[1] == other->shape[1] && memcmp(a->data, other->data, bytes) == 0);
}

/* ---- latents ---- */

static LdmLatentCache *latents_of(LdmCrops *crops, const char *folder)
{
    const LdmCacheOptions options = {
        .augment = {.side = 32, .partly = true}, .variants = 2, .holes = true};
    const LdmCacheSource source = {.read = ldm_crops_read, .read_data = crops};
    g_autoptr(LdmDataset) dataset = ldm_crops_dataset(12, "");
    g_autoptr(GError) error = NULL;
    LdmLatentCache *cache =
        ldm_latent_cache_open(model, dataset, &options, &source, folder, &error);

    g_assert_no_error(error);
    return cache;
}

/* The cells in which a pixel is not known are hole for the network and nothing for the loss. */
static void test_latents(void)
{
    g_autoptr(LdmRequest) first = request_with(NAN), second = request_with(7.0f);
    LdmCrops crops = crops_of(first), others = crops_of(second);
    g_autofree char *a_folder = g_dir_make_tmp("pentimento-XXXXXX", NULL);
    g_autofree char *b_folder = g_dir_make_tmp("pentimento-XXXXXX", NULL);
    g_autoptr(LdmLatentCache) a = latents_of(&crops, a_folder), b = latents_of(&others, b_folder);
    const LdmCacheInfo *info = ldm_latent_cache_info(a);
    size_t cells = info->side * info->side, unknown = 0, rows = info->count * info->variants;

    g_assert_cmpuint(info->count, ==, 12);
    g_assert_cmpuint(info->floats, ==, cells * (info->moments + 1 + info->z + 1));
    for (size_t r = 0; r < rows; r++) {
        const float *row = ldm_latent_cache_at(a, r / info->variants, r % info->variants);
        const float *other = ldm_latent_cache_at(b, r / info->variants, r % info->variants);
        const float *hole = row + cells * info->moments, *known = hole + cells * (1 + info->z);
        g_assert_cmpmem(row, info->floats * sizeof(float), other, info->floats * sizeof(float));
        for (size_t i = 0; i < cells; i++) {
            g_assert_true(known[i] == 0.0f || known[i] == 1.0f);
            unknown += known[i] == 0.0f;
            if (known[i] == 0.0f)
                g_assert_cmpfloat(hole[i * (1 + info->z)], ==, 1.0f);
        }
    }
    g_assert_cmpuint(unknown, >, cells);
    g_assert_cmpuint(unknown, <, rows * cells / 2);
    ldm_folder_clear(a_folder, NULL);
    ldm_folder_clear(b_folder, NULL);
}

static double loss_of(LdmLoss *loss, const LdmBatch *batch)
{
    g_autoptr(GError) error = NULL;
    double value = 0.0;

    g_assert_true(ldm_loss_backward(loss, batch, 1.0, &value, &error));
    return value;
}

/* What stands in a cell that is not known changes no loss; what stands in another does. */
static void test_loss(void)
{
    g_autoptr(GError) error = NULL;
    g_auto(LdmBatch) batch = {0};
    g_assert_true(ldm_batch_init(&batch, model, 1, 8, 8, &error));
    g_autoptr(LdmLoss) loss = ldm_loss_new(model, &batch, 0, NULL, &error);
    g_assert_no_error(error);
    float z0[64 * 4], hole[64 * 5] = {0}, known[64];
    for (size_t i = 0; i < G_N_ELEMENTS(z0); i++)
        z0[i] = (float)(i % 7) / 7.0f;
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++)
        known[i] = i % 3 == 0;
    const LdmSample sample = {
        .z0 = z0, .noise = z0, .hole = hole, .known = known, .timestep = 300, .alpha_bar = 0.5};
    ldm_batch_set(&batch, 0, model, &(LdmLossOptions){0}, &sample);
    float *target = ldm_tensor_f32(batch.target);
    double before = loss_of(loss, &batch);
    target[4 * 1] += 100.0f; /* cell 1 */
    g_assert_cmpfloat(loss_of(loss, &batch), ==, before);
    target[4 * 3] += 100.0f; /* cell 3 */
    g_assert_cmpfloat(loss_of(loss, &batch), >, before);
}

/* ---- learning ---- */

typedef struct {
    double share;
    bool backwards;
} Heard;

static void on_progress(const LdmProgress *progress, gpointer data)
{
    Heard *heard = data;

    heard->backwards |= progress->fraction < heard->share;
    heard->share = progress->fraction;
}

static LdmResult *fill(const LdmRequest *request, Heard *heard, GError **error)
{
    const LdmMonitor monitor = {NULL, on_progress, heard};
    LdmResult *result = ldm_generate(model, request, &monitor, error);
    for (size_t i = 0; i < ldm_params_length(model->unet_params); i++) { /* as it was before */
        g_assert_null(ldm_params_at(model->unet_params, i)->adapter);
        g_assert_false(ldm_params_at(model->unet_params, i)->trained);
    }
    return result;
}

static LdmResult *filled(const LdmRequest *request)
{
    g_autoptr(GError) error = NULL;
    Heard heard = {0};
    LdmResult *result = fill(request, &heard, &error);

    g_assert_no_error(error);
    g_assert_false(heard.backwards);
    return result;
}

static char *place_of_all(void)
{
    return g_build_filename(g_get_user_cache_dir(), "pentimento", "learn", NULL);
}

static void forget(void)
{
    g_autofree char *folder = place_of_all();

    ldm_folder_clear(folder, NULL);
}

static bool same(const LdmResult *a, const LdmResult *b)
{
    return memcmp(a->pixels->data, b->pixels->data, ldm_tensor_count(a->pixels) * sizeof(float)) ==
           0;
}

static double learning_flops(const LdmRequest *request)
{
    g_autoptr(GError) error = NULL;
    LdmPlan plan;

    g_assert_true(ldm_plan(model, request, &plan, &error));
    g_assert_no_error(error);
    return plan.flops[LDM_STAGE_LEARN];
}

static void test_same_bytes(void)
{
    g_autoptr(LdmRequest) request = request_with(0.1f);
    g_autoptr(LdmResult) a = filled(request);
    g_assert_cmpfloat(a->seconds[LDM_STAGE_LEARN], >, 0.0);
    forget();
    g_assert_cmpfloat(learning_flops(request), >, 1e6);
    g_autoptr(LdmResult) b = filled(request);
    g_assert_true(same(a, b));

    g_assert_cmpfloat(learning_flops(request), ==, 0.0); /* it is there */
    g_autoptr(LdmResult) found = filled(request);
    g_assert_true(same(a, found));
    request->seed = 2;
    g_assert_cmpfloat(learning_flops(request), ==, 0.0); /* for every seed */
    request->seed = 1;
    request->learn = 0;
    g_autoptr(LdmResult) without = filled(request);
    g_assert_false(same(a, without));
    request->learn = STEPS - 1;
    g_assert_cmpfloat(learning_flops(request), >, 1e6); /* other steps are another lesson */
    forget();
}

/* A LoRA of the same name that was taught anew is another one: what was learnt on the old one is
 * not for it. */
static void test_taught_anew(void)
{
    g_autoptr(LdmRequest) request = request_with(0.1f);
    const LdmPrepared geometry = {.window = {36, 32, 48, 48}, .scale = 1.0};
    const LdmLearn learn = {.model = model, .request = request, .geometry = &geometry};
    g_autoptr(GError) error = NULL;
    g_autofree char *lesson = ldm_learn(&learn, &error), *folder = ldm_adapter_folder();
    g_autofree char *file = g_build_filename(folder, "cup.safetensors", NULL), *bytes = NULL;
    gsize length;

    g_assert_no_error(error);
    g_assert_true(g_file_get_contents(lesson, &bytes, &length, NULL));
    g_assert_cmpint(g_mkdir_with_parents(folder, 0700), ==, 0);
    g_assert_true(g_file_set_contents(file, bytes, (gssize)length, NULL));
    request->loras = g_strsplit("cup:0.5", " ", -1);
    g_autofree char *first = ldm_learn(&learn, &error), *again = ldm_learn(&learn, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(first, ==, again);
    g_assert_true(g_file_set_contents(file, bytes, (gssize)length, NULL)); /* of another time */
    g_autofree char *anew = ldm_learn(&learn, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(anew, !=, first);
    g_remove(file);
    forget();
}

/* Nothing of the hole comes into what is learnt: the file is the same to the bit. */
static void test_hole_is_not_learnt(void)
{
    g_autofree char *bytes[2] = {NULL}, *files[2] = {NULL};
    gsize lengths[2];

    for (int k = 0; k < 2; k++) {
        g_autoptr(LdmRequest) request = request_with(k == 0 ? NAN : 1.0f);
        const LdmPrepared geometry = {.window = {36, 32, 48, 48}, .scale = 1.0};
        const LdmLearn learn = {.model = model, .request = request, .geometry = &geometry};
        g_autoptr(GError) error = NULL;
        forget();
        files[k] = ldm_learn(&learn, &error);
        g_assert_no_error(error);
        g_assert_true(g_file_get_contents(files[k], &bytes[k], &lengths[k], NULL));
    }
    g_assert_cmpstr(files[0], ==, files[1]);
    g_assert_cmpmem(bytes[0], lengths[0], bytes[1], lengths[1]);
    g_free(bytes[1]);
    g_free(files[1]);
    bytes[1] = files[1] = NULL;
    forget();
}

static void stop_at_three(double share, int step, int steps, void *data)
{
    if (step >= 3)
        g_cancellable_cancel(data);
}

/* What was learnt in two goes is the same file. */
static void test_cancel(void)
{
    g_autoptr(LdmRequest) request = request_with(0.1f);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    const LdmPrepared geometry = {.window = {36, 32, 48, 48}, .scale = 1.0};
    LdmLearn learn = {.model = model, .request = request, .geometry = &geometry};
    g_autofree char *whole = NULL, *parts = NULL;
    gsize whole_length, parts_length;
    g_autoptr(GError) error = NULL;

    forget();
    g_autofree char *file = ldm_learn(&learn, &error);
    g_assert_no_error(error);
    g_assert_true(g_file_get_contents(file, &whole, &whole_length, NULL));
    forget();
    learn.progress = stop_at_three;
    learn.progress_data = learn.cancellable = cancellable;
    g_assert_null(ldm_learn(&learn, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_CANCELLED);
    g_clear_error(&error);
    g_assert_false(g_file_test(file, G_FILE_TEST_EXISTS));
    learn.progress = NULL;
    learn.cancellable = NULL;
    g_autofree char *again = ldm_learn(&learn, &error);
    g_assert_no_error(error);
    g_assert_true(g_file_get_contents(again, &parts, &parts_length, NULL));
    g_assert_cmpmem(whole, whole_length, parts, parts_length);
    forget();
}

/* ---- refusals ---- */

static void test_refusals(void)
{
    g_autoptr(LdmRequest) request = request_with(0.1f), other = ldm_request_new(LDM_TASK_IMG2IMG);
    g_autoptr(GError) error = NULL;
    Heard heard = {0};

    for (size_t i = 0; i < SIDE * SIDE; i++)
        ldm_tensor_f32(request->mask)[i] = 1.0f;
    g_assert_null(fill(request, &heard, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_MISSING);
    g_test_message("%s", error->message);
    g_clear_error(&error);
    g_assert_false(ldm_request_set(other, "learn", g_variant_new_int32(1), &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_clear_error(&error);
    g_assert_false(ldm_request_set(request, "learn", g_variant_new_int32(-1), &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    forget();
}

/* ---- folders ---- */

static void test_newest(void)
{
    g_autofree char *place = g_dir_make_tmp("pentimento-XXXXXX", NULL);

    for (int i = 0; i < 5; i++) {
        g_autofree char *name = g_strdup_printf("%d", i);
        g_autofree char *path = g_build_filename(place, name, "deep", NULL);
        g_autofree char *folder = g_path_get_dirname(path);
        struct utimbuf times = {1000 + i % 3, 1000 + i % 3}; /* 2, then 1 and 4, then 0 and 3 */
        g_assert_cmpint(g_mkdir_with_parents(path, 0700), ==, 0);
        g_assert_cmpint(utime(folder, &times), ==, 0);
    }
    ldm_folder_keep_newest(place, 3);
    for (int i = 0; i < 5; i++) {
        g_autofree char *name = g_strdup_printf("%d", i);
        g_autofree char *path = g_build_filename(place, name, NULL);
        g_assert_cmpint(g_file_test(path, G_FILE_TEST_EXISTS), ==, i % 3 != 0);
    }
    ldm_folder_clear(place, NULL);
    g_assert_false(g_file_test(place, G_FILE_TEST_EXISTS));
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;

    g_test_init(&argc, &argv, G_TEST_OPTION_ISOLATE_DIRS, NULL);
    g_autofree char *path =
        g_build_filename(g_getenv("PENTIMENTO_FIXTURES"), "networks", "inpaint", NULL);
    model = ldm_model_load(path, &error);
    g_assert_no_error(error);
    g_test_add_func("/learn/crops", test_crops);
    g_test_add_func("/learn/crops-differ", test_crops_differ);
    g_test_add_func("/learn/latents", test_latents);
    g_test_add_func("/learn/loss", test_loss);
    g_test_add_func("/learn/same-bytes", test_same_bytes);
    g_test_add_func("/learn/taught-anew", test_taught_anew);
    g_test_add_func("/learn/hole-is-not-learnt", test_hole_is_not_learnt);
    g_test_add_func("/learn/cancel", test_cancel);
    g_test_add_func("/learn/refusals", test_refusals);
    g_test_add_func("/folder/newest", test_newest);
    int status = g_test_run();
    ldm_model_unref(model);
    return status;
}
