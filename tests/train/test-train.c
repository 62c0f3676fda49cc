/* Whole training runs on a made model and pictures: the same bytes whether a run was interrupted or
 * not, a model folder that loads and has learnt, and every way in which a run is refused. */
#include "place.h"
#include "train/snapshots.h"
#include "train/train-ldm.h"

#include <math.h>
#include <string.h>

#define STEPS 8

/* What differs between the runs. */
typedef struct {
    bool resume, buckets, bf16, muon, checkpointing;
    size_t look_every;
    uint64_t steps, decay_from, cool_down;         /* 0 steps: STEPS */
    double full_holes, hole_focus, timestep_shift; /* 0 shift: 1 */
    bool alone;                                    /* a sample a step, and nothing is learnt */
    double drop, hole_drop;                        /* where alone */
} Wish;

static LdmTrainOptions options_of(const Wish *wish)
{
    LdmTrainOptions options = ldm_train_defaults();

    options.latents.augment.side = 16;
    options.latents.augment.crop = 0.2;
    options.latents.variants = 2;
    options.loop.optimiser.steps = wish->steps != 0 ? wish->steps : STEPS;
    options.loop.optimiser.decay_from = wish->decay_from;
    options.loop.optimiser.cool_down = wish->cool_down;
    options.loop.optimiser.warm_up = 2;
    options.loop.optimiser.kind = wish->muon ? LDM_MUON : LDM_ADAMW;
    options.loop.batch = 2;
    options.loop.accumulate = 2;
    options.train_text = true;
    options.loop.seed = 5;
    options.loop.save_every = 3;
    options.loop.look_every = wish->look_every;
    options.loop.resume = wish->resume;
    options.latents.buckets = wish->buckets;
    options.loop.precision = wish->bf16 ? LDM_TRAIN_BF16 : LDM_TRAIN_F32;
    options.loop.checkpointing = wish->checkpointing;
    options.full_holes = wish->full_holes;
    options.loss.hole_focus = wish->hole_focus;
    if (wish->timestep_shift > 0.0)
        options.timestep_shift = wish->timestep_shift;
    if (wish->alone) {
        options.loop.batch = options.loop.accumulate = 1;
        options.loop.optimiser.rate = 0.0;
        options.drop = wish->drop;
        options.hole_drop = wish->hole_drop;
    }
    options.samples = 3;
    options.loop.optimiser.profiles[0] = 0.05;
    options.loop.optimiser.profiles[1] = 0.10;
    options.loop.snapshots = 4;
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

static bool train(const Place *place, const char *run, Watch *watch, const Wish *wish,
                  GError **error)
{
    g_autoptr(LdmModel) model = ldm_model_load(place->model_folder, error);
    g_autoptr(LdmDataset) dataset = model ? ldm_dataset_open(place->pictures, error) : NULL;
    g_autofree char *folder = g_build_filename(place->folder, run, NULL);

    if (dataset == NULL)
        return false;
    const LdmTrainOptions options = options_of(wish);
    const LdmTrainWatch callbacks = watch_run(watch, wish->buckets ? read_aspects : read_picture);
    return ldm_train_ldm(model, dataset, &options, &callbacks, folder, error);
}

static void check_resume(Wish wish)
{
    static const char *const same[] = {
        "unet/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "model_index.json",
        "log.jsonl",
        "checkpoints/step-0000000008.safetensors",
        "checkpoints/step-0000000008.json",
        "snapshots/step-0000000002.safetensors",
        "snapshots/step-0000000008.safetensors",
    };
    g_auto(Place) place = place_new();
    g_autoptr(GError) error = NULL;
    g_auto(Watch) whole = {0}, parts = {.stop_after = 5};
    Wish looking = wish;

    looking.look_every = wish.buckets ? 0 : 6; /* changes nothing */

    g_assert_true(train(&place, "whole", &whole, &looking, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(whole.plan.examples, ==, 4);
    g_assert_cmpuint(whole.plan.skipped, ==, 1);
    g_assert_cmpuint(whole.plan.bytes, >, 1000000);

    g_assert_false(train(&place, "parts", &parts, &wish, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_CANCELLED);
    g_clear_error(&error);
    parts.stop_after = 0;
    wish.resume = wish.checkpointing = true; /* which may be begun on the way */
    g_assert_true(train(&place, "parts", &parts, &wish, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(parts.plan.first_step, ==, 5);
    g_assert_cmpuint(parts.plan.bytes, <, whole.plan.bytes);
    g_assert_cmpmem(whole.losses, STEPS * sizeof(double), parts.losses, STEPS * sizeof(double));
    for (size_t i = 0; i < G_N_ELEMENTS(same); i++)
        assert_same_file(&place, "whole", "parts", same[i]);
}

static void test_resume(void)
{
    check_resume((Wish){0});
}

/* Another optimiser's run, which goes on with the same only. */
static void test_muon(void)
{
    g_auto(Place) place = place_new();
    g_autoptr(GError) error = NULL;
    g_auto(Watch) watch = {.stop_after = 2};

    check_resume((Wish){.muon = true});
    g_assert_false(train(&place, "run", &watch, &(Wish){.muon = true}, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_CANCELLED);
    g_clear_error(&error);
    g_assert_false(train(&place, "run", &watch, &(Wish){.resume = true}, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
}

static void test_buckets(void)
{
    check_resume((Wish){.buckets = true});
}

/* Products in bf16: a run's bits do not depend on interruptions, its losses go the way of f32 (they
 * are means over hundreds of numbers, each of which has errors of some 2^-9); and it may go on in
 * f32. Where nothing is gained, it is refused. */
static void test_bf16(void)
{
    g_auto(Place) place = place_new();
    g_autoptr(GError) error = NULL;
    g_auto(Watch) exact = {0}, rounded = {0};
    const Wish f32 = {0}, bf16 = {.bf16 = true}, changed = {.resume = true};

    if (!ldm_kernels_have_bf16()) {
        g_assert_false(train(&place, "rounded", &rounded, &bf16, &error));
        g_assert_error(error, LDM_ERROR, LDM_ERROR_UNSUPPORTED);
        g_assert_nonnull(strstr(error->message, "f32"));
        return;
    }
    check_resume((Wish){.bf16 = true});
    g_assert_true(train(&place, "exact", &exact, &f32, &error));
    g_assert_true(train(&place, "rounded", &rounded, &bf16, &error));
    g_assert_no_error(error);
    for (int i = 0; i < STEPS; i++) {
        g_test_message("%.6f f32, %.6f bf16", exact.losses[i], rounded.losses[i]);
        g_assert_cmpfloat(fabs(rounded.losses[i] / exact.losses[i] - 1), <=, 5e-4);
    }
    g_assert_cmpint(memcmp(exact.losses, rounded.losses, sizeof exact.losses[0] * STEPS), !=, 0);
    g_assert_true(train(&place, "rounded", &rounded, &changed, &error)); /* on, in f32 */
    g_assert_no_error(error);
}

/* A rate that does not look to the end: what was finished goes on, as if it had been longer from
 * the first. */
static void test_longer(void)
{
    static const char *const same[] = {
        "unet/diffusion_pytorch_model.safetensors",
        "log.jsonl",
        "checkpoints/step-0000000008.safetensors",
    };
    g_auto(Place) place = place_new();
    g_autoptr(GError) error = NULL;
    g_auto(Watch) whole = {0}, parts = {0};

    g_assert_true(train(&place, "whole", &whole, &(Wish){.decay_from = 3, .cool_down = 3}, &error));
    g_assert_no_error(error);
    g_assert_true(train(&place, "parts", &parts, &(Wish){.steps = 5, .decay_from = 3}, &error));
    g_assert_no_error(error);
    g_assert_true(train(&place, "parts", &parts,
                        &(Wish){.decay_from = 3, .cool_down = 3, .resume = true}, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(parts.plan.first_step, ==, 5);
    for (size_t i = 0; i < G_N_ELEMENTS(same); i++)
        assert_same_file(&place, "whole", "parts", same[i]);
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

/* The place's model made anew as one that fills holes. */
static void make_filling(const Place *place)
{
    g_autofree char *path = g_build_filename(place->model_folder, "unet", "config.json", NULL);
    LdmModelConfig config = made_config(false, MADE_WORDS);
    g_autoptr(GString) unet = g_string_new(made_unet_json);

    config.unet.in_channels = 9;
    place_make_model(place, &config);
    g_assert_cmpuint(g_string_replace(unet, "\"in_channels\":4", "\"in_channels\":9", 0), ==, 1);
    g_assert_true(g_file_set_contents(path, unet->str, -1, NULL));
}

static void record(const Place *place, const char *run, Wish wish, double losses[WATCH_STEPS])
{
    g_autoptr(GError) error = NULL;
    g_auto(Watch) watch = {0};

    wish.buckets = true;
    g_assert_true(train(place, run, &watch, &wish, &error));
    g_assert_no_error(error);
    memcpy(losses, watch.losses, sizeof watch.losses);
}

/* Whether errors around a hole count less changes losses, unless there is nothing around it. */
static void test_full_holes(void)
{
    g_auto(Place) place = place_new();
    double even[WATCH_STEPS], focused[WATCH_STEPS];

    make_filling(&place);
    record(&place, "even", (Wish){0}, even);
    record(&place, "focused", (Wish){.hole_focus = 0.9}, focused);
    for (int i = 0; i < STEPS; i++)
        g_assert_cmpfloat(fabs(focused[i] - even[i]), >, 0.0);
    record(&place, "full-even", (Wish){.full_holes = 1.0}, even);
    record(&place, "full-focused", (Wish){.full_holes = 1.0, .hole_focus = 0.9}, focused);
    g_assert_cmpmem(even, STEPS * sizeof *even, focused, STEPS * sizeof *focused);
}

/* With hole-drop 0, words go where all is hole, and only there. */
static void test_hole_drop(void)
{
    const int steps = 60;
    g_auto(Place) place = place_new();
    double with[WATCH_STEPS], without[WATCH_STEPS], mixed[WATCH_STEPS];
    int gone = 0, kept = 0;
    Wish wish = {.alone = true, .steps = steps, .hole_drop = 1.0};

    make_filling(&place);
    record(&place, "with", wish, with);
    wish.drop = 1.0;
    record(&place, "without", wish, without);
    wish.hole_drop = 0.0;
    record(&place, "mixed", wish, mixed);
    for (int i = 0; i < steps; i++) {
        g_assert_cmpfloat(fabs(with[i] - without[i]), >, 0.0);
        gone += fabs(mixed[i] - without[i]) == 0.0;
        kept += fabs(mixed[i] - with[i]) == 0.0;
    }
    g_assert_cmpint(gone + kept, ==, steps);
    g_assert_cmpint(gone, >, 0);
    g_assert_cmpint(kept, >, 0);

    wish.full_holes = 1.0;
    record(&place, "full", wish, mixed);
    for (int i = 0; i < steps; i++)
        g_assert_cmpfloat(fabs(mixed[i] - with[i]), >, 0.0);
}

/* Timesteps that come up as often as the shift says; a run with it has other losses. */
static void test_timestep_shift(void)
{
    const int steps = 1000, draws = 100000;
    g_auto(Place) place = place_new();
    g_autoptr(GError) error = NULL;
    g_auto(Watch) even = {0}, shifted = {0};
    int first = 0, last = 0;

    for (int i = 0; i < draws; i++) {
        double u = (i + 0.5) / draws;
        int t = ldm_timestep_draw(u, 3.0, steps);
        g_assert_cmpint(ldm_timestep_draw(u, 1.0, steps), ==, (int)(u * steps));
        first += t < 10;
        last += t >= steps - 10;
    }
    g_assert_cmpint(first, >, draws / 100 / 3);
    g_assert_cmpint(first, <, draws / 100 / 3 * 11 / 10);
    g_assert_cmpint(last, >, draws / 100 * 29 / 10);
    g_assert_cmpint(last, <, draws / 100 * 3);
    g_assert_cmpint(ldm_timestep_draw(0.0, 3.0, steps), ==, 0);
    g_assert_cmpint(ldm_timestep_draw(1.0, 3.0, steps), ==, steps - 1); /* were it ever drawn */

    g_assert_true(train(&place, "even", &even, &(Wish){0}, &error));
    g_assert_no_error(error);
    g_assert_true(train(&place, "shifted", &shifted, &(Wish){.timestep_shift = 3.0}, &error));
    g_assert_no_error(error);
    g_assert_cmpfloat(fabs(even.losses[0] - shifted.losses[0]), >, 0.0);
}

/* The curve, and a grid of 2 x 2 places of 16 pixels. */
static void test_pictures(void)
{
    g_auto(Place) place = place_new();
    g_autoptr(GError) error = NULL;
    g_auto(Watch) watch = {0};

    g_assert_true(train(&place, "run", &watch, &(Wish){.look_every = STEPS}, &error));
    g_assert_no_error(error);
    assert_picture(&place, "loss.png", 960, 540);
    assert_picture(&place, "samples.png", 8 + 2 * (16 + 8), 8 + 2 * (16 + 8 + 18));
}

static void test_result(void)
{
    g_auto(Place) place = place_new();
    g_autofree char *folder = g_build_filename(place.folder, "run", NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Watch) watch = {0};
    const Wish begin = {0};
    g_autofree char *notice = g_build_filename(folder, "LICENSE", NULL);
    g_autofree char *stale = g_build_filename(folder, "unet", "model.onnx_data", NULL);
    g_autofree char *left = g_build_filename(folder, "unet", ".pentimento-123456", NULL);
    g_autofree char *named = g_build_filename(folder, "safety_checker", "model.bin", NULL);

    made_text(place.model_folder, "", "LICENSE", "free");
    made_text(place.model_folder, "unet", "model.onnx_data", "old weights in another format");
    made_text(folder, "unet", ".pentimento-123456", "of a run that was killed as it ended");
    made_text(place.model_folder, "safety_checker", "model.bin", "named in model_index.json");
    g_assert_true(train(&place, "run", &watch, &begin, &error));
    g_assert_true(g_file_test(notice, G_FILE_TEST_EXISTS));
    g_assert_false(g_file_test(stale, G_FILE_TEST_EXISTS));
    g_assert_true(g_file_test(named, G_FILE_TEST_EXISTS));
    g_assert_false(g_file_test(left, G_FILE_TEST_EXISTS));
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

/* A finished run's weights, averaged over another share of it. */
static void test_average(void)
{
    g_auto(Place) place = place_new();
    g_autofree char *run = g_build_filename(place.folder, "run", NULL);
    g_autofree char *folder = g_build_filename(place.folder, "averaged", NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Watch) watch = {0};

    g_assert_true(train(&place, "run", &watch, &(Wish){0}, &error));
    g_assert_cmpuint(watch.plan.snapshots, ==, 4);
    g_assert_cmpuint(watch.plan.snapshot_bytes, ==, 4 * 2 * 2 * watch.plan.trained);
    g_assert_true(ldm_snapshots_average(run, 0.15, folder, &error));
    g_assert_no_error(error);
    g_autoptr(LdmModel) before = ldm_model_load(run, &error);
    g_autoptr(LdmModel) after = ldm_model_load(folder, &error);
    g_assert_no_error(error);
    g_assert_cmpint(ldm_model_info(after)->dtype, ==, ldm_model_info(before)->dtype);
    for (size_t i = 0; i < ldm_params_length(before->vae_params); i++) { /* not trained */
        const LdmParam *a = ldm_params_at(before->vae_params, i);
        g_assert_cmpmem(a->data, made_bytes(a), ldm_params_at(after->vae_params, i)->data,
                        made_bytes(a));
    }
    const LdmParam *a = ldm_params_at(before->text_params, 0);
    const LdmParam *b = ldm_params_at(after->text_params, 0);
    g_assert_cmpint(memcmp(a->data, b->data, made_bytes(a)), !=, 0);
}

static void test_refusals(void)
{
    g_auto(Place) place = place_new();
    g_autofree char *folder = g_build_filename(place.folder, "run", NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Watch) watch = {0};
    const Wish begin = {0}, resume = {.resume = true};

    g_assert_false(train(&place, "run", &watch, &resume, &error)); /* nothing to resume */
    g_assert_error(error, LDM_ERROR, LDM_ERROR_MISSING);
    g_clear_error(&error);
    g_autoptr(LdmCheckpoints) other = ldm_checkpoints_open(folder, 1, &error);
    g_assert_no_error(error);
    g_assert_false(train(&place, "run", &watch, &begin, &error)); /* another run is at work */
    g_assert_error(error, LDM_ERROR, LDM_ERROR_FILE);
    g_clear_error(&error);
    g_clear_pointer(&other, ldm_checkpoints_free);
    g_assert_true(train(&place, "run", &watch, &begin, &error));
    g_assert_false(train(&place, "run", &watch, &begin, &error)); /* it would be overwritten */
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_clear_error(&error);
    /* a finished run resumed: nothing to do, and the model is still there */
    g_assert_true(train(&place, "run", &watch, &resume, &error));
    g_assert_no_error(error);
}

static void refuse(const Place *place, const Wish *wish, const char *word)
{
    g_autoptr(GError) error = NULL;
    g_auto(Watch) watch = {0};

    g_assert_false(train(place, "run", &watch, wish, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, word));
}

/* A model, or what was learnt beside one, that no checkpoint tells to be the run's own. */
static void test_no_room(void)
{
    static const char *const there[][2] = {{"unet", "config.json"},
                                           {"image_tower", "config.json"},
                                           {"", "model_index.json"},
                                           {"", "pytorch_lora_weights.safetensors"}};
    g_auto(Place) place = place_new();
    g_autofree char *folder = g_build_filename(place.folder, "run", NULL);
    g_autofree char *checkpoints = g_build_filename(folder, "checkpoints", NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(there); i++) {
        made_text(folder, there[i][0], there[i][1], "somebody's");
        refuse(&place, &(Wish){0}, "move it away");
        g_assert_false(g_file_test(checkpoints, G_FILE_TEST_EXISTS));
        made_remove(folder);
    }
    made_text(folder, "", "settings.conf", "steps = 8");
    g_autoptr(GError) error = NULL;
    g_auto(Watch) watch = {0};
    g_assert_true(train(&place, "run", &watch, &(Wish){0}, &error));
    g_assert_no_error(error);
    made_remove(checkpoints);
    refuse(&place, &(Wish){0}, "move it away");
}

/* What a run was begun with that no option names; and no picture is encoded in vain. */
static void test_other_inputs(void)
{
    g_auto(Place) place = place_new();
    g_autofree char *path = g_build_filename(place.folder, "run", "latents", NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Watch) watch = {.stop_after = 2};
    const Wish begin = {0}, resume = {.resume = true}, longer = {.resume = true, .steps = 9};

    g_assert_false(train(&place, "run", &watch, &begin, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_CANCELLED);
    g_clear_error(&error);
    made_text(place.pictures, "", "0.txt", "another picture");
    refuse(&place, &resume, "(captions=");
    made_text(place.pictures, "", "0.txt", "a small picture");
    made_tokenizer_swapped(place.model_folder);
    refuse(&place, &resume, "(config=");
    made_tokenizer(place.model_folder);
    made_text(place.model_folder, "scheduler", "scheduler_config.json", "{\"beta_end\":0.02}");
    refuse(&place, &resume, "(config=");
    made_text(place.model_folder, "scheduler", "scheduler_config.json", made_schedule_json);
    watch.stop_after = 0;
    g_assert_true(train(&place, "run", &watch, &resume, &error));
    g_assert_no_error(error);
    refuse(&place, &longer, "(steps=8)");
    place_picture(&place, 0, "1, and more of it");
    refuse(&place, &resume, "(latents=");
    g_autoptr(GDir) latents = g_dir_open(path, 0, NULL);
    g_assert_nonnull(g_dir_read_name(latents));
    g_assert_null(g_dir_read_name(latents));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/train/resume", test_resume);
    g_test_add_func("/train/muon", test_muon);
    g_test_add_func("/train/buckets", test_buckets);
    g_test_add_func("/train/bf16", test_bf16);
    g_test_add_func("/train/longer", test_longer);
    g_test_add_func("/train/pictures", test_pictures);
    g_test_add_func("/train/result", test_result);
    g_test_add_func("/train/average", test_average);
    g_test_add_func("/train/full-holes", test_full_holes);
    g_test_add_func("/train/hole-drop", test_hole_drop);
    g_test_add_func("/train/timestep-shift", test_timestep_shift);
    g_test_add_func("/train/refusals", test_refusals);
    g_test_add_func("/train/no-room", test_no_room);
    g_test_add_func("/train/other-inputs", test_other_inputs);
    return g_test_run();
}
