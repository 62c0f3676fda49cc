/* A model: files in (weights/source.h), networks bound to them out. The networks' constructors
 * list their parameters, binding points these into the mapped files; nothing is copied, so that
 * opening a model of gigabytes takes milliseconds. */
#include "pipeline/model.h"

#include "base/checked.h"
#include "base/error.h"
#include "pipeline/data-path.h"
#include "pipeline/preview.h"
#include "tensor/tensor.h"
#include "weights/coarse.h"

static bool load_vae(LdmModel *model, LdmSource *source, GError **error)
{
    model->vae_params = ldm_params_new();
    model->encoder = ldm_vae_encoder_new(&model->config.vae, model->vae_params);
    model->decoder = ldm_vae_decoder_new(&model->config.vae, model->vae_params);
    return ldm_source_bind(source, LDM_PART_VAE, model->vae_params, error);
}

static bool load_unet(LdmModel *model, LdmSource *source, GError **error)
{
    model->unet_params = ldm_params_new();
    if (model->config.first_stage)
        return true;
    model->unet = ldm_unet_new(&model->config.unet, model->unet_params);
    return ldm_source_bind(source, LDM_PART_UNET, model->unet_params, error);
}

static bool load_text(LdmModel *model, LdmSource *source, GError **error)
{
    const LdmTextConfig *text = &model->config.text;
    model->text_params = ldm_params_new();
    if (!model->config.has_text)
        return true;
    model->text = ldm_clip_text_new(text, model->text_params);
    if (!ldm_source_bind(source, LDM_PART_TEXT, model->text_params, error))
        return false;
    bool own = source->vocab != NULL;
    g_autofree char *vocab =
        own ? g_strdup(source->vocab) : ldm_data_path("tokenizer/clip/vocab.json", error);
    if (vocab == NULL)
        return false;
    g_autofree char *merges =
        own ? g_strdup(source->merges) : ldm_data_path("tokenizer/clip/merges.txt", error);
    if (merges == NULL)
        return false;
    model->tokenizer =
        ldm_tokenizer_new(vocab, merges, text->bos, text->eos, text->pad, text->tokens, error);
    return model->tokenizer != NULL;
}

/* Adds up a table; counts the weights of each dtype in `by_dtype`. */
static uint64_t count(const LdmParams *params, uint64_t *by_dtype, uint64_t *bytes)
{
    uint64_t total = 0;
    for (size_t i = 0; i < ldm_params_length(params); i++) {
        const LdmParam *param = ldm_params_at(params, i);
        uint64_t n = ldm_param_count(param);
        total += n;
        by_dtype[param->stored ? LDM_Q8 : param->dtype] += n;
        *bytes += ldm_param_file_bytes(param);
    }
    return total;
}

/* For people only: nothing is decided by it. */
static const char *family(const LdmModelConfig *config)
{
    const LdmUnetConfig *unet = &config->unet;
    if (unet->levels != 4 || unet->channels[0] != 320)
        return "custom";
    return unet->context_width == 768 ? "sd1" : unet->context_width == 1024 ? "sd2" : "custom";
}

static void fill_info(LdmModel *model, const LdmSource *source)
{
    const LdmModelConfig *config = &model->config;
    uint64_t by_dtype[LDM_Q8 + 1] = {0}, bytes = 0;
    LdmModelInfo *info = &model->info;
    *info = (LdmModelInfo){
        .path = source->path,
        .layout = source->layout,
        .family = family(config),
        .prediction = config->schedule.prediction,
        .vae_parameters = count(model->vae_params, by_dtype, &bytes),
        .unet_parameters = count(model->unet_params, by_dtype, &bytes),
        .text_parameters = count(model->text_params, by_dtype, &bytes),
        .latent_channels = config->vae.latent_channels,
        .codebook = config->vae.codebook,
        .downsampling = (int)ldm_vae_factor(&config->vae),
        .unet_in_channels = config->unet.in_channels,
        .tokens = config->has_text ? config->text.tokens : 0,
        .context_width = config->has_text ? config->unet.context_width : 0,
        .scale_factor = config->vae.scale_factor,
        .concat_inpainting = config->unet.in_channels == 2 * config->vae.latent_channels + 1,
        .hole = config->unet.hole,
    };
    info->parameters = info->vae_parameters + info->unet_parameters + info->text_parameters;
    info->weight_bytes = bytes;
    info->native_size = config->first_stage ? config->vae.sample_size
                                            : config->unet.sample_size * info->downsampling;
    info->max_side = config->max_side > 0 ? config->max_side : 2 * info->native_size;
    for (int i = 0; i <= LDM_Q8; i++)
        if (by_dtype[i] > by_dtype[info->dtype])
            info->dtype = (LdmDtype)i;
}

static void release(const LdmModel *model, const void *data, size_t bytes, bool shared)
{
    const LdmSource *source = model->files;
    for (guint k = 0; data != NULL && k < source->files->len; k++)
        ldm_files_release(source->files->pdata[k], data, bytes, shared);
}

/* What of it is mapped; copies are passed over. */
static void release_param(const LdmModel *model, const LdmParam *param, bool shared)
{
    if (!param->stored) {
        release(model, param->data, ldm_param_bytes(param), shared);
        return;
    }
    const LdmQ8 *q8 = &param->q8;
    size_t scales = ldm_q8_scales(q8->N, q8->C, q8->taps) * sizeof(float);
    release(model, q8->bytes, ldm_param_q8_bytes(param) - scales, shared);
    release(model, q8->scales, scales, shared);
}

/* The mapped form of a matrix is no longer needed once there is a copy in another. */
static void release_original(const LdmParam *param, void *data)
{
    release_param(data, param, false);
}

bool ldm_model_hold_denoiser(LdmModel *model, bool q8, GCancellable *cancellable, GError **error)
{
    return ldm_coarse_make(model->unet_params, q8, release_original, model, cancellable, error);
}

void ldm_model_release(const LdmModel *model, const LdmParams *params)
{
    ((LdmSource *)model->files)->asked = 0;
    for (size_t i = 0; i < ldm_params_length(params); i++)
        release_param(model, ldm_params_at(params, i), true);
}

bool ldm_model_check_trainable(const LdmModel *model, GError **error)
{
    for (size_t i = 0; i < ldm_params_length(model->unet_params); i++) {
        const LdmParam *param = ldm_params_at(model->unet_params, i);
        if (!param->stored || param->data != NULL)
            continue;
        ldm_set_error(error, UNSUPPORTED,
                      _("“%s” has weights of 8 bits, which are too coarse to train: take the model "
                        "that it was made from"),
                      model->info.path);
        return false;
    }
    return true;
}

LdmModel *ldm_model_load(const char *name, GError **error)
{
    return ldm_model_load_wanted(name, &(LdmWanted){0}, error);
}

LdmModel *ldm_model_load_first_stage(const char *name, GError **error)
{
    return ldm_model_load_wanted(name, &(LdmWanted){.first_stage = true}, error);
}

bool ldm_model_check_denoiser(const LdmModel *model, GError **error)
{
    if (!model->config.first_stage)
        return true;
    ldm_set_error(error, UNSUPPORTED, _("only the autoencoder of “%s” was loaded"),
                  model->info.path);
    return false;
}

LdmModel *ldm_model_load_wanted(const char *name, const LdmWanted *wanted, GError **error)
{
    g_autofree char *path = ldm_model_find(name, error);
    LdmSource *source = path != NULL ? ldm_source_open_wanted(path, wanted, error) : NULL;
    if (source == NULL)
        return NULL;
    g_autoptr(LdmModel) model = g_new0(LdmModel, 1);
    g_atomic_ref_count_init(&model->refs);
    g_mutex_init(&model->busy);
    model->files = source;
    model->config = source->config;
    if (!load_unet(model, source, error) || !load_vae(model, source, error) ||
        !load_text(model, source, error))
        return NULL;
    fill_info(model, source);
    return g_steal_pointer(&model);
}

LdmModel *ldm_model_ref(LdmModel *model)
{
    g_atomic_ref_count_inc(&model->refs);
    return model;
}

void ldm_model_unref(LdmModel *model)
{
    if (model == NULL || !g_atomic_ref_count_dec(&model->refs))
        return;
    g_clear_pointer(&model->preview, ldm_preview_decoder_free);
    g_clear_pointer(&model->tokenizer, ldm_tokenizer_free);
    g_clear_pointer(&model->text, ldm_clip_text_free);
    g_clear_pointer(&model->unet, ldm_unet_free);
    g_clear_pointer(&model->decoder, ldm_vae_decoder_free);
    g_clear_pointer(&model->encoder, ldm_vae_encoder_free);
    g_clear_pointer(&model->text_params, ldm_params_free);
    g_clear_pointer(&model->unet_params, ldm_params_free);
    g_clear_pointer(&model->vae_params, ldm_params_free);
    ldm_source_free(model->files);
    for (int i = 0; i < LDM_N_PARTS; i++)
        ldm_aligned_free(model->drawn[i]);
    g_mutex_clear(&model->busy);
    g_free(model);
}

const LdmModelInfo *ldm_model_info(const LdmModel *model)
{
    return &model->info;
}
