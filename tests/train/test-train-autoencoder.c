/* Whole runs of the first stage from random weights: the same bytes whether interrupted or not, a
 * loss that falls, a folder that encodes and decodes and whose latents have unit variance. */
#include "place.h"
#include "train/initial.h"
#include "train/train-autoencoder.h"
#include "weights/json.h"

#include <math.h>
#include <string.h>

#define STEPS 24
#define SIDE  16

static LdmAutoencoderOptions options_new(void)
{
    LdmAutoencoderOptions options = ldm_autoencoder_defaults();

    options.augment.side = SIDE;
    options.augment.crop = 0.2;
    options.loop.batch = 2;
    options.loop.accumulate = 2;
    options.loop.optimiser.steps = STEPS;
    options.loop.optimiser.warm_up = 2;
    options.loop.optimiser.rate = 2e-3;
    options.loop.seed = 5;
    options.loop.save_every = 8;
    options.discriminator = (LdmDiscriminatorConfig){.channels = 8, .layers = 2};
    options.adversarial_start = 10;
    return options;
}

static bool train(const Place *place, const char *run, Watch *watch,
                  const LdmAutoencoderOptions *options, GError **error)
{
    const LdmWanted wanted = {.first_stage = true,
                              .made_new = watch->from == NULL ? 1u << LDM_PART_VAE : 0,
                              .vae = options->vae};
    g_autofree char *from = watch_model(watch, place);
    g_autoptr(LdmModel) model = ldm_model_load_wanted(from, &wanted, error);
    g_autoptr(LdmDataset) dataset = ldm_dataset_open(place->pictures, error);
    g_autofree char *folder = g_build_filename(place->folder, run, NULL);

    g_assert_true(model != NULL && dataset != NULL);
    g_assert_true(watch->from != NULL ||
                  ldm_model_draw(model, (uint64_t)options->loop.seed, error));
    const LdmTrainWatch callbacks = watch_run(watch, read_picture);
    return ldm_train_autoencoder(model, dataset, options, &callbacks, folder, error);
}

/* Interrupted twice and resumed, against a run of one piece. */
static void check_resume(const Place *place, LdmAutoencoderOptions options)
{
    static const char *const same[] = {
        "vae/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "log.jsonl",
        "checkpoints/step-0000000024.safetensors",
        "checkpoints/step-0000000024.json",
    };
    g_autoptr(GError) error = NULL;
    g_auto(Watch) whole = {0}, parts = {.stop_after = 5};

    g_assert_true(train(place, "whole", &whole, &options, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(whole.plan.skipped, ==, 1);
    for (int k = 0; k < 3; k++) { /* before the discriminator takes part and after, then the end */
        g_assert_cmpint(train(place, "parts", &parts, &options, &error), ==, k == 2);
        g_clear_error(&error);
        options.loop.resume = true;
        options.loop.checkpointing = true; /* changes no bit, also begun on the way */
        parts.stop_after = k == 0 ? 15 : 0;
    }
    g_assert_cmpmem(whole.losses, STEPS * sizeof(double), parts.losses, STEPS * sizeof(double));
    for (size_t i = 0; i < G_N_ELEMENTS(same); i++)
        assert_same_file(place, "whole", "parts", same[i]);
}

static void test_resume(gconstpointer frozen)
{
    g_auto(Place) place = place_new();
    LdmAutoencoderOptions options = options_new();

    options.weights.matching = 1.0;
    options.equivariance = 0.5;
    options.discriminator.detail = 4.0;
    options.weights.texture = 2.0;
    options.freeze_encoder = GPOINTER_TO_INT(frozen) != 0;
    check_resume(&place, options);
}

/* The path's first weights are measured on the pictures once. */
static void test_resume_linear(void)
{
    g_auto(Place) place = place_new();
    place_set_vae(&place, "\"linear_path\": true, \"haar_stem\": true");

    check_resume(&place, options_new());
}

static LdmTensor *window(float value)
{
    LdmTensor *x = ldm_tensor_new_nhwc(1, SIDE, SIDE, 3, NULL);

    for (size_t i = 0; i < ldm_tensor_count(x); i++)
        ldm_tensor_f32(x)[i] = value;
    return x;
}

static void test_result(void)
{
    g_auto(Place) place = place_new();
    g_autofree char *folder = g_build_filename(place.folder, "run", NULL);
    g_autofree char *weights =
        g_build_filename(folder, "unet", "diffusion_pytorch_model.safetensors", NULL);
    g_autofree char *unet = g_build_filename(folder, "unet", "config.json", NULL);
    g_autoptr(GError) error = NULL;
    LdmAutoencoderOptions options = options_new();
    g_auto(Watch) watch = {0};

    options.weights.adversarial = 0.0;
    g_assert_true(train(&place, "run", &watch, &options, &error));
    g_assert_no_error(error);
    g_test_message("loss %.3f, then %.3f", mean(watch.losses, 4), mean(watch.losses + 20, 4));
    g_assert_cmpfloat(mean(watch.losses + 20, 4), <, 0.8 * mean(watch.losses, 4));
    g_assert_cmpstr(watch.last.terms[0].name, ==, "reconstruction");
    g_assert_true(g_file_test(unet, G_FILE_TEST_EXISTS));
    g_assert_false(g_file_test(weights, G_FILE_TEST_EXISTS)); /* of the old latents */

    g_assert_null(ldm_model_load(folder, NULL));
    g_autoptr(LdmModel) model = ldm_model_load_first_stage(folder, &error);
    g_assert_no_error(error);
    g_assert_cmpfloat(ldm_model_info(model)->scale_factor, !=, 0.18215);
    g_autoptr(LdmTensor) x = window(-0.25f);
    g_autoptr(LdmTensor) z = ldm_encode(model, x, 1, NULL, &error);
    g_assert_no_error(error);
    g_autoptr(LdmTensor) y = ldm_decode(model, z, NULL, &error);
    g_assert_no_error(error);
    g_assert_true(ldm_tensor_same_shape(x, y));
    g_autoptr(LdmTensor) context = ldm_tensor_new(LDM_F32, 3, (size_t[]){1, 8, 32}, NULL);
    g_assert_null(ldm_predict(model, z, 1, context, NULL, NULL, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_UNSUPPORTED);
}

static void test_scale(void)
{
    g_auto(Place) place = place_new();
    g_autofree char *folder = g_build_filename(place.folder, "run", NULL);
    g_autoptr(GError) error = NULL;
    LdmAutoencoderOptions options = options_new();
    g_auto(Watch) watch = {0};
    double sum = 0.0, squares = 0.0, count = 0.0;

    options.weights.adversarial = 0.0;
    options.loop.optimiser.steps = 4;
    options.augment.crop = 0.0;
    g_assert_true(train(&place, "run", &watch, &options, &error));
    g_autoptr(LdmModel) model = ldm_model_load_first_stage(folder, &error);
    g_assert_no_error(error);
    for (int i = 0; i < 5; i++) { /* the pictures of place_new, as read_picture makes them */
        g_autoptr(LdmTensor) x = window(2.0f * (float)i / 8.0f - 1.0f);
        g_autoptr(LdmTensor) z = i == 3 ? NULL : ldm_encode(model, x, i, NULL, &error);
        for (size_t k = 0; z != NULL && k < ldm_tensor_count(z); k++) {
            sum += ldm_tensor_f32(z)[k];
            squares += ldm_tensor_f32(z)[k] * ldm_tensor_f32(z)[k];
            count += 1.0;
        }
    }
    double spread = sqrt(squares / count - sum / count * sum / count);
    g_test_message("standard deviation of the latents %.3f", spread);
    g_assert_cmpfloat_with_epsilon(spread, 1.0, 0.1);
}

static LdmModel *load_run(const Place *place, const char *run)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *folder = g_build_filename(place->folder, run, NULL);
    LdmModel *model = ldm_model_load_first_stage(folder, &error);

    g_assert_no_error(error);
    return model;
}

/* A decoder that is trained further: the same latents to the bit, another picture. */
static void test_frozen(void)
{
    g_auto(Place) place = place_new();
    g_autoptr(GError) error = NULL;
    LdmAutoencoderOptions options = options_new();
    g_auto(Watch) first = {0}, second = {.from = "first"};

    options.loop.optimiser.steps = 4;
    options.adversarial_start = 2;
    g_assert_true(train(&place, "first", &first, &options, &error));
    options.freeze_encoder = true;
    g_assert_true(train(&place, "second", &second, &options, &error));
    g_assert_no_error(error);
    g_autoptr(LdmModel) a = load_run(&place, "first");
    g_autoptr(LdmModel) b = load_run(&place, "second");
    g_autoptr(LdmTensor) x = window(-0.25f);
    g_autoptr(LdmTensor) z = ldm_encode(a, x, 1, NULL, &error);
    g_autoptr(LdmTensor) same = ldm_encode(b, x, 1, NULL, &error);
    g_autoptr(LdmTensor) y = ldm_decode(a, z, NULL, &error);
    g_autoptr(LdmTensor) other = ldm_decode(b, z, NULL, &error);
    g_assert_no_error(error);
    size_t bytes = ldm_tensor_count(z) * sizeof(float);
    g_assert_cmpmem(z->data, bytes, same->data, bytes);
    g_assert_cmpint(memcmp(y->data, other->data, ldm_tensor_count(y) * sizeof(float)), !=, 0);
}

/* The values of the folder's autoencoder configuration. */
static JsonObject *config_of(const Place *place, const char *run)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_build_filename(place->folder, run, "vae", "config.json", NULL);
    JsonObject *config = ldm_json_load(path, LDM_CONFIG_BYTES, &error);

    g_assert_no_error(error);
    return config;
}

/* The discriminator's loss after the last step of a run whose autoencoder stands still. */
static double judged(const Place *place, const char *run, uint64_t decay_from)
{
    LdmAutoencoderOptions options = options_new();
    g_autoptr(GError) error = NULL;
    g_auto(Watch) watch = {0};

    options.loop.optimiser.rate = 0.0;
    options.loop.optimiser.decay_from = decay_from;
    options.adversarial_rate = 1e-5;
    options.adversarial_start = 2;
    g_assert_true(train(place, run, &watch, &options, &error));
    g_assert_no_error(error);
    return watch.last.adversary;
}

/* Its rate stays, whatever becomes of the autoencoder's. */
static void test_adversarial_rate(void)
{
    g_auto(Place) place = place_new();

    g_assert_cmpfloat(judged(&place, "half-cosine", 0), ==, judged(&place, "endless", 1));
}

/* A codebook instead of the posterior that the configuration has; trained further; and back. */
static void test_vq(void)
{
    g_auto(Place) place = place_new();
    g_autoptr(GError) error = NULL;
    LdmAutoencoderOptions options = options_new();
    g_auto(Watch) further = {.from = "whole"}, back = {0};

    options.loop.accumulate = 1;
    options.vae = (LdmVaeWish){LDM_REGULARISER_VQ, .codebook = 50, .width = 3};
    check_resume(&place, options);
    g_autoptr(JsonObject) config = config_of(&place, "whole");
    g_assert_cmpstr(json_object_get_string_member(config, "_class_name"), ==, "VQModel");
    g_assert_cmpint(json_object_get_int_member(config, "num_vq_embeddings"), ==, 50);
    g_assert_cmpint(json_object_get_int_member(config, "vq_embed_dim"), ==, 3);
    g_assert_cmpint(json_object_get_int_member(config, "latent_channels"), ==, 4);
    g_autofree char *index = g_build_filename(place.folder, "whole", "model_index.json", NULL);
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents(index, &text, NULL, NULL));
    g_assert_nonnull(strstr(text, "\"VQModel\""));

    g_autoptr(LdmModel) model = load_run(&place, "whole");
    g_autoptr(LdmTensor) x = window(-0.25f);
    g_autoptr(LdmTensor) z = ldm_encode(model, x, 1, NULL, &error);
    g_autoptr(LdmTensor) mean = ldm_encode(model, x, -1, NULL, &error); /* no posterior to draw */
    g_autoptr(LdmTensor) y = ldm_decode(model, z, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(z->shape[3], ==, 3);
    size_t bytes = ldm_tensor_count(z) * sizeof(float);
    g_assert_cmpmem(z->data, bytes, mean->data, bytes);
    g_assert_true(ldm_tensor_same_shape(x, y));

    options.vae = (LdmVaeWish){0};
    options.loop.optimiser.steps = 4;
    g_assert_true(train(&place, "further", &further, &options, &error));
    g_assert_cmpstr(further.last.terms[1].name, ==, "codebook");
    g_assert_cmpstr(further.last.terms[2].name, ==, "perplexity");
    g_assert_cmpfloat(further.last.terms[2].value, >=, 1.0);
    g_assert_cmpfloat(further.last.terms[2].value, <=, 50.0);
    options.vae.regulariser = LDM_REGULARISER_KL;
    g_assert_false(train(&place, "other", &further, &options, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_clear_error(&error);
    options.vae = (LdmVaeWish){.codebook = 51};
    g_assert_false(train(&place, "other", &further, &options, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_clear_error(&error);

    g_free(place.model_folder);
    place.model_folder = g_build_filename(place.folder, "whole", NULL);
    options.vae = (LdmVaeWish){LDM_REGULARISER_KL};
    g_assert_true(train(&place, "back", &back, &options, &error));
    g_autoptr(JsonObject) again = config_of(&place, "back");
    g_assert_cmpstr(json_object_get_string_member(again, "_class_name"), ==, "AutoencoderKL");
    g_assert_false(json_object_has_member(again, "vq_embed_dim"));
    ldm_model_unref(load_run(&place, "back"));
}

static void test_refusals(void)
{
    g_auto(Place) place = place_new();
    g_autoptr(GError) error = NULL;
    LdmAutoencoderOptions options = options_new();
    g_auto(Watch) watch = {0};

    options.augment.side = 10; /* too small for the discriminator */
    g_assert_false(train(&place, "run", &watch, &options, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_clear_error(&error);
    options = options_new();
    options.discriminator.channels = 12;
    g_assert_false(train(&place, "run", &watch, &options, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_clear_error(&error);
    options = options_new();
    options.weights.matching = 1.0;
    options.weights.adversarial = 0.0; /* no discriminator whose features could be matched */
    g_assert_false(train(&place, "run", &watch, &options, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_clear_error(&error);
    options = options_new();
    options.augment.side = 12; /* nothing smaller would do */
    options.equivariance = 0.1;
    g_assert_false(train(&place, "run", &watch, &options, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_clear_error(&error);
    options = options_new();
    options.weights.kl = -1.0;
    g_assert_false(train(&place, "run", &watch, &options, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_clear_error(&error);
    options = options_new();
    options.loop.resume = true;
    g_assert_false(train(&place, "run", &watch, &options, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_MISSING);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/train-autoencoder/resume", GINT_TO_POINTER(0), test_resume);
    g_test_add_func("/train-autoencoder/resume-linear", test_resume_linear);
    g_test_add_data_func("/train-autoencoder/resume-frozen", GINT_TO_POINTER(1), test_resume);
    g_test_add_func("/train-autoencoder/result", test_result);
    g_test_add_func("/train-autoencoder/scale", test_scale);
    g_test_add_func("/train-autoencoder/frozen", test_frozen);
    g_test_add_func("/train-autoencoder/adversarial-rate", test_adversarial_rate);
    g_test_add_func("/train-autoencoder/vq", test_vq);
    g_test_add_func("/train-autoencoder/refusals", test_refusals);
    return g_test_run();
}
