/* YAML in, single values by path out. libyaml builds the document and does not unfold aliases,
 * so a short file stays small; its time grows with the square of the open brackets, which are
 * therefore counted beforehand. Paths have a fixed depth, so that aliases that lead in circles do
 * no harm. */
#include "weights/yaml-file.h"

#include "base/error.h"
#include "weights/file.h"

#include <math.h>
#include <string.h>
#include <yaml.h>

struct LdmYaml {
    char *path;
    yaml_document_t document;
};

/* Brackets open at once, at most; those in strings and comments count too. */
static int bracket_depth(const char *text, size_t bytes)
{
    int depth = 0, deepest = 0;
    for (size_t i = 0; i < bytes; i++) {
        depth += (text[i] == '[' || text[i] == '{') - (text[i] == ']' || text[i] == '}');
        depth = MAX(depth, 0);
        deepest = MAX(deepest, depth);
    }
    return deepest;
}

LdmYaml *ldm_yaml_load(const char *path, GError **error)
{
    size_t bytes;
    yaml_parser_t parser;
    g_autofree char *text = ldm_file_read(path, LDM_YAML_BYTES, &bytes, error);
    if (text == NULL)
        return NULL;
    if (bracket_depth(text, bytes) > LDM_YAML_DEPTH) {
        ldm_set_error(error, UNSUPPORTED, _("%s is nested too deeply"), path);
        return NULL;
    }
    if (!yaml_parser_initialize(&parser)) {
        ldm_set_no_memory(error, path, bytes);
        return NULL;
    }
    LdmYaml *yaml = g_new0(LdmYaml, 1);
    yaml->path = g_strdup(path);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    if (!yaml_parser_load(&parser, &yaml->document)) {
        ldm_set_error(error, FORMAT, _("%s is damaged: line %zu: %s"), path,
                      parser.problem_mark.line + 1,
                      parser.problem != NULL ? parser.problem : _("no YAML"));
        g_free(yaml->path);
        g_free(yaml);
        yaml = NULL;
    }
    yaml_parser_delete(&parser);
    return yaml;
}

void ldm_yaml_free(LdmYaml *yaml)
{
    if (yaml == NULL)
        return;
    yaml_document_delete(&yaml->document);
    g_free(yaml->path);
    g_free(yaml);
}

static yaml_document_t *document(const LdmYaml *yaml)
{
    return (yaml_document_t *)&yaml->document; /* libyaml knows no const */
}

/* A member of a mapping; *twice where the key occurs again. */
static yaml_node_t *member(const LdmYaml *yaml, const yaml_node_t *node, const char *key,
                           bool *twice)
{
    yaml_node_t *found = NULL;
    if (node == NULL || node->type != YAML_MAPPING_NODE)
        return NULL;
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *name = yaml_document_get_node(document(yaml), pair->key);
        if (name == NULL || name->type != YAML_SCALAR_NODE ||
            strcmp((const char *)name->data.scalar.value, key) != 0)
            continue;
        *twice = *twice || found != NULL;
        found = yaml_document_get_node(document(yaml), pair->value);
    }
    return found;
}

static yaml_node_t *find(const LdmYaml *yaml, const char *key, bool *twice)
{
    g_auto(GStrv) names = g_strsplit(key, ".", -1);
    yaml_node_t *node = yaml_document_get_root_node(document(yaml));
    for (int i = 0; names[i] != NULL && node != NULL; i++)
        node = member(yaml, node, names[i], twice);
    return node;
}

static bool is_null(const yaml_node_t *node)
{
    const char *text = (const char *)node->data.scalar.value;
    return node->type == YAML_SCALAR_NODE && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (text[0] == '\0' || strcmp(text, "~") == 0 || g_ascii_strcasecmp(text, "null") == 0);
}

bool ldm_yaml_has(const LdmYaml *yaml, const char *key)
{
    bool twice = false;
    const yaml_node_t *node = find(yaml, key, &twice);
    return node != NULL && !is_null(node);
}

const char *ldm_yaml_text(const LdmYaml *yaml, const char *key)
{
    bool twice = false;
    const yaml_node_t *node = find(yaml, key, &twice);
    if (node == NULL || node->type != YAML_SCALAR_NODE || is_null(node))
        return NULL;
    return (const char *)node->data.scalar.value;
}

bool ldm_yaml_number(const LdmYaml *yaml, const char *key, double *value, GError **error)
{
    bool twice = false;
    const yaml_node_t *node = find(yaml, key, &twice);
    if (!twice && (node == NULL || is_null(node)))
        return true;
    const char *text = ldm_yaml_text(yaml, key);
    char *end = NULL;
    double number = text != NULL ? g_ascii_strtod(text, &end) : 0;
    if (twice || text == NULL || end == text || *end != '\0' || !isfinite(number)) {
        ldm_set_error(error, FORMAT, _("%s: %s is not one number"), yaml->path, key);
        return false;
    }
    *value = number;
    return true;
}

bool ldm_yaml_int(const LdmYaml *yaml, const char *key, int *value, GError **error)
{
    double number = *value;
    if (!ldm_yaml_number(yaml, key, &number, error))
        return false;
    if (number != floor(number) || fabs(number) > G_MAXINT) {
        ldm_set_error(error, FORMAT, _("%s: %s is not a whole number"), yaml->path, key);
        return false;
    }
    *value = (int)number;
    return true;
}
