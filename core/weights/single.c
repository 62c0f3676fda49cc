/* Single files: one safetensors file in the reference's layout (LDM, SD 1.x, SD 2.x) with all
 * networks. In: its path. Out: an LdmSource. Shapes tell most (probe.c); what they do not tell is
 * what the family shares, unless the reference's .yaml of the same stem says otherwise. */
#include "base/error.h"
#include "kernels/kernels.h"
#include "weights/diffusers-config.h"
#include "weights/probe.h"
#include "weights/source.h"
#include "weights/yaml-file.h"

#include <math.h>
#include <string.h>

#define UNET "model.diffusion_model."

#define SD2_WIDTH    1024 /* of OpenCLIP ViT-H */
#define SD2_CHANNELS 320
#define SD2_BIAS     UNET "output_blocks.11.1.transformer_blocks.0.norm1.bias"
#define V_DEVIATION  0.09

#define CLIP_TOKENS     "embeddings.token_embedding.weight"
#define OPENCLIP_TOKENS "token_embedding.weight"
#define SGM_INNER       "embedders.0.model." /* generative-models: SD-Turbo, SDXL's refiner */

/* Files that are known by a tensor to be something else. */
static const struct {
    const char *prefix, *what;
    const char *beside; /* only where this tensor occurs, too; NULL: wherever */
} other_models[] = {
    {"conditioner.embedders.1.", N_("SDXL")},
    {UNET "label_emb.", N_("SDXL"), "conditioner." SGM_INNER OPENCLIP_TOKENS},
    {"control_model.", N_("a ControlNet")},
    {"lora_unet_", N_("a LoRA, which belongs to another model")},
    {"lora_te_", N_("a LoRA, which belongs to another model")},
    {"model.diffusion_model.double_blocks.", N_("Flux")},
    {"model.diffusion_model.joint_blocks.", N_("Stable Diffusion 3")},
    {"down_blocks.", N_("one network of a diffusers folder: give the whole folder")},
};

static bool refuse_others(const LdmFiles *files, GError **error)
{
    for (size_t i = 0; i < ldm_files_length(files); i++) {
        const char *name = ldm_files_at(files, i)->name;
        for (size_t k = 0; k < G_N_ELEMENTS(other_models); k++) {
            const char *beside = other_models[k].beside;
            if (!g_str_has_prefix(name, other_models[k].prefix) ||
                (beside != NULL && ldm_files_find(files, beside) == NULL))
                continue;
            ldm_set_error(error, UNSUPPORTED, _("%s is not supported: it is %s"),
                          ldm_files_path(files), _(other_models[k].what));
            return false;
        }
    }
    return true;
}

static void set_part(LdmSource *source, LdmPart id, LdmNameTable table, const char *prefix,
                     const char *region)
{
    LdmPartFiles *part = &source->parts[id];
    part->files = g_ptr_array_index(source->files, 0);
    part->prefix = g_strdup(prefix);
    part->region = g_strdup(region);
    part->naming = ldm_naming_of(table, id, &source->config);
}

/* A file of LDM's first stages, which has nothing else. */
static bool is_first_stage(const LdmFiles *files)
{
    return ldm_files_find(files, "encoder.down.0.block.0.conv1.weight") != NULL;
}

static bool open_vae(LdmSource *source, const LdmFiles *files, GError **error)
{
    const char *prefix = ldm_files_find(files, "vae.encoder.conv_in.weight") != NULL ? "vae."
                         : is_first_stage(files)                                     ? ""
                                                 : "first_stage_model.";
    if (!ldm_probe_vae(files, prefix, &source->config.vae, error))
        return false;
    set_part(source, LDM_PART_VAE, LDM_NAMES_LDM_VAE, prefix, prefix);
    return true;
}

/* The text encoder: by which of its names occurs. */
static bool open_text(LdmSource *source, const LdmFiles *files, GError **error)
{
    static const struct {
        const char *region, *inner, *name;
        LdmNameTable table;
    } kinds[] = {
        {"cond_stage_model.", "transformer.text_model.", CLIP_TOKENS, LDM_NAMES_OURS},
        {"cond_stage_model.", "transformer.", CLIP_TOKENS, LDM_NAMES_OURS},
        {"cond_stage_model.", "model.", OPENCLIP_TOKENS, LDM_NAMES_OPENCLIP},
        {"conditioner.", SGM_INNER, OPENCLIP_TOKENS, LDM_NAMES_OPENCLIP},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        g_autofree char *prefix = g_strconcat(kinds[i].region, kinds[i].inner, NULL);
        g_autofree char *name = g_strconcat(prefix, kinds[i].name, NULL);
        if (ldm_files_find(files, name) == NULL)
            continue;
        LdmTextConfig *text = &source->config.text;
        if (!(kinds[i].table == LDM_NAMES_OPENCLIP ? ldm_probe_openclip(files, prefix, text, error)
                                                   : ldm_probe_clip(files, prefix, text, error)))
            return false;
        set_part(source, LDM_PART_TEXT, kinds[i].table, prefix, kinds[i].region);
        source->config.has_text = true;
        return true;
    }
    for (size_t i = 0; i < ldm_files_length(files); i++) {
        const char *name = ldm_files_at(files, i)->name;
        if (g_str_has_prefix(name, "cond_stage_model.") || g_str_has_prefix(name, "conditioner.")) {
            ldm_set_error(error, UNSUPPORTED, _("%s: conditioning by %s is not supported"),
                          ldm_files_path(files), name);
            return false;
        }
    }
    return true;
}

static bool is_sd2(const LdmUnetConfig *unet)
{
    return unet->context_width == SD2_WIDTH && unet->in_channels == 4;
}

/* Standard deviation of the numbers of a vector; 0 where it is none. */
static double deviation(const LdmFileTensor *t)
{
    float values[SD2_CHANNELS];
    if (t == NULL || !t->weights || t->rank != 1 || t->shape[0] < 1 || t->shape[0] > SD2_CHANNELS)
        return 0.0;
    size_t n = t->shape[0];
    double mean = 0.0, squares = 0.0;
    g_autofree void *aligned = g_memdup2(t->data, t->bytes);
    ldm_convert_to_f32(aligned, t->dtype, values, n);
    for (size_t i = 0; i < n; i++)
        mean += values[i] / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += (values[i] - mean) * (values[i] - mean) / (double)n;
    return sqrt(squares);
}

/* SD 2's models of ε and of v have the same names and shapes; as ε, a model of v gives noise alone.
 * What training has made of the last attention's bias tells them apart: it is spread wider where v
 * was learnt, fine-tuned models included. Other programs go by the same number. */
static bool predicts_v(const LdmSource *source, const LdmFiles *files)
{
    const char *told = ldm_files_metadata(files, "modelspec.prediction_type");
    if (ldm_files_find(files, "v_pred") != NULL)
        return true;
    if (g_strcmp0(told, "v") == 0 || g_strcmp0(told, "epsilon") == 0)
        return told[0] == 'v';
    return is_sd2(&source->config.unet) && deviation(ldm_files_find(files, SD2_BIAS)) > V_DEVIATION;
}

/* SD 2's models of v were trained at 768 pixels. */
static void set_native_size(LdmModelConfig *c)
{
    bool larger = is_sd2(&c->unet) && c->schedule.prediction == LDM_PREDICTION_V;
    c->unet.sample_size = larger ? 96 : 64;
}

/* What some files say by tensors of their own or in their metadata: the kind of prediction, and
 * LDM's measured scale factor. */
static bool read_markers(LdmSource *source, const LdmFiles *files, GError **error)
{
    const LdmFileTensor *scale = ldm_files_find(files, "scale_factor");
    if (predicts_v(source, files))
        source->config.schedule.prediction = LDM_PREDICTION_V;
    set_native_size(&source->config);
    if (ldm_files_find(files, "ztsnr") != NULL)
        source->config.schedule.zero_terminal_snr = true;
    if (scale == NULL || ldm_file_tensor_number(scale, &source->config.vae.scale_factor))
        return true;
    ldm_set_error(error, FORMAT, _("%s: tensor %s is not one finite number"), ldm_files_path(files),
                  scale->name);
    return false;
}

/* ---- the .yaml beside it ---- */

/* A key that has only these values ("a|b") in models we can run; absent and null always pass.
 * Values of `target` are compared by their last part: the packages' names vary. */
typedef struct {
    const char *key, *values;
} Fixed;

static const Fixed fixed[] = {
    {"model.params.parameterization", "eps|v|x0"},
    {"model.params.beta_schedule", "linear|cosine|sqrt_linear"},
    {"model.params.conditioning_key", "crossattn|hybrid"},
    {"model.params.unet_config.params.use_scale_shift_norm", "false|False"},
    {"model.params.unet_config.params.resblock_updown", "false|False"},
    {"model.params.unet_config.params.use_spatial_transformer", "true|True"},
    {"model.params.unet_config.params.num_classes", ""},
    {"model.params.unet_config.params.disable_self_attentions", ""},
    {"model.params.cond_stage_config.target", "FrozenCLIPEmbedder|FrozenOpenCLIPEmbedder"},
    {"model.params.cond_stage_config.params.layer", "last|penultimate"},
};

/* The same by what the autoencoder's weights show. */
static const Fixed first_stages[][2] = {
    [LDM_REGULARISER_KL] = {{"model.params.first_stage_config.target", "AutoencoderKL"},
                            {"model.params.first_stage_config.params.ddconfig.double_z",
                             "true|True"}},
    [LDM_REGULARISER_VQ] = {{"model.params.first_stage_config.target", "VQModelInterface|VQModel"},
                            {"model.params.first_stage_config.params.ddconfig.double_z",
                             "false|False"}},
};

static bool check_fixed(const LdmYaml *yaml, const Fixed *rows, size_t n, const char *path,
                        GError **error)
{
    for (size_t i = 0; i < n; i++) {
        const char *text = ldm_yaml_text(yaml, rows[i].key);
        bool target = g_str_has_suffix(rows[i].key, ".target");
        const char *dot = target && text != NULL ? strrchr(text, '.') : NULL;
        g_auto(GStrv) values = g_strsplit(rows[i].values, "|", -1);
        if (!ldm_yaml_has(yaml, rows[i].key) ||
            (text != NULL &&
             g_strv_contains((const char *const *)values, dot != NULL ? dot + 1 : text)))
            continue;
        ldm_set_error(error, UNSUPPORTED, _("%s: %s is %s, which is not supported"), path,
                      rows[i].key, text != NULL ? text : _("a list"));
        return false;
    }
    return true;
}

/* "linear" in the reference is linear in the square root of beta, "sqrt_linear" in beta itself. */
static bool read_schedule(LdmScheduleConfig *c, const LdmYaml *yaml, GError **error)
{
    const char *betas = ldm_yaml_text(yaml, "model.params.beta_schedule");
    const char *kind = ldm_yaml_text(yaml, "model.params.parameterization");
    if (betas != NULL)
        c->betas = strcmp(betas, "linear") == 0   ? LDM_BETAS_SCALED_LINEAR
                   : strcmp(betas, "cosine") == 0 ? LDM_BETAS_SQUAREDCOS
                                                  : LDM_BETAS_LINEAR;
    if (kind != NULL)
        c->prediction = strcmp(kind, "eps") == 0 ? LDM_PREDICTION_EPSILON
                        : strcmp(kind, "v") == 0 ? LDM_PREDICTION_V
                                                 : LDM_PREDICTION_SAMPLE;
    return ldm_yaml_number(yaml, "model.params.linear_start", &c->beta_start, error) &&
           ldm_yaml_number(yaml, "model.params.linear_end", &c->beta_end, error) &&
           ldm_yaml_int(yaml, "model.params.timesteps", &c->train_steps, error);
}

/* num_head_channels (width of a head) wins over num_heads; -1 = not given. */
static bool read_unet(LdmUnetConfig *c, const LdmYaml *yaml, const char *path, GError **error)
{
    int heads = -1, width = -1, depth = -1;
    if (!ldm_yaml_int(yaml, "model.params.image_size", &c->sample_size, error) ||
        !ldm_yaml_int(yaml, "model.params.unet_config.params.num_heads", &heads, error) ||
        !ldm_yaml_int(yaml, "model.params.unet_config.params.num_head_channels", &width, error) ||
        !ldm_yaml_int(yaml, "model.params.unet_config.params.transformer_depth", &depth, error))
        return false;
    for (int i = 0; i < c->levels; i++) {
        bool used = c->attention[i] || i == c->levels - 1;
        if (depth >= 0 && used && c->depth[i] != depth) {
            ldm_set_error(error, FORMAT,
                          _("%s: transformer_depth is %d, but the model's own is "
                            "%d: this .yaml belongs to another model"),
                          path, depth, c->depth[i]);
            return false;
        }
        if (width > 0 && used && c->channels[i] % width != 0) {
            ldm_set_error(error, UNSUPPORTED,
                          _("%s: num_head_channels %d does not divide the "
                            "level's %d channels"),
                          path, width, c->channels[i]);
            return false;
        }
        if (width > 0)
            c->heads[i] = c->channels[i] / width;
        else if (heads > 0)
            c->heads[i] = heads;
    }
    return true;
}

static bool read_yaml(LdmSource *source, const LdmYaml *yaml, const char *path, GError **error)
{
    LdmModelConfig *c = &source->config;
    int z = c->vae.latent_channels, tokens = c->text.tokens;
    const Fixed *first_stage = first_stages[c->vae.regulariser];
    if (!check_fixed(yaml, fixed, G_N_ELEMENTS(fixed), path, error) ||
        !check_fixed(yaml, first_stage, G_N_ELEMENTS(first_stages[0]), path, error) ||
        !read_schedule(&c->schedule, yaml, error))
        return false;
    set_native_size(c);
    if (!read_unet(&c->unet, yaml, path, error) ||
        !ldm_yaml_number(yaml, "model.params.scale_factor", &c->vae.scale_factor, error) ||
        !ldm_yaml_int(yaml, "model.params.first_stage_config.params.embed_dim", &z, error) ||
        !ldm_yaml_int(yaml, "model.params.cond_stage_config.params.max_length", &tokens, error))
        return false;
    if (z != c->vae.latent_channels || tokens != c->text.tokens) {
        ldm_set_error(error, UNSUPPORTED,
                      _("%s: embed_dim %d or max_length %d differs from the "
                        "model's own %d and %d"),
                      path, z, tokens, c->vae.latent_channels, c->text.tokens);
        return false;
    }
    const char *layer = ldm_yaml_text(yaml, "model.params.cond_stage_config.params.layer");
    if (g_strcmp0(layer, "last") == 0) /* "penultimate": the file tells whether it has one more */
        c->text.skip_last = 0;
    return true;
}

char *ldm_source_yaml_path(const char *path)
{
    size_t stem = strlen(path);
    if (g_str_has_suffix(path, ".safetensors"))
        stem -= strlen(".safetensors");
    return g_strdup_printf("%.*s.yaml", (int)stem, path);
}

static bool open_yaml(LdmSource *source, GError **error)
{
    g_autofree char *path = ldm_source_yaml_path(source->path);
    if (!g_file_test(path, G_FILE_TEST_EXISTS))
        return true;
    g_autoptr(LdmYaml) yaml = ldm_yaml_load(path, error);
    return yaml != NULL && read_yaml(source, yaml, path, error);
}

bool ldm_source_open_single(LdmSource *source, GError **error)
{
    source->layout = "single-file";
    LdmFiles *files = ldm_files_new();
    LdmModelConfig *c = &source->config;
    g_ptr_array_add(source->files, files);
    c->schedule = ldm_config_schedule_default();
    if (!ldm_files_add(files, source->path, error) || !refuse_others(files, error))
        return false;
    c->first_stage = source->wanted.first_stage && is_first_stage(files);
    if (c->first_stage)
        return open_vae(source, files, error);
    if (!ldm_probe_unet(files, UNET, &c->unet, error))
        return false;
    set_part(source, LDM_PART_UNET, LDM_NAMES_LDM_UNET, UNET, UNET);
    if (!open_vae(source, files, error) || !open_text(source, files, error))
        return false;
    return read_markers(source, files, error) && open_yaml(source, error);
}
