/* Token ids of hard strings against transformers' CLIPTokenizer
 * (tests/reference/make_tokenizer.py): the default model's vocabulary, the standard one, and that
 * padded with id 0 (SD 2). */
#include "condition/tokenizer.h"

#include <json-glib/json-glib.h>

typedef struct {
    const char *name, *folder;
    int bos, eos, pad, tokens;
} Vocabulary;

static const Vocabulary vocabularies[] = {
    {"default", "data/models/default/tokenizer", 8190, 8191, 8191, 40},
    {"clip", "data/tokenizer/clip", 49406, 49407, 49407, 77},
    {"clip-pad-0", "data/tokenizer/clip", 49406, 49407, 0, 77},
};

static JsonNode *read_json(const char *name)
{
    g_autofree char *path =
        g_build_filename(g_getenv("PENTIMENTO_FIXTURES"), "tokenizer", name, NULL);
    g_autoptr(JsonParser) parser = json_parser_new();
    g_autoptr(GError) error = NULL;

    json_parser_load_from_file(parser, path, &error);
    g_assert_no_error(error);
    return json_parser_steal_root(parser);
}

static LdmTokenizer *open_vocabulary(const Vocabulary *v)
{
    const char *fixtures = g_getenv("PENTIMENTO_FIXTURES"); /* tests/reference/data */
    g_autofree char *vocab = g_build_filename(fixtures, "../../..", v->folder, "vocab.json", NULL);
    g_autofree char *merges = g_build_filename(fixtures, "../../..", v->folder, "merges.txt", NULL);
    g_autoptr(GError) error = NULL;
    LdmTokenizer *tokenizer =
        ldm_tokenizer_new(vocab, merges, v->bos, v->eos, v->pad, v->tokens, &error);

    g_assert_no_error(error);
    return tokenizer;
}

static bool same_ids(const Vocabulary *v, const int32_t *ids, JsonArray *expected)
{
    guint n = json_array_get_length(expected);

    for (guint i = 0; i < (guint)v->tokens; i++)
        if (ids[i] != (i < n ? json_array_get_int_element(expected, i) : v->pad))
            return false;
    return true;
}

static void test_prompts(gconstpointer data)
{
    const Vocabulary *v = data;
    g_autoptr(JsonNode) prompts_node = read_json("prompts.json"), ids_node = read_json("ids.json");
    JsonArray *prompts = json_node_get_array(prompts_node);
    JsonArray *ids = json_object_get_array_member(json_node_get_object(ids_node), v->name);
    g_autoptr(LdmTokenizer) tokenizer = open_vocabulary(v);
    g_autofree int32_t *got = g_new(int32_t, v->tokens);

    g_assert_cmpuint(json_array_get_length(prompts), ==, json_array_get_length(ids));
    g_assert_cmpuint(json_array_get_length(prompts), >, 40);
    for (guint i = 0; i < json_array_get_length(prompts); i++) {
        const char *prompt = json_array_get_string_element(prompts, i);
        g_assert_true(ldm_tokenizer_encode(tokenizer, prompt, got, NULL, NULL));
        if (!same_ids(v, got, json_array_get_array_element(ids, i))) {
            g_test_message("prompt %u: %s", i, prompt);
            g_test_fail();
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(vocabularies); i++) {
        g_autofree char *path = g_strconcat("/tokenizer/", vocabularies[i].name, NULL);
        g_test_add_data_func(path, &vocabularies[i], test_prompts);
    }
    return g_test_run();
}
