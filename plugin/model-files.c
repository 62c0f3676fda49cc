/* A model's files. In: its path. Out: which they are, and what they tell a person: how much they
 * take, under which licence they are, their checksums. */
#include "model-files.h"

#include <glib/gi18n-lib.h>
#include <stdio.h>
#include <string.h>

#define MOST_TEXT  ((gsize)256 << 10)
#define MOST_FILES 4096u
#define MOST_DEPTH 8
#define PIECE      ((gsize)1 << 20)

/* ---- which they are ---------------------------------------------------------------------- */

void pentimento_model_files_clear(PentimentoModelFiles *files)
{
    g_free(files->parent);
    g_clear_pointer(&files->names, g_ptr_array_unref);
}

static bool list(PentimentoModelFiles *files, const char *name, int depth, GError **error);

static int compare(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* What is hidden a download keeps for itself. */
static bool list_folder(PentimentoModelFiles *files, const char *path, const char *name, int depth,
                        GError **error)
{
    g_autoptr(GPtrArray) entries = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GDir) folder = g_dir_open(path, 0, error);
    const char *entry;

    if (folder == NULL)
        return false;
    while ((entry = g_dir_read_name(folder)) != NULL)
        if (*entry != '.')
            g_ptr_array_add(entries, g_build_filename(name, entry, NULL));
    g_ptr_array_sort(entries, compare);
    for (guint i = 0; i < entries->len; i++)
        if (!list(files, g_ptr_array_index(entries, i), depth + 1, error))
            return false;
    return true;
}

/* A file, or all files of a folder; what links lead to counts. */
static bool list(PentimentoModelFiles *files, const char *name, int depth, GError **error)
{
    g_autofree char *path = g_build_filename(files->parent, name, NULL);
    g_autoptr(GFile) file = g_file_new_for_path(path);
    g_autoptr(GFileInfo) info =
        g_file_query_info(file, G_FILE_ATTRIBUTE_STANDARD_TYPE "," G_FILE_ATTRIBUTE_STANDARD_SIZE,
                          G_FILE_QUERY_INFO_NONE, NULL, error);

    if (info == NULL)
        return false;
    if (files->names->len >= MOST_FILES || depth > MOST_DEPTH) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                    _("%s has too many files to be a model: choose the folder in which its "
                      "model_index.json is"),
                    files->parent);
        return false;
    }
    if (g_file_info_get_file_type(info) == G_FILE_TYPE_DIRECTORY)
        return list_folder(files, path, name, depth, error);
    if (g_file_info_get_file_type(info) != G_FILE_TYPE_REGULAR)
        return true;
    g_ptr_array_add(files->names, g_strdup(name));
    files->bytes += (guint64)g_file_info_get_size(info);
    return true;
}

char *pentimento_model_configuration(const char *name)
{
    if (!g_str_has_suffix(name, PENTIMENTO_MODEL_SUFFIX))
        return g_strdup("");
    return g_strdup_printf("%.*s.yaml", (int)(strlen(name) - strlen(PENTIMENTO_MODEL_SUFFIX)),
                           name);
}

bool pentimento_model_files_list(PentimentoModelFiles *files, const char *path, GError **error)
{
    g_autofree char *full = g_canonicalize_filename(path, NULL);
    g_autofree char *name = g_path_get_basename(full);

    *files = (PentimentoModelFiles){.parent = g_path_get_dirname(full),
                                    .names = g_ptr_array_new_with_free_func(g_free)};
    g_autofree char *configuration = pentimento_model_configuration(name);
    g_autofree char *beside = g_build_filename(files->parent, configuration, NULL);
    if (g_file_test(beside, G_FILE_TEST_IS_REGULAR) && !list(files, configuration, 0, error))
        return false;
    return list(files, name, 0, error);
}

/* ---- what they tell ---------------------------------------------------------------------- */

guint64 pentimento_model_bytes(const char *path)
{
    g_auto(PentimentoModelFiles) files = {0};

    return pentimento_model_files_list(&files, path, NULL) ? files.bytes : 0;
}

static bool tells_licence(const char *name)
{
    static const char *const beginnings[] = {"license",     "licence", "copying",   "readme",
                                             "attribution", "notice",  "model_card"};
    g_autofree char *small = g_ascii_strdown(name, -1);

    for (size_t i = 0; i < G_N_ELEMENTS(beginnings); i++)
        if (g_str_has_prefix(small, beginnings[i]))
            return true;
    return false;
}

/* Its beginning, as UTF-8. */
static char *read_text(const char *path)
{
    g_autofree char *bytes = g_malloc(MOST_TEXT);
    FILE *file = fopen(path, "rb");
    size_t length = file != NULL ? fread(bytes, 1, MOST_TEXT, file) : 0;

    if (file != NULL)
        fclose(file);
    return g_utf8_make_valid(bytes, (gssize)length);
}

char *pentimento_model_licence(const char *path)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_auto(PentimentoModelFiles) files = {0};

    pentimento_model_files_list(&files, path, NULL);
    for (guint i = 0; i < files.names->len; i++) {
        const char *name = g_ptr_array_index(files.names, i);
        g_autofree char *base = g_path_get_basename(name);
        g_autofree char *full = g_build_filename(files.parent, name, NULL);

        if (!tells_licence(base))
            continue;
        g_autofree char *words = read_text(full);
        g_autofree char *title = g_utf8_make_valid(name, -1);
        g_string_append_printf(text, "%s%s\n\n%s", text->len > 0 ? "\n\n" : "", title,
                               g_strchomp(words));
    }
    return g_string_free_and_steal(g_steal_pointer(&text));
}

/* ---- checksums --------------------------------------------------------------------------- */

static bool digest(const char *path, GChecksum *sum, guint64 *done, guint64 total,
                   const PentimentoFileWatch *watch, GError **error)
{
    g_autofree guint8 *piece = g_malloc(PIECE);
    g_autoptr(GFile) file = g_file_new_for_path(path);
    g_autoptr(GFileInputStream) stream = g_file_read(file, watch->cancellable, error);
    gssize length = -1;

    while (stream != NULL && (length = g_input_stream_read(G_INPUT_STREAM(stream), piece, PIECE,
                                                           watch->cancellable, error)) > 0) {
        g_checksum_update(sum, piece, length);
        *done += (guint64)length;
        if (watch->told != NULL)
            watch->told(*done, total, watch->data);
    }
    return length == 0;
}

char *pentimento_model_checksums(const char *path, const PentimentoFileWatch *watch, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_auto(PentimentoModelFiles) files = {0};
    guint64 done = 0;

    if (!pentimento_model_files_list(&files, path, error))
        return NULL;
    for (guint i = 0; i < files.names->len; i++) {
        const char *name = g_ptr_array_index(files.names, i);
        g_autofree char *full = g_build_filename(files.parent, name, NULL);
        g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);

        if (!digest(full, sum, &done, files.bytes, watch, error))
            return NULL;
        g_autofree char *title = g_utf8_make_valid(name, -1);
        g_string_append_printf(text, "%s  %s\n", g_checksum_get_string(sum), title);
    }
    return g_string_free_and_steal(g_steal_pointer(&text));
}
