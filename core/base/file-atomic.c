/* Atomic files: temporary in the same folder (rename works only within one file system), fsync of
 * the data, rename, fsync of the folder, so that after a power cut either the old or the new file
 * is there. Comes in: bytes. Goes out: the file, or an error and nothing. */
#include "base/file-atomic.h"

#include "base/error.h"
#include "base/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct LdmAtomicFile {
    char *path;      /* the final name */
    char *temporary; /* NULL once renamed, and for devices */
    int fd;
};

static bool fail(GError **error, const char *path, int code)
{
    ldm_set_error(error, FILE, _("Cannot write “%s”: %s; make room there, or choose another place"),
                  path, g_strerror(code));
    return false;
}

/* A temporary file beside the final one. A new file gets the permissions any new file has here, an
 * existing one keeps its own; on file systems without permissions it is as good as it gets. */
static int open_temporary(const char *path, const struct stat *old, char **temporary)
{
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *name = g_build_filename(folder, ".pentimento-XXXXXX", NULL);
    int fd = g_mkstemp_full(name, O_WRONLY | O_CLOEXEC, 0666);
    if (fd < 0)
        return -1;
    if (old != NULL && fchmod(fd, old->st_mode & 0777) != 0)
        g_debug("no permissions on “%s”: %s", name, g_strerror(errno));
    *temporary = g_steal_pointer(&name);
    return fd;
}

/* A device or pipe cannot be replaced: it is written to directly. */
LdmAtomicFile *ldm_atomic_file_new(const char *path, GError **error)
{
    g_autoptr(LdmAtomicFile) file = g_new0(LdmAtomicFile, 1);
    struct stat old;
    bool exists = stat(path, &old) == 0;
    char *real = exists ? realpath(path, NULL) : NULL; /* a link stays a link */
    file->path = g_strdup(real != NULL ? real : path);
    free(real);
    if (exists && !S_ISREG(old.st_mode))
        file->fd = open(path, O_WRONLY | O_CLOEXEC);
    else
        file->fd = open_temporary(file->path, exists ? &old : NULL, &file->temporary);
    if (file->fd < 0) {
        fail(error, path, errno);
        return NULL;
    }
    return g_steal_pointer(&file);
}

bool ldm_atomic_file_write(LdmAtomicFile *file, const void *data, size_t length, GError **error)
{
    const char *next = data;
    while (length > 0) {
        ssize_t written = write(file->fd, next, MIN(length, (size_t)1 << 30));
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return fail(error, file->path, errno);
        next += written;
        length -= (size_t)written;
    }
    return true;
}

bool ldm_atomic_file_commit(LdmAtomicFile *file, GError **error)
{
    int fd = file->fd;
    bool synced = fsync(fd) == 0 || errno == EINVAL || errno == EROFS;
    int code = errno;
    file->fd = -1;
    if (close(fd) != 0 && synced) {
        code = errno;
        synced = false;
    }
    if (!synced)
        return fail(error, file->path, code);
    if (file->temporary == NULL)
        return true;
    if (g_rename(file->temporary, file->path) != 0)
        return fail(error, file->path, errno);
    g_clear_pointer(&file->temporary, g_free);
    g_autofree char *folder = g_path_get_dirname(file->path);
    ldm_folder_sync(folder);
    return true;
}

void ldm_atomic_file_free(LdmAtomicFile *file)
{
    if (file == NULL)
        return;
    if (file->fd >= 0)
        close(file->fd);
    if (file->temporary != NULL)
        g_unlink(file->temporary);
    g_free(file->temporary);
    g_free(file->path);
    g_free(file);
}

bool ldm_file_write_atomic(const char *path, const void *data, size_t length, GError **error)
{
    g_autoptr(LdmAtomicFile) file = ldm_atomic_file_new(path, error);
    return file != NULL && ldm_atomic_file_write(file, data, length, error) &&
           ldm_atomic_file_commit(file, error);
}

static bool fail_reading(GError **error, const char *path)
{
    ldm_set_error(error, FILE, _("%s cannot be read: %s"), path, g_strerror(errno));
    return false;
}

static bool copy(int fd, const char *from, LdmAtomicFile *file, GError **error)
{
    const size_t size = (size_t)1 << 20;
    g_autofree char *piece = g_malloc(size);
    ssize_t got;
    while ((got = read(fd, piece, size)) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_reading(error, from);
        if (!ldm_atomic_file_write(file, piece, (size_t)got, error))
            return false;
    }
    return ldm_atomic_file_commit(file, error);
}

bool ldm_file_copy_atomic(const char *from, const char *to, GError **error)
{
    struct stat status;
    int fd = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return fail_reading(error, from);
    bool regular = fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
    if (!regular)
        ldm_set_error(error, FORMAT, _("%s is not a regular file"), from);
    g_autoptr(LdmAtomicFile) file = regular ? ldm_atomic_file_new(to, error) : NULL;
    bool done = file != NULL && copy(fd, from, file, error);
    close(fd);
    return done;
}
