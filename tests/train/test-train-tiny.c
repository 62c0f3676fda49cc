/* A whole run of a tiny decoder: the same bytes whether interrupted or not, a loss that falls, and
 * a folder that previews the model it was trained for. */
#include "place.h"
#include "train/train-tiny.h"
#include "weights/tiny.h"

#include <string.h>

#define STEPS 40

static LdmTinyOptions options_new(void)
{
    LdmTinyOptions options = ldm_tiny_defaults();

    options.augment.side = 16;
    options.channels = 8;
    options.blocks = 1;
    options.loop.batch = 2;
    options.loop.optimiser.steps = STEPS;
    options.loop.optimiser.warm_up = 2;
    options.loop.optimiser.rate = 5e-3;
    options.loop.seed = 5;
    options.loop.save_every = 8;
    return options;
}

/* The place's pictures, but bright ones: far from what random weights give. */
static LdmTensor *read_bright(const char *path, void *data, GError **error)
{
    LdmTensor *picture = read_picture(path, data, error);

    for (size_t i = 0; picture != NULL && i < ldm_tensor_count(picture); i++)
        ldm_tensor_f32(picture)[i] = 0.9f + ldm_tensor_f32(picture)[i] / 10.0f;
    return picture;
}

static bool train(const Place *place, const char *run, Watch *watch, const LdmTinyOptions *options,
                  GError **error)
{
    const LdmWanted wanted = {.first_stage = true};
    g_autoptr(LdmModel) model = ldm_model_load_wanted(place->model_folder, &wanted, error);
    g_autoptr(LdmDataset) dataset = ldm_dataset_open(place->pictures, error);
    g_autofree char *folder = g_build_filename(place->folder, run, NULL);

    g_assert_true(model != NULL && dataset != NULL);
    const LdmTrainWatch callbacks = watch_run(watch, read_bright);
    return ldm_train_tiny(model, dataset, options, &callbacks, folder, error);
}

static void on_preview(const LdmPreview *preview, gpointer data)
{
    (*(int *)data)++;
}

/* Put into the model's folder, it is found. */
static void check_result(const Place *place)
{
    g_autofree char *made = g_build_filename(place->folder, "whole", "preview", NULL);
    g_autofree char *own = g_build_filename(place->model_folder, "preview", NULL);
    g_autoptr(LdmRequest) request = ldm_request_new(LDM_TASK_GENERATE);
    g_autoptr(GError) error = NULL;
    int count = 0;
    const LdmMonitor monitor = {.preview = on_preview, .preview_data = &count};

    g_assert_cmpint(g_rename(made, own), ==, 0);
    g_autoptr(LdmModel) model = ldm_model_load(place->model_folder, &error);
    g_assert_no_error(error);
    request->width = request->height = 16;
    request->steps = 2;
    g_autoptr(LdmResult) result = ldm_generate(model, request, &monitor, &error);
    g_assert_no_error(error);
    g_assert_cmpint(count, ==, 2);
}

static void test_run(void)
{
    static const char *const same[] = {
        "preview/diffusion_pytorch_model.safetensors",
        "preview/config.json",
        "log.jsonl",
        "checkpoints/step-0000000040.safetensors",
    };
    g_auto(Place) place = place_new();
    g_autoptr(GError) error = NULL;
    LdmTinyOptions options = options_new();
    g_auto(Watch) whole = {0}, parts = {.stop_after = 11};
    double first = 0.0, last = 0.0;

    g_assert_true(train(&place, "whole", &whole, &options, &error));
    g_assert_cmpuint(whole.plan.skipped, ==, 1);
    /* two levels, z 4: conv_in, a block each, one enlargement, conv_out */
    g_assert_cmpuint(whole.plan.trained, ==, 4 * 72 + 8 + 6 * (8 * 72 + 8) + 8 * 72 + 3 * 72 + 3);
    for (int k = 0; k < 2; k++) {
        g_assert_cmpint(train(&place, "parts", &parts, &options, &error), ==, k == 1);
        g_clear_error(&error);
        options.loop.resume = true;
        parts.stop_after = 0;
    }
    g_assert_cmpmem(whole.losses, STEPS * sizeof(double), parts.losses, STEPS * sizeof(double));
    for (size_t i = 0; i < G_N_ELEMENTS(same); i++)
        assert_same_file(&place, "whole", "parts", same[i]);
    for (int i = 0; i < 5; i++) {
        first += whole.losses[i] / 5;
        last += whole.losses[STEPS - 1 - i] / 5;
    }
    g_test_message("loss %.3f, then %.3f", first, last);
    g_assert_cmpfloat(last, <, 0.5 * first);
    check_result(&place);
}

static void assert_refused(const Place *place, const LdmTinyOptions *options, const char *words)
{
    g_autoptr(GError) error = NULL;
    g_auto(Watch) watch = {0};

    g_assert_false(train(place, "refused", &watch, options, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, words));
}

static void test_refused(void)
{
    g_auto(Place) place = place_new();
    LdmTinyOptions options = options_new();

    options.augment.side = 17;
    assert_refused(&place, &options, "size");
    options = options_new();
    options.channels = 0;
    assert_refused(&place, &options, "channels");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/train-tiny/run", test_run);
    g_test_add_func("/train-tiny/refused", test_refused);
    return g_test_run();
}
