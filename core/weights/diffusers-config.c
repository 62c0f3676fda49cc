/* diffusers' config.json files in, configuration structs out. What a key may be is written down in
 * tables: a number with its default, or the only values that our networks implement; any other
 * value is refused by name instead of computing something else than the model means. */
#include "weights/diffusers-config.h"

#include "base/error.h"
#include "weights/config-names.h"

#include <math.h>
#include <string.h>

/* A configuration file being read. The first error sticks; all later reads do nothing. */
typedef struct {
    JsonObject *json;
    const char *path;
    GError **error;
    bool failed;
} Reader;

/* The member, or NULL where it is absent, null, or something went wrong before. */
static JsonNode *member(Reader *r, const char *key)
{
    JsonNode *node = r->failed ? NULL : json_object_get_member(r->json, key);
    return node == NULL || JSON_NODE_HOLDS_NULL(node) ? NULL : node;
}

static void wrong_type(Reader *r, const char *key, const char *expected)
{
    ldm_set_error(r->error, FORMAT, _("%s: %s is not %s"), r->path, key, expected);
    r->failed = true;
}

/* A member that is absent, NULL, is null. */
static void unsupported(Reader *r, const char *key, JsonNode *node)
{
    g_autofree char *value = node != NULL ? json_to_string(node, FALSE) : g_strdup("null");
    if (strlen(value) > 120) /* long lists: enough to be recognised */
        strcpy(value + 117, "...");
    g_autofree char *text = g_utf8_make_valid(value, -1);
    ldm_set_error(r->error, UNSUPPORTED, _("%s: %s is %s, which is not supported"), r->path, key,
                  text);
    r->failed = true;
}

static bool node_number(JsonNode *node, double *value)
{
    if (!JSON_NODE_HOLDS_VALUE(node))
        return false;
    GType type = json_node_get_value_type(node);
    *value = json_node_get_double(node);
    return (type == G_TYPE_INT64 || type == G_TYPE_DOUBLE) && isfinite(*value);
}

static bool node_int(JsonNode *node, int *value)
{
    double number;
    if (!node_number(node, &number) || number != floor(number) || fabs(number) > G_MAXINT)
        return false;
    *value = (int)number;
    return true;
}

static int read_int(Reader *r, const char *key, int fallback)
{
    JsonNode *node = member(r, key);
    int value = fallback;
    if (node != NULL && !node_int(node, &value))
        wrong_type(r, key, _("a whole number"));
    return value;
}

static double read_number(Reader *r, const char *key, double fallback)
{
    JsonNode *node = member(r, key);
    double value = fallback;
    if (node != NULL && !node_number(node, &value))
        wrong_type(r, key, _("a number"));
    return value;
}

static bool read_bool(Reader *r, const char *key, bool fallback)
{
    JsonNode *node = member(r, key);
    if (node == NULL)
        return fallback;
    if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_BOOLEAN) {
        wrong_type(r, key, _("true or false"));
        return fallback;
    }
    return json_node_get_boolean(node);
}

static const char *read_string(Reader *r, const char *key, const char *fallback)
{
    JsonNode *node = member(r, key);
    const char *value = fallback;
    if (node != NULL) {
        value = JSON_NODE_HOLDS_VALUE(node) ? json_node_get_string(node) : NULL;
        if (value == NULL)
            wrong_type(r, key, _("a string"));
    }
    return value != NULL ? value : "";
}

/* The index of a string among `names` (ends with NULL); anything else is not supported. */
static int read_choice(Reader *r, const char *key, const char *const *names, const char *fallback)
{
    const char *value = read_string(r, key, fallback);
    for (int i = 0; names[i] != NULL; i++)
        if (strcmp(value, names[i]) == 0)
            return i;
    if (!r->failed)
        unsupported(r, key, json_object_get_member(r->json, key));
    return 0;
}

/* A list of up to LDM_MAX_LEVELS numbers; returns its length, 0 where the key is absent. */
static int read_list(Reader *r, const char *key, int *values)
{
    JsonNode *node = member(r, key);
    if (node == NULL)
        return 0;
    JsonArray *array = JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
    int length = array != NULL ? (int)json_array_get_length(array) : 0;
    if (length < 1 || length > LDM_MAX_LEVELS) {
        unsupported(r, key, node);
        return 0;
    }
    for (int i = 0; i < length; i++) {
        if (!node_int(json_array_get_element(array, (guint)i), &values[i])) {
            wrong_type(r, key, _("a list of whole numbers"));
            return 0;
        }
    }
    return length;
}

/* One number for all levels, or a list of one per level. */
static void read_per_level(Reader *r, const char *key, int fallback, int levels, int *values)
{
    JsonNode *node = member(r, key);
    if (node != NULL && JSON_NODE_HOLDS_ARRAY(node)) {
        int length = read_list(r, key, values);
        if (!r->failed && length != levels)
            unsupported(r, key, node);
        return;
    }
    int value = read_int(r, key, fallback);
    for (int i = 0; i < levels; i++)
        values[i] = value;
}

/* One number, or a list in which all are the same. */
static int read_uniform(Reader *r, const char *key, int fallback)
{
    int values[LDM_MAX_LEVELS] = {0};
    JsonNode *node = member(r, key);
    if (node == NULL || !JSON_NODE_HOLDS_ARRAY(node))
        return read_int(r, key, fallback);
    int length = read_list(r, key, values);
    for (int i = 1; i < length; i++)
        if (values[i] != values[0] && !r->failed)
            unsupported(r, key, node);
    return values[0];
}

/* The names in a list of block types, one per level, as an index into `names`. */
static void read_blocks(Reader *r, const char *key, const char *const *names, int levels,
                        bool *second, bool reversed)
{
    JsonNode *node = member(r, key);
    if (node == NULL)
        return;
    JsonArray *array = JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
    if (array == NULL || (int)json_array_get_length(array) != levels) {
        unsupported(r, key, node);
        return;
    }
    for (int i = 0; i < levels && !r->failed; i++) {
        JsonNode *item = json_array_get_element(array, (guint)i);
        const char *name = JSON_NODE_HOLDS_VALUE(item) ? json_node_get_string(item) : NULL;
        int which = g_strcmp0(name, names[0]) == 0 ? 0 : g_strcmp0(name, names[1]) == 0 ? 1 : -1;
        if (which < 0)
            unsupported(r, key, node);
        else
            second[reversed ? levels - 1 - i : i] = which == 1;
    }
}

/* A key and the only values it may have ("a|b"); absent and null are always allowed. */
typedef struct {
    const char *key, *values;
} Fixed;

static bool node_is(JsonNode *node, const char *value)
{
    double number;
    if (!JSON_NODE_HOLDS_VALUE(node))
        return false;
    if (json_node_get_value_type(node) == G_TYPE_STRING)
        return strcmp(json_node_get_string(node), value) == 0;
    if (json_node_get_value_type(node) == G_TYPE_BOOLEAN)
        return strcmp(json_node_get_boolean(node) ? "true" : "false", value) == 0;
    char *end;
    double expected = g_ascii_strtod(value, &end);
    return end != value && node_number(node, &number) && number == expected;
}

static void check_fixed(Reader *r, const Fixed *fixed, size_t n)
{
    for (size_t i = 0; i < n && !r->failed; i++) {
        JsonNode *node = member(r, fixed[i].key);
        g_auto(GStrv) values = g_strsplit(fixed[i].values, "|", -1);
        bool good = node == NULL;
        for (int k = 0; !good && values[k] != NULL; k++)
            good = node_is(node, values[k]);
        if (!good)
            unsupported(r, fixed[i].key, node);
    }
}

static const Fixed unet_fixed[] = {
    {"_class_name", "UNet2DConditionModel"},
    {"act_fn", "silu|swish"},
    {"addition_embed_type", ""},
    {"attention_type", "default"},
    {"center_input_sample", "false"},
    {"class_embed_type", ""},
    {"class_embeddings_concat", "false"},
    {"conv_in_kernel", "3"},
    {"conv_out_kernel", "3"},
    {"cross_attention_norm", ""},
    {"downsample_padding", "1"},
    {"dual_cross_attention", "false"},
    {"encoder_hid_dim", ""},
    {"encoder_hid_dim_type", ""},
    {"flip_sin_to_cos", "true"},
    {"freq_shift", "0"},
    {"mid_block_only_cross_attention", "false"},
    {"mid_block_scale_factor", "1"},
    {"mid_block_type", "UNetMidBlock2DCrossAttn"},
    {"num_class_embeds", ""},
    {"resnet_out_scale_factor", "1"},
    {"resnet_skip_time_act", "false"},
    {"resnet_time_scale_shift", "default"},
    {"reverse_transformer_layers_per_block", ""},
    {"time_cond_proj_dim", ""},
    {"time_embedding_act_fn", ""},
    {"time_embedding_dim", ""},
    {"time_embedding_type", "positional"},
    {"timestep_post_act", ""},
};

const char *const ldm_unet_down_names[] = {"DownBlock2D", "CrossAttnDownBlock2D"};
const char *const ldm_unet_up_names[] = {"UpBlock2D", "CrossAttnUpBlock2D"};
const char *const ldm_hole_names[] = {"grey", "filled", NULL};

/* false, or a list of one per level. (true for all would mean the middle block too, which no
 * network we know has.) */
static void read_only_cross(Reader *r, int levels, bool *values)
{
    static const Fixed fixed[] = {{"only_cross_attention", "false"}};
    JsonNode *node = member(r, fixed[0].key);
    JsonArray *array =
        node != NULL && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
    if (array == NULL) {
        check_fixed(r, fixed, 1);
        return;
    }
    bool good = (int)json_array_get_length(array) == levels;
    for (int i = 0; good && i < levels; i++) {
        JsonNode *item = json_array_get_element(array, (guint)i);
        values[i] = node_is(item, "true");
        good = values[i] || node_is(item, "false");
    }
    if (!good)
        unsupported(r, fixed[0].key, node);
}

/* Elsewhere null is as good as absent; here it says that there is no middle block. */
static void check_mid_block(Reader *r)
{
    JsonNode *node = json_object_get_member(r->json, "mid_block_type");
    if (!r->failed && node != NULL && JSON_NODE_HOLDS_NULL(node))
        unsupported(r, "mid_block_type", node);
}

/* `attention_head_dim` holds the number of heads (a name diffusers kept by mistake); where
 * `num_attention_heads` is given it says the same thing and wins. */
bool ldm_config_read_unet(LdmUnetConfig *c, JsonObject *json, const char *path, GError **error)
{
    Reader reader = {json, path, error, false}, *r = &reader;
    bool up[LDM_MAX_LEVELS] = {false, true, true, true};
    *c = (LdmUnetConfig){
        .levels = 4,
        .channels = {320, 640, 1280, 1280},
        .attention = {true, true, true, false},
        .mid_attention = true,
    };
    memcpy(up, c->attention, sizeof up);
    check_fixed(r, unet_fixed, G_N_ELEMENTS(unet_fixed));
    check_mid_block(r);
    int levels = read_list(r, "block_out_channels", c->channels);
    c->levels = levels > 0 ? levels : c->levels;
    read_blocks(r, "down_block_types", ldm_unet_down_names, c->levels, c->attention, false);
    read_blocks(r, "up_block_types", ldm_unet_up_names, c->levels, up, true);
    for (int i = 0; i < c->levels; i++)
        if (up[i] != c->attention[i] && !r->failed)
            unsupported(r, "up_block_types", json_object_get_member(json, "up_block_types"));
    c->in_channels = read_int(r, "in_channels", 4);
    c->out_channels = read_int(r, "out_channels", 4);
    c->layers_per_block = read_uniform(r, "layers_per_block", 2);
    const char *heads =
        member(r, "num_attention_heads") != NULL ? "num_attention_heads" : "attention_head_dim";
    read_per_level(r, heads, 8, c->levels, c->heads);
    read_per_level(r, "transformer_layers_per_block", 1, c->levels, c->depth);
    read_only_cross(r, c->levels, c->only_cross_attention);
    c->context_width = read_uniform(r, "cross_attention_dim", 1280);
    c->norm_groups = read_int(r, "norm_num_groups", 32);
    c->norm_eps = read_number(r, "norm_eps", 1e-5);
    c->linear_projection = read_bool(r, "use_linear_projection", false);
    c->sample_size = read_uniform(r, "sample_size", 64);
    c->hole = (LdmHole)read_choice(r, "masked_hole", ldm_hole_names, "grey");
    return !r->failed;
}

static const Fixed vae_fixed[] = {
    {"_class_name", "AutoencoderKL|VQModel"},
    {"act_fn", "silu|swish"},
    {"latents_mean", ""},
    {"latents_std", ""},
    {"norm_type", "group"},
};

const char *const ldm_vae_down_names[] = {"DownEncoderBlock2D", "AttnDownEncoderBlock2D"};
const char *const ldm_vae_up_names[] = {"UpDecoderBlock2D", "AttnUpDecoderBlock2D"};

static void read_posterior(Reader *r, LdmVaeConfig *c)
{
    c->regulariser = LDM_REGULARISER_KL;
    c->latent_channels = read_int(r, "latent_channels", 4);
}

static void read_codebook(Reader *r, LdmVaeConfig *c)
{
    c->regulariser = LDM_REGULARISER_VQ;
    c->inner_channels = read_int(r, "latent_channels", 3);
    c->latent_channels = read_int(r, "vq_embed_dim", c->inner_channels);
    c->codebook = read_int(r, "num_vq_embeddings", 256);
}

bool ldm_config_read_vae(LdmVaeConfig *c, JsonObject *json, const char *path, GError **error)
{
    Reader reader = {json, path, error, false}, *r = &reader;
    bool up[LDM_MAX_LEVELS] = {0};
    *c = (LdmVaeConfig){.levels = 1, .channels = {64}};
    check_fixed(r, vae_fixed, G_N_ELEMENTS(vae_fixed));
    int levels = read_list(r, "block_out_channels", c->channels);
    c->levels = levels > 0 ? levels : c->levels;
    read_blocks(r, "down_block_types", ldm_vae_down_names, c->levels, c->attention, false);
    read_blocks(r, "up_block_types", ldm_vae_up_names, c->levels, up, true);
    if (memcmp(up, c->attention, sizeof up) != 0 && !r->failed)
        unsupported(r, "up_block_types", json_object_get_member(json, "up_block_types"));
    c->in_channels = read_int(r, "in_channels", 3);
    c->out_channels = read_int(r, "out_channels", 3);
    if (strcmp(read_string(r, "_class_name", ""), "VQModel") == 0)
        read_codebook(r, c);
    else
        read_posterior(r, c);
    c->layers_per_block = read_int(r, "layers_per_block", 1);
    c->norm_groups = read_int(r, "norm_num_groups", 32);
    c->mid_attention = read_bool(r, "mid_block_add_attention", true);
    c->quant_conv = read_bool(r, "use_quant_conv", true);
    c->post_quant_conv = read_bool(r, "use_post_quant_conv", true);
    c->haar_stem = read_bool(r, "haar_stem", false);
    c->linear_path = read_bool(r, "linear_path", false);
    c->scale_factor = read_number(r, "scaling_factor", 0.18215);
    c->shift_factor = read_number(r, "shift_factor", 0);
    c->sample_size = read_uniform(r, "sample_size", 32);
    return !r->failed;
}

static const Fixed tiny_fixed[] = {
    {"_class_name", "AutoencoderTiny"},
    {"act_fn", "relu"},
    {"out_channels", "3"},
    {"upsample_fn", "nearest"},
    {"upsampling_scaling_factor", "2"},
};

/* The encoder's keys are not looked at. */
bool ldm_config_read_tiny(LdmTinyConfig *c, JsonObject *json, const char *path, GError **error)
{
    Reader reader = {json, path, error, false}, *r = &reader;
    *c = (LdmTinyConfig){.levels = 4, .blocks = {3, 3, 3, 1}};
    check_fixed(r, tiny_fixed, G_N_ELEMENTS(tiny_fixed));
    int levels = read_list(r, "num_decoder_blocks", c->blocks);
    c->levels = levels > 0 ? levels : c->levels;
    c->channels = read_uniform(r, "decoder_block_out_channels", 64);
    c->latent_channels = read_int(r, "latent_channels", 4);
    c->scale_factor = read_number(r, "scaling_factor", 1);
    c->shift_factor = read_number(r, "shift_factor", 0);
    return !r->failed;
}

static const char *const text_acts[] = {"quick_gelu", "gelu", NULL};

/* The token ids here are only a fallback: those of older CLIP configurations are wrong, so the
 * tokenizer's own files decide (folder.c). */
bool ldm_config_read_text(LdmTextConfig *c, JsonObject *json, const char *path, GError **error)
{
    Reader reader = {json, path, error, false}, *r = &reader;
    static const Fixed fixed[] = {{"model_type", "clip_text_model"}};
    check_fixed(r, fixed, G_N_ELEMENTS(fixed));
    *c = (LdmTextConfig){
        .vocab_size = read_int(r, "vocab_size", 49408),
        .width = read_int(r, "hidden_size", 512),
        .layers = read_int(r, "num_hidden_layers", 12),
        .heads = read_int(r, "num_attention_heads", 8),
        .mlp_width = read_int(r, "intermediate_size", 2048),
        .tokens = read_int(r, "max_position_embeddings", 77),
        .quick_gelu = read_choice(r, "hidden_act", text_acts, "quick_gelu") == 0,
        .norm_eps = read_number(r, "layer_norm_eps", 1e-5),
        .bos = read_int(r, "bos_token_id", 49406),
        .eos = read_int(r, "eos_token_id", 49407),
        .pad = read_int(r, "pad_token_id", 1),
    };
    return !r->failed;
}

LdmScheduleConfig ldm_config_schedule_default(void)
{
    return (LdmScheduleConfig){
        .betas = LDM_BETAS_SCALED_LINEAR,
        .beta_start = 0.00085,
        .beta_end = 0.012,
        .train_steps = 1000,
        .prediction = LDM_PREDICTION_EPSILON,
        .spacing = LDM_SPACING_LEADING,
        .steps_offset = 1,
    };
}

/* The schedulers of discrete-time diffusion, and what a missing key means to each. */
static const struct {
    const char *name;
    LdmSpacing spacing;
    bool final_alpha_one;
} schedulers[] = {
    {"DDIMScheduler", LDM_SPACING_LEADING, true},
    {"PNDMScheduler", LDM_SPACING_LEADING, false},
    {"DDPMScheduler", LDM_SPACING_LEADING, true},
    {"LCMScheduler", LDM_SPACING_LEADING, true},
    {"LMSDiscreteScheduler", LDM_SPACING_LINSPACE, true},
    {"EulerDiscreteScheduler", LDM_SPACING_LINSPACE, true},
    {"EulerAncestralDiscreteScheduler", LDM_SPACING_LINSPACE, true},
    {"HeunDiscreteScheduler", LDM_SPACING_LINSPACE, true},
    {"KDPM2DiscreteScheduler", LDM_SPACING_LINSPACE, true},
    {"KDPM2AncestralDiscreteScheduler", LDM_SPACING_LINSPACE, true},
    {"DPMSolverMultistepScheduler", LDM_SPACING_LINSPACE, true},
    {"DPMSolverSinglestepScheduler", LDM_SPACING_LINSPACE, true},
    {"DPMSolverSDEScheduler", LDM_SPACING_LINSPACE, true},
    {"DEISMultistepScheduler", LDM_SPACING_LINSPACE, true},
    {"UniPCMultistepScheduler", LDM_SPACING_LINSPACE, true},
    {NULL, LDM_SPACING_LEADING, true},
};

/* The index of the folder's scheduler; one that is not known is not supported. */
static int read_scheduler(Reader *r)
{
    const char *names[G_N_ELEMENTS(schedulers)];
    for (size_t i = 0; i < G_N_ELEMENTS(schedulers); i++)
        names[i] = schedulers[i].name;
    return read_choice(r, "_class_name", names, "DDIMScheduler");
}

const char *const ldm_beta_names[] = {"linear", "scaled_linear", "squaredcos_cap_v2", NULL};
const char *const ldm_prediction_names[] = {"epsilon", "v_prediction", "sample", NULL};
const char *const ldm_spacing_names[] = {"leading", "linspace", "trailing", NULL};

static const Fixed schedule_fixed[] = {
    {"clip_sample", "false"},
    {"thresholding", "false"},
    {"trained_betas", ""},
};

bool ldm_config_read_schedule(LdmScheduleConfig *c, JsonObject *json, const char *path,
                              GError **error)
{
    Reader reader = {json, path, error, false}, *r = &reader;
    check_fixed(r, schedule_fixed, G_N_ELEMENTS(schedule_fixed));
    int which = read_scheduler(r);
    *c = (LdmScheduleConfig){
        .betas = (LdmBetas)read_choice(r, "beta_schedule", ldm_beta_names, "linear"),
        .beta_start = read_number(r, "beta_start", 0.0001),
        .beta_end = read_number(r, "beta_end", 0.02),
        .train_steps = read_int(r, "num_train_timesteps", 1000),
        .prediction =
            (LdmPrediction)read_choice(r, "prediction_type", ldm_prediction_names, "epsilon"),
        .spacing = (LdmSpacing)read_choice(r, "timestep_spacing", ldm_spacing_names,
                                           ldm_spacing_names[schedulers[which].spacing]),
        .steps_offset = read_int(r, "steps_offset", 0),
        .final_alpha_one = read_bool(r, "set_alpha_to_one", schedulers[which].final_alpha_one),
        .zero_terminal_snr = read_bool(r, "rescale_betas_zero_snr", false),
    };
    return !r->failed;
}
