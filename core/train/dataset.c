/* Lists of examples. In: a folder or a list file. Out: paths and captions in an order that depends
 * on nothing but their names. Lists come from anywhere: lines are limited and checked. */
#include "train/dataset.h"

#include "base/digest.h"
#include "base/error.h"
#include "weights/file.h"
#include "weights/json.h"

#include <glib/gstdio.h>
#include <string.h>

#define LIST_BYTES    ((size_t)1 << 28)
#define CAPTION_BYTES ((size_t)64 << 10)

struct LdmDataset {
    char *path;
    GPtrArray *examples;
};

static void example_free(gpointer data)
{
    LdmExample *example = data;

    g_free(example->path);
    g_free(example->caption);
    g_free(example->fault);
    g_free(example);
}

void ldm_dataset_free(LdmDataset *dataset)
{
    if (dataset == NULL)
        return;
    g_ptr_array_unref(dataset->examples);
    g_free(dataset->path);
    g_free(dataset);
}

size_t ldm_dataset_length(const LdmDataset *dataset)
{
    return dataset->examples->len;
}

const LdmExample *ldm_dataset_at(const LdmDataset *dataset, size_t i)
{
    return g_ptr_array_index(dataset->examples, i);
}

const char *ldm_dataset_path(const LdmDataset *dataset)
{
    return dataset->path;
}

bool ldm_dataset_check_caption(const LdmDataset *dataset, size_t i, GError **error)
{
    const LdmExample *example = ldm_dataset_at(dataset, i);

    if (example->fault != NULL)
        ldm_set_error(error, FORMAT, "%s", example->fault);
    return example->fault == NULL;
}

char *ldm_dataset_fault(const LdmDataset *dataset, size_t i, const GError *reason)
{
    const char *path = ldm_dataset_at(dataset, i)->path;

    return strstr(reason->message, path) != NULL ? g_strdup(reason->message)
                                                 : g_strdup_printf("%s: %s", path, reason->message);
}

bool ldm_dataset_digest(const LdmDataset *dataset, GChecksum *sum, GCancellable *cancellable,
                        GError **error)
{
    for (size_t i = 0; i < ldm_dataset_length(dataset); i++) {
        const LdmExample *example = ldm_dataset_at(dataset, i);
        GStatBuf status = {0};
        g_autofree char *name = g_path_get_basename(example->path);
        if (ldm_cancelled(cancellable, error))
            return false;
        if (g_stat(example->path, &status) != 0)
            g_checksum_update(sum, (const guchar *)"missing", -1);
        g_autofree char *text = g_strdup_printf("%s %" G_GINT64_FORMAT " %" G_GINT64_FORMAT, name,
                                                (gint64)status.st_size, (gint64)status.st_mtime);
        ldm_digest_text(sum, text);
    }
    return true;
}

void ldm_dataset_digest_captions(const LdmDataset *dataset, GChecksum *sum)
{
    for (size_t i = 0; i < ldm_dataset_length(dataset); i++)
        ldm_digest_text(sum, ldm_dataset_at(dataset, i)->caption);
}

LdmDataset *ldm_dataset_new(const char *path)
{
    LdmDataset *dataset = g_new0(LdmDataset, 1);

    dataset->path = g_strdup(path);
    dataset->examples = g_ptr_array_new_with_free_func(example_free);
    return dataset;
}

/* Takes both strings. */
static LdmExample *add(LdmDataset *dataset, char *path, char *caption)
{
    LdmExample *example = g_new0(LdmExample, 1);

    example->path = path;
    example->caption = g_strstrip(caption);
    g_ptr_array_add(dataset->examples, example);
    if (strlen(caption) > CAPTION_BYTES) {
        example->fault = g_strdup(_("its caption is longer than 64 KiB"));
        *caption = '\0';
    }
    return example;
}

void ldm_dataset_add(LdmDataset *dataset, const char *name, const char *caption)
{
    add(dataset, g_strdup(name), g_strdup(caption));
}

/* ---- folders ---- */

static bool is_picture(const char *name)
{
    static const char *const endings[] = {".png", ".jpg",  ".jpeg", ".webp",
                                          ".bmp", ".tiff", ".tif",  ".gif"};
    g_autofree char *lower = g_ascii_strdown(name, -1);

    for (size_t i = 0; i < G_N_ELEMENTS(endings); i++)
        if (g_str_has_suffix(lower, endings[i]) && name[0] != '.')
            return true;
    return false;
}

static int by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The caption beside a picture, if there is one; an empty file says nothing, either. */
static void add_sidecar(LdmExample *example)
{
    const char *dot = strrchr(example->path, '.');
    g_autofree char *text_path =
        g_strdup_printf("%.*s.txt", (int)(dot - example->path), example->path);
    g_autoptr(GError) reason = NULL;
    GStatBuf status;

    if (g_stat(text_path, &status) != 0 || (S_ISREG(status.st_mode) && status.st_size == 0))
        return;
    g_autofree char *text = ldm_file_read_text(text_path, CAPTION_BYTES, &reason);
    if (text == NULL) {
        example->fault = g_strdup(reason->message);
    } else {
        g_free(example->caption);
        example->caption = g_strstrip(g_steal_pointer(&text));
    }
}

static bool open_folder(LdmDataset *dataset, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) reason = NULL;
    g_autoptr(GDir) dir = g_dir_open(dataset->path, 0, &reason);
    const char *name;

    if (dir == NULL) {
        ldm_set_error(error, FILE, _("the folder “%s” cannot be read: %s"), dataset->path,
                      reason->message);
        return false;
    }
    while ((name = g_dir_read_name(dir)) != NULL)
        if (is_picture(name))
            g_ptr_array_add(names, g_strdup(name));
    g_ptr_array_sort(names, by_name);
    for (guint i = 0; i < names->len; i++)
        add_sidecar(add(dataset, g_build_filename(dataset->path, g_ptr_array_index(names, i), NULL),
                        g_strdup("")));
    return true;
}

/* ---- lists ---- */

static char *resolve(const LdmDataset *dataset, const char *file)
{
    g_autofree char *folder = g_path_get_dirname(dataset->path);

    return g_path_is_absolute(file) ? g_strdup(file) : g_build_filename(folder, file, NULL);
}

static bool set_line_error(const LdmDataset *dataset, guint line, const char *fault, GError **error)
{
    ldm_set_error(error, FORMAT, _("%s, line %u: %s"), dataset->path, line, fault);
    return false;
}

/* Where the columns are; true where the first line names them. */
static bool find_columns(char **fields, guint *file, guint *caption)
{
    bool has_file = false, has_caption = false;

    for (guint i = 0; fields[i] != NULL; i++) {
        if (strcmp(fields[i], "file") == 0) {
            *file = i;
            has_file = true;
        } else if (strcmp(fields[i], "caption") == 0) {
            *caption = i;
            has_caption = true;
        }
    }
    return has_file && has_caption;
}

static bool read_tsv(LdmDataset *dataset, char **lines, GError **error)
{
    guint file = 0, caption = 1, first = 0;

    if (lines[0] != NULL) {
        g_auto(GStrv) fields = g_strsplit(lines[0], "\t", -1);
        first = find_columns(fields, &file, &caption) ? 1 : 0;
    }
    for (guint i = first; lines[i] != NULL; i++) {
        g_auto(GStrv) fields = g_strsplit(lines[i], "\t", -1);
        guint n = g_strv_length(fields);
        if (*lines[i] == '\0')
            continue;
        if (n <= MAX(file, caption) || *fields[file] == '\0')
            return set_line_error(dataset, i + 1,
                                  _("a file and a caption are expected, with a tab between them"),
                                  error);
        add(dataset, resolve(dataset, fields[file]), g_strdup(fields[caption]));
    }
    return true;
}

static const char *member(JsonObject *object, const char *name, const char *other)
{
    JsonNode *node = json_object_get_member(object, name);

    if (node == NULL)
        node = json_object_get_member(object, other);
    return node != NULL && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_string(node) : NULL;
}

static bool read_jsonl(LdmDataset *dataset, char **lines, GError **error)
{
    for (guint i = 0; lines[i] != NULL; i++) {
        if (*lines[i] == '\0')
            continue;
        g_autoptr(GError) reason = NULL;
        g_autoptr(JsonObject) object =
            ldm_json_parse(lines[i], strlen(lines[i]), dataset->path, &reason);
        if (object == NULL)
            return set_line_error(dataset, i + 1, reason->message, error);
        const char *file = member(object, "file", "file_name");
        const char *caption = member(object, "caption", "text");
        if (file == NULL || *file == '\0')
            return set_line_error(dataset, i + 1, _("it names no “file”"), error);
        add(dataset, resolve(dataset, file), g_strdup(caption != NULL ? caption : ""));
    }
    return true;
}

static bool open_list(LdmDataset *dataset, GError **error)
{
    g_autofree char *text = ldm_file_read_text(dataset->path, LIST_BYTES, error);

    if (text == NULL)
        return false;
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (guint i = 0; lines[i] != NULL; i++)
        if (g_str_has_suffix(lines[i], "\r"))
            lines[i][strlen(lines[i]) - 1] = '\0';
    if (g_str_has_suffix(dataset->path, ".tsv"))
        return read_tsv(dataset, lines, error);
    if (g_str_has_suffix(dataset->path, ".jsonl"))
        return read_jsonl(dataset, lines, error);
    ldm_set_error(error, UNSUPPORTED, _("%s is neither a folder nor a .tsv or .jsonl file"),
                  dataset->path);
    return false;
}

LdmDataset *ldm_dataset_open(const char *path, GError **error)
{
    g_autoptr(LdmDataset) dataset = ldm_dataset_new(path);
    bool folder = g_file_test(path, G_FILE_TEST_IS_DIR);
    if (!(folder ? open_folder(dataset, error) : open_list(dataset, error)))
        return NULL;
    if (dataset->examples->len > 0)
        return g_steal_pointer(&dataset);
    ldm_set_error(error, MISSING, _("“%s” has no pictures to train on"), path);
    return NULL;
}
