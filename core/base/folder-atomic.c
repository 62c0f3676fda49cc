/* Atomic folders: a hidden one beside the final place, and a rename. In: a path. Out: the folder,
 * or nothing. The process that fills one keeps it locked; a lock ends with its process, so that
 * what nobody has locked was left by one that was killed. */
#include "base/folder-atomic.h"

#include "base/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define HIDDEN ".pentimento-"
#define DRAWN  "XXXXXX"

struct LdmAtomicFolder {
    char *path;  /* the final one */
    char *begun; /* NULL once it has appeared */
    int lock;
};

static int open_folder(const char *path)
{
    return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* What killed processes have left. A longer name is that of an old folder, which is somebody's. */
static void tidy(const char *parent)
{
    g_autoptr(GDir) dir = g_dir_open(parent, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(parent, name, NULL);
        int lock = g_str_has_prefix(name, HIDDEN) && strlen(name) == strlen(HIDDEN DRAWN)
                       ? open_folder(path)
                       : -1;
        if (lock < 0)
            continue;
        if (flock(lock, LOCK_EX | LOCK_NB) == 0)
            ldm_folder_clear(path, NULL);
        close(lock);
    }
}

/* Its lock, or -1 where somebody has tidied it away before it had one. Some file systems know no
 * locks: nothing is tidied there. */
static int take_lock(const char *begun)
{
    int lock = open_folder(begun);

    if (lock < 0)
        return -1;
    bool taken = flock(lock, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
    if (taken && g_file_test(begun, G_FILE_TEST_IS_DIR))
        return lock;
    close(lock);
    return -1;
}

LdmAtomicFolder *ldm_atomic_folder_new(const char *path, GError **error)
{
    g_autoptr(LdmAtomicFolder) folder = g_new0(LdmAtomicFolder, 1);

    folder->lock = -1;
    folder->path = ldm_folder_real(path);
    g_autofree char *parent = g_path_get_dirname(folder->path);
    tidy(parent);
    while (folder->lock < 0) {
        g_free(folder->begun);
        folder->begun = g_build_filename(parent, HIDDEN DRAWN, NULL);
        if (g_mkdtemp_full(folder->begun, 0777) == NULL) {
            ldm_folder_fail_making(error, folder->path, errno);
            g_clear_pointer(&folder->begun, g_free);
            return NULL;
        }
        folder->lock = take_lock(folder->begun);
    }
    return g_steal_pointer(&folder);
}

const char *ldm_atomic_folder_path(const LdmAtomicFolder *folder)
{
    return folder->begun;
}

/* Both at once where the file system can, so that there is always one under the name. */
static bool exchange(const char *begun, const char *path)
{
    if (renameat2(AT_FDCWD, begun, AT_FDCWD, path, RENAME_EXCHANGE) == 0)
        return true;
    if (errno != EINVAL && errno != ENOSYS)
        return false;
    g_autofree char *aside = g_strconcat(begun, "-old", NULL);
    if (g_rename(path, aside) != 0)
        return false;
    if (g_rename(begun, path) != 0) {
        int code = errno;
        g_rename(aside, path);
        errno = code;
        return false;
    }
    return g_rename(aside, begun) == 0;
}

bool ldm_atomic_folder_publish(LdmAtomicFolder *folder, bool replace, GError **error)
{
    g_autofree char *parent = g_path_get_dirname(folder->path);
    bool old = replace && g_file_test(folder->path, G_FILE_TEST_EXISTS);

    ldm_folder_sync(folder->begun);
    if (!(old ? exchange(folder->begun, folder->path) : g_rename(folder->begun, folder->path) == 0))
        return ldm_folder_fail_making(error, folder->path, errno);
    ldm_folder_sync(parent);
    if (old)
        ldm_folder_clear(folder->begun, NULL);
    g_clear_pointer(&folder->begun, g_free);
    return true;
}

void ldm_atomic_folder_free(LdmAtomicFolder *folder)
{
    if (folder == NULL)
        return;
    if (folder->begun != NULL)
        ldm_folder_clear(folder->begun, NULL);
    if (folder->lock >= 0)
        close(folder->lock);
    g_free(folder->begun);
    g_free(folder->path);
    g_free(folder);
}
