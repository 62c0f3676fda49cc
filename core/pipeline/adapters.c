/* A request's adapters. In: names of files and a model. Out: the model with LoRA beside its weights
 * and learnt words in its tokenizer and behind its table of tokens, until they are taken away. */
#include "pipeline/adapters.h"

#include "base/error.h"
#include "pipeline/data-path.h"
#include "weights/lora.h"
#include "weights/textual-inversion.h"

#include <math.h>
#include <string.h>

struct LdmAdapters {
    LdmModel *model;
    GPtrArray *loras; /* LdmLora */
    LdmParams *table; /* one parameter: the rows of all learnt words */
    LdmParam *words;  /* the model's table of tokens, where it has got them; else NULL */
    GArray *rows;     /* float, what that parameter points to */
};

/* "FILE:0.5" -> "FILE", 0.5; a file alone has weight 1. */
static char *split_weight(const char *text, double *weight)
{
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    *weight = colon != NULL && colon[1] != '\0' ? g_ascii_strtod(colon + 1, &end) : NAN;
    if (end != NULL && *end == '\0' && isfinite(*weight))
        return g_strndup(text, (gsize)(colon - text));
    *weight = 1.0;
    return g_strdup(text);
}

static bool load_lora(LdmAdapters *adapters, const char *path, double weight, GError **error)
{
    LdmModel *model = adapters->model;
    LdmParams *const tables[LDM_N_PARTS] = {
        [LDM_PART_UNET] = model->unet_params, [LDM_PART_TEXT] = model->text_params};
    LdmLora *lora = ldm_lora_load(path, weight, tables, &model->config, error);
    if (lora != NULL)
        g_ptr_array_add(adapters->loras, lora);
    return lora != NULL;
}

char *ldm_adapters_lora_path(const char *text, double *weight, GError **error)
{
    g_autofree char *name = split_weight(text, weight);
    return ldm_adapter_find(name, error);
}

static bool add_lora(LdmAdapters *adapters, const char *text, GError **error)
{
    double weight;
    g_autofree char *path = ldm_adapters_lora_path(text, &weight, error);
    return path != NULL && load_lora(adapters, path, weight, error);
}

static bool add_word(LdmAdapters *adapters, const char *path, GError **error)
{
    const LdmTextConfig *text = &adapters->model->config.text;
    g_auto(LdmInversion) inversion = {0};
    if (adapters->model->text == NULL) {
        ldm_set_error(error, UNSUPPORTED,
                      _("%s: this model has no text encoder: it takes no embedding"), path);
        return false;
    }
    if (!ldm_inversion_load(path, (size_t)text->width, &inversion, error))
        return false;
    size_t row = adapters->rows->len / (size_t)text->width;
    ldm_tokenizer_learn(adapters->model->tokenizer, inversion.word, text->vocab_size + (int32_t)row,
                        inversion.vectors);
    g_array_append_vals(adapters->rows, inversion.rows,
                        (guint)(inversion.vectors * (size_t)text->width));
    return true;
}

/* All rows stand where they will be: the text encoder may have them. */
static void attach_words(LdmAdapters *adapters)
{
    size_t width = (size_t)adapters->model->config.text.width;
    size_t shape[] = {adapters->rows->len / width, width};
    LdmParam *param = ldm_params_add(adapters->table, NULL, "learnt", 2, shape);
    param->dtype = LDM_F32;
    param->data = adapters->rows->data;
    adapters->words = ldm_clip_text_words(adapters->model->text);
    adapters->words->extra = param;
}

static LdmAdapters *adapters_new(LdmModel *model)
{
    LdmAdapters *adapters = g_new0(LdmAdapters, 1);
    adapters->model = ldm_model_ref(model);
    adapters->loras = g_ptr_array_new_with_free_func((GDestroyNotify)ldm_lora_free);
    adapters->table = ldm_params_new();
    adapters->rows = g_array_new(FALSE, FALSE, sizeof(float));
    return adapters;
}

bool ldm_adapters_add(LdmModel *model, const LdmRequest *request, LdmAdapters **result,
                      GError **error)
{
    char *none[] = {NULL};
    char **loras = request->loras != NULL ? request->loras : none;
    char **words = request->embeddings != NULL ? request->embeddings : none;
    bool good = true;
    *result = NULL;
    if (loras[0] == NULL && words[0] == NULL)
        return true;
    LdmAdapters *adapters = adapters_new(model);
    for (size_t i = 0; good && loras[i] != NULL; i++)
        good = add_lora(adapters, loras[i], error);
    for (size_t i = 0; good && words[i] != NULL; i++)
        good = add_word(adapters, words[i], error);
    if (good && adapters->rows->len > 0)
        attach_words(adapters);
    *result = good ? adapters : NULL;
    if (!good)
        ldm_adapters_free(adapters);
    return good;
}

bool ldm_adapters_add_lora(LdmModel *model, const char *path, LdmAdapters **adapters,
                           GError **error)
{
    if (*adapters == NULL)
        *adapters = adapters_new(model);
    return load_lora(*adapters, path, 1.0, error);
}

void ldm_adapters_explain(const LdmAdapters *adapters, GError **error)
{
    bool good = true;
    if (adapters == NULL || adapters->loras->len == 0 || error == NULL ||
        !g_error_matches(*error, LDM_ERROR, LDM_ERROR_NONFINITE))
        return;
    g_clear_error(error);
    for (guint i = 0; good && i < adapters->loras->len; i++)
        good = ldm_lora_check_finite(g_ptr_array_index(adapters->loras, i), error);
    if (good)
        ldm_set_error(
            error, NONFINITE,
            _("With the LoRA in use the numbers are not finite: give them less weight, or "
              "leave them out. If it is the same without them, the model is damaged or "
              "does not suit this task"));
}

void ldm_adapters_free(LdmAdapters *adapters)
{
    if (adapters == NULL)
        return;
    if (adapters->words != NULL)
        adapters->words->extra = NULL;
    if (adapters->model->tokenizer != NULL)
        ldm_tokenizer_forget(adapters->model->tokenizer);
    g_ptr_array_unref(adapters->loras);
    ldm_params_free(adapters->table);
    g_array_unref(adapters->rows);
    ldm_model_unref(adapters->model);
    g_free(adapters);
}
