/* diffusers folders: model_index.json, one subfolder per network (config.json, weights in one file
 * or in shards), the tokenizer's and the scheduler's. In: the folder's path. Out: an LdmSource. */
#include "base/error.h"
#include "weights/diffusers-config.h"
#include "weights/json.h"
#include "weights/source.h"

#include <string.h>

#define VOCAB_BYTES ((size_t)16 << 20)
#define MAX_SHARDS  1000

/* What the parts of a pipeline may be; NULL: any, it is not used. */
static const struct {
    const char *name, *classes;
} components[] = {
    {"unet", "UNet2DConditionModel"},
    {"vae", "AutoencoderKL|VQModel"},
    {"vqvae", "AutoencoderKL|VQModel"},
    {"text_encoder", "CLIPTextModel|CLIPTextModelWithProjection"},
    {"tokenizer", "CLIPTokenizer|CLIPTokenizerFast"},
    {"scheduler", NULL},
    {"preview", "AutoencoderTiny"}, /* tiny.h: both are opened when previews are wanted */
    {"vae_tiny", "AutoencoderTiny"},
    {"safety_checker", NULL},
    {"feature_extractor", NULL},
};

static char *inside(const LdmSource *source, const char *folder, const char *file)
{
    return g_build_filename(source->path, folder, file, NULL);
}

static bool is_file(const char *path)
{
    return g_file_test(path, G_FILE_TEST_EXISTS) && !g_file_test(path, G_FILE_TEST_IS_DIR);
}

static const char *array_string(JsonArray *array, guint i)
{
    JsonNode *node = json_array_get_element(array, i);
    return JSON_NODE_HOLDS_VALUE(node) ? json_node_get_string(node) : NULL;
}

/* One line of model_index.json, "NAME": [LIBRARY, CLASS]; [null, null] = not there. */
static bool check_component(const char *path, const char *name, JsonArray *entry, GError **error)
{
    const char *class = json_array_get_length(entry) == 2 ? array_string(entry, 1) : NULL;
    bool good = class == NULL;
    for (size_t i = 0; !good && i < G_N_ELEMENTS(components); i++) {
        if (strcmp(name, components[i].name) != 0)
            continue;
        g_auto(GStrv) classes =
            g_strsplit(components[i].classes ? components[i].classes : class, "|", -1);
        good = g_strv_contains((const char *const *)classes, class);
    }
    if (!good)
        ldm_set_error(error, UNSUPPORTED, _("%s: %s of class %s is not supported"), path, name,
                      class);
    return good;
}

/* "_max_side": N beside the components, the one setting of our own (diffusers skips names with an
 * underscore): the longest side in pixels that the model is asked to work on at once. */
static bool read_max_side(JsonObject *index, const char *path, int *max_side, GError **error)
{
    JsonNode *node = json_object_get_member(index, "_max_side");
    if (node == NULL)
        return true;
    gint64 value = JSON_NODE_HOLDS_VALUE(node) ? json_node_get_int(node) : 0;
    if (value < 8 || value > 16384) {
        ldm_set_error(error, FORMAT, _("%s: _max_side must be a number from 8 to 16384"), path);
        return false;
    }
    *max_side = (int)value;
    return true;
}

static bool check_index(LdmSource *source, GError **error)
{
    g_autofree char *path = inside(source, "model_index.json", NULL);
    if (!is_file(path))
        return true; /* the parts' own files tell enough */
    g_autoptr(JsonObject) index = ldm_json_load(path, LDM_CONFIG_BYTES, error);
    if (index == NULL)
        return false;
    JsonObjectIter iter;
    const char *name;
    JsonNode *node;
    json_object_iter_init(&iter, index);
    while (json_object_iter_next(&iter, &name, &node))
        if (name[0] != '_' && JSON_NODE_HOLDS_ARRAY(node) &&
            !check_component(path, name, json_node_get_array(node), error))
            return false;
    return read_max_side(index, path, &source->config.max_side, error);
}

/* ---- weights ---- */

/* The shards that an index names; a name may not lead out of the folder. */
static bool add_shards(const LdmSource *source, const char *folder, const char *index_path,
                       LdmFiles *files, GError **error)
{
    g_autoptr(JsonObject) index = ldm_json_load(index_path, VOCAB_BYTES, error);
    if (index == NULL)
        return false;
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    JsonNode *map = json_object_get_member(index, "weight_map");
    JsonObjectIter iter;
    JsonNode *node;
    if (map == NULL || !JSON_NODE_HOLDS_OBJECT(map) ||
        json_object_get_size(json_node_get_object(map)) == 0) {
        ldm_set_error(error, FORMAT, _("%s is damaged: it has no weight_map"), index_path);
        return false;
    }
    json_object_iter_init(&iter, json_node_get_object(map));
    while (json_object_iter_next(&iter, NULL, &node)) {
        const char *name = JSON_NODE_HOLDS_VALUE(node) ? json_node_get_string(node) : NULL;
        if (name == NULL || strchr(name, '/') != NULL || name[0] == '.' ||
            !g_str_has_suffix(name, ".safetensors")) {
            ldm_set_error(error, FORMAT,
                          _("%s: the weight_map names a file that is no "
                            ".safetensors file of this folder"),
                          index_path);
            return false;
        }
        if (!g_hash_table_add(seen, (gpointer)name))
            continue;
        g_autofree char *path = inside(source, folder, name);
        if (g_hash_table_size(seen) > MAX_SHARDS) {
            ldm_set_error(error, UNSUPPORTED, _("%s names more than %d files"), index_path,
                          MAX_SHARDS);
            return false;
        }
        if (!is_file(path)) {
            ldm_set_error(error, MISSING, _("%s is missing, which %s names: download it too"), path,
                          index_path);
            return false;
        }
        if (!ldm_files_add(files, path, error))
            return false;
    }
    return true;
}

/* STEM.safetensors or its variants; sharded where there is an index instead. */
static bool add_weights(LdmSource *source, LdmPart part, const char *folder, const char *stem,
                        GError **error)
{
    static const struct {
        const char *suffix;
        bool index;
    } forms[] = {
        {".safetensors", false},
        {".fp16.safetensors", false},
        {".safetensors.index.json", true},
        {".safetensors.index.fp16.json", true},
        {".fp16.safetensors.index.json", true},
        {".q8.safetensors", false}, /* stored.h */
    };
    LdmFiles *files = ldm_files_new();
    g_ptr_array_add(source->files, files);
    source->parts[part].files = files;
    source->parts[part].prefix = g_strdup("");
    source->parts[part].region = g_strdup("");
    if ((source->wanted.made_new & 1u << part) != 0)
        return true;
    for (size_t i = 0; i < G_N_ELEMENTS(forms); i++) {
        g_autofree char *name = g_strconcat(stem, forms[i].suffix, NULL);
        g_autofree char *path = inside(source, folder, name);
        if (is_file(path))
            return forms[i].index ? add_shards(source, folder, path, files, error)
                                  : ldm_files_add(files, path, error);
    }
    g_autofree char *name = g_strconcat(stem, ".bin", NULL);
    g_autofree char *pickle = inside(source, folder, name);
    g_autofree char *wanted = inside(source, folder, stem);
    if (is_file(pickle))
        ldm_set_error(error, UNSUPPORTED,
                      _("%s holds pickled weights, which are not read: get the "
                        "model's .safetensors files"),
                      pickle);
    else if ((source->wanted.made_if_missing & 1u << part) != 0)
        source->wanted.made_new |= 1u << part;
    else
        ldm_set_error(error, MISSING,
                      _("%s.safetensors is missing: the model folder is incomplete, get it again"),
                      wanted);
    return (source->wanted.made_new & 1u << part) != 0;
}

static JsonObject *load_config(const LdmSource *source, const char *folder, const char *file,
                               char **path, GError **error)
{
    *path = inside(source, folder, file);
    if (!is_file(*path)) {
        ldm_set_error(error, MISSING,
                      _("%s is missing: the model folder is incomplete, get it again"), *path);
        return NULL;
    }
    return ldm_json_load(*path, LDM_CONFIG_BYTES, error);
}

static bool open_unet(LdmSource *source, GError **error)
{
    g_autofree char *path = NULL;
    g_autoptr(JsonObject) json = load_config(source, "unet", "config.json", &path, error);
    if (json == NULL || !ldm_config_read_unet(&source->config.unet, json, path, error) ||
        !add_weights(source, LDM_PART_UNET, "unet", "diffusion_pytorch_model", error))
        return false;
    source->parts[LDM_PART_UNET].naming =
        ldm_naming_of(LDM_NAMES_OURS, LDM_PART_UNET, &source->config);
    return true;
}

const char *ldm_source_vae_folder(const char *path)
{
    g_autofree char *vqvae = g_build_filename(path, "vqvae", NULL);
    return g_file_test(vqvae, G_FILE_TEST_IS_DIR) ? "vqvae" : "vae";
}

static bool open_vae(LdmSource *source, GError **error)
{
    const char *folder = ldm_source_vae_folder(source->path);
    g_autofree char *path = NULL;
    g_autoptr(JsonObject) json = load_config(source, folder, "config.json", &path, error);
    if (json == NULL || !ldm_config_read_vae(&source->config.vae, json, path, error) ||
        !add_weights(source, LDM_PART_VAE, folder, "diffusion_pytorch_model", error))
        return false;
    LdmPartFiles *part = &source->parts[LDM_PART_VAE];
    if ((source->wanted.made_new & 1u << LDM_PART_VAE) != 0)
        ldm_vae_config_change(&source->config.vae, &source->wanted.vae);
    bool older = ldm_files_find(part->files, "encoder.mid_block.attentions.0.query.weight") != NULL;
    part->naming =
        ldm_naming_of(older ? LDM_NAMES_OLDER_VAE : LDM_NAMES_OURS, LDM_PART_VAE, &source->config);
    return true;
}

/* ---- text ---- */

/* The text of a special token in a tokenizer's file: "pad_token": "!" or {"content": "!", ...}. */
static const char *token_text(JsonObject *json, const char *key)
{
    JsonNode *node = json != NULL ? json_object_get_member(json, key) : NULL;
    if (node != NULL && JSON_NODE_HOLDS_OBJECT(node))
        node = json_object_get_member(json_node_get_object(node), "content");
    return node != NULL && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_string(node) : NULL;
}

static bool token_id(JsonObject *vocab, const char *path, const char *token, int *id,
                     GError **error)
{
    JsonNode *node = json_object_get_member(vocab, token);
    bool good = node != NULL && JSON_NODE_HOLDS_VALUE(node) &&
                json_node_get_value_type(node) == G_TYPE_INT64 && json_node_get_int(node) >= 0 &&
                json_node_get_int(node) <= G_MAXINT;
    if (good)
        *id = (int)json_node_get_int(node);
    else
        ldm_set_error(error, FORMAT, _("%s lacks the special token “%s”"), path, token);
    return good;
}

/* Both files of special tokens are optional. As in transformers, special_tokens_map.json has the
 * last word unless tokenizer_config.json is of the kind that lists the added tokens itself. */
static bool read_tokens(LdmSource *source, JsonObject *vocab, const char *vocab_path,
                        GError **error)
{
    LdmTextConfig *text = &source->config.text;
    const struct {
        const char *key, *fallback;
        int *id;
    } tokens[] = {
        {"bos_token", "<|startoftext|>", &text->bos},
        {"eos_token", "<|endoftext|>", &text->eos},
        {"pad_token", "<|endoftext|>", &text->pad},
    };
    g_autofree char *config_path = inside(source, "tokenizer", "tokenizer_config.json");
    g_autofree char *map_path = inside(source, "tokenizer", "special_tokens_map.json");
    g_autoptr(JsonObject) config = NULL;
    g_autoptr(JsonObject) map = NULL;
    if (is_file(config_path) &&
        (config = ldm_json_load(config_path, LDM_CONFIG_BYTES, error)) == NULL)
        return false;
    if (is_file(map_path) && (map = ldm_json_load(map_path, LDM_CONFIG_BYTES, error)) == NULL)
        return false;
    bool config_wins = config != NULL && json_object_has_member(config, "added_tokens_decoder");
    for (size_t i = 0; i < G_N_ELEMENTS(tokens); i++) {
        const char *first = token_text(config_wins ? config : map, tokens[i].key);
        const char *second = token_text(config_wins ? map : config, tokens[i].key);
        const char *token = first != NULL ? first : second != NULL ? second : tokens[i].fallback;
        if (!token_id(vocab, vocab_path, token, tokens[i].id, error))
            return false;
    }
    return true;
}

static bool open_tokenizer(LdmSource *source, GError **error)
{
    LdmTextConfig *text = &source->config.text;
    source->vocab = inside(source, "tokenizer", "vocab.json");
    source->merges = inside(source, "tokenizer", "merges.txt");
    if (is_file(source->vocab) && is_file(source->merges)) {
        g_autoptr(JsonObject) vocab = ldm_json_load(source->vocab, VOCAB_BYTES, error);
        return vocab != NULL && read_tokens(source, vocab, source->vocab, error);
    }
    if (text->vocab_size != 49408) {
        ldm_set_error(error, MISSING,
                      _("%s or merges.txt beside it is missing: the model's "
                        "vocabulary of %d words is not CLIP's own"),
                      source->vocab, text->vocab_size);
        return false;
    }
    g_clear_pointer(&source->vocab, g_free);
    g_clear_pointer(&source->merges, g_free);
    text->bos = 49406;
    text->eos = 49407;
    text->pad = text->quick_gelu ? 49407 : 0; /* CLIP L, OpenCLIP */
    return true;
}

static bool open_text(LdmSource *source, GError **error)
{
    g_autofree char *path = NULL;
    g_autofree char *folder = inside(source, "text_encoder", NULL);
    if (!g_file_test(folder, G_FILE_TEST_IS_DIR))
        return true;
    g_autoptr(JsonObject) json = load_config(source, "text_encoder", "config.json", &path, error);
    if (json == NULL || !ldm_config_read_text(&source->config.text, json, path, error) ||
        !open_tokenizer(source, error) ||
        !add_weights(source, LDM_PART_TEXT, "text_encoder", "model", error))
        return false;
    LdmPartFiles *part = &source->parts[LDM_PART_TEXT];
    source->config.has_text = true;
    part->naming = ldm_naming_of(LDM_NAMES_OURS, LDM_PART_TEXT, &source->config);
    if (ldm_files_find(part->files, "text_model.final_layer_norm.weight") != NULL) {
        g_free(part->prefix);
        part->prefix = g_strdup("text_model.");
    }
    return true;
}

static bool open_schedule(LdmSource *source, GError **error)
{
    g_autofree char *path = inside(source, "scheduler", "scheduler_config.json");
    source->config.schedule = ldm_config_schedule_default();
    if (!is_file(path))
        return true;
    g_autoptr(JsonObject) json = ldm_json_load(path, LDM_CONFIG_BYTES, error);
    return json != NULL && ldm_config_read_schedule(&source->config.schedule, json, path, error);
}

bool ldm_source_open_folder(LdmSource *source, GError **error)
{
    g_autofree char *unet = inside(source, "unet", NULL);
    source->layout = "diffusers";
    source->config.first_stage = source->wanted.first_stage;
    if (source->wanted.first_stage)
        return open_vae(source, error);
    if (!g_file_test(unet, G_FILE_TEST_IS_DIR)) {
        ldm_set_error(error, MISSING,
                      _("%s is not a model folder, it has no subfolder unet: give a diffusers "
                        "folder or a .safetensors file"),
                      source->path);
        return false;
    }
    return check_index(source, error) && open_unet(source, error) && open_vae(source, error) &&
           open_text(source, error) && open_schedule(source, error);
}
