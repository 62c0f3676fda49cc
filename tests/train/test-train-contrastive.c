/* Whole contrastive runs from a random text encoder: the same bytes whether interrupted or not and
 * whether pictures are kept or read anew, a loss that falls, a folder that loads, and what is left
 * out or refused. */
#include "place.h"
#include "train/initial.h"
#include "train/train-contrastive.h"

#include <math.h>
#include <string.h>

#define STEPS 24

static LdmContrastOptions options_new(void)
{
    LdmContrastOptions options = ldm_contrast_defaults();

    options.tower = (LdmImageTowerConfig){.side = 16, .channels = 16, .levels = 2, .width = 12};
    options.loop.batch = 3;
    options.loop.accumulate = 2;
    options.loop.optimiser.steps = STEPS;
    options.loop.optimiser.warm_up = 2;
    options.loop.optimiser.rate = 5e-3;
    options.loop.seed = 5;
    options.loop.save_every = 8;
    return options;
}

/* The pictures of the place, one of them broken, one with two captions; three captions that cannot
 * be used. */
static LdmDataset *dataset_new(const Place *place)
{
    static const char *const captions[] = {"black",  "dark",  "grey",
                                           "broken", "light", "deep night"};
    LdmDataset *dataset = ldm_dataset_new(place->pictures);
    g_autofree char *long_one = g_strnfill(70000, 'a');
    const char *useless[] = {"", "\xff", long_one};

    for (int i = 0; i < 6 + 3; i++) {
        g_autofree char *name = g_strdup_printf("%d.png", i < 5 ? i : 0);
        g_autofree char *path = g_build_filename(place->pictures, name, NULL);
        ldm_dataset_add(dataset, path, i < 6 ? captions[i] : useless[i - 6]);
    }
    return dataset;
}

static bool train(const Place *place, const char *run, Watch *watch,
                  const LdmContrastOptions *options, GError **error)
{
    const unsigned others = 1u << LDM_PART_UNET | 1u << LDM_PART_VAE;
    const LdmWanted wanted = {.made_new =
                                  watch->from == NULL ? others | 1u << LDM_PART_TEXT : others};
    g_autofree char *from = watch_model(watch, place);
    g_autofree char *folder = g_build_filename(place->folder, run, NULL);
    g_autoptr(LdmModel) model = ldm_model_load_wanted(from, &wanted, error);
    g_autoptr(LdmDataset) dataset = dataset_new(place);

    g_assert_nonnull(model);
    g_assert_true(watch->from != NULL ||
                  ldm_model_draw_part(model, LDM_PART_TEXT, (uint64_t)options->loop.seed, error));
    const LdmTrainWatch callbacks = watch_run(watch, read_picture);
    return ldm_train_contrastive(model, dataset, options, &callbacks, folder, error);
}

static void assert_same_run(const Place *place, const char *a, const char *b)
{
    static const char *const same[] = {
        "text_encoder/model.safetensors",
        "image_tower/model.safetensors",
        "image_tower/config.json",
        "log.jsonl",
        "checkpoints/step-0000000024.safetensors",
        "checkpoints/step-0000000024.json",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(same); i++)
        assert_same_file(place, a, b, same[i]);
}

/* Interrupted and resumed, against a run of one piece; and without pictures in memory. */
static void test_resume(void)
{
    g_auto(Place) place = place_new();
    g_auto(Watch) whole = {0}, parts = {.stop_after = 5}, read = {0};
    g_autoptr(GError) error = NULL;
    LdmContrastOptions options = options_new();

    g_assert_true(train(&place, "whole", &whole, &options, &error));
    g_assert_no_error(error);
    for (int k = 0; k < 3; k++) {
        g_assert_cmpint(train(&place, "parts", &parts, &options, &error), ==, k == 2);
        g_assert_true(k == 2 || g_error_matches(error, LDM_ERROR, LDM_ERROR_CANCELLED));
        g_clear_error(&error);
        options.loop.resume = true;
        parts.stop_after = k == 0 ? 15 : 0;
    }
    g_assert_cmpmem(whole.losses, STEPS * sizeof(double), parts.losses, STEPS * sizeof(double));
    assert_same_run(&place, "whole", "parts");

    options.loop.resume = false;
    options.picture_memory = 0;
    g_assert_true(train(&place, "read", &read, &options, &error));
    g_assert_no_error(error);
    assert_same_run(&place, "whole", "read");
    g_assert_cmpuint(whole.plan.bytes, ==, read.plan.bytes + 5 * (size_t)16 * 16 * 3);
}

static void test_skipped(void)
{
    g_auto(Place) place = place_new();
    g_auto(Watch) watch = {0};
    g_autoptr(GError) error = NULL;
    LdmContrastOptions options = options_new();

    options.loop.optimiser.steps = 2;
    g_assert_true(train(&place, "run", &watch, &options, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(watch.plan.examples, ==, 5);
    g_assert_cmpuint(watch.plan.skipped, ==, 4);
    g_assert_nonnull(strstr(watch.skipped, "3.png is broken\n"));
    g_assert_nonnull(strstr(watch.skipped, "0.png: it has no caption\n"));
    g_assert_nonnull(strstr(watch.skipped, "0.png: the prompt is not valid UTF-8 text\n"));
    g_assert_nonnull(strstr(watch.skipped, "0.png: its caption is longer than 64 KiB\n"));
}

/* What a run leaves: a model that loads whole, in f16, and a tower; both go on. */
static void test_result(void)
{
    g_auto(Place) place = place_new();
    g_auto(Watch) first = {0}, second = {.from = "first"}, still = {.from = "first"};
    g_autofree char *folder = g_build_filename(place.folder, "first", NULL);
    g_autofree char *tower_folder = g_build_filename(folder, "image_tower", NULL);
    g_autoptr(GError) error = NULL;
    LdmContrastOptions options = options_new();

    options.loop.half = true;
    options.loop.accumulate = 1;
    options.loop.batch = 5;
    options.loop.optimiser.ema = 0.0;
    g_assert_true(train(&place, "first", &first, &options, &error));
    g_assert_no_error(error);
    g_test_message("loss %.3f, then %.3f, matched %.2f", mean(first.losses, 4),
                   mean(first.losses + 20, 4), first.last.terms[0].value);
    g_assert_cmpfloat(mean(first.losses + 20, 4), <, 0.7 * mean(first.losses, 4));
    g_assert_cmpstr(first.last.terms[0].name, ==, "matched");
    g_assert_cmpfloat(first.last.terms[0].value, >=, 0.6);

    g_autoptr(LdmModel) model = ldm_model_load(folder, &error);
    g_assert_no_error(error);
    g_assert_cmpint(ldm_params_at(model->text_params, 0)->dtype, ==, LDM_F16);
    assert_same_file(&place, "first", "model", "unet/diffusion_pytorch_model.safetensors");
    assert_same_file(&place, "first", "model", "vae/diffusion_pytorch_model.safetensors");
    g_autoptr(LdmImageTower) tower = ldm_image_tower_load(tower_folder, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(ldm_image_tower_config(tower)->width, ==, 12);
    g_assert_cmpint(ldm_params_at(ldm_image_tower_params(tower), 0)->dtype, ==, LDM_F16);

    options.loop.optimiser.rate = 0.0; /* measures, and learns nothing */
    options.loop.optimiser.steps = 4;
    g_assert_true(train(&place, "still", &still, &options, &error));
    g_assert_no_error(error);
    g_assert_cmpfloat_with_epsilon(still.losses[0], first.losses[STEPS - 1], 0.02);
    assert_same_file(&place, "first", "still", "text_encoder/model.safetensors");
    assert_same_file(&place, "first", "still", "image_tower/model.safetensors");
    options.tower.width = 16;
    g_assert_false(train(&place, "second", &second, &options, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, "width=12"));
}

static void refuse(LdmContrastOptions options, LdmErrorCode code, const char *message)
{
    g_auto(Place) place = place_new();
    g_auto(Watch) watch = {0};
    g_autoptr(GError) error = NULL;

    g_assert_false(train(&place, "run", &watch, &options, &error));
    g_assert_error(error, LDM_ERROR, (int)code);
    g_assert_nonnull(strstr(error->message, message));
}

static void test_refusals(void)
{
    LdmContrastOptions options = options_new();

    options.tower.side = 18;
    refuse(options, LDM_ERROR_INVALID, "multiple");
    options = options_new();
    options.tower.levels = 0;
    refuse(options, LDM_ERROR_INVALID, "levels is 0");
    options = options_new();
    options.loop.batch = 1;
    refuse(options, LDM_ERROR_INVALID, "batch is 1");
    options = options_new();
    options.loop.resume = true;
    refuse(options, LDM_ERROR_MISSING, "checkpoint");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/train-contrastive/resume", test_resume);
    g_test_add_func("/train-contrastive/skipped", test_skipped);
    g_test_add_func("/train-contrastive/result", test_result);
    g_test_add_func("/train-contrastive/refusals", test_refusals);
    return g_test_run();
}
