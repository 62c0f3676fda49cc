/* Latents that get further channels: where these are zero the model does what it did; they tell
 * what pictures have, and the decoder adds that. */
#include "place.h"
#include "train/grow.h"

#include <math.h>
#include <string.h>

#define SIDE  16
#define CELLS (SIDE / 4 * SIDE / 4) /* f = 4, by two levels behind a Haar stem */
#define OLD   4                     /* z, as the made model has it */
#define NEW   6

static char *replaced(const char *text, const char *from, const char *to)
{
    g_auto(GStrv) parts = g_strsplit(text, from, -1);

    g_assert_cmpuint(g_strv_length(parts), >, 1);
    return g_strjoinv(to, parts);
}

/* The configuration of a model that fills masked regions, with z channels. */
static void write_config(const char *folder, int z, const char *vae)
{
    g_autofree char *in = g_strdup_printf("\"in_channels\":%d", 2 * z + 1);
    g_autofree char *out = g_strdup_printf("\"out_channels\":%d", z);
    g_autofree char *latent = g_strdup_printf("%s\"latent_channels\":%d", vae, z);
    g_autofree char *unet = replaced(made_unet_json, "\"in_channels\":4", in);
    g_autofree char *both = replaced(unet, "\"out_channels\":4", out);
    g_autofree char *unet_json = replaced(both, "\"sample_size\":64", "\"sample_size\":4");
    g_autofree char *vae_json = replaced(made_vae_json, "\"latent_channels\":4", latent);

    made_text(folder, "unet", "config.json", unet_json);
    made_text(folder, "vae", "config.json", vae_json);
}

/* The place's model, with z = 4, as it grows from, and beside it the configuration for 6. */
static Place begin(char **larger)
{
    Place place = place_new();
    LdmModelConfig config = made_config(false, MADE_WORDS);
    static const char vae[] = "\"haar_stem\":true,\"linear_path\":true,\"scaling_factor\":0.5,";

    config.vae.haar_stem = config.vae.linear_path = true;
    config.unet.in_channels = 2 * OLD + 1;
    place_make_model(&place, &config);
    write_config(place.model_folder, OLD, vae);
    *larger = g_build_filename(place.folder, "larger", NULL);
    made_text(*larger, "", "model_index.json", made_index_json);
    made_text(*larger, "text_encoder", "config.json", made_text_json);
    made_text(*larger, "scheduler", "scheduler_config.json", made_schedule_json);
    made_tokenizer(*larger);
    write_config(*larger, NEW, "\"haar_stem\":true,\"linear_path\":true,");
    return place;
}

/* Noise, which the file's name seeds. */
static LdmTensor *read_noise(const char *path, void *data, GError **error)
{
    LdmTensor *picture = ldm_tensor_new_nhwc(1, SIDE, SIDE, 4, error);
    g_autofree char *name = g_path_get_basename(path);
    guint32 state = g_str_hash(name);

    for (size_t i = 0; i < ldm_tensor_count(picture); i++)
        ldm_tensor_f32(picture)[i] = i % 4 == 3 ? 1.0f : 0.5f + 0.4f * noise(&state);
    return picture;
}

static bool grow(const Place *place, const char *larger, GError **error)
{
    const LdmWanted anew = {.made_new =
                                1u << LDM_PART_VAE | 1u << LDM_PART_UNET | 1u << LDM_PART_TEXT};
    const LdmTrainWatch watch = {.read = read_noise};
    g_autofree char *grown = g_build_filename(place->folder, "grown", NULL);
    g_autoptr(LdmDataset) dataset = ldm_dataset_open(place->pictures, error);
    g_autoptr(LdmModel) old = ldm_model_load(place->model_folder, error);
    g_autoptr(LdmModel) model = ldm_model_load_wanted(larger, &anew, error);

    g_assert_nonnull(dataset);
    g_assert_nonnull(old);
    g_assert_nonnull(model);
    return ldm_train_grow(model, old, dataset, &watch, grown, error);
}

typedef struct {
    LdmModel *old, *grown;
} Pair;

static void pair_clear(Pair *pair)
{
    ldm_model_unref(pair->old);
    ldm_model_unref(pair->grown);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Pair, pair_clear)

static Pair load_pair(const Place *place)
{
    g_autofree char *folder = g_build_filename(place->folder, "grown", NULL);
    g_autoptr(GError) error = NULL;
    Pair pair = {ldm_model_load(place->model_folder, &error), ldm_model_load(folder, &error)};

    g_assert_no_error(error);
    return pair;
}

static LdmTensor *noise_tensor(size_t side, size_t C, guint32 seed)
{
    LdmTensor *x = ldm_tensor_new_nhwc(1, side, side, C, NULL);

    for (size_t i = 0; i < ldm_tensor_count(x); i++)
        ldm_tensor_f32(x)[i] = noise(&seed);
    return x;
}

/* The first `count` channels of each cell. */
static void put_channels(LdmTensor *x, LdmTensor *y, size_t count)
{
    size_t wide = x->shape[3], room = y->shape[3];

    for (size_t i = 0; i < ldm_tensor_count(x) / wide; i++)
        memcpy(ldm_tensor_f32(y) + i * room, ldm_tensor_f32(x) + i * wide, count * sizeof(float));
}

/* x with further channels, all zero. */
static LdmTensor *widened(LdmTensor *x, size_t C)
{
    LdmTensor *y = ldm_tensor_new_nhwc(1, x->shape[1], x->shape[2], C, NULL);

    memset(y->data, 0, ldm_tensor_count(y) * sizeof(float));
    put_channels(x, y, x->shape[3]);
    return y;
}

/* Relative L2. */
static double distance(LdmTensor *x, LdmTensor *y)
{
    double apart = 0.0, whole = 0.0;

    g_assert_cmpuint(ldm_tensor_count(x), ==, ldm_tensor_count(y));
    for (size_t i = 0; i < ldm_tensor_count(x); i++) {
        apart += pow(ldm_tensor_f32(x)[i] - ldm_tensor_f32(y)[i], 2.0);
        whole += pow(ldm_tensor_f32(y)[i], 2.0);
    }
    return sqrt(apart / whole);
}

static void test_encoder(const Pair *pair)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmTensor) picture = noise_tensor(SIDE, 3, 1);
    g_autoptr(LdmTensor) a = ldm_encode(pair->old, picture, -1, NULL, &error);
    g_autoptr(LdmTensor) b = ldm_encode(pair->grown, picture, -1, NULL, &error);
    g_autoptr(LdmTensor) both = ldm_tensor_new_nhwc(1, SIDE / 4, SIDE / 4, OLD, NULL);
    double squares = 0.0;

    g_assert_no_error(error);
    g_assert_cmpuint(b->shape[3], ==, NEW);
    put_channels(b, both, OLD);
    g_assert_cmpfloat(distance(both, a), <, 1e-6);
    for (size_t i = 0; i < CELLS; i++)
        for (size_t k = OLD; k < NEW; k++)
            squares += pow(ldm_tensor_f32(b)[i * NEW + k], 2.0);
    g_assert_cmpfloat(squares, >, 0.1);
}

/* New channels' part of the picture lies along what the encoder reads them by. */
static void test_decoder(const Pair *pair)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmTensor) z = noise_tensor(SIDE / 4, OLD, 2);
    g_autoptr(LdmTensor) wide = widened(z, NEW);

    g_autoptr(LdmTensor) a = ldm_decode(pair->old, z, NULL, &error);
    g_autoptr(LdmTensor) b = ldm_decode(pair->grown, wide, NULL, &error);
    g_assert_no_error(error);
    size_t count = ldm_tensor_count(a);
    g_assert_cmpfloat(distance(b, a), <, 1e-6);
    for (size_t i = 0; i < CELLS; i++)
        ldm_tensor_f32(wide)[i * NEW + OLD] = 1.0f;
    g_autoptr(LdmTensor) c = ldm_decode(pair->grown, wide, NULL, &error);
    g_assert_no_error(error);
    const LdmParam *there = ldm_params_find(pair->grown->vae_params, "encoder.linear_path.weight");
    const LdmParam *back = ldm_params_find(pair->grown->vae_params, "decoder.linear_path.weight");
    g_autofree float *rows = g_new(float, ldm_param_count(there));
    g_autofree float *columns = g_new(float, ldm_param_count(back));
    ldm_convert_to_f32(there->data, there->dtype, rows, ldm_param_count(there));
    ldm_convert_to_f32(back->data, back->dtype, columns, ldm_param_count(back));
    size_t n = there->shape[1];
    double along = 0.0, moved = 0.0, added = 0.0;
    for (size_t i = 0; i < n; i++) {
        along += rows[OLD * n + i] * columns[i * NEW + OLD];
        added += pow(columns[i * NEW + OLD] / 0.5, 2.0) * CELLS; /* 0.5: the scale factor */
    }
    for (size_t i = 0; i < count; i++)
        moved += pow(ldm_tensor_f32(c)[i] - ldm_tensor_f32(b)[i], 2.0);
    g_assert_cmpfloat_with_epsilon(along, 1.0, 2e-3);
    g_assert_cmpfloat_with_epsilon(moved, added, 1e-3 * added);
}

/* latent | mask | masked latent, where new channels stand behind each latent's. What these say is
 * heard, and nothing is said in return yet. */
static void test_denoiser(const Pair *pair)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmTensor) z = noise_tensor(8, OLD, 3);
    g_autoptr(LdmTensor) known = noise_tensor(8, OLD + 1, 4);
    g_autoptr(LdmTensor) wide = widened(z, NEW);
    g_autoptr(LdmTensor) wide_known = widened(known, NEW + 1);
    g_autoptr(LdmTensor) context = ldm_condition(pair->old, "a picture", NULL, &error);
    g_autoptr(LdmTensor) same = ldm_condition(pair->grown, "a picture", NULL, &error);
    g_autoptr(LdmTensor) first = ldm_tensor_new_nhwc(1, 8, 8, OLD, NULL);

    g_assert_no_error(error);
    size_t words = ldm_tensor_count(context) * sizeof(float);
    g_assert_cmpmem(context->data, words, same->data, words);
    g_autoptr(LdmTensor) a = ldm_predict(pair->old, z, 500, context, known, NULL, &error);
    g_autoptr(LdmTensor) b = ldm_predict(pair->grown, wide, 500, context, wide_known, NULL, &error);
    g_assert_no_error(error);
    put_channels(b, first, OLD);
    g_assert_cmpfloat(distance(first, a), <, 1e-5);
    for (size_t i = 0; i < 64; i++)
        for (size_t k = OLD; k < NEW; k++)
            g_assert_cmpfloat(ldm_tensor_f32(b)[i * NEW + k], ==, 0.0f);
    ldm_tensor_f32(wide)[OLD] = 1.0f;
    g_autoptr(LdmTensor) c = ldm_predict(pair->grown, wide, 500, context, wide_known, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpfloat(distance(c, b), >, 1e-4);
}

static void test_grown(void)
{
    g_autofree char *larger = NULL;
    g_auto(Place) place = begin(&larger);
    g_autoptr(GError) error = NULL;

    grow(&place, larger, &error);
    g_assert_no_error(error);
    g_auto(Pair) pair = load_pair(&place);
    g_assert_cmpfloat(pair.grown->config.vae.scale_factor, ==, 0.5);
    g_assert_cmpint(pair.grown->info.dtype, ==, LDM_F16);
    test_encoder(&pair);
    test_decoder(&pair);
    test_denoiser(&pair);
    g_assert_false(grow(&place, larger, &error)); /* it would be written over */
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
}

/* A folder that nothing is left in. */
static void assert_refused(const Place *place, const char *larger, LdmErrorCode code,
                           const char *says)
{
    g_autofree char *grown = g_build_filename(place->folder, "grown", NULL);
    g_autoptr(GError) error = NULL;

    g_assert_false(grow(place, larger, &error));
    g_assert_error(error, LDM_ERROR, (int)code);
    g_assert_nonnull(strstr(error->message, says));
    g_assert_false(g_file_test(grown, G_FILE_TEST_EXISTS));
}

static void test_refused(void)
{
    g_autofree char *larger = NULL;
    g_auto(Place) place = begin(&larger);
    g_autofree char *wider = replaced(made_unet_json, "[32,64]", "[64,64]");

    write_config(larger, OLD, "\"haar_stem\":true,\"linear_path\":true,");
    assert_refused(&place, larger, LDM_ERROR_INVALID, "4 latent channels");
    write_config(larger, NEW, "");
    assert_refused(&place, larger, LDM_ERROR_UNSUPPORTED, "linear path");
    write_config(larger, NEW, "\"haar_stem\":true,\"linear_path\":true,");
    g_autofree char *in = replaced(wider, "\"in_channels\":4", "\"in_channels\":13");
    g_autofree char *unet = replaced(in, "\"out_channels\":4", "\"out_channels\":6");
    made_text(larger, "unet", "config.json", unet);
    assert_refused(&place, larger, LDM_ERROR_INVALID, "conv_in.weight");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/grow/grown", test_grown);
    g_test_add_func("/grow/refused", test_refused);
    return g_test_run();
}
