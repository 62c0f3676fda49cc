/* JSON in, a json-glib object out. json-glib parses; a scan beforehand refuses what it would let
 * pass or choke on: comments, quotes of other kinds, octal numbers, escaped zero bytes, deep
 * nesting, and more values than a tree of them should take memory for. Two members of one name,
 * of which json-glib silently keeps the last, are found through its signals. */
#include "weights/json.h"

#include "base/error.h"
#include "base/file-atomic.h"
#include "weights/file.h"

#include <string.h>

/* The position behind the string that starts at `at` (a quote), or 0 where it is malformed. */
static size_t skip_string(const char *text, size_t bytes, size_t at)
{
    for (at++; at < bytes; at++) {
        unsigned char c = (unsigned char)text[at];
        if (c == '"')
            return at + 1;
        if (c < 0x20)
            return 0;
        if (c == '\\') {
            at++;
            if (at + 4 < bytes && strncmp(text + at, "u0000", 5) == 0)
                return 0;
        }
    }
    return 0;
}

/* Whether the 0 at `at` starts a whole number of more digits; 1e-05 is fine. */
static bool octal(const char *text, size_t bytes, size_t at)
{
    if (at + 1 >= bytes || !g_ascii_isdigit(text[at + 1]))
        return false;
    size_t before = at > 0 && (text[at - 1] == '-' || text[at - 1] == '+') ? at - 1 : at;
    return before == 0 || strchr("0123456789.eE", text[before - 1]) == NULL;
}

/* NULL, or what is wrong; *limit tells a limit passed from a fault. */
static const char *scan(const char *text, size_t bytes, bool *limit)
{
    size_t at = 0, values = 0;
    int depth = 0;
    *limit = false;
    while (at < bytes) {
        char c = text[at];
        if (c == '"') {
            at = skip_string(text, bytes, at);
            if (at == 0)
                return _("a string does not end");
            continue;
        }
        if (c == '\0' || strchr("0123456789+-.eEtruefalsn{}[]:, \t\r\n", c) == NULL)
            return _("not JSON");
        if (c == '0' && octal(text, bytes, at))
            return _("a number starts with 0");
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        values += c == ',' || c == '[' || c == '{';
        if (depth > LDM_JSON_DEPTH || values > LDM_JSON_VALUES) {
            *limit = true;
            return depth > LDM_JSON_DEPTH ? _("too deeply nested") : _("too many values");
        }
        at++;
    }
    return NULL;
}

/* How many members each object has been given so far, and the first name given twice. */
typedef struct {
    GHashTable *given; /* JsonObject -> count */
    char *twice;
} Names;

static void on_member(JsonParser *parser, JsonObject *object, const char *name, gpointer data)
{
    Names *names = data;
    guint given = GPOINTER_TO_UINT(g_hash_table_lookup(names->given, object)) + 1;
    g_hash_table_insert(names->given, object, GUINT_TO_POINTER(given));
    if (json_object_get_size(object) < given && names->twice == NULL)
        names->twice = g_strdup(name);
}

/* A finished object's address may come again for another one only after it is freed, which
 * happens where it is itself a repeated member: the first fault is reported, which is harmless. */
static JsonNode *parse(const char *text, size_t bytes, Names *names, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    g_signal_connect(parser, "object-member", G_CALLBACK(on_member), names);
    if (!json_parser_load_from_data(parser, text, (gssize)bytes, error))
        return NULL;
    return json_parser_steal_root(parser);
}

JsonObject *ldm_json_parse(const char *text, size_t bytes, const char *path, GError **error)
{
    bool limit = false;
    const char *fault =
        g_utf8_validate(text, (gssize)bytes, NULL) ? scan(text, bytes, &limit) : _("not UTF-8");
    if (fault != NULL && limit)
        ldm_set_error(error, UNSUPPORTED, _("%s: JSON %s"), path, fault);
    else if (fault != NULL)
        ldm_set_error(error, FORMAT, _("%s is damaged, get it again: %s"), path, fault);
    if (fault != NULL)
        return NULL;

    g_autoptr(GHashTable) given = g_hash_table_new(NULL, NULL);
    Names names = {given, NULL};
    g_autoptr(GError) inner = NULL;
    g_autoptr(JsonNode) root = parse(text, bytes, &names, &inner);
    g_autofree char *twice = names.twice;
    if (root == NULL) {
        ldm_set_error(error, FORMAT, _("%s is damaged, get it again: %s"), path,
                      inner != NULL ? inner->message : _("no JSON object"));
        return NULL;
    }
    if (twice != NULL) {
        ldm_set_error(error, FORMAT, _("%s is damaged: “%s” occurs twice"), path, twice);
        return NULL;
    }
    if (!JSON_NODE_HOLDS_OBJECT(root)) {
        ldm_set_error(error, FORMAT, _("%s is damaged: no JSON object"), path);
        return NULL;
    }
    return json_node_dup_object(root);
}

/* The length of one of Python's numbers at the start of text, or 0. */
static size_t python_number(const char *text, size_t bytes)
{
    static const char *const numbers[] = {"-Infinity", "Infinity", "NaN"};
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
        if (strlen(numbers[i]) <= bytes && strncmp(text, numbers[i], strlen(numbers[i])) == 0)
            return strlen(numbers[i]);
    return 0;
}

/* Python's json module writes what JSON has no word for, and diffusers' schedulers have a lower
 * bound of -Infinity. null is as near: no key that is read here may be infinite. */
static char *without_python_numbers(const char *text, size_t *bytes)
{
    GString *out = g_string_sized_new(*bytes);
    for (size_t at = 0, end; at < *bytes; at = end) {
        size_t number = python_number(text + at, *bytes - at);
        end = text[at] == '"' ? skip_string(text, *bytes, at) : at + MAX(number, 1);
        if (end == 0)
            end = *bytes; /* the scan will say what is wrong */
        if (number > 0)
            g_string_append(out, "null");
        else
            g_string_append_len(out, text + at, (gssize)(end - at));
    }
    *bytes = out->len;
    return g_string_free(out, FALSE);
}

JsonObject *ldm_json_load(const char *path, size_t max_bytes, GError **error)
{
    size_t bytes;
    g_autofree char *text = ldm_file_read(path, max_bytes, &bytes, error);
    if (text == NULL)
        return NULL;
    g_autofree char *plain = without_python_numbers(text, &bytes);
    return ldm_json_parse(plain, bytes, path, error);
}

bool ldm_json_write(const char *path, JsonObject *object, GError **error)
{
    g_autoptr(JsonNode) root = json_node_alloc();
    json_node_init_object(root, object);
    g_autofree char *text = json_to_string(root, TRUE);
    return ldm_file_write_atomic(path, text, strlen(text), error);
}
