/* Networks made new: what each kind of parameter begins with, the same for the same seed, and a
 * denoiser that learns from nothing. */
#include "place.h"
#include "train/initial.h"
#include "train/train-ldm.h"

#include <math.h>
#include <string.h>

#define STEPS 40

static LdmModel *load_new(const Place *place, uint64_t seed)
{
    g_autoptr(GError) error = NULL;
    const LdmWanted wanted = {.made_new = 1u << LDM_PART_UNET | 1u << LDM_PART_TEXT};
    LdmModel *model = ldm_model_load_wanted(place->model_folder, &wanted, &error);

    g_assert_no_error(error);
    g_assert_true(ldm_model_draw(model, seed, &error));
    return model;
}

typedef struct {
    double mean, spread, largest; /* spread: root mean square */
} Numbers;

static Numbers numbers_of(const LdmParam *param)
{
    Numbers numbers = {0};
    size_t n = made_bytes(param) / 2;

    g_assert_nonnull(param);
    g_assert_cmpint(param->dtype, ==, LDM_F32);
    for (size_t i = 0; i < n; i++) {
        double x = ((const float *)param->data)[i];
        numbers.mean += x / (double)n;
        numbers.spread += x * x / (double)n;
        numbers.largest = MAX(numbers.largest, fabs(x));
    }
    numbers.spread = sqrt(numbers.spread);
    return numbers;
}

static void assert_uniform(const LdmParams *params, const char *name, double fan_in)
{
    Numbers numbers = numbers_of(ldm_params_find(params, name));
    double bound = 1.0 / sqrt(fan_in);

    g_assert_cmpfloat(numbers.largest, <=, bound);
    g_assert_cmpfloat(numbers.largest, >, 0.8 * bound);
    g_assert_cmpfloat_with_epsilon(numbers.spread, bound / sqrt(3.0), 0.2 * bound);
    g_assert_cmpfloat(fabs(numbers.mean), <, 0.3 * bound);
}

static LdmModel *load_given(const Place *place)
{
    g_autoptr(GError) error = NULL;
    const LdmWanted wanted = {.made_new = 1u << LDM_PART_UNET,
                              .made_if_missing = 1u << LDM_PART_TEXT};
    LdmModel *model = ldm_model_load_wanted(place->model_folder, &wanted, &error);

    g_assert_no_error(error);
    g_assert_true(ldm_model_draw(model, 1, &error));
    return model;
}

/* Weights that are there stay; others are drawn as if the network were wanted new. */
static void test_if_missing(void)
{
    g_auto(Place) place = place_new();
    g_autofree char *weights =
        g_build_filename(place.model_folder, "text_encoder", "model.safetensors", NULL);
    static const char name[] = "text_model.encoder.layers.0.mlp.fc1.weight";
    g_autoptr(LdmModel) whole = ldm_model_load(place.model_folder, NULL);
    g_autoptr(LdmModel) drawn = load_new(&place, 1);
    g_autoptr(LdmModel) given = load_given(&place);
    const LdmParam *a = ldm_params_find(whole->text_params, name);
    const LdmParam *b = ldm_params_find(given->text_params, name);

    g_assert_cmpint(b->dtype, ==, LDM_F16);
    g_assert_cmpmem(a->data, made_bytes(a), b->data, made_bytes(b));
    g_assert_null(given->drawn[LDM_PART_TEXT]);
    g_assert_nonnull(given->drawn[LDM_PART_UNET]);
    g_assert_cmpint(g_remove(weights), ==, 0);
    g_autoptr(LdmModel) missing = load_given(&place);
    const LdmParam *c = ldm_params_find(drawn->text_params, name);
    const LdmParam *d = ldm_params_find(missing->text_params, name);
    g_assert_cmpint(d->dtype, ==, LDM_F32);
    g_assert_cmpmem(c->data, 2 * made_bytes(c), d->data, 2 * made_bytes(d));
}

static void test_kinds(void)
{
    g_auto(Place) place = place_new();
    g_autoptr(LdmModel) model = load_new(&place, 1);
    static const char *const zero[] = {
        "conv_out.weight",
        "conv_out.bias",
        "down_blocks.0.resnets.0.conv2.weight",
        "mid_block.attentions.0.proj_out.weight",
        "down_blocks.0.resnets.0.norm1.bias",
    };

    assert_uniform(model->unet_params, "conv_in.weight", 4 * 9);
    assert_uniform(model->unet_params, "conv_in.bias", 4 * 9);
    assert_uniform(model->unet_params, "time_embedding.linear_2.weight", 128);
    assert_uniform(model->text_params, "text_model.encoder.layers.0.mlp.fc2.weight", 64);
    for (size_t i = 0; i < G_N_ELEMENTS(zero); i++)
        g_assert_cmpfloat(numbers_of(ldm_params_find(model->unet_params, zero[i])).largest, ==, 0);
    Numbers norm = numbers_of(ldm_params_find(model->unet_params, "conv_norm_out.weight"));
    g_assert_true(norm.mean == 1.0 && norm.largest == 1.0);
    Numbers words = numbers_of(
        ldm_params_find(model->text_params, "text_model.embeddings.token_embedding.weight"));
    g_assert_cmpfloat_with_epsilon(words.spread, 0.02, 0.001);
    /* what is not made new has its own weights */
    g_assert_cmpint(ldm_params_at(model->vae_params, 0)->dtype, ==, LDM_F16);
}

/* Of a new autoencoder: branches are nothing, what is left keeps the variance, and the posterior is
 * narrow. */
static void test_autoencoder(void)
{
    g_auto(Place) place = place_new();
    g_autoptr(GError) error = NULL;
    const LdmWanted wanted = {.made_new = 1u << LDM_PART_VAE};
    g_autoptr(LdmModel) model = ldm_model_load_wanted(place.model_folder, &wanted, &error);
    static const char *const zero[] = {
        "encoder.down_blocks.0.resnets.0.conv2.weight",
        "decoder.mid_block.attentions.0.to_out.0.weight",
        "decoder.conv_out.bias",
    };

    g_assert_no_error(error);
    g_assert_true(ldm_model_draw(model, 1, &error));
    for (size_t i = 0; i < G_N_ELEMENTS(zero); i++)
        g_assert_cmpfloat(numbers_of(ldm_params_find(model->vae_params, zero[i])).largest, ==, 0);
    const LdmParam *conv = ldm_params_find(model->vae_params, "decoder.conv_in.weight");
    double fan_in = 9.0 * (double)conv->shape[1];
    g_assert_cmpfloat_with_epsilon(numbers_of(conv).spread, 1 / sqrt(fan_in), 0.2 / sqrt(fan_in));

    size_t z = (size_t)model->config.vae.latent_channels;
    const LdmParam *weight = ldm_params_find(model->vae_params, "quant_conv.weight");
    const LdmParam *bias = ldm_params_find(model->vae_params, "quant_conv.bias");
    for (size_t i = 0; i < 2 * z; i++) {
        double largest = 0.0;
        for (size_t k = 0; k < 2 * z; k++)
            largest = MAX(largest, fabs(((const float *)weight->data)[i * 2 * z + k]));
        g_assert_true((largest > 0.0) == (i < z));
        g_assert_cmpfloat(((const float *)bias->data)[i], ==, i < z ? 0.0 : -6.0);
    }
}

static bool same(const LdmParam *a, const LdmParam *b)
{
    return memcmp(a->data, b->data, made_bytes(a) * 2) == 0;
}

static void test_seed(void)
{
    g_auto(Place) place = place_new();
    g_autoptr(LdmModel) first = load_new(&place, 1);
    g_autoptr(LdmModel) again = load_new(&place, 1);
    g_autoptr(LdmModel) other = load_new(&place, 2);
    const char *a = "conv_in.weight", *b = "down_blocks.0.resnets.0.conv1.bias";

    for (size_t i = 0; i < ldm_params_length(first->unet_params); i++)
        g_assert_true(
            same(ldm_params_at(first->unet_params, i), ldm_params_at(again->unet_params, i)));
    g_assert_false(
        same(ldm_params_find(first->unet_params, a), ldm_params_find(other->unet_params, a)));
    g_assert_cmpfloat(*(const float *)ldm_params_find(first->unet_params, a)->data, !=,
                      *(const float *)ldm_params_find(first->unet_params, b)->data);
}

/* From the loss of a network that says nothing, E|noise|^2 = 1, downwards; the model is whole. */
static void test_learns(void)
{
    g_auto(Place) place = place_new();
    g_autoptr(GError) error = NULL;
    g_autofree char *unet =
        g_build_filename(place.model_folder, "unet", "diffusion_pytorch_model.safetensors", NULL);
    g_autofree char *run = g_build_filename(place.folder, "run", NULL);
    g_auto(Watch) watch = {0};
    const LdmTrainWatch callbacks = watch_run(&watch, read_picture);

    g_assert_cmpint(g_remove(unet), ==, 0);
    g_assert_null(ldm_model_load(place.model_folder, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_MISSING);
    g_clear_error(&error);
    g_autoptr(LdmModel) model = load_new(&place, 1);
    g_autoptr(LdmDataset) dataset = ldm_dataset_open(place.pictures, &error);
    LdmTrainOptions options = ldm_train_defaults();
    options.latents.augment.side = 16;
    options.latents.variants = 1;
    options.loop.batch = 4;
    options.loop.optimiser.rate = 3e-3;
    options.loop.optimiser.warm_up = 5;
    options.loop.optimiser.steps = STEPS;
    options.train_text = true;
    options.loop.half = true;
    g_assert_true(ldm_train_ldm(model, dataset, &options, &callbacks, run, &error));
    g_assert_no_error(error);
    double first = watch.losses[0], last = mean(watch.losses + STEPS - 8, 8);
    g_test_message("loss %.3f, then %.3f", first, last);
    g_assert_cmpfloat_with_epsilon(first, 1.0, 0.2);
    g_assert_cmpfloat(last, <, 0.9 * mean(watch.losses, 8));
    g_autoptr(LdmModel) trained = ldm_model_load(run, &error);
    g_assert_no_error(error);
    g_assert_cmpint(ldm_model_info(model)->dtype, ==, LDM_F32);
    g_assert_cmpint(ldm_model_info(trained)->dtype, ==, LDM_F16);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/initial/kinds", test_kinds);
    g_test_add_func("/initial/if-missing", test_if_missing);
    g_test_add_func("/initial/autoencoder", test_autoencoder);
    g_test_add_func("/initial/seed", test_seed);
    g_test_add_func("/initial/learns", test_learns);
    return g_test_run();
}
