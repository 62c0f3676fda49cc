/* JSON in, a json-glib object out. json-glib parses; a scan beforehand refuses what it would let
 * pass or choke on: comments, quotes of other kinds, octal numbers, escaped zero bytes, deep
 * nesting, more values than a tree of them should take memory for, and names made to fall together
 * in its hash tables. Two members of one name, of which json-glib silently keeps the last, are
 * found through its signals. */
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

/* ---- names that fall together ---- */

/* A name with its 0, in a list of many. */
typedef struct {
    guint hash;
    size_t at;
} Name;

/* From a string with its quotes. Escapes are read by json-glib, which will read them again: what
 * one makes of them is what the other has in its tables. */
static void take_name(GString *list, GArray *names, const char *quoted, size_t bytes)
{
    Name name = {.at = list->len};
    if (memchr(quoted, '\\', bytes) == NULL) {
        g_string_append_len(list, quoted + 1, (gssize)bytes - 2);
    } else {
        g_autofree char *text = g_strndup(quoted, bytes);
        g_autoptr(JsonNode) node = json_from_string(text, NULL);
        if (node == NULL || json_node_get_string(node) == NULL)
            return; /* the parser will say so */
        g_string_append(list, json_node_get_string(node));
    }
    g_string_append_c(list, '\0');
    name.hash = g_str_hash(list->str + name.at);
    g_array_append_val(names, name);
}

/* All strings that a colon follows; the text has been scanned. */
static GArray *take_names(const char *text, size_t bytes, GString *list)
{
    GArray *names = g_array_new(FALSE, FALSE, sizeof(Name));
    for (size_t at = 0, end; at < bytes; at = end) {
        end = at + 1;
        if (text[at] != '"')
            continue;
        end = skip_string(text, bytes, at);
        size_t behind = end;
        while (behind < bytes && strchr(" \t\r\n", text[behind]) != NULL)
            behind++;
        if (behind < bytes && text[behind] == ':')
            take_name(list, names, text + at, end - at);
    }
    return names;
}

static int name_order(gconstpointer a, gconstpointer b, gpointer list)
{
    const Name *one = a, *other = b;
    if (one->hash != other->hash)
        return one->hash < other->hash ? -1 : 1;
    return strcmp((const char *)list + one->at, (const char *)list + other->at);
}

static guint prime_below(guint limit)
{
    for (guint n = limit - 1;; n--) {
        guint divisor = 2;
        while (divisor * divisor <= n && n % divisor != 0)
            divisor++;
        if (divisor * divisor > n)
            return n;
    }
}

/* Whether any place of a table of that many gets more names than chance would bring there. GLib's
 * tables have a power of two of places and begin the search for a name at 11 h modulo the largest
 * prime below, h being its hash. */
static bool is_crowded(const Name *names, guint n, guint places)
{
    guint prime = prime_below(places), most = MAX(LDM_JSON_ALIKE, 8 * (n / prime));
    g_autofree guint *count = g_new0(guint, prime);
    for (guint i = 0; i < n; i++)
        if (++count[names[i].hash * 11 % prime] > most)
            return true;
    return false;
}

/* A table searches through all names at one place for each that it is given there: a file of names
 * made for it takes the square of their number, minutes in which nothing can be cancelled. */
static bool names_collide(const char *text, size_t bytes)
{
    g_autoptr(GString) list = g_string_new(NULL);
    g_autoptr(GArray) names = take_names(text, bytes, list);
    Name *name = (Name *)(void *)names->data;
    guint n = 0;
    bool crowded = false;
    if (names->len <= LDM_JSON_ALIKE)
        return false;
    g_array_sort_with_data(names, name_order, list->str);
    for (guint i = 0; i < names->len; i++) /* every name once */
        if (i == 0 || name_order(&name[n - 1], &name[i], list->str) != 0)
            name[n++] = name[i];
    for (guint places = 128; !crowded && places / 4 < n; places *= 2)
        crowded = is_crowded(name, n, places);
    return crowded;
}

/* ---- parsing ---- */

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
    if (fault == NULL && names_collide(text, bytes)) {
        limit = true;
        fault = _("too many names that collide in a hash table");
    }
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
