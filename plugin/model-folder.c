/* The folder of the user's own models. In: the path of a model. Out: the model in that folder, or
 * out of it. */
#include "model-folder.h"

#include <errno.h>
#include <glib/gi18n-lib.h>
#include <glib/gstdio.h>
#include <string.h>

#define DEFAULT_MODEL "default"
#define ADDING        ".adding-" /* copies that are not whole yet */

char *pentimento_model_folder(void)
{
    return g_build_filename(g_get_user_data_dir(), "pentimento", "models", NULL);
}

bool pentimento_model_is_own(const char *path)
{
    g_autofree char *folder = pentimento_model_folder();
    g_autofree char *full = g_canonicalize_filename(path, NULL);
    g_autofree char *parent = g_path_get_dirname(full), *name = g_path_get_basename(full);

    /* which lies there where all is installed below ~/.local */
    return g_str_equal(parent, folder) && !g_str_equal(name, DEFAULT_MODEL);
}

char *pentimento_model_find_own(const char *name)
{
    static const char *const endings[] = {"", PENTIMENTO_MODEL_SUFFIX};
    g_autofree char *folder = pentimento_model_folder();

    for (size_t i = 0; *name != '\0' && i < G_N_ELEMENTS(endings); i++) {
        g_autofree char *file = g_strconcat(name, endings[i], NULL);
        g_autofree char *path = g_build_filename(folder, file, NULL);
        GStatBuf info;

        if (g_lstat(path, &info) == 0 && pentimento_model_is_own(path))
            return g_steal_pointer(&path);
    }
    return NULL;
}

static bool set_errno(const char *path, GError **error)
{
    const int reason = errno;

    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(reason), "%s: %s", path,
                g_strerror(reason));
    return false;
}

/* ---- copying ----------------------------------------------------------------------------- */

/* A model that is being copied. */
typedef struct {
    const PentimentoFileWatch *watch;
    guint64 done, total;
} Work;

static void tell(const Work *work, guint64 bytes)
{
    if (work->watch->told != NULL)
        work->watch->told(work->done + bytes, work->total, work->watch->data);
}

static void on_copied(goffset done, goffset total, gpointer data)
{
    tell(data, (guint64)done);
}

/* All files, into `folder`, with the folders that they are in. */
static bool copy(const PentimentoModelFiles *files, const char *folder,
                 const PentimentoFileWatch *watch, GError **error)
{
    Work work = {.watch = watch, .total = files->bytes};

    for (guint i = 0; i < files->names->len; i++) {
        const char *name = g_ptr_array_index(files->names, i);
        g_autofree char *path = g_build_filename(files->parent, name, NULL);
        g_autofree char *copied = g_build_filename(folder, name, NULL);
        g_autofree char *around = g_path_get_dirname(copied);
        g_autoptr(GFile) from = g_file_new_for_path(path), to = g_file_new_for_path(copied);
        GStatBuf info;

        if (g_mkdir_with_parents(around, 0777) != 0)
            return set_errno(around, error);
        if (!g_file_copy(from, to, G_FILE_COPY_TARGET_DEFAULT_PERMS, watch->cancellable, on_copied,
                         &work, error))
            return false;
        work.done += g_stat(copied, &info) == 0 ? (guint64)info.st_size : 0;
    }
    return true;
}

/* A file or a folder with all that is in it, and nothing that links lead to. */
static bool delete_all(const char *path, GError **error)
{
    g_autoptr(GFile) file = g_file_new_for_path(path);
    const bool folder =
        g_file_test(path, G_FILE_TEST_IS_DIR) && !g_file_test(path, G_FILE_TEST_IS_SYMLINK);
    g_autoptr(GDir) entries = folder ? g_dir_open(path, 0, NULL) : NULL;
    const char *name;

    while (entries != NULL && (name = g_dir_read_name(entries)) != NULL) {
        g_autofree char *inside = g_build_filename(path, name, NULL);
        if (!delete_all(inside, error))
            return false;
    }
    return g_file_delete(file, NULL, error);
}

/* ---- adding ------------------------------------------------------------------------------ */

/* What lies at its place in the user's folder; *name: what the argument "model" calls it. */
static char *place_of(const char *from, const char *folder, char **name)
{
    g_autofree char *full = g_canonicalize_filename(from, NULL);
    g_autofree char *base = g_path_get_basename(full);

    *name = g_strdup(base);
    if (g_str_has_suffix(base, PENTIMENTO_MODEL_SUFFIX))
        (*name)[strlen(base) - strlen(PENTIMENTO_MODEL_SUFFIX)] = '\0';
    return g_build_filename(folder, base, NULL);
}

/* What the worker would not find by a name is no model that can be added. */
static bool check_kind(const char *from, GError **error)
{
    g_autofree char *index = g_build_filename(from, "model_index.json", NULL);
    const bool ending = g_str_has_suffix(from, PENTIMENTO_MODEL_SUFFIX);

    if (g_file_test(from, G_FILE_TEST_IS_DIR)
            ? !ending && g_file_test(index, G_FILE_TEST_IS_REGULAR)
            : ending)
        return true;
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_REGULAR_FILE,
                _("%s is neither a folder with a model_index.json nor a .safetensors file: choose "
                  "the folder in which the index is, or the file."),
                from);
    return false;
}

/* A link that leads nowhere is nothing. */
static bool is_free(const char *folder, const char *name, const char *ending, GError **error)
{
    g_autofree char *file = g_strconcat(name, ending, NULL);
    g_autofree char *path = g_build_filename(folder, file, NULL);
    GStatBuf info;

    if (g_lstat(path, &info) != 0)
        return true;
    if (!g_file_test(path, G_FILE_TEST_EXISTS))
        return delete_all(path, error);
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_EXISTS,
                _("There is %s already: remove it, or rename what is to be added."), path);
    return false;
}

static bool check_name(const char *folder, const char *name, GError **error)
{
    if (*name == '\0' || *name == '.' || !g_utf8_validate(name, -1, NULL) ||
        g_str_equal(name, DEFAULT_MODEL)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_FILENAME,
                    _("A model's name has to be in UTF-8, without a dot in front, and not “%s”: "
                      "rename its file or folder."),
                    DEFAULT_MODEL);
        return false;
    }
    return is_free(folder, name, "", error) &&
           is_free(folder, name, PENTIMENTO_MODEL_SUFFIX, error) &&
           is_free(folder, name, ".yaml", error);
}

static bool check_space(const char *folder, guint64 bytes, GError **error)
{
    g_autoptr(GFile) file = g_file_new_for_path(folder);
    g_autoptr(GFileInfo) info =
        g_file_query_filesystem_info(file, G_FILE_ATTRIBUTE_FILESYSTEM_FREE, NULL, NULL);

    if (info == NULL || !g_file_info_has_attribute(info, G_FILE_ATTRIBUTE_FILESYSTEM_FREE))
        return true;
    guint64 free = g_file_info_get_attribute_uint64(info, G_FILE_ATTRIBUTE_FILESYSTEM_FREE);
    if (bytes <= free)
        return true;
    g_autofree char *needed = g_format_size(bytes), *there = g_format_size(free);
    /* a size, a folder, a size */
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NO_SPACE,
                _("The model takes %s, but in %s there is room for %s: make room, or leave the "
                  "model where it is and make a link."),
                needed, folder, there);
    return false;
}

/* Of a model and, first, the configuration beside it: links to what there is, in `folder`. */
static bool make_links(const char *from, const char *beside, const char *folder, GError **error)
{
    const char *const targets[] = {beside, from};

    for (size_t i = 0; i < G_N_ELEMENTS(targets); i++) {
        g_autofree char *target = g_canonicalize_filename(targets[i], NULL);
        g_autofree char *name = g_path_get_basename(target);
        g_autofree char *link = g_build_filename(folder, name, NULL);
        g_autoptr(GFile) file = g_file_new_for_path(link);

        if (*targets[i] != '\0' && g_file_test(target, G_FILE_TEST_EXISTS) &&
            !g_file_make_symbolic_link(file, target, NULL, error))
            return false;
    }
    return true;
}

static bool move(const char *from, const char *to, GError **error)
{
    g_autoptr(GFile) source = g_file_new_for_path(from), target = g_file_new_for_path(to);

    return g_file_move(source, target,
                       G_FILE_COPY_NOFOLLOW_SYMLINKS | G_FILE_COPY_NO_FALLBACK_FOR_MOVE, NULL, NULL,
                       NULL, error);
}

/* What was made in `temporary` comes to its place, both or neither; the configuration first, so
 * that nobody sees the model without it. */
static bool bring(const char *temporary, const char *place, GError **error)
{
    g_autofree char *beside = pentimento_model_configuration(place);
    g_autofree char *name = g_path_get_basename(place), *second = g_path_get_basename(beside);
    g_autofree char *model = g_build_filename(temporary, name, NULL);
    g_autofree char *configuration = g_build_filename(temporary, second, NULL);
    const bool both = *beside != '\0' && g_file_test(configuration, G_FILE_TEST_EXISTS);

    if (both && !move(configuration, beside, error))
        return false;
    if (move(model, place, error))
        return true;
    if (both)
        delete_all(beside, NULL);
    return false;
}

/* Of copies that were killed long ago. */
static void clear_stale(const char *folder)
{
    const gint64 day = 24 * 60 * 60;
    g_autoptr(GDir) entries = g_dir_open(folder, 0, NULL);
    const char *name;

    while (entries != NULL && (name = g_dir_read_name(entries)) != NULL) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        GStatBuf info;

        if (g_str_has_prefix(name, ADDING) && g_stat(path, &info) == 0 &&
            info.st_mtime < g_get_real_time() / G_USEC_PER_SEC - day)
            delete_all(path, NULL);
    }
}

/* Copies or links, in `temporary`. */
static bool make(const char *from, bool link, const char *temporary,
                 const PentimentoFileWatch *watch, GError **error)
{
    g_autofree char *beside = pentimento_model_configuration(from);
    g_auto(PentimentoModelFiles) files = {0};

    if (link)
        return make_links(from, beside, temporary, error);
    return pentimento_model_files_list(&files, from, error) &&
           check_space(temporary, files.bytes, error) && copy(&files, temporary, watch, error);
}

char *pentimento_model_add(const char *from, bool link, const PentimentoFileWatch *watch,
                           GError **error)
{
    g_autofree char *folder = pentimento_model_folder(), *name = NULL;
    g_autofree char *full = g_canonicalize_filename(from, NULL);
    g_autofree char *place = place_of(full, folder, &name);
    g_autofree char *temporary = g_build_filename(folder, ADDING "XXXXXX", NULL);
    bool added;

    if (g_mkdir_with_parents(folder, 0777) != 0) {
        set_errno(folder, error);
        return NULL;
    }
    clear_stale(folder);
    if (!check_kind(full, error) || !check_name(folder, name, error))
        return NULL;
    if (g_mkdtemp_full(temporary, 0777) == NULL) {
        set_errno(folder, error);
        return NULL;
    }
    added = make(full, link, temporary, watch, error) && bring(temporary, place, error);
    delete_all(temporary, NULL);
    return added ? g_steal_pointer(&name) : NULL;
}

/* ---- removing ---------------------------------------------------------------------------- */

/* True, too, where there is nothing. */
static bool remove_one(const char *path, bool for_good, GError **error)
{
    g_autoptr(GFile) file = g_file_new_for_path(path);
    GStatBuf info;

    if (g_lstat(path, &info) != 0)
        return true;
    if (for_good || S_ISLNK(info.st_mode))
        return delete_all(path, error);
    return g_file_trash(file, NULL, error);
}

bool pentimento_model_remove(const char *path, bool for_good, GError **error)
{
    g_autofree char *beside = pentimento_model_configuration(path);
    g_autofree char *folder = pentimento_model_folder();

    if (!pentimento_model_is_own(path)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED,
                    _("%s is none of your own models, which are in %s."), path, folder);
        return false;
    }
    return remove_one(path, for_good, error) &&
           (*beside == '\0' || remove_one(beside, for_good, error));
}
