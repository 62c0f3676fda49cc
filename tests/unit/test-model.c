/* Models: finding them, loading each layout, and what is said where something is wrong. Weights
 * written to a file must come back bit for bit under the right names. */
#include "base/checked.h"
#include "made-model.h"
#include "own-folder.h"
#include "pipeline/ahead.h"
#include "pipeline/data-path.h"
#include "pipeline/model.h"
#include "weights/file.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <locale.h>
#include <sys/mman.h>
#include <unistd.h>

/* Loading fails with this code and names all of `words` ("a|b"). */
static void refused(const char *path, LdmErrorCode code, const char *words)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmModel) model = ldm_model_load(path, &error);
    g_assert_null(model);
    g_assert_error(error, LDM_ERROR, (int)code);
    g_auto(GStrv) list = g_strsplit(words, "|", -1);
    for (int i = 0; list[i] != NULL; i++)
        if (strstr(error->message, list[i]) == NULL)
            g_error("“%s” does not say “%s”", error->message, list[i]);
}

static void same_params(const LdmParams *a, const LdmParams *b)
{
    g_assert_cmpuint(ldm_params_length(a), ==, ldm_params_length(b));
    for (size_t i = 0; i < ldm_params_length(a); i++) {
        const LdmParam *p = ldm_params_at(a, i), *q = ldm_params_find(b, p->name);
        g_assert_nonnull(q);
        g_assert_cmpint(q->dtype, ==, p->dtype);
        g_assert_cmpmem(p->data, made_bytes(p), q->data, made_bytes(q));
    }
}

static void same_weights(const MadeModel *made, const LdmModel *model)
{
    same_params(made->params[LDM_PART_UNET], model->unet_params);
    same_params(made->params[LDM_PART_VAE], model->vae_params);
    same_params(made->params[LDM_PART_TEXT], model->text_params);
}

static void same_unet(const LdmUnetConfig *a, const LdmUnetConfig *b)
{
    g_assert_cmpint(a->in_channels, ==, b->in_channels);
    g_assert_cmpint(a->out_channels, ==, b->out_channels);
    g_assert_cmpint(a->levels, ==, b->levels);
    g_assert_cmpint(a->layers_per_block, ==, b->layers_per_block);
    g_assert_cmpint(a->context_width, ==, b->context_width);
    g_assert_cmpint(a->norm_groups, ==, b->norm_groups);
    g_assert_cmpfloat(a->norm_eps, ==, b->norm_eps);
    g_assert_cmpint(a->linear_projection, ==, b->linear_projection);
    g_assert_cmpint(a->mid_attention, ==, b->mid_attention);
    g_assert_cmpint(a->sample_size, ==, b->sample_size);
    for (int i = 0; i < a->levels; i++) {
        g_assert_cmpint(a->channels[i], ==, b->channels[i]);
        g_assert_cmpint(a->attention[i], ==, b->attention[i]);
        g_assert_cmpint(a->heads[i], ==, b->heads[i]);
        g_assert_cmpint(a->depth[i], ==, b->depth[i]);
        g_assert_cmpint(a->only_cross_attention[i], ==, b->only_cross_attention[i]);
    }
}

static void test_default(void)
{
    g_autoptr(LdmModel) model = made_load(NULL);
    const LdmModelInfo *info = ldm_model_info(model);
    g_assert_cmpstr(info->layout, ==, "diffusers");
    g_assert_cmpstr(info->family, ==, "custom");
    g_assert_cmpuint(info->parameters, ==, 29716844);
    g_assert_cmpuint(info->weight_bytes, ==, 2 * 29716844);
    g_assert_cmpint(info->dtype, ==, LDM_F16);
    g_assert_cmpint(info->latent_channels, ==, 32);
    g_assert_cmpint(info->downsampling, ==, 8);
    g_assert_cmpint(info->native_size, ==, 128);
    g_assert_cmpint(info->tokens, ==, 40);
    g_assert_cmpint(info->context_width, ==, 192);
    g_assert_true(info->concat_inpainting);
    g_assert_cmpint(model->config.text.bos, ==, 8190);
    g_assert_cmpint(model->config.text.pad, ==, 8191);
    g_assert_cmpint(model->config.vae.norm_groups, ==, 8);
    g_assert_true(ldm_model_ref(model) == model);
    ldm_model_unref(model);
}

static void test_find(void)
{
    g_autofree char *own = in_folder("models");
    g_autofree char *inner = g_build_filename(own, "mine", NULL);
    g_autofree char *before = g_strdup(g_getenv("PENTIMENTO_MODEL_PATH"));
    g_autofree char *both = g_strconcat("/nonexistent:", own, NULL);
    g_autoptr(GError) error = NULL;
    made_text(own, "mine", "note", "x");
    made_text(own, "", "single.safetensors", "x");
    g_setenv("PENTIMENTO_MODEL_PATH", both, TRUE);
    g_autofree char *mine = ldm_model_find("mine", &error);
    g_autofree char *single = ldm_model_find("single", &error);
    g_autofree char *path = ldm_model_find(inner, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(mine, ==, inner);
    g_assert_true(g_str_has_suffix(single, "/single.safetensors"));
    g_assert_cmpstr(path, ==, inner);
    /* a name means an installed model first, and then what lies where we are */
    g_autofree char *here = g_get_current_dir();
    made_text(folder, "mine", "note", "x");
    made_text(folder, "beside", "note", "x");
    g_assert_cmpint(g_chdir(folder), ==, 0);
    g_autofree char *again = ldm_model_find("mine", &error);
    g_autofree char *beside = ldm_model_find("beside", &error);
    g_assert_no_error(error);
    g_assert_cmpint(g_chdir(here), ==, 0);
    g_assert_cmpstr(again, ==, inner);
    g_assert_cmpstr(beside, ==, "beside");
    refused("no-such-model", LDM_ERROR_MISSING, "no-such-model|/nonexistent|pentimento/models");
    refused("/no/such/model", LDM_ERROR_MISSING, "/no/such/model");
    g_setenv("PENTIMENTO_MODEL_PATH", before != NULL ? before : "", TRUE);
}

static void test_data_path(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *vocab = ldm_data_path("tokenizer/clip/vocab.json", &error);
    g_assert_no_error(error);
    g_assert_true(g_file_test(vocab, G_FILE_TEST_IS_REGULAR));
    g_assert_null(ldm_data_path("no/such/data", &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_MISSING);
}

static void test_folder(void)
{
    LdmModelConfig config = made_config(false, MADE_WORDS);
    MadeModel *made = made_model_new(&config);
    g_autofree char *path = in_folder("folder");
    made_folder(made, path);
    g_autoptr(LdmModel) model = made_load(path);
    same_weights(made, model);
    same_unet(&model->config.unet, &config.unet);
    g_assert_cmpint(model->config.text.bos, ==, 512); /* not the 0 of config.json */
    g_assert_cmpint(model->config.text.eos, ==, 513);
    g_assert_false(model->config.schedule.final_alpha_one);
    g_assert_cmpint(model->config.schedule.steps_offset, ==, 1);
    g_assert_cmpint(ldm_model_info(model)->native_size, ==, 128);
    made_model_free(made);
}

static char *digest_of(const char *path)
{
    g_autoptr(LdmModel) model = made_load(path);
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);

    ldm_model_digest(model, sum);
    return g_strdup(g_checksum_get_string(sum));
}

/* Another training at the same place, another schedule or tokenizer, is another model. */
static void test_digest(void)
{
    LdmModelConfig config = made_config(false, MADE_WORDS);
    MadeModel *made = made_model_new(&config);
    g_autofree char *path = in_folder("digest");
    made_folder(made, path);
    g_autofree char *first = digest_of(path), *same = digest_of(path);
    g_assert_cmpstr(first, ==, same);
    const LdmParam *last = ldm_params_at(made->params[LDM_PART_TEXT],
                                         ldm_params_length(made->params[LDM_PART_TEXT]) - 1);
    ((guint16 *)last->data)[0] ^= 1;
    made_folder(made, path);
    g_autofree char *other = digest_of(path);
    g_assert_cmpstr(first, !=, other);
    g_autofree char *schedule = g_build_filename(path, "scheduler", "scheduler_config.json", NULL);
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents(schedule, &text, NULL, NULL));
    g_autoptr(GString) changed = g_string_new(text);
    g_assert_cmpuint(g_string_replace(changed, "\"beta_end\":0.012", "\"beta_end\":0.02", 0), ==,
                     1);
    g_assert_true(g_file_set_contents(schedule, changed->str, -1, NULL));
    g_autofree char *later = digest_of(path);
    g_assert_cmpstr(other, !=, later);
    made_tokenizer_swapped(path);
    g_autofree char *swapped = digest_of(path);
    g_assert_cmpstr(later, !=, swapped);
    made_model_free(made);
}

/* In a language with a decimal comma the same model is the same. */
static void test_digest_comma(void)
{
    g_autofree char *path = in_folder("comma"), *locales = in_folder("locales");
    g_autofree char *name = g_build_filename(locales, "de_DE.UTF-8", NULL);
    char *argv[] = {"localedef", "-i", "de_DE", "-f", "UTF-8", name, NULL};
    LdmModelConfig config = made_config(false, MADE_WORDS);
    int status;

    g_mkdir(locales, 0700);
    if (!g_spawn_sync(NULL, argv, NULL,
                      G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL,
                      NULL, NULL, NULL, NULL, &status, NULL) ||
        status != 0) {
        g_test_skip("localedef cannot make de_DE");
        return;
    }
    MadeModel *made = made_model_new(&config);
    made_folder(made, path);
    made_model_free(made);
    g_autofree char *point = digest_of(path);
    g_setenv("LOCPATH", locales, TRUE);
    g_assert_nonnull(setlocale(LC_NUMERIC, "de_DE.UTF-8"));
    g_autofree char *comma = digest_of(path);
    setlocale(LC_NUMERIC, "C");
    g_unsetenv("LOCPATH");
    g_assert_cmpstr(comma, ==, point);
}

/* The forms of a folder: fp16 names, shards, older autoencoder names, token files, no text. */
static void test_folder_forms(void)
{
    LdmModelConfig config = made_config(false, MADE_WORDS);
    MadeModel *made = made_model_new(&config);
    g_autofree char *path = in_folder("forms");
    made_folder(made, path);
    g_autofree char *vae = g_build_filename(path, "vae", NULL);
    g_autofree char *whole = g_build_filename(vae, "diffusion_pytorch_model.safetensors", NULL);
    g_autofree char *half = g_build_filename(vae, "diffusion_pytorch_model.fp16.safetensors", NULL);
    g_assert_cmpint(g_rename(whole, half), ==, 0);

    MadeFile *older = made_file_new();
    made_add_part(older, made, LDM_PART_VAE, LDM_NAMES_OLDER_VAE, "");
    made_file_write(older, half, 0);

    g_autofree char *unet = g_build_filename(path, "unet", NULL);
    g_autofree char *all = g_build_filename(unet, "diffusion_pytorch_model.safetensors", NULL);
    g_assert_cmpint(g_remove(all), ==, 0);
    MadeFile *shards[2] = {made_file_new(), made_file_new()};
    const LdmParams *params = made->params[LDM_PART_UNET];
    g_autoptr(GString) index = g_string_new("{\"metadata\":{},\"weight_map\":{");
    for (size_t i = 0; i < ldm_params_length(params); i++) {
        const LdmParam *param = ldm_params_at(params, i);
        made_file_add(shards[i % 2], param->name, "F16", param->rank, param->shape, param->data,
                      made_bytes(param));
        g_string_append_printf(index, "%s\"%s\":\"s%zu.safetensors\"", i > 0 ? "," : "",
                               param->name, i % 2);
    }
    g_string_append(index, "}}");
    for (int i = 0; i < 2; i++) {
        g_autofree char *name = g_strdup_printf("%s/s%d.safetensors", unet, i);
        made_file_write(shards[i], name, 0);
    }
    made_text(path, "unet", "diffusion_pytorch_model.safetensors.index.json", index->str);
    made_text(path, "tokenizer", "tokenizer_config.json", "{\"pad_token\":\"<|endoftext|>\"}");
    made_text(path, "tokenizer", "special_tokens_map.json", "{\"pad_token\":{\"content\":\"!\"}}");
    g_autoptr(LdmModel) model = made_load(path);
    same_weights(made, model);
    g_assert_cmpint(model->config.text.pad, ==, (int)'!'); /* its place among the bytes */

    g_autofree char *text = g_build_filename(path, "text_encoder", NULL);
    made_remove(text);
    g_autoptr(LdmModel) mute = made_load(path);
    g_assert_null(mute->text);
    g_assert_null(mute->tokenizer);
    g_assert_cmpint(ldm_model_info(mute)->tokens, ==, 0);
    made_model_free(made);
}

/* What a folder may lack or have wrong, each undone by writing the folder again. */
static void test_folder_faults(void)
{
    LdmModelConfig config = made_config(false, MADE_WORDS);
    MadeModel *made = made_model_new(&config);
    g_autofree char *path = in_folder("faults");
    g_autofree char *unet =
        g_build_filename(path, "unet", "diffusion_pytorch_model.safetensors", NULL);
    g_autofree char *vocab = g_build_filename(path, "tokenizer", "vocab.json", NULL);
    g_autofree char *vae_config = g_build_filename(path, "vae", "config.json", NULL);
    made_folder(made, path);

    g_assert_cmpint(g_remove(vocab), ==, 0);
    refused(path, LDM_ERROR_MISSING, "vocab.json|514");
    made_folder(made, path);
    g_assert_cmpint(g_remove(vae_config), ==, 0);
    refused(path, LDM_ERROR_MISSING, "vae/config.json");
    made_folder(made, path);
    g_assert_cmpint(g_remove(unet), ==, 0);
    refused(path, LDM_ERROR_MISSING, "unet/diffusion_pytorch_model.safetensors");
    made_text(path, "unet", "diffusion_pytorch_model.bin", "pickle");
    refused(path, LDM_ERROR_UNSUPPORTED, "pickled|.safetensors");

    static const struct {
        const char *index;
        LdmErrorCode code;
        const char *words;
    } shards[] = {
        {"{}", LDM_ERROR_FORMAT, "weight_map"},
        {"{\"weight_map\":{}}", LDM_ERROR_FORMAT, "weight_map"},
        {"{\"weight_map\":{\"a\":\"../vae/diffusion_pytorch_model.safetensors\"}}",
         LDM_ERROR_FORMAT, "weight_map"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", LDM_ERROR_FORMAT, "weight_map"},
        {"{\"weight_map\":{\"a\":7}}", LDM_ERROR_FORMAT, "weight_map"},
        {"{\"weight_map\":{\"a\":\"gone.safetensors\"}}", LDM_ERROR_MISSING, "gone.safetensors"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(shards); i++) {
        made_text(path, "unet", "diffusion_pytorch_model.safetensors.index.json", shards[i].index);
        refused(path, shards[i].code, shards[i].words);
    }

    made_folder(made, path);
    made_text(path, "", "model_index.json",
              "{\"unet\":[\"diffusers\",\"UNet2DConditionModel\"],"
              "\"text_encoder_2\":[\"transformers\",\"CLIPTextModelWithProjection\"]}");
    refused(path, LDM_ERROR_UNSUPPORTED, "text_encoder_2");
    made_text(path, "", "model_index.json", "{\"vae\":[\"diffusers\",\"AutoencoderTiny\"]}");
    refused(path, LDM_ERROR_UNSUPPORTED, "AutoencoderTiny");
    made_folder(made, path);
    made_text(path, "tokenizer", "special_tokens_map.json", "{\"bos_token\":\"nowhere\"}");
    refused(path, LDM_ERROR_FORMAT, "nowhere|vocab.json");
    made_model_free(made);
}

/* Tensors that are wrong, one at a time: the message names file, tensor, expected, found. */
static void test_tensor_faults(void)
{
    static const size_t wrong[] = {32, 4, 3, 1}, one[] = {1}, deep[] = {1, 1, 1, 1, 1, 1};
    LdmModelConfig config = made_config(false, MADE_WORDS);
    MadeModel *made = made_model_new(&config);
    g_autofree char *path = in_folder("tensors");
    g_autofree char *file =
        g_build_filename(path, "unet", "diffusion_pytorch_model.safetensors", NULL);
    static const char zeros[4 * 32 * 4 * 9];
    made_folder(made, path);
    const struct {
        const char *name, *dtype; /* replaces the tensor, or is added; dtype NULL: left out */
        int rank;
        const size_t *shape;
        size_t bytes;
        LdmErrorCode code;
        const char *words;
    } faults[] = {
        {"conv_in.weight", NULL, 0, NULL, 0, LDM_ERROR_MISSING,
         "conv_in.weight [32, 4, 3, 3]|lacks 1 of"},
        {"conv_in.weight", "F16", 4, wrong, 2 * 32 * 4 * 3, LDM_ERROR_SHAPE,
         "conv_in.weight|[32, 4, 3, 1]|[32, 4, 3, 3]|.safetensors"},
        {"conv_in.bias", "F16", 0, wrong, 2, LDM_ERROR_SHAPE, "conv_in.bias|rank 0|[32]"},
        {"conv_in.bias", "F16", 6, deep, 2, LDM_ERROR_SHAPE, "conv_in.bias|rank 6|[32]"},
        {"conv_in.bias", "F64", 1, wrong, 8 * 32, LDM_ERROR_UNSUPPORTED, "conv_in.bias|F64"},
        {"conv_in.bias", "I64", 1, wrong, 8 * 32, LDM_ERROR_UNSUPPORTED, "conv_in.bias|I64"},
        {"stranger.weight", "F16", 1, one, 2, LDM_ERROR_FORMAT, "stranger.weight"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(faults); i++) {
        MadeFile *made_file = made_file_new();
        const LdmParams *params = made->params[LDM_PART_UNET];
        for (size_t k = 0; k < ldm_params_length(params); k++) {
            const LdmParam *p = ldm_params_at(params, k);
            if (strcmp(p->name, faults[i].name) != 0)
                made_file_add(made_file, p->name, "F16", p->rank, p->shape, p->data, made_bytes(p));
        }
        if (faults[i].dtype != NULL)
            made_file_add(made_file, faults[i].name, faults[i].dtype, faults[i].rank,
                          faults[i].shape, zeros, faults[i].bytes);
        made_file_write(made_file, file, 0);
        refused(path, faults[i].code, faults[i].words);
    }
    made_model_free(made);
}

/* Whether a file's data start at an odd address. */
static bool has_odd_data(const char *path)
{
    GError *error = NULL;
    g_autofree char *bytes = NULL;
    size_t length;
    g_file_get_contents(path, &bytes, &length, &error);
    g_assert_no_error(error);
    return (bytes[0] & 1) != 0;
}

/* Data at odd addresses is copied, and is the same; without memory for the copy it is refused. */
static void test_unaligned(void)
{
    LdmModelConfig config = made_config(false, MADE_WORDS);
    MadeModel *made = made_model_new(&config);
    g_autofree char *path = in_folder("unaligned");
    g_autofree char *file =
        g_build_filename(path, "unet", "diffusion_pytorch_model.safetensors", NULL);
    made_folder(made, path);
    for (int pad = 1; pad <= 2; pad++) {
        MadeFile *unet = made_file_new();
        made_add_part(unet, made, LDM_PART_UNET, LDM_NAMES_OURS, "");
        made_file_write(unet, file, pad);
        ldm_alloc_fail_after(0, false);
        if (has_odd_data(file))
            refused(path, LDM_ERROR_MEMORY, "memory");
        ldm_alloc_fail_after(-1, false);
        g_autoptr(LdmModel) model = made_load(path);
        same_weights(made, model);
        for (size_t i = 0; i < ldm_params_length(model->unet_params); i++)
            g_assert_cmpuint((uintptr_t)ldm_params_at(model->unet_params, i)->data % 2, ==, 0);
    }
    made_model_free(made);
}

/* Without a .yaml shapes and the family's defaults tell everything. */
static void test_single(void)
{
    static const size_t ids[] = {1, 8}, one[] = {1};
    static const gint64 positions[8];
    static const float scale = 0.25f;
    static const guint16 half = 0x3400; /* the same in f16 */
    for (int second = 0; second < 2; second++) {
        LdmModelConfig config = made_config(second, 49408);
        MadeModel *made = made_model_new(&config);
        g_autofree char *path = in_folder("single.safetensors");
        MadeFile *file = made_single(made);
        made_file_add(file,
                      second ? "cond_stage_model.model.attn_mask"
                             : "cond_stage_model.transformer.text_model.embeddings.position_ids",
                      "I64", 2, ids, positions, sizeof positions);
        made_file_add(file, "model_ema.decay", "F32", 0, one, &scale, 4);
        made_file_add(file, "first_stage_model.loss.logvar", "F32", 0, one, &scale, 4);
        if (second)
            made_file_add(file, "scale_factor", "F16", 0, one, &half, 2);
        else
            made_file_add(file, "scale_factor", "F32", 0, one, &scale, 4);
        made_file_write(file, path, 0);
        g_autoptr(LdmModel) model = made_load(path);
        same_weights(made, model);
        const LdmModelConfig *c = &model->config;
        g_assert_cmpstr(ldm_model_info(model)->layout, ==, "single-file");
        same_unet(&c->unet, &config.unet);
        g_assert_cmpmem(c->vae.channels, sizeof c->vae.channels, config.vae.channels,
                        sizeof config.vae.channels);
        g_assert_cmpfloat(c->vae.scale_factor, ==, 0.25);
        g_assert_cmpint(c->text.pad, ==, second ? 0 : 49407);
        g_assert_cmpint(c->text.skip_last, ==, second);
        g_assert_cmpint(c->text.quick_gelu, ==, !second);
        g_assert_cmpint(c->schedule.prediction, ==, LDM_PREDICTION_EPSILON);
        g_assert_cmpint(c->schedule.steps_offset, ==, 1);
        g_assert_nonnull(model->tokenizer);
        made_model_free(made);
    }
}

/* A codebook and attention in a level of the autoencoder; a .yaml that agrees, and one that
 * does not. */
static void test_vq(void)
{
    LdmModelConfig config = made_config(false, 49408);
    config.vae.regulariser = LDM_REGULARISER_VQ;
    config.vae.inner_channels = 3;
    config.vae.codebook = 40;
    config.vae.attention[1] = true;
    MadeModel *made = made_model_new(&config);
    g_autofree char *path = in_folder("vq.safetensors");
    made_file_write(made_single(made), path, 0);
    made_text(folder, "", "vq.yaml",
              "model: {params: {first_stage_config: {target: ldm.models.autoencoder."
              "VQModelInterface, params: {embed_dim: 4, n_embed: 40, ddconfig: {double_z: False, "
              "z_channels: 3}}}}}");
    g_autoptr(LdmModel) model = made_load(path);
    same_weights(made, model);
    const LdmVaeConfig *vae = &model->config.vae;
    g_assert_cmpint(vae->regulariser, ==, LDM_REGULARISER_VQ);
    g_assert_cmpint(vae->codebook, ==, 40);
    g_assert_cmpint(vae->latent_channels, ==, 4);
    g_assert_cmpint(vae->inner_channels, ==, 3);
    g_assert_false(vae->attention[0]);
    g_assert_true(vae->attention[1]);
    g_assert_cmpfloat(vae->scale_factor, ==, 1.0);
    made_text(folder, "", "vq.yaml",
              "model: {params: {first_stage_config: {target: ldm.models.autoencoder."
              "AutoencoderKL}}}");
    refused(path, LDM_ERROR_UNSUPPORTED, "vq.yaml|AutoencoderKL");

    MadeFile *alone = made_file_new(); /* as the first stages of LDM's zoo */
    made_add_part(alone, made, LDM_PART_VAE, LDM_NAMES_LDM_VAE, "");
    g_autofree char *stage = in_folder("first-stage.safetensors");
    made_file_write(alone, stage, 0);
    refused(stage, LDM_ERROR_MISSING, "no whole model");
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmModel) first = ldm_model_load_first_stage(stage, &error);
    g_assert_no_error(error);
    same_params(made->params[LDM_PART_VAE], first->vae_params);
    made_model_free(made);
}

/* The .yaml beside it overrides. */
static void test_yaml(void)
{
    LdmModelConfig config = made_config(true, 49408);
    MadeModel *made = made_model_new(&config);
    g_autofree char *path = in_folder("with.safetensors");
    made_file_write(made_single(made), path, 0);
    made_text(folder, "", "with.yaml",
              "model:\n"
              "  target: ldm.models.diffusion.ddpm.LatentDiffusion\n"
              "  params:\n"
              "    parameterization: \"v\"\n"
              "    linear_start: 0.001\n"
              "    linear_end: 0.02\n"
              "    timesteps: 500\n"
              "    image_size: 96\n"
              "    conditioning_key: crossattn\n"
              "    scale_factor: 0.5\n"
              "    use_ema: False # inference only\n"
              "    unet_config:\n"
              "      target: ldm.modules.diffusionmodules.openaimodel.UNetModel\n"
              "      params:\n"
              "        num_head_channels: 16\n"
              "        use_spatial_transformer: True\n"
              "        transformer_depth: 1\n"
              "    first_stage_config:\n"
              "      target: ldm.models.autoencoder.AutoencoderKL\n"
              "      params: {embed_dim: 4, ddconfig: {double_z: true, attn_resolutions: []}}\n"
              "    cond_stage_config:\n"
              "      target: ldm.modules.encoders.modules.FrozenOpenCLIPEmbedder\n"
              "      params: {freeze: True, layer: \"last\"}\n");
    g_autoptr(LdmModel) model = made_load(path);
    const LdmModelConfig *c = &model->config;
    same_weights(made, model);
    g_assert_cmpint(c->schedule.prediction, ==, LDM_PREDICTION_V);
    g_assert_cmpfloat(c->schedule.beta_start, ==, 0.001);
    g_assert_cmpfloat(c->schedule.beta_end, ==, 0.02);
    g_assert_cmpint(c->schedule.betas, ==, LDM_BETAS_SCALED_LINEAR);
    g_assert_cmpint(c->schedule.train_steps, ==, 500);
    g_assert_cmpint(c->unet.sample_size, ==, 96);
    g_assert_cmpint(c->unet.heads[0], ==, 4);
    g_assert_cmpint(c->unet.heads[1], ==, 8);
    g_assert_cmpfloat(c->vae.scale_factor, ==, 0.5);
    g_assert_cmpint(c->text.skip_last, ==, 0);
    made_model_free(made);
}

static void test_other_files(void)
{
    static const size_t one[] = {1};
    static const struct {
        const char *name, *words;
    } files[] = {
        {"old.ckpt", "pickled|.safetensors"},
        {"small.gguf", "GGUF|.safetensors"},
    };
    static const struct {
        const char *tensor, *words;
        LdmErrorCode code;
    } models[] = {
        {"conditioner.embedders.1.model.x", "SDXL", LDM_ERROR_UNSUPPORTED},
        {"control_model.input_hint_block.0.weight", "ControlNet", LDM_ERROR_UNSUPPORTED},
        {"lora_unet_down_blocks_0.alpha", "LoRA", LDM_ERROR_UNSUPPORTED},
        {"down_blocks.0.resnets.0.conv1.weight", "folder", LDM_ERROR_UNSUPPORTED},
        {"something.else", "model.diffusion_model.input_blocks.0.0.weight", LDM_ERROR_MISSING},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = in_folder(files[i].name);
        made_text(folder, "", files[i].name, "anything");
        refused(path, LDM_ERROR_UNSUPPORTED, files[i].words);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(models); i++) {
        g_autofree char *path = in_folder("other.safetensors");
        MadeFile *file = made_file_new();
        made_file_add(file, models[i].tensor, "F16", 1, one, "xy", 2);
        made_file_write(file, path, 0);
        refused(path, models[i].code, models[i].words);
    }
}

/* Pages of a file that are in the system's cache. */
static size_t cached(const void *map, size_t size)
{
    size_t pages = (size + 4095) / 4096, count = 0;
    g_autofree unsigned char *there = g_malloc0(pages);
    g_assert_cmpint(mincore((void *)map, size, there), ==, 0);
    for (size_t i = 0; i < pages; i++)
        count += there[i] & 1u;
    return count;
}

/* Files that the system has dropped are read without being touched; a model stays usable. */
static void test_ahead(void)
{
    LdmModelConfig config = made_config(false, MADE_WORDS);
    MadeModel *made = made_model_new(&config);
    g_autofree char *path = in_folder("ahead");
    made_folder(made, path);
    g_autofree char *unet =
        g_build_filename(path, "unet", "diffusion_pytorch_model.safetensors", NULL);
    g_autoptr(LdmModel) model = made_load(path);
    g_autoptr(GError) error = NULL;
    size_t size;
    const uint8_t *map = ldm_file_map(unet, &size, &error);
    g_assert_no_error(error);
    int fd = g_open(unet, O_RDONLY, 0);
    g_assert_cmpint(fsync(fd), ==, 0);
    ldm_model_release(model, model->unet_params);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
    size_t before = cached(map, size), after = 0;
    LdmAhead *ahead = ldm_ahead_begin(model, 1u << LDM_PART_UNET);
    for (int i = 0; i < 500 && after < (size + 4095) / 4096; i++) {
        g_usleep(20000);
        after = cached(map, size);
    }
    ldm_ahead_free(ahead);
    g_assert_null(ldm_ahead_begin(model, 1u << LDM_PART_UNET)); /* asked for already */
    ldm_model_release(model, model->unet_params);
    ldm_ahead_free(ldm_ahead_begin(model, ~0u)); /* stopped at once */
    g_test_message("%zu pages of %zu before, %zu after", before, (size + 4095) / 4096, after);
    g_assert_nonnull(ahead);
    g_assert_cmpuint(after, ==, (size + 4095) / 4096);
    same_weights(made, model);
    ldm_file_unmap(map, size);
    made_model_free(made);
    if (before == after)
        g_test_skip("this file system keeps all in memory");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("pentimento-model-XXXXXX", NULL);
    g_test_add_func("/model/default", test_default);
    g_test_add_func("/model/find", test_find);
    g_test_add_func("/model/data-path", test_data_path);
    g_test_add_func("/model/folder", test_folder);
    g_test_add_func("/model/digest", test_digest);
    g_test_add_func("/model/digest-comma", test_digest_comma);
    g_test_add_func("/model/folder-forms", test_folder_forms);
    g_test_add_func("/model/folder-faults", test_folder_faults);
    g_test_add_func("/model/tensor-faults", test_tensor_faults);
    g_test_add_func("/model/unaligned", test_unaligned);
    g_test_add_func("/model/single", test_single);
    g_test_add_func("/model/vq", test_vq);
    g_test_add_func("/model/ahead", test_ahead);
    g_test_add_func("/model/yaml", test_yaml);
    g_test_add_func("/model/other-files", test_other_files);
    int result = g_test_run();
    made_remove(folder);
    g_free(folder);
    return result;
}
