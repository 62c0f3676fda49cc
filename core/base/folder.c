/* Folders that the program made and takes away again. In: a path. Out: nothing; what cannot be
 * removed stays.
 */
#include "base/folder.h"

#include <glib/gstdio.h>
#include <stdbool.h>
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
