/* Folders that the program makes and takes away again. In: a path. Out: nothing, or a folder; what
 * cannot be removed stays. */
#include "base/folder.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void ldm_folder_clear(const char *path, const char *spared)
{
    g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
    const char *name;

    while (folder != NULL && (name = g_dir_read_name(folder)) != NULL) {
        g_autofree char *entry = g_build_filename(path, name, NULL);
        bool real =
            g_file_test(entry, G_FILE_TEST_IS_DIR) && !g_file_test(entry, G_FILE_TEST_IS_SYMLINK);

        if (spared != NULL && strcmp(name, spared) == 0)
            continue;
        if (real)
            ldm_folder_clear(entry, NULL);
        else
            unlink(entry);
    }
    if (spared == NULL)
        rmdir(path);
}

void ldm_folder_tidy(const char *path)
{
    g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
    const char *name;

    while (folder != NULL && (name = g_dir_read_name(folder)) != NULL) {
        g_autofree char *entry = g_build_filename(path, name, NULL);
        if (g_str_has_prefix(name, ".pentimento-"))
            unlink(entry);
    }
}

typedef struct {
    char *path;
    gint64 changed; /* ns since 1970 */
} Entry;

static void entry_clear(gpointer data)
{
    g_free(((Entry *)data)->path);
}

static int newest_first(gconstpointer a, gconstpointer b)
{
    gint64 x = ((const Entry *)a)->changed, y = ((const Entry *)b)->changed;

    return (x < y) - (x > y);
}

void ldm_folder_keep_newest(const char *path, size_t count)
{
    g_autoptr(GArray) entries = g_array_new(FALSE, FALSE, sizeof(Entry));
    g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
    const char *name;

    g_array_set_clear_func(entries, entry_clear);
    while (folder != NULL && (name = g_dir_read_name(folder)) != NULL) {
        Entry entry = {.path = g_build_filename(path, name, NULL)};
        struct stat info;

        if (lstat(entry.path, &info) != 0 || !S_ISDIR(info.st_mode)) {
            g_free(entry.path);
            continue;
        }
        entry.changed =
            (gint64)info.st_mtim.tv_sec * G_GINT64_CONSTANT(1000000000) + info.st_mtim.tv_nsec;
        g_array_append_val(entries, entry);
    }
    g_array_sort(entries, newest_first);
    for (guint i = (guint)MIN(count, entries->len); i < entries->len; i++)
        ldm_folder_clear(g_array_index(entries, Entry, i).path, NULL);
}

/* ---- making ---- */

bool ldm_folder_fail_making(GError **error, const char *path, int code)
{
    ldm_set_error(error, FILE, _("the folder “%s” cannot be made: %s"), path, g_strerror(code));
    return false;
}

bool ldm_folder_make(const char *path, GError **error)
{
    return g_mkdir_with_parents(path, 0777) == 0 || ldm_folder_fail_making(error, path, errno);
}

bool ldm_folder_make_private(const char *path, GError **error)
{
    return g_mkdir_with_parents(path, 0700) == 0 || ldm_folder_fail_making(error, path, errno);
}

char *ldm_folder_real(const char *path)
{
    char *real = realpath(path, NULL);
    char *own = real != NULL ? g_strdup(real) : g_canonicalize_filename(path, NULL);

    free(real);
    return own;
}

bool ldm_folder_is_free(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);

    return dir != NULL ? g_dir_read_name(dir) == NULL : !g_file_test(path, G_FILE_TEST_EXISTS);
}

bool ldm_folder_check_free(const char *path, GError **error)
{
    if (ldm_folder_is_free(path))
        return true;
    ldm_set_error(error, INVALID, _("“%s” is there already: choose another folder"), path);
    return false;
}

void ldm_folder_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return;
    if (fsync(fd) != 0)
        g_debug("cannot sync “%s”: %s", path, g_strerror(errno));
    close(fd);
}
