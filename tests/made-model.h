/* Models made for tests: a safetensors writer, and whole tiny models with random weights written
 * as diffusers folders or as single files, from the same parameter tables that load them. */
#pragma once

#include "condition/clip-text.h"
#include "decode/vae-decoder.h"
#include "denoise/unet.h"
#include "encode/vae-encoder.h"
#include "tensor/tensor.h"
#include "weights/names.h"

#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>

/* In place and without waiting for the disk. */
static inline void made_write(const char *path, const void *data, size_t bytes)
{
    FILE *file = g_fopen(path, "wb");
    g_assert_nonnull(file);
    g_assert_cmpuint(fwrite(data, 1, bytes, file), ==, bytes);
    g_assert_cmpint(fclose(file), ==, 0);
}

/* ---- one safetensors file ---- */

typedef struct {
    GString *header; /* the JSON so far, without its closing brace */
    GByteArray *data;
} MadeFile;

static inline MadeFile *made_file_new(void)
{
    MadeFile *file = g_new(MadeFile, 1);
    file->header = g_string_new("{\"__metadata__\":{\"format\":\"pt\"}");
    file->data = g_byte_array_new();
    return file;
}

static inline void made_file_add(MadeFile *file, const char *name, const char *dtype, int rank,
                                 const size_t *shape, const void *data, size_t bytes)
{
    g_string_append_printf(file->header, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", name, dtype);
    for (int i = 0; i < rank; i++)
        g_string_append_printf(file->header, "%s%zu", i > 0 ? "," : "", shape[i]);
    g_string_append_printf(file->header, "],\"data_offsets\":[%u,%zu]}", file->data->len,
                           file->data->len + bytes);
    g_byte_array_append(file->data, data, (guint)bytes);
}

/* Writes and frees. `pad` spaces follow the header: 0 aligns the data to 8 bytes. */
static inline void made_file_write(MadeFile *file, const char *path, int pad)
{
    g_string_append_c(file->header, '}');
    while (pad == 0 && file->header->len % 8 != 0)
        g_string_append_c(file->header, ' ');
    for (int i = 0; i < pad; i++)
        g_string_append_c(file->header, ' ');
    guint64 length = GUINT64_TO_LE((guint64)file->header->len);
    g_byte_array_prepend(file->data, (const guint8 *)file->header->str, (guint)file->header->len);
    g_byte_array_prepend(file->data, (const guint8 *)&length, 8);
    made_write(path, file->data->data, file->data->len);
    g_string_free(file->header, TRUE);
    g_byte_array_unref(file->data);
    g_free(file);
}

/* ---- whole models ---- */

typedef struct {
    LdmModelConfig config;
    LdmParams *params[LDM_N_PARTS]; /* with random f16 data */
    GPtrArray *data;
    guint32 random;
} MadeModel;

/* Two levels everywhere, f = 2, z = 4; sizes that single files can have (32 norm groups, CLIP's
 * vocabulary) where `words` is 49408. `second` = SD 2's kind: linear projections, OpenCLIP. */
static inline LdmModelConfig made_config(bool second, int words)
{
    LdmModelConfig c = {
        .vae = {.regulariser = LDM_REGULARISER_KL,
                .in_channels = 3,
                .out_channels = 3,
                .latent_channels = 4,
                .levels = 2,
                .channels = {32, 64},
                .layers_per_block = 1,
                .norm_groups = 32,
                .mid_attention = true,
                .quant_conv = true,
                .post_quant_conv = true,
                .scale_factor = 0.18215,
                .sample_size = 16},
        .unet = {.in_channels = 4,
                 .out_channels = 4,
                 .levels = 2,
                 .channels = {32, 64},
                 .layers_per_block = 1,
                 .attention = {true, false},
                 .heads = {8, 8},
                 .depth = {1, 1},
                 .context_width = 32,
                 .norm_groups = 32,
                 .norm_eps = 1e-5,
                 .mid_attention = true,
                 .sample_size = 64},
        .text = {.vocab_size = words,
                 .width = 32,
                 .layers = 2,
                 .heads = 1,
                 .mlp_width = 64,
                 .tokens = 8,
                 .quick_gelu = true,
                 .norm_eps = 1e-5,
                 .bos = words - 2,
                 .eos = words - 1,
                 .pad = words - 1},
        .has_text = true,
        .schedule = {.betas = LDM_BETAS_SCALED_LINEAR,
                     .beta_start = 0.00085,
                     .beta_end = 0.012,
                     .train_steps = 1000,
                     .spacing = LDM_SPACING_LEADING,
                     .steps_offset = 1},
    };
    if (second) {
        c.unet.channels[0] = 64;
        c.unet.channels[1] = 128;
        c.unet.heads[0] = 1;
        c.unet.heads[1] = 2;
        c.unet.linear_projection = true;
        c.text.quick_gelu = false;
        c.text.pad = 0;
    }
    return c;
}

static inline void made_fill(MadeModel *model, LdmParams *params)
{
    for (size_t i = 0; i < ldm_params_length(params); i++) {
        LdmParam *param = ldm_params_at(params, i);
        size_t n = 1;
        for (int k = 0; k < param->rank; k++)
            n *= param->shape[k];
        guint16 *half = g_new(guint16, n);
        for (size_t k = 0; k < n; k++) { /* any finite half below 2 in size */
            model->random = model->random * 1664525u + 1013904223u;
            half[k] = (guint16)(((model->random >> 16) & 0x9fff) | 0x2000);
        }
        g_ptr_array_add(model->data, half);
        param->dtype = LDM_F16;
        param->data = half;
    }
}

static inline MadeModel *made_model_new(const LdmModelConfig *config)
{
    MadeModel *model = g_new0(MadeModel, 1);
    model->config = *config;
    model->data = g_ptr_array_new_with_free_func(g_free);
    for (int i = 0; i < LDM_N_PARTS; i++)
        model->params[i] = ldm_params_new();
    ldm_unet_free(ldm_unet_new(&config->unet, model->params[LDM_PART_UNET]));
    ldm_vae_encoder_free(ldm_vae_encoder_new(&config->vae, model->params[LDM_PART_VAE]));
    ldm_vae_decoder_free(ldm_vae_decoder_new(&config->vae, model->params[LDM_PART_VAE]));
    if (config->has_text)
        ldm_clip_text_free(ldm_clip_text_new(&config->text, model->params[LDM_PART_TEXT]));
    for (int i = 0; i < LDM_N_PARTS; i++)
        made_fill(model, model->params[i]);
    return model;
}

static inline void made_model_free(MadeModel *model)
{
    for (int i = 0; i < LDM_N_PARTS; i++)
        ldm_params_free(model->params[i]);
    g_ptr_array_unref(model->data);
    g_free(model);
}

static inline size_t made_bytes(const LdmParam *param)
{
    size_t bytes = 2;
    for (int i = 0; i < param->rank; i++)
        bytes *= param->shape[i];
    return bytes;
}

/* One parameter under its name in the file; the first of OpenCLIP's joined thirds brings the
 * other two along, they themselves are skipped. */
static inline void made_add_param(MadeFile *file, const LdmParams *params, const LdmParam *param,
                                  const LdmNaming *naming, const char *prefix)
{
    g_autofree char *name = ldm_name_to_file(naming, param->name);
    g_assert_nonnull(name);
    g_autofree char *full = g_strconcat(prefix, name, NULL);
    size_t bytes = made_bytes(param), length = strlen(full);
    if (full[length - 1] != ']') {
        made_file_add(file, full, "F16", param->rank, param->shape, param->data, bytes);
        return;
    }
    if (full[length - 2] != '0')
        return;
    g_autofree guint8 *joined = g_malloc(3 * bytes);
    for (int k = 0; k < 3; k++) {
        name[strlen(name) - 2] = (char)('0' + k);
        g_autofree char *ours = ldm_name_from_file(naming, name);
        memcpy(joined + (size_t)k * bytes, ldm_params_find(params, ours)->data, bytes);
    }
    size_t shape[LDM_MAX_RANK] = {3 * param->shape[0], param->shape[1]};
    full[length - 3] = '\0';
    made_file_add(file, full, "F16", param->rank, shape, joined, 3 * bytes);
}

static inline void made_add_part(MadeFile *file, const MadeModel *model, LdmPart part,
                                 LdmNameTable table, const char *prefix)
{
    LdmNaming naming = ldm_naming_of(table, part, &model->config);
    const LdmParams *params = model->params[part];
    for (size_t i = 0; i < ldm_params_length(params); i++)
        made_add_param(file, params, ldm_params_at(params, i), &naming, prefix);
}

/* The reference's layout. The caller adds what else it wants and writes. */
static inline MadeFile *made_single(const MadeModel *model)
{
    MadeFile *file = made_file_new();
    bool open = !model->config.text.quick_gelu;
    made_add_part(file, model, LDM_PART_UNET, LDM_NAMES_LDM_UNET, "model.diffusion_model.");
    made_add_part(file, model, LDM_PART_VAE, LDM_NAMES_LDM_VAE, "first_stage_model.");
    made_add_part(file, model, LDM_PART_TEXT, open ? LDM_NAMES_OPENCLIP : LDM_NAMES_OURS,
                  open ? "cond_stage_model.model." : "cond_stage_model.transformer.text_model.");
    return file;
}

static inline void made_text(const char *folder, const char *sub, const char *name,
                             const char *text)
{
    g_autofree char *inner = g_build_filename(folder, sub, NULL);
    g_autofree char *path = g_build_filename(inner, name, NULL);
    g_assert_cmpint(g_mkdir_with_parents(inner, 0700), ==, 0);
    made_write(path, text, strlen(text));
}

static inline void made_network(const MadeModel *model, LdmPart part, const char *folder,
                                const char *sub, const char *name)
{
    MadeFile *file = made_file_new();
    made_add_part(file, model, part, LDM_NAMES_OURS, part == LDM_PART_TEXT ? "text_model." : "");
    g_autofree char *path = g_build_filename(folder, sub, name, NULL);
    made_file_write(file, path, 0);
}

/* CLIP's 256 byte symbols, the same at word ends, two special tokens: 514 words, no merges. */
static inline void made_tokenizer(const char *folder)
{
    g_autoptr(GString) vocab = g_string_new("{");
    int id = 0;
    for (int ending = 0; ending < 2; ending++) {
        int other = 256;
        for (int b = 0; b < 256; b++) {
            bool visible = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
            g_string_append(vocab, b == '"' || b == '\\' ? "\"\\" : "\"");
            g_string_append_unichar(vocab, visible ? (gunichar)b : (gunichar)other++);
            g_string_append_printf(vocab, "%s\":%d,", ending ? "</w>" : "", id++);
        }
    }
    g_string_append(vocab, "\"<|startoftext|>\":512,\"<|endoftext|>\":513}");
    made_text(folder, "tokenizer", "vocab.json", vocab->str);
    made_text(folder, "tokenizer", "merges.txt", "#version: 0.2\n");
}

/* Another tokenizer: a's id is b's, and the other way round. */
static inline void made_tokenizer_swapped(const char *folder)
{
    g_autofree char *path = g_build_filename(folder, "tokenizer", "vocab.json", NULL);
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_autoptr(GString) swapped = g_string_new(text);
    g_assert_cmpuint(g_string_replace(swapped, "\"a\":97,\"b\":98", "\"b\":97,\"a\":98", 0), ==, 1);
    g_assert_true(g_file_set_contents(path, swapped->str, -1, NULL));
}

#define MADE_WORDS 514

/* The configuration files of made_config(false, MADE_WORDS). */
static const char made_unet_json[] =
    "{\"_class_name\":\"UNet2DConditionModel\",\"act_fn\":\"silu\",\"attention_head_dim\":8,"
    "\"block_out_channels\":[32,64],\"cross_attention_dim\":32,\"in_channels\":4,"
    "\"out_channels\":4,\"layers_per_block\":1,\"norm_eps\":1e-05,\"norm_num_groups\":32,"
    "\"down_block_types\":[\"CrossAttnDownBlock2D\",\"DownBlock2D\"],"
    "\"up_block_types\":[\"UpBlock2D\",\"CrossAttnUpBlock2D\"],\"sample_size\":64}";
static const char made_vae_json[] =
    "{\"_class_name\":\"AutoencoderKL\",\"block_out_channels\":[32,64],\"latent_channels\":4,"
    "\"layers_per_block\":1,\"norm_num_groups\":32,\"sample_size\":16,"
    "\"down_block_types\":[\"DownEncoderBlock2D\",\"DownEncoderBlock2D\"],"
    "\"up_block_types\":[\"UpDecoderBlock2D\",\"UpDecoderBlock2D\"]}";
static const char made_text_json[] =
    "{\"model_type\":\"clip_text_model\",\"vocab_size\":514,\"hidden_size\":32,"
    "\"num_hidden_layers\":2,\"num_attention_heads\":1,\"intermediate_size\":64,"
    "\"max_position_embeddings\":8,\"hidden_act\":\"quick_gelu\",\"layer_norm_eps\":1e-05,"
    "\"bos_token_id\":0,\"eos_token_id\":2,\"pad_token_id\":1}";
static const char made_schedule_json[] =
    "{\"_class_name\":\"PNDMScheduler\",\"beta_start\":0.00085,\"beta_end\":0.012,"
    "\"beta_schedule\":\"scaled_linear\",\"num_train_timesteps\":1000,\"steps_offset\":1,"
    "\"set_alpha_to_one\":false,\"skip_prk_steps\":true,\"trained_betas\":null}";
static const char made_index_json[] =
    "{\"_class_name\":\"StableDiffusionPipeline\",\"unet\":[\"diffusers\","
    "\"UNet2DConditionModel\"],\"vae\":[\"diffusers\",\"AutoencoderKL\"],"
    "\"text_encoder\":[\"transformers\",\"CLIPTextModel\"],"
    "\"safety_checker\":[null,null],\"requires_safety_checker\":false}";

static inline void made_folder(const MadeModel *model, const char *folder)
{
    made_text(folder, "", "model_index.json", made_index_json);
    made_text(folder, "unet", "config.json", made_unet_json);
    made_text(folder, "vae", "config.json", made_vae_json);
    made_text(folder, "text_encoder", "config.json", made_text_json);
    made_text(folder, "scheduler", "scheduler_config.json", made_schedule_json);
    made_tokenizer(folder);
    made_network(model, LDM_PART_UNET, folder, "unet", "diffusion_pytorch_model.safetensors");
    made_network(model, LDM_PART_VAE, folder, "vae", "diffusion_pytorch_model.safetensors");
    made_network(model, LDM_PART_TEXT, folder, "text_encoder", "model.safetensors");
}

/* Deletes a folder made for a test, with all in it. */
static inline void made_remove(const char *path)
{
    bool own = g_file_test(path, G_FILE_TEST_IS_DIR) && !g_file_test(path, G_FILE_TEST_IS_SYMLINK);
    GDir *dir = own ? g_dir_open(path, 0, NULL) : NULL;
    const char *name;
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *inner = g_build_filename(path, name, NULL);
        made_remove(inner);
    }
    if (dir != NULL)
        g_dir_close(dir);
    g_remove(path);
}

/* A model that is right. */
static inline LdmModel *made_load(const char *path)
{
    GError *error = NULL;
    LdmModel *model = ldm_model_load(path, &error);
    g_assert_no_error(error);
    return model;
}
