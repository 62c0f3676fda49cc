/* Adapters in training. In: a model and what shall be learnt. Out: a table of parameters for the
 * optimiser, put on the model, and at the end a file that this program, diffusers and others load.
 */
#include "train/adapter.h"

#include "base/checked.h"
#include "base/error.h"
#include "kernels/kernels.h"
#include "tensor/tensor.h"
#include "train/check.h"
#include "train/keyed.h"
#include "weights/lora.h"
#include "weights/safetensors-write.h"
#include "weights/textual-inversion.h"

#include <math.h>
#include <string.h>

#define MOST_RANK    1024
#define MOST_VECTORS 64
#define PIECE        4096 /* values that are written at a time */

/* One layer's pair; in the table its down comes first, then its up. */
typedef struct {
    LdmParam *target;
    LdmPart part;
    LdmAdapter adapter;
} Layer;

struct LdmTrainAdapter {
    LdmModel *model;
    LdmAdapterOptions options;
    double scale; /* alpha / rank */
    LdmParams *params;
    GPtrArray *layers; /* Layer */
    GPtrArray *data;   /* what the parameters begin with */
    LdmParam *words;   /* the model's table of tokens, where it got the new word */
};

LdmAdapterOptions ldm_adapter_defaults(LdmAdapterKind kind)
{
    return (LdmAdapterOptions){
        .kind = kind,
        .rank = 4,
        .targets = "to_q, to_k, to_v, to_out.0, q_proj, k_proj, v_proj, out_proj",
        .meaning = "picture",
        .vectors = 1,
    };
}

/* ---- LoRA ---- */

/* True where a layer's name, without ".weight", ends in one of the targets. */
static bool is_target(const LdmAdapterOptions *options, const char *name)
{
    g_auto(GStrv) targets = g_strsplit(options->targets, ",", -1);
    for (size_t i = 0; targets[i] != NULL; i++) {
        const char *target = g_strstrip(targets[i]);
        size_t n = strlen(target), length = strlen(name) - strlen(".weight");
        if (strcmp(target, "all") == 0)
            return true;
        if (n > 0 && n <= length && strncmp(name + length - n, target, n) == 0 &&
            (n == length || name[length - n - 1] == '.'))
            return true;
    }
    return false;
}

/* A zeroed array for a parameter that is added to the table. */
static float *add_array(LdmTrainAdapter *adapter, const char *name, int rank, const size_t *shape,
                        size_t *count, GError **error)
{
    float *data;
    if (!ldm_product(shape, rank, count) ||
        (data = ldm_aligned_alloc0(*count, sizeof(float), _("the adapter"), error)) == NULL)
        return NULL;
    LdmParam *param = ldm_params_add(adapter->params, NULL, name, rank, shape);
    param->dtype = LDM_F32;
    param->data = data;
    param->trained = true;
    g_ptr_array_add(adapter->data, data);
    return data;
}

/* down begins as torch's linear layers do, U(-b, b) with b = 1 / sqrt(fan in), up with zero. */
static bool add_layer(LdmTrainAdapter *adapter, LdmPart part, LdmParam *target, uint64_t seed,
                      GError **error)
{
    size_t rank = adapter->options.rank, index = adapter->layers->len, count;
    const size_t *s = target->shape;
    const char *network = part == LDM_PART_UNET ? "unet" : "text_encoder";
    int stem = (int)(strlen(target->name) - strlen(".weight"));
    g_autofree char *down = g_strdup_printf("%s.%.*s.lora_A.weight", network, stem, target->name);
    g_autofree char *up = g_strdup_printf("%s.%.*s.lora_B.weight", network, stem, target->name);
    float *x =
        add_array(adapter, down, target->rank, (size_t[]){rank, s[1], s[2], s[3]}, &count, error);
    if (x == NULL)
        return false;
    LdmKeyed keyed = ldm_keyed(seed, LDM_KEY_WEIGHT, 1, index);
    double bound = 1.0 / sqrt((double)(count / rank));
    for (size_t i = 0; i < count; i++)
        x[i] = (float)(bound * (2.0 * ldm_keyed_uniform(&keyed) - 1.0));
    if (add_array(adapter, up, target->rank, (size_t[]){s[0], rank, 1, 1}, &count, error) == NULL)
        return false;
    Layer *layer = g_new0(Layer, 1);
    *layer = (Layer){.target = target,
                     .part = part,
                     .adapter = {.down = ldm_params_find(adapter->params, down),
                                 .up = ldm_params_find(adapter->params, up),
                                 .scale = adapter->scale,
                                 .next = target->adapter}};
    target->adapter = &layer->adapter;
    g_ptr_array_add(adapter->layers, layer);
    return true;
}

static bool add_layers(LdmTrainAdapter *adapter, LdmPart part, LdmParams *table, uint64_t seed,
                       GError **error)
{
    for (size_t i = 0; i < ldm_params_length(table); i++) {
        LdmParam *param = ldm_params_at(table, i);
        g_autofree char *layer = ldm_lora_layer(param);
        if (layer != NULL && is_target(&adapter->options, param->name) &&
            !add_layer(adapter, part, param, seed, error))
            return false;
    }
    return true;
}

static bool add_lora(LdmTrainAdapter *adapter, bool text, uint64_t seed, GError **error)
{
    const LdmAdapterOptions *o = &adapter->options;
    LdmModel *model = adapter->model;
    if (!ldm_option_check("rank", (double)o->rank, 1, MOST_RANK, error) ||
        !ldm_option_check("alpha", o->alpha, 0.0, 1e6, error))
        return false;
    adapter->scale = o->alpha > 0.0 ? o->alpha / (double)o->rank : 1.0;
    if (!add_layers(adapter, LDM_PART_UNET, model->unet_params, seed, error) ||
        (text && !add_layers(adapter, LDM_PART_TEXT, model->text_params, seed, error)))
        return false;
    if (adapter->layers->len > 0)
        return true;
    ldm_set_error(error, INVALID,
                  _("targets: no layer's name ends in one of “%s”; try “to_q, to_v” or “all”"),
                  o->targets);
    return false;
}

/* ---- textual inversion ---- */

/* The new word's rows: those of its meaning's tokens, again from the first where they do not
 * suffice. */
static bool fill_rows(const LdmTrainAdapter *adapter, float *rows, GError **error)
{
    const LdmTextConfig *text = &adapter->model->config.text;
    const LdmParam *table = ldm_clip_text_words(adapter->model->text);
    size_t width = (size_t)text->width, bytes = width * ldm_dtype_size(table->dtype), n = 0;
    g_autofree int32_t *ids = g_new(int32_t, text->tokens);
    if (!ldm_tokenizer_encode(adapter->model->tokenizer, adapter->options.meaning, ids, NULL,
                              error))
        return false;
    while (n + 1 < (size_t)text->tokens && ids[n + 1] != text->eos)
        n++;
    if (n == 0) {
        ldm_set_error(error, INVALID, _("meaning is empty: give a word that comes near"));
        return false;
    }
    for (size_t i = 1; i <= n; i++)
        if (ids[i] < 0 || ids[i] >= text->vocab_size) {
            ldm_set_error(error, FORMAT,
                          _("the model's tokenizer has the token %d, but its text encoder only %d "
                            "of them: get the model again from where it came"),
                          (int)ids[i], text->vocab_size);
            return false;
        }
    for (size_t i = 0; i < adapter->options.vectors; i++)
        ldm_convert_to_f32((const uint8_t *)table->data + (size_t)ids[1 + i % n] * bytes,
                           table->dtype, rows + i * width, width);
    return true;
}

static bool check_word(const LdmTrainAdapter *adapter, GError **error)
{
    const LdmAdapterOptions *o = &adapter->options;
    if (adapter->model->text == NULL)
        ldm_set_error(error, UNSUPPORTED, _("this model has no text encoder: it takes no words"));
    else if (o->word[strspn(o->word, " \t\n")] == '\0' || !g_utf8_validate(o->word, -1, NULL))
        ldm_set_error(error, INVALID, _("the new word is missing: give one such as “<cat>”"));
    else
        return ldm_option_check("vectors", (double)o->vectors, 1,
                                MIN(MOST_VECTORS, adapter->model->config.text.tokens - 2), error);
    return false;
}

static bool add_word(LdmTrainAdapter *adapter, GError **error)
{
    const LdmAdapterOptions *o = &adapter->options;
    LdmModel *model = adapter->model;
    size_t count;
    if (!check_word(adapter, error))
        return false;
    float *rows =
        add_array(adapter, "word", 2, (size_t[]){o->vectors, (size_t)model->config.text.width},
                  &count, error);
    if (rows == NULL || !fill_rows(adapter, rows, error))
        return false;
    ldm_tokenizer_learn(model->tokenizer, o->word, model->config.text.vocab_size, o->vectors);
    adapter->words = ldm_clip_text_words(model->text);
    adapter->words->extra = ldm_params_at(adapter->params, 0);
    return true;
}

/* ---- begin and end ---- */

LdmTrainAdapter *ldm_train_adapter_new(LdmModel *model, const LdmAdapterOptions *options, bool text,
                                       uint64_t seed, GError **error)
{
    g_autoptr(LdmTrainAdapter) adapter = g_new0(LdmTrainAdapter, 1);
    adapter->model = ldm_model_ref(model);
    adapter->options = *options;
    adapter->params = ldm_params_new();
    adapter->layers = g_ptr_array_new_with_free_func(g_free);
    adapter->data = g_ptr_array_new_with_free_func(ldm_aligned_free);
    ldm_params_set_trained(model->unet_params, false);
    ldm_params_set_trained(model->text_params, false);
    bool good = options->kind == LDM_ADAPTER_LORA ? add_lora(adapter, text, seed, error)
                                                  : add_word(adapter, error);
    return good ? g_steal_pointer(&adapter) : NULL;
}

void ldm_train_adapter_free(LdmTrainAdapter *adapter)
{
    if (adapter == NULL)
        return;
    for (guint i = adapter->layers->len; i > 0; i--) { /* the last one put on comes off first */
        Layer *layer = g_ptr_array_index(adapter->layers, i - 1);
        layer->target->adapter = layer->adapter.next;
    }
    if (adapter->words != NULL) {
        adapter->words->extra = NULL;
        ldm_tokenizer_forget(adapter->model->tokenizer);
    }
    g_ptr_array_unref(adapter->layers);
    ldm_params_free(adapter->params);
    g_ptr_array_unref(adapter->data);
    ldm_model_unref(adapter->model);
    g_free(adapter);
}

LdmParams *ldm_train_adapter_params(const LdmTrainAdapter *adapter)
{
    return adapter->params;
}

size_t ldm_train_adapter_count(const LdmTrainAdapter *adapter)
{
    return ldm_params_count(adapter->params);
}

char *ldm_train_adapter_settings(const LdmTrainAdapter *adapter)
{
    const LdmAdapterOptions *o = &adapter->options;
    char alpha[G_ASCII_DTOSTR_BUF_SIZE];
    g_autofree char *targets = g_uri_escape_string(o->targets, NULL, FALSE);
    g_autofree char *word = g_uri_escape_string(o->word, NULL, FALSE);
    g_autofree char *meaning = g_uri_escape_string(o->meaning, NULL, FALSE);
    if (o->kind == LDM_ADAPTER_LORA)
        return g_strdup_printf("rank=%zu alpha=%s targets=%s", o->rank,
                               g_ascii_dtostr(alpha, sizeof alpha, o->alpha), targets);
    return g_strdup_printf("word=%s meaning=%s vectors=%zu", word, meaning, o->vectors);
}

char *ldm_train_adapter_caption(const LdmTrainAdapter *adapter, const char *caption)
{
    if (adapter == NULL || adapter->options.kind != LDM_ADAPTER_WORD)
        return g_strdup(caption);
    const char *word = adapter->options.word;
    if (ldm_tokenizer_has_learnt(adapter->model->tokenizer, caption))
        return g_strdup(caption);
    return *caption == '\0' ? g_strdup(word) : g_strdup_printf("%s, %s", word, caption);
}

/* ---- files ---- */

static void declare(LdmFileWriter *writer, const Layer *layer, bool kohya)
{
    const LdmParam *pair[] = {layer->adapter.down, layer->adapter.up};
    const char *network = layer->part == LDM_PART_UNET ? "lora_unet" : "lora_te";
    g_autofree char *stem = ldm_lora_layer(layer->target);
    for (int i = 0; i < 2; i++) {
        g_autofree char *name =
            g_strdup_printf("%s_%s.lora_%s.weight", network, stem, i == 0 ? "down" : "up");
        ldm_file_writer_declare(writer, kohya ? name : pair[i]->name, LDM_F32, pair[i]->rank,
                                pair[i]->shape);
    }
    g_autofree char *alpha = g_strdup_printf("%s_%s.alpha", network, stem);
    if (kohya)
        ldm_file_writer_declare(writer, alpha, LDM_F32, 0, (size_t[]){1}); /* a number */
}

/* scale * up where the file has no place for alpha. */
static bool put_scaled(LdmFileWriter *writer, const LdmTrained *trained, double scale,
                       GError **error)
{
    float piece[PIECE];
    for (size_t first = 0; first < trained->count; first += PIECE) {
        size_t n = MIN(PIECE, trained->count - first);
        for (size_t i = 0; i < n; i++)
            piece[i] = (float)(scale * trained->ema[first + i]);
        if (!ldm_file_writer_put(writer, piece, n, error))
            return false;
    }
    return true;
}

static void describe(LdmFileWriter *writer, const LdmAdapterOptions *options)
{
    const struct {
        const char *key, *text;
    } texts[] = {{LDM_LORA_TITLE, options->title},
                 {LDM_LORA_DESCRIPTION, options->description},
                 {LDM_LORA_TRIGGER, options->trigger}};
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        if (texts[i].text != NULL && *texts[i].text != '\0')
            ldm_file_writer_describe(writer, texts[i].key, texts[i].text);
}

static bool write_lora(const LdmTrainAdapter *adapter, const LdmOptimiser *optimiser,
                       const char *path, GError **error)
{
    bool kohya = adapter->options.kohya;
    float alpha = (float)(adapter->scale * (double)adapter->options.rank);
    g_autoptr(LdmFileWriter) writer = ldm_file_writer_new();
    for (guint i = 0; i < adapter->layers->len; i++)
        declare(writer, g_ptr_array_index(adapter->layers, i), kohya);
    describe(writer, &adapter->options);
    if (!ldm_file_writer_open(writer, path, error))
        return false;
    for (guint i = 0; i < adapter->layers->len; i++) {
        const LdmTrained *down = ldm_optimiser_at(optimiser, 2 * i);
        const LdmTrained *up = ldm_optimiser_at(optimiser, 2 * i + 1);
        if (!ldm_file_writer_put(writer, down->ema, down->count, error) ||
            !put_scaled(writer, up, kohya ? 1.0 : adapter->scale, error) ||
            (kohya && !ldm_file_writer_put(writer, &alpha, 1, error)))
            return false;
    }
    return ldm_file_writer_close(writer, error);
}

bool ldm_train_adapter_write(const LdmTrainAdapter *adapter, const LdmOptimiser *optimiser,
                             const char *folder, GError **error)
{
    bool lora = adapter->options.kind == LDM_ADAPTER_LORA;
    const LdmInversion inversion = {.word = (char *)adapter->options.word,
                                    .vectors = adapter->options.vectors,
                                    .rows = ldm_optimiser_at(optimiser, 0)->ema};
    g_autofree char *path = g_build_filename(
        folder, lora ? "pytorch_lora_weights.safetensors" : "learned_embeds.safetensors", NULL);
    return lora ? write_lora(adapter, optimiser, path, error)
                : ldm_inversion_write(&inversion, (size_t)adapter->model->config.text.width, path,
                                      error);
}
