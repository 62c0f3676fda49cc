/* Settings of a training run. In: a file or single values, as text. Out: the options of one kind of
 * training. Tables give each option's name, kind and place; ranges are checked where training
 * begins. */
#include "cli/train-config.h"

#include "base/error.h"
#include "weights/file.h"
#include "weights/json.h"

#include <string.h>

typedef enum { SIZE, UINT64, INT64, INT, DOUBLE, PAIR, BOOL, TEXT, CHOICE } Kind;

struct PentimentoTrainSetting {
    const char *name;
    Kind kind;
    size_t offset;
    const char *const *choices; /* of an enum, from 0 on; NULL at the end */
};

static const char *const optimisers[] = {[LDM_ADAMW] = "adamw", [LDM_MUON] = "muon", NULL};

static const PentimentoTrainSetting loop_table[] = {
    {"steps", UINT64, offsetof(LdmLoopOptions, optimiser.steps)},
    {"batch", SIZE, offsetof(LdmLoopOptions, batch)},
    {"accumulate", SIZE, offsetof(LdmLoopOptions, accumulate)},
    {"optimiser", CHOICE, offsetof(LdmLoopOptions, optimiser.kind), optimisers},
    {"rate", DOUBLE, offsetof(LdmLoopOptions, optimiser.rate)},
    {"warm-up", UINT64, offsetof(LdmLoopOptions, optimiser.warm_up)},
    {"decay-from", UINT64, offsetof(LdmLoopOptions, optimiser.decay_from)},
    {"cool-down", UINT64, offsetof(LdmLoopOptions, optimiser.cool_down)},
    {"beta1", DOUBLE, offsetof(LdmLoopOptions, optimiser.beta1)},
    {"beta2", DOUBLE, offsetof(LdmLoopOptions, optimiser.beta2)},
    {"eps", DOUBLE, offsetof(LdmLoopOptions, optimiser.eps)},
    {"weight-decay", DOUBLE, offsetof(LdmLoopOptions, optimiser.weight_decay)},
    {"clip", DOUBLE, offsetof(LdmLoopOptions, optimiser.clip)},
    {"ema", DOUBLE, offsetof(LdmLoopOptions, optimiser.ema)},
    {"outlier", DOUBLE, offsetof(LdmLoopOptions, optimiser.outlier)},
    {"patience", INT, offsetof(LdmLoopOptions, optimiser.patience)},
    {"seed", INT64, offsetof(LdmLoopOptions, seed)},
    {"save-every", SIZE, offsetof(LdmLoopOptions, save_every)},
    {"samples-every", SIZE, offsetof(LdmLoopOptions, look_every)},
    {"keep", INT, offsetof(LdmLoopOptions, keep)},
    {"half", BOOL, offsetof(LdmLoopOptions, half)},
    {NULL},
};

/* Of trainings that write whole models. */
static const PentimentoTrainSetting profiles_table[] = {
    {"ema-profiles", PAIR, offsetof(LdmLoopOptions, optimiser.profiles)},
    {"ema-snapshots", SIZE, offsetof(LdmLoopOptions, snapshots)},
    {NULL},
};

static const char *const precisions[] = {[LDM_TRAIN_F32] = "f32", [LDM_TRAIN_BF16] = "bf16", NULL};

static const PentimentoTrainSetting ldm_table[] = {
    {"size", SIZE, offsetof(LdmTrainOptions, latents.augment.side)},
    {"crop", DOUBLE, offsetof(LdmTrainOptions, latents.augment.crop)},
    {"flip", BOOL, offsetof(LdmTrainOptions, latents.augment.flip)},
    {"buckets", BOOL, offsetof(LdmTrainOptions, latents.buckets)},
    {"variants", SIZE, offsetof(LdmTrainOptions, latents.variants)},
    {"drop", DOUBLE, offsetof(LdmTrainOptions, drop)},
    {"hole-drop", DOUBLE, offsetof(LdmTrainOptions, hole_drop)},
    {"full-holes", DOUBLE, offsetof(LdmTrainOptions, full_holes)},
    {"timestep-shift", DOUBLE, offsetof(LdmTrainOptions, timestep_shift)},
    {"snr-gamma", DOUBLE, offsetof(LdmTrainOptions, loss.snr_gamma)},
    {"multiscale", DOUBLE, offsetof(LdmTrainOptions, loss.multiscale)},
    {"hole-focus", DOUBLE, offsetof(LdmTrainOptions, loss.hole_focus)},
    {"train-text", BOOL, offsetof(LdmTrainOptions, train_text)},
    {"samples", SIZE, offsetof(LdmTrainOptions, samples)},
    {"precision", CHOICE, offsetof(LdmTrainOptions, loop.precision), precisions},
    {"gradient-checkpointing", BOOL, offsetof(LdmTrainOptions, loop.checkpointing)},
    {NULL},
};

static const PentimentoTrainSetting lora_table[] = {
    {"rank", SIZE, offsetof(LdmAdapterOptions, rank)},
    {"alpha", DOUBLE, offsetof(LdmAdapterOptions, alpha)},
    {"targets", TEXT, offsetof(LdmAdapterOptions, targets)},
    {"kohya", BOOL, offsetof(LdmAdapterOptions, kohya)},
    {NULL},
};

static const PentimentoTrainSetting word_table[] = {
    {"word", TEXT, offsetof(LdmAdapterOptions, word)},
    {"meaning", TEXT, offsetof(LdmAdapterOptions, meaning)},
    {"vectors", SIZE, offsetof(LdmAdapterOptions, vectors)},
    {NULL},
};

static const char *const regularisers[] = {[LDM_REGULARISER_GIVEN] = "model",
                                           [LDM_REGULARISER_KL] = "kl",
                                           [LDM_REGULARISER_VQ] = "vq",
                                           NULL};

static const PentimentoTrainSetting autoencoder_table[] = {
    {"size", SIZE, offsetof(LdmAutoencoderOptions, augment.side)},
    {"crop", DOUBLE, offsetof(LdmAutoencoderOptions, augment.crop)},
    {"flip", BOOL, offsetof(LdmAutoencoderOptions, augment.flip)},
    {"l1", DOUBLE, offsetof(LdmAutoencoderOptions, weights.l1)},
    {"l2", DOUBLE, offsetof(LdmAutoencoderOptions, weights.l2)},
    {"perceptual", DOUBLE, offsetof(LdmAutoencoderOptions, weights.perceptual)},
    {"texture", DOUBLE, offsetof(LdmAutoencoderOptions, weights.texture)},
    {"regulariser", CHOICE, offsetof(LdmAutoencoderOptions, vae.regulariser), regularisers},
    {"kl", DOUBLE, offsetof(LdmAutoencoderOptions, weights.kl)},
    {"codebook", DOUBLE, offsetof(LdmAutoencoderOptions, weights.codebook)},
    {"commitment", DOUBLE, offsetof(LdmAutoencoderOptions, weights.commitment)},
    {"codebook-size", INT, offsetof(LdmAutoencoderOptions, vae.codebook)},
    {"codebook-dim", INT, offsetof(LdmAutoencoderOptions, vae.width)},
    {"adversarial", DOUBLE, offsetof(LdmAutoencoderOptions, weights.adversarial)},
    {"adversarial-start", UINT64, offsetof(LdmAutoencoderOptions, adversarial_start)},
    {"feature-matching", DOUBLE, offsetof(LdmAutoencoderOptions, weights.matching)},
    {"scale-equivariance", DOUBLE, offsetof(LdmAutoencoderOptions, equivariance)},
    {"freeze-encoder", BOOL, offsetof(LdmAutoencoderOptions, freeze_encoder)},
    {"adversarial-rate", DOUBLE, offsetof(LdmAutoencoderOptions, adversarial_rate)},
    {"disc-channels", SIZE, offsetof(LdmAutoencoderOptions, discriminator.channels)},
    {"disc-layers", SIZE, offsetof(LdmAutoencoderOptions, discriminator.layers)},
    {"disc-detail", DOUBLE, offsetof(LdmAutoencoderOptions, discriminator.detail)},
    {"precision", CHOICE, offsetof(LdmAutoencoderOptions, loop.precision), precisions},
    {"gradient-checkpointing", BOOL, offsetof(LdmAutoencoderOptions, loop.checkpointing)},
    {NULL},
};

static const PentimentoTrainSetting contrastive_table[] = {
    {"side", SIZE, offsetof(LdmContrastOptions, tower.side)},
    {"channels", SIZE, offsetof(LdmContrastOptions, tower.channels)},
    {"levels", SIZE, offsetof(LdmContrastOptions, tower.levels)},
    {"width", SIZE, offsetof(LdmContrastOptions, tower.width)},
    {"picture-memory", SIZE, offsetof(LdmContrastOptions, picture_memory)},
    {NULL},
};

static const PentimentoTrainSetting tiny_table[] = {
    {"size", SIZE, offsetof(LdmTinyOptions, augment.side)},
    {"crop", DOUBLE, offsetof(LdmTinyOptions, augment.crop)},
    {"flip", BOOL, offsetof(LdmTinyOptions, augment.flip)},
    {"l1", DOUBLE, offsetof(LdmTinyOptions, weights.l1)},
    {"l2", DOUBLE, offsetof(LdmTinyOptions, weights.l2)},
    {"perceptual", DOUBLE, offsetof(LdmTinyOptions, weights.perceptual)},
    {"channels", SIZE, offsetof(LdmTinyOptions, channels)},
    {"blocks", SIZE, offsetof(LdmTinyOptions, blocks)},
    {NULL},
};

PentimentoTrainConfig pentimento_train_config_ldm(LdmTrainOptions *options)
{
    static const PentimentoTrainSetting *const adapters[] = {
        [LDM_ADAPTER_LORA] = lora_table,
        [LDM_ADAPTER_WORD] = word_table,
    };
    PentimentoTrainConfig config = {
        {{loop_table, &options->loop}, {ldm_table, options}, {profiles_table, &options->loop}}};

    if (options->adapter.kind != LDM_ADAPTER_NONE) {
        config.groups[2].table = adapters[options->adapter.kind];
        config.groups[2].options = &options->adapter;
    }
    return config;
}

PentimentoTrainConfig pentimento_train_config_autoencoder(LdmAutoencoderOptions *options)
{
    return (PentimentoTrainConfig){{{loop_table, &options->loop},
                                    {autoencoder_table, options},
                                    {profiles_table, &options->loop}}};
}

PentimentoTrainConfig pentimento_train_config_contrastive(LdmContrastOptions *options)
{
    return (PentimentoTrainConfig){{{loop_table, &options->loop}, {contrastive_table, options}}};
}

PentimentoTrainConfig pentimento_train_config_tiny(LdmTinyOptions *options)
{
    return (PentimentoTrainConfig){{{loop_table, &options->loop}, {tiny_table, options}}};
}

/* "steps, batch ..." */
static char *names_of(const PentimentoTrainConfig *config)
{
    GString *names = g_string_new(NULL);

    for (size_t g = 0; g < G_N_ELEMENTS(config->groups) && config->groups[g].table; g++)
        for (const PentimentoTrainSetting *s = config->groups[g].table; s->name != NULL; s++)
            g_string_append_printf(names, "%s%s", names->len > 0 ? ", " : "", s->name);
    return g_string_free(names, FALSE);
}

static const PentimentoTrainSetting *find(const PentimentoTrainConfig *config, const char *name,
                                          void **place)
{
    for (size_t g = 0; g < G_N_ELEMENTS(config->groups) && config->groups[g].table; g++)
        for (const PentimentoTrainSetting *s = config->groups[g].table; s->name != NULL; s++)
            if (strcmp(s->name, name) == 0) {
                *place = (char *)config->groups[g].options + s->offset;
                return s;
            }
    return NULL;
}

/* Two numbers with a blank or a comma between. */
static bool set_pair(double *place, const char *text)
{
    char *end = (char *)text;

    for (int i = 0; i < 2; i++) {
        const char *from = end + (i > 0 && *end == ',');
        place[i] = g_ascii_strtod(from, &end);
        if (end == from)
            return false;
    }
    return *end == '\0';
}

static bool set_number(void *place, Kind kind, const char *text)
{
    gint64 whole;
    char *end;

    if (kind == DOUBLE) {
        *(double *)place = g_ascii_strtod(text, &end);
        return end != text && *end == '\0';
    }
    if (!g_ascii_string_to_signed(text, 10, 0, kind == INT ? G_MAXINT : G_MAXINT64, &whole, NULL))
        return false;
    switch (kind) {
    case SIZE: *(size_t *)place = (size_t)whole; break;
    case UINT64: *(uint64_t *)place = (uint64_t)whole; break;
    case INT64: *(int64_t *)place = whole; break;
    default: *(int *)place = (int)whole; break;
    }
    return true;
}

static bool set_choice(int *place, const char *const *choices, const char *text)
{
    for (int i = 0; choices[i] != NULL; i++)
        if (strcmp(text, choices[i]) == 0) {
            *place = i;
            return true;
        }
    return false;
}

static bool set_value(void *place, const PentimentoTrainSetting *setting, const char *text)
{
    bool yes = strcmp(text, "true") == 0;

    switch (setting->kind) {
    case CHOICE: return set_choice(place, setting->choices, text);
    case BOOL: *(bool *)place = yes; return yes || strcmp(text, "false") == 0;
    case PAIR: return set_pair(place, text);
    case TEXT: return g_strlcpy(place, text, LDM_ADAPTER_TEXT) < LDM_ADAPTER_TEXT;
    default: return set_number(place, setting->kind, text);
    }
}

bool pentimento_train_config_set(const PentimentoTrainConfig *config, const char *name,
                                 const char *text, GError **error)
{
    void *place = NULL;
    const PentimentoTrainSetting *setting = find(config, name, &place);

    if (setting == NULL) {
        g_autofree char *names = names_of(config);
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    _("there is no setting “%s”; there are %s"), name, names);
        return false;
    }
    if (set_value(place, setting, text))
        return true;
    if (setting->kind == CHOICE) {
        g_autofree char *choices = g_strjoinv(", ", (char **)setting->choices);
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    _("%s must be one of %s, not “%s”"), name, choices, text);
        return false;
    }
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                setting->kind == BOOL   ? _("%s must be true or false, not “%s”")
                : setting->kind == TEXT ? _("%s is longer than 255 bytes: “%s”")
                : setting->kind == PAIR ? _("%s must be two numbers, not “%s”")
                                        : _("%s must be a number, not “%s”"),
                name, text);
    return false;
}

/* ---- files ---- */

static bool read_json(const PentimentoTrainConfig *config, const char *text, size_t size,
                      const char *path, GError **error)
{
    g_autoptr(JsonObject) object = ldm_json_parse(text, size, path, error);
    JsonObjectIter iter;
    const char *name;
    JsonNode *node;

    if (object == NULL)
        return false;
    json_object_iter_init(&iter, object);
    while (json_object_iter_next(&iter, &name, &node)) {
        g_autoptr(GError) reason = NULL;
        bool string = json_node_get_value_type(node) == G_TYPE_STRING;
        bool array = JSON_NODE_HOLDS_ARRAY(node);
        g_autofree char *value = string
                                     ? json_node_dup_string(node)
                                     : json_to_string(node, FALSE); /* a number or true as typed */
        if (array) /* what stands between [ and ] */
            value[strlen(value) - 1] = '\0';
        if (pentimento_train_config_set(config, name, value + array, &reason))
            continue;
        ldm_set_error(error, FORMAT, "%s: %s", path, reason->message);
        return false;
    }
    return true;
}

static bool read_lines(const PentimentoTrainConfig *config, const char *text, const char *path,
                       GError **error)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (guint i = 0; lines[i] != NULL; i++) {
        g_autoptr(GError) reason = NULL;
        char *comment = strchr(lines[i], '#'), *equals;
        if (comment != NULL)
            *comment = '\0';
        if (*g_strstrip(lines[i]) == '\0')
            continue;
        equals = strchr(lines[i], '=');
        if (equals != NULL)
            *equals = '\0';
        if (equals != NULL && pentimento_train_config_set(config, g_strstrip(lines[i]),
                                                          g_strstrip(equals + 1), &reason))
            continue;
        ldm_set_error(error, FORMAT, _("%s, line %u: %s"), path, i + 1,
                      reason != NULL ? reason->message : _("“name = value” is expected"));
        return false;
    }
    return true;
}

bool pentimento_train_config_read(const PentimentoTrainConfig *config, const char *path,
                                  GError **error)
{
    g_autofree char *text = ldm_file_read_text(path, LDM_CONFIG_BYTES, error);

    if (text == NULL)
        return false;
    return text[strspn(text, " \t\r\n")] == '{' ? read_json(config, text, strlen(text), path, error)
                                                : read_lines(config, text, path, error);
}
