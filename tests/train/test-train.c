/* Whole training runs on a made model and pictures: the same bytes whether a run was interrupted or
 * not, a model folder that loads and has learnt, and every way in which a run is refused. */
#include "place.h"
#include "train/train-ldm.h"

#include <math.h>
#include <string.h>

#define STEPS 8

typedef struct {
    GCancellable *cancellable;
    uint64_t stop_after;
    size_t look_every;
    bool buckets;
    double losses[STEPS];
    LdmTrainPlan plan;
    guint skipped;
} Watch;

static void stepped(const LdmTrainStep *step, void *data)
{
    Watch *watch = data;

    watch->losses[step->step - 1] = step->loss;
    if (step->step == watch->stop_after)
        g_cancellable_cancel(watch->cancellable);
}

static void planned(const LdmTrainPlan *plan, const GPtrArray *skipped, void *data)
{
    Watch *watch = data;

    watch->plan = *plan;
    watch->skipped = skipped->len;
}

static LdmTrainOptions options_of(const LdmModel *model)
{
    LdmTrainOptions options = ldm_train_defaults();

    options.latents.augment.side = 16;
    options.latents.augment.crop = 0.2;
    options.latents.variants = 2;
    options.loop.optimiser.steps = STEPS;
    options.loop.optimiser.warm_up = 2;
    options.loop.batch = 2;
    options.loop.accumulate = 2;
    options.train_text = true;
    options.loop.seed = 5;
    options.loop.save_every = 3;
    return options;
}

/* Pictures 0 to 4: tall, square, wide. */
static LdmTensor *read_aspects(const char *path, void *data, GError **error)
{
    static const size_t sizes[5][2] = {{40, 20}, {24, 24}, {20, 40}, {0}, {24, 24}};
    g_autofree char *name = g_path_get_basename(path);
    g_autoptr(LdmTensor) picture = read_picture(path, data, error);
    const size_t *size = sizes[name[0] - '0'];

    if (picture == NULL)
        return NULL;
    LdmTensor *shaped = ldm_tensor_new_nhwc(1, size[0], size[1], 4, error);
    for (size_t i = 0; i < ldm_tensor_count(shaped); i++)
        ldm_tensor_f32(shaped)[i] = ldm_tensor_f32(picture)[i % 4];
    return shaped;
}

static bool train(const Place *place, const char *run, Watch *watch, bool resume, GError **error)
{
    g_autoptr(LdmModel) model = ldm_model_load(place->model_folder, error);
    g_autoptr(LdmDataset) dataset = model ? ldm_dataset_open(place->pictures, error) : NULL;
    g_autofree char *folder = g_build_filename(place->folder, run, NULL);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();

    if (dataset == NULL)
        return false;
    LdmTrainOptions options = options_of(model);
    options.loop.look_every = watch->look_every;
    options.samples = 3;
    options.latents.buckets = watch->buckets;
    watch->cancellable = cancellable;
    options.loop.resume = resume;
    const LdmTrainWatch callbacks = {.read = watch->buckets ? read_aspects : read_picture,
                                     .cancellable = cancellable,
                                     .planned = planned,
                                     .stepped = stepped,
                                     .data = watch};
    return ldm_train_ldm(model, dataset, &options, &callbacks, folder, error);
}

static void check_resume(bool buckets)
{
    static const char *const same[] = {
        "unet/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "model_index.json",
        "log.jsonl",
        "checkpoints/step-0000000008.safetensors",
        "checkpoints/step-0000000008.json",
    };
    g_auto(Place) place = place_new();
    g_autoptr(GError) error = NULL;
    Watch whole = {.buckets = buckets}, parts = {.buckets = buckets, .stop_after = 5};

    whole.look_every = buckets ? 0 : 6; /* changes nothing */

    g_assert_true(train(&place, "whole", &whole, false, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(whole.plan.examples, ==, 4);
    g_assert_cmpuint(whole.skipped, ==, 1);
    g_assert_cmpuint(whole.plan.bytes, >, 1000000);

    g_assert_false(train(&place, "parts", &parts, false, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_CANCELLED);
    g_clear_error(&error);
    parts.stop_after = 0;
    g_assert_true(train(&place, "parts", &parts, true, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(parts.plan.first_step, ==, 5);
    g_assert_cmpmem(whole.losses, sizeof whole.losses, parts.losses, sizeof parts.losses);
    for (size_t i = 0; i < G_N_ELEMENTS(same); i++)
        assert_same_file(&place, "whole", "parts", same[i]);
}

static void test_resume(void)
{
    check_resume(false);
}

static void test_buckets(void)
{
    check_resume(true);
}

/* The size that a PNG file says it has. */
static void assert_picture(const Place *place, const char *name, guint32 width, guint32 height)
{
    g_autofree char *path = g_build_filename(place->folder, "run", name, NULL);
    g_autofree char *bytes = NULL;
    guint32 size[2];
    gsize length;

    g_assert_true(g_file_get_contents(path, &bytes, &length, NULL));
    g_assert_cmpuint(length, >, 24);
    g_assert_cmpmem(bytes, 8, "\x89PNG\r\n\x1a\n", 8);
    memcpy(size, bytes + 16, 8);
    g_assert_cmpuint(GUINT32_FROM_BE(size[0]), ==, width);
    g_assert_cmpuint(GUINT32_FROM_BE(size[1]), ==, height);
}

/* The curve, and a grid of 2 x 2 places of 16 pixels. */
static void test_pictures(void)
{
    g_auto(Place) place = place_new();
    g_autoptr(GError) error = NULL;
    Watch watch = {.look_every = STEPS};

    g_assert_true(train(&place, "run", &watch, false, &error));
    g_assert_no_error(error);
    assert_picture(&place, "loss.png", 960, 540);
    assert_picture(&place, "samples.png", 8 + 2 * (16 + 8), 8 + 2 * (16 + 8 + 18));
}

static void test_result(void)
{
    g_auto(Place) place = place_new();
    g_autofree char *folder = g_build_filename(place.folder, "run", NULL);
    g_autoptr(GError) error = NULL;
    Watch watch = {0};

    g_assert_true(train(&place, "run", &watch, false, &error));
    g_autoptr(LdmModel) before = ldm_model_load(place.model_folder, &error);
    g_autoptr(LdmModel) after = ldm_model_load(folder, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(ldm_model_info(after)->parameters, ==, ldm_model_info(before)->parameters);
    g_assert_cmpint(ldm_model_info(after)->dtype, ==, LDM_F16);
    const LdmParam *a = ldm_params_at(before->unet_params, 0);
    const LdmParam *b = ldm_params_at(after->unet_params, 0);
    g_assert_cmpint(memcmp(a->data, b->data, made_bytes(a)), !=, 0); /* it has moved */
    for (int i = 0; i < STEPS; i++)
        g_assert_true(isfinite(watch.losses[i]));
    g_autoptr(LdmRequest) request = ldm_request_new(LDM_TASK_GENERATE);
    request->steps = 1;
    request->width = request->height = 16;
    request->seed = 1;
    g_autoptr(LdmResult) result = ldm_generate(after, request, NULL, &error);
    g_assert_no_error(error);
}

static void test_refusals(void)
{
    g_auto(Place) place = place_new();
    g_autofree char *folder = g_build_filename(place.folder, "run", NULL);
    g_autoptr(GError) error = NULL;
    Watch watch = {0};

    g_assert_false(train(&place, "run", &watch, true, &error)); /* nothing to resume */
    g_assert_error(error, LDM_ERROR, LDM_ERROR_MISSING);
    g_clear_error(&error);
    g_autoptr(LdmCheckpoints) other = ldm_checkpoints_open(folder, 1, &error);
    g_assert_no_error(error);
    g_assert_false(train(&place, "run", &watch, false, &error)); /* another run is at work */
    g_assert_error(error, LDM_ERROR, LDM_ERROR_FILE);
    g_clear_error(&error);
    g_clear_pointer(&other, ldm_checkpoints_free);
    g_assert_true(train(&place, "run", &watch, false, &error));
    g_assert_false(train(&place, "run", &watch, false, &error)); /* it would be overwritten */
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_clear_error(&error);
    /* a finished run resumed: nothing to do, and the model is still there */
    g_assert_true(train(&place, "run", &watch, true, &error));
    g_assert_no_error(error);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/train/resume", test_resume);
    g_test_add_func("/train/buckets", test_buckets);
    g_test_add_func("/train/pictures", test_pictures);
    g_test_add_func("/train/result", test_result);
    g_test_add_func("/train/refusals", test_refusals);
    return g_test_run();
}
