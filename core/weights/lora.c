/* LoRA files. In: a safetensors file and the parameter tables of a model. Out: adapters that point
 * into the mapped file, hung to the parameters they add to. Every name is brought to one form,
 * "unet_down_blocks_0_…_to_q", whatever tool wrote it; every matrix has to fit its layer. */
#include "weights/lora.h"

#include "base/error.h"
#include "kernels/kernels.h"
#include "tensor/tensor.h"
#include "weights/json.h"
#include "weights/safetensors.h"

#include <math.h>
#include <string.h>

#define PEFT_METADATA "lora_adapter_metadata" /* as diffusers writes it */

/* A layer that the file has something for. */
typedef struct {
    LdmParam *target;
    LdmPart part;
    const LdmFileTensor *down, *up, *alpha;
    LdmAdapter adapter;
    bool attached;
} Layer;

struct LdmLora {
    LdmFiles *files;
    LdmParams *params;   /* the adapters' matrices */
    GHashTable *bynames; /* every name of a layer -> Layer */
    GPtrArray *layers;   /* Layer: all of the model's */
    JsonObject *peft;    /* the settings that diffusers leaves in the file, or NULL */
};

/* ---- names of layers ---- */

char *ldm_lora_layer(const LdmParam *param)
{
    if ((param->rank != 2 && param->rank != 4) || !g_str_has_suffix(param->name, ".weight") ||
        g_str_has_suffix(param->name, "_embedding.weight"))
        return NULL;
    char *layer = g_strndup(param->name, strlen(param->name) - strlen(".weight"));
    return g_strdelimit(layer, ".", '_');
}

static void add_name(LdmLora *lora, Layer *layer, const char *name)
{
    char *full = g_strconcat(layer->part == LDM_PART_UNET ? "unet_" : "text_", name, NULL);
    g_hash_table_insert(lora->bynames, full, layer);
}

/* "…PAIR[0]" is also called "…PAIR[1]". */
static void add_other_ending(LdmLora *lora, Layer *layer, const char *name,
                             const char *const pair[2])
{
    if (!g_str_has_suffix(name, pair[0]))
        return;
    g_autofree char *stem = g_strndup(name, strlen(name) - strlen(pair[0]));
    g_autofree char *other = g_strconcat(stem, pair[1], NULL);
    add_name(lora, layer, other);
}

/* All that the tools call a layer of the text encoder; transformers leaves "text_model" out since
 * version 5. */
static void add_text_names(LdmLora *lora, Layer *layer, const char *name)
{
    static const char *const older[][2] = {
        {"_q_proj", "_to_q"}, {"_k_proj", "_to_k"}, {"_v_proj", "_to_v"}, {"_out_proj", "_to_out"}};
    add_name(lora, layer, name);
    if (g_str_has_prefix(name, "text_model_"))
        add_name(lora, layer, name + strlen("text_model_"));
    for (size_t i = 0; i < G_N_ELEMENTS(older); i++)
        add_other_ending(lora, layer, name, older[i]);
}

static void add_unet_names(LdmLora *lora, Layer *layer, const char *name, const LdmNaming *single)
{
    g_autofree char *file = ldm_name_to_file(single, layer->target->name);
    add_name(lora, layer, name);
    add_other_ending(lora, layer, name, (const char *const[]){"_to_out_0", "_to_out"});
    if (file == NULL || !g_str_has_suffix(file, ".weight"))
        return;
    file[strlen(file) - strlen(".weight")] = '\0';
    add_name(lora, layer, g_strdelimit(file, ".", '_'));
}

static void add_table(LdmLora *lora, LdmPart part, LdmParams *table, const LdmModelConfig *config)
{
    LdmNaming single = ldm_naming_of(LDM_NAMES_LDM_UNET, LDM_PART_UNET, config);
    for (size_t i = 0; i < ldm_params_length(table); i++) {
        LdmParam *param = ldm_params_at(table, i);
        g_autofree char *name = ldm_lora_layer(param);
        if (name == NULL)
            continue;
        Layer *layer = g_new0(Layer, 1);
        layer->target = param;
        layer->part = part;
        g_ptr_array_add(lora->layers, layer);
        if (part == LDM_PART_UNET)
            add_unet_names(lora, layer, name, &single);
        else
            add_text_names(lora, layer, name);
    }
}

/* ---- names of tensors ---- */

typedef enum { DOWN, UP, ALPHA } Role;

static const struct {
    const char *text;
    Role role;
} endings[] = {
    {".lora_A.weight", DOWN},
    {".lora_B.weight", UP},
    {".lora_A.default.weight", DOWN},
    {".lora_B.default.weight", UP},
    {".lora_down.weight", DOWN},
    {".lora_up.weight", UP},
    {".lora.down.weight", DOWN},
    {".lora.up.weight", UP},
    {".lora_linear_layer.down.weight", DOWN},
    {".lora_linear_layer.up.weight", UP},
    {"_lora.down.weight", DOWN},
    {"_lora.up.weight", UP},
    {".alpha", ALPHA},
};

static const struct {
    const char *text, *network;
} beginnings[] = {
    {"lora_unet_", "unet_"},    {"lora_te_", "text_"},          {"unet.", "unet_"},
    {"text_encoder.", "text_"}, {"base_model.model.", "unet_"}, {"", "unet_"},
};

/* The one form of a layer's name, from a tensor's without its ending. */
static char *layer_name(const char *name, size_t length)
{
    size_t i = 0;
    g_autofree char *stem = g_strndup(name, length);
    while (!g_str_has_prefix(stem, beginnings[i].text))
        i++;
    GString *layer = g_string_new(beginnings[i].network);
    g_string_append(layer, stem + strlen(beginnings[i].text));
    g_string_replace(layer, ".processor", "", 0);
    g_string_replace(layer, ".", "_", 0);
    return g_string_free(layer, FALSE);
}

static bool take_tensor(LdmLora *lora, const LdmFileTensor *t, GError **error)
{
    size_t i = 0;
    while (i < G_N_ELEMENTS(endings) && !g_str_has_suffix(t->name, endings[i].text))
        i++;
    if (i == G_N_ELEMENTS(endings)) {
        ldm_set_error(error, UNSUPPORTED,
                      _("%s: tensor %s is no part of a LoRA: only pairs of down and up matrices "
                        "are handled, no other kinds of adapters"),
                      ldm_file_path(t->file), t->name);
        return false;
    }
    g_autofree char *name = layer_name(t->name, strlen(t->name) - strlen(endings[i].text));
    Layer *layer = g_hash_table_lookup(lora->bynames, name);
    if (layer == NULL) {
        ldm_set_error(error, FORMAT,
                      _("%s: tensor %s belongs to no layer of this model: the LoRA was made for "
                        "another kind of model"),
                      ldm_file_path(t->file), t->name);
        return false;
    }
    const LdmFileTensor **place = endings[i].role == DOWN ? &layer->down
                                  : endings[i].role == UP ? &layer->up
                                                          : &layer->alpha;
    if (*place != NULL) {
        ldm_set_error(error, FORMAT, _("%s: tensors %s and %s are the same matrix of one layer"),
                      ldm_file_path(t->file), (*place)->name, t->name);
        return false;
    }
    *place = t;
    return true;
}

/* ---- matrices ---- */

/* [rank, in, KH, KW] and [out, rank, 1, 1]; linear layers' end after two. */
static bool check_shape(const LdmFileTensor *t, const LdmParam *target, const size_t expected[4],
                        GError **error)
{
    bool good = t->rank == 2 || t->rank == 4;
    for (int i = 0; good && i < LDM_MAX_RANK; i++)
        good = t->shape[i] == expected[i];
    if (good)
        return true;
    g_autofree char *found = ldm_shape_string(MIN(t->rank, LDM_MAX_RANK), t->shape);
    g_autofree char *wanted = ldm_shape_string(target->rank, expected);
    ldm_set_error(error, SHAPE,
                  _("%s: tensor %s has shape %s, expected %s: the LoRA was made for another kind "
                    "of model"),
                  ldm_file_path(t->file), t->name, found, wanted);
    return false;
}

static LdmParam *bind(LdmLora *lora, const LdmFileTensor *t, GError **error)
{
    const void *data = t->data;
    if (!t->weights) {
        ldm_set_error(error, UNSUPPORTED,
                      _("%s: tensor %s is stored as %s; only F32, F16 and BF16 "
                        "weights are read: convert the model"),
                      ldm_file_path(t->file), t->name, t->type);
        return NULL;
    }
    if ((uintptr_t)data % (uintptr_t)t->element != 0 &&
        (data = ldm_files_copy(lora->files, data, t->bytes, error)) == NULL)
        return NULL;
    LdmParam *param = ldm_params_add(lora->params, NULL, t->name, t->rank, t->shape);
    param->dtype = t->dtype;
    param->data = data;
    return param;
}

/* ---- scale ---- */

/* alpha as kohya-ss has it, a tensor of one number. */
static bool read_alpha(const LdmFileTensor *t, double *alpha, GError **error)
{
    if (ldm_file_tensor_number(t, alpha))
        return true;
    ldm_set_error(error, FORMAT, _("%s: tensor %s is not one finite number"),
                  ldm_file_path(t->file), t->name);
    return false;
}

static double peft_number(const LdmLora *lora, LdmPart part, const char *name, double otherwise)
{
    g_autofree char *member =
        g_strconcat(part == LDM_PART_UNET ? "unet." : "text_encoder.", name, NULL);
    return json_object_get_double_member_with_default(lora->peft, member, otherwise);
}

/* alpha of one layer where it differs from the others': "alpha_pattern": {"…attn1.to_q": 8}. */
static double peft_pattern(const LdmLora *lora, const Layer *layer, double otherwise)
{
    const char *member =
        layer->part == LDM_PART_UNET ? "unet.alpha_pattern" : "text_encoder.alpha_pattern";
    JsonNode *node = json_object_get_member(lora->peft, member);
    if (node == NULL || !JSON_NODE_HOLDS_OBJECT(node))
        return otherwise;
    JsonObjectIter iter;
    const char *name;
    JsonNode *value;
    g_autofree char *ours = ldm_lora_layer(layer->target);
    json_object_iter_init(&iter, json_node_get_object(node));
    while (json_object_iter_next(&iter, &name, &value)) {
        g_autofree char *theirs = g_strdelimit(g_strdup(name), ".", '_');
        if (g_str_has_suffix(ours, theirs) && JSON_NODE_HOLDS_VALUE(value))
            return json_node_get_double(value);
    }
    return otherwise;
}

/* alpha / rank; a file that tells no alpha has it in its matrices. */
static bool scale_of(const LdmLora *lora, const Layer *layer, double *scale, GError **error)
{
    double rank = (double)layer->down->shape[0], alpha = rank;
    if (layer->alpha != NULL && !read_alpha(layer->alpha, &alpha, error))
        return false;
    *scale = alpha / rank;
    if (layer->alpha != NULL || lora->peft == NULL)
        return true;
    alpha = peft_pattern(lora, layer, peft_number(lora, layer->part, "lora_alpha", rank));
    bool root = peft_number(lora, layer->part, "use_rslora", 0.0) != 0.0;
    *scale = alpha / (root ? sqrt(rank) : rank);
    if (isfinite(*scale))
        return true;
    ldm_set_error(error, FORMAT, _("%s: its metadata give no finite alpha"),
                  ldm_files_path(lora->files));
    return false;
}

static bool read_metadata(LdmLora *lora, GError **error)
{
    const char *text = ldm_files_metadata(lora->files, PEFT_METADATA);
    if (text == NULL)
        return true;
    lora->peft = ldm_json_parse(text, strlen(text), ldm_files_path(lora->files), error);
    return lora->peft != NULL;
}

/* ---- adapters ---- */

static bool make_adapter(LdmLora *lora, Layer *layer, double weight, GError **error)
{
    const LdmFileTensor *down = layer->down, *up = layer->up;
    const LdmParam *target = layer->target;
    double scale;
    if (down == NULL || up == NULL) {
        const LdmFileTensor *lone = down != NULL ? down : up != NULL ? up : layer->alpha;
        ldm_set_error(error, MISSING,
                      _("%s: tensor %s has no counterpart: the file is incomplete, get it again"),
                      ldm_file_path(lone->file), lone->name);
        return false;
    }
    const size_t *s = target->shape;
    if (!check_shape(down, target, (size_t[]){MAX(down->shape[0], 1), s[1], s[2], s[3]}, error) ||
        !check_shape(up, target, (size_t[]){s[0], down->shape[0], 1, 1}, error) ||
        !scale_of(lora, layer, &scale, error) ||
        (layer->adapter.down = bind(lora, down, error)) == NULL ||
        (layer->adapter.up = bind(lora, up, error)) == NULL)
        return false;
    layer->adapter.scale = scale * weight;
    return true;
}

static void attach(Layer *layer)
{
    layer->adapter.next = layer->target->adapter;
    layer->target->adapter = &layer->adapter;
    layer->attached = true;
}

static void detach(Layer *layer)
{
    const LdmAdapter **place = &layer->target->adapter;
    while (*place != &layer->adapter)
        place = (const LdmAdapter **)&(*place)->next;
    *place = layer->adapter.next;
}

static bool make_adapters(LdmLora *lora, double weight, GError **error)
{
    size_t made = 0;
    for (guint i = 0; i < lora->layers->len; i++) {
        Layer *layer = g_ptr_array_index(lora->layers, i);
        if (layer->down == NULL && layer->up == NULL && layer->alpha == NULL)
            continue;
        if (!make_adapter(lora, layer, weight, error))
            return false;
        made++;
    }
    if (made == 0) {
        ldm_set_error(error, MISSING, _("%s holds no LoRA: it is empty"),
                      ldm_files_path(lora->files));
        return false;
    }
    for (guint i = 0; weight != 0.0 && i < lora->layers->len; i++) {
        Layer *layer = g_ptr_array_index(lora->layers, i);
        if (layer->adapter.down != NULL && layer->adapter.scale != 0.0)
            attach(layer);
    }
    return true;
}

LdmLora *ldm_lora_load(const char *path, double weight, LdmParams *const tables[LDM_N_PARTS],
                       const LdmModelConfig *config, GError **error)
{
    LdmLora *lora = g_new0(LdmLora, 1);
    lora->files = ldm_files_new();
    lora->params = ldm_params_new();
    lora->bynames = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    lora->layers = g_ptr_array_new_with_free_func(g_free);
    bool good = ldm_files_add(lora->files, path, error) && read_metadata(lora, error);
    for (int part = 0; good && part < LDM_N_PARTS; part++)
        if (part != LDM_PART_VAE && tables[part] != NULL)
            add_table(lora, (LdmPart)part, tables[part], config);
    for (size_t i = 0; good && i < ldm_files_length(lora->files); i++)
        good = take_tensor(lora, ldm_files_at(lora->files, i), error);
    if (good && make_adapters(lora, weight, error))
        return lora;
    ldm_lora_free(lora);
    return NULL;
}

static bool is_finite(const LdmParam *param)
{
    LdmTensor t = {.dtype = param->dtype, .rank = param->rank, .data = (void *)param->data};
    memcpy(t.shape, param->shape, sizeof t.shape);
    return ldm_tensor_check_finite(&t, param->name, NULL);
}

bool ldm_lora_check_finite(const LdmLora *lora, GError **error)
{
    for (guint i = 0; i < lora->layers->len; i++) {
        const Layer *layer = g_ptr_array_index(lora->layers, i);
        bool down = !layer->attached || is_finite(layer->adapter.down);
        if (down && (!layer->attached || is_finite(layer->adapter.up)))
            continue;
        ldm_file_tensor_set_nonfinite(down ? layer->up : layer->down, error);
        return false;
    }
    return true;
}

void ldm_lora_free(LdmLora *lora)
{
    if (lora == NULL)
        return;
    for (guint i = 0; i < lora->layers->len; i++) {
        Layer *layer = g_ptr_array_index(lora->layers, i);
        if (layer->attached)
            detach(layer);
    }
    g_ptr_array_unref(lora->layers);
    g_hash_table_unref(lora->bynames);
    ldm_params_free(lora->params);
    g_clear_pointer(&lora->peft, json_object_unref);
    ldm_files_free(lora->files);
    g_free(lora);
}
