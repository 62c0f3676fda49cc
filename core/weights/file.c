/* Opening, reading and mapping files that came from anywhere. In: a path. Out: bytes, or an error
 * that names the path. A pipe or device given as a model must neither block nor flow for ever. */
#include "weights/file.h"

#include "base/error.h"

#include <inttypes.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

bool ldm_file_is_weights(const char *name)
{
    static const char *const endings[] = {".bin", ".ckpt",    ".pt", ".pth",       ".gguf",
                                          ".h5",  ".msgpack", ".pb", ".index.json"};

    for (size_t i = 0; i < G_N_ELEMENTS(endings); i++)
        if (g_str_has_suffix(name, endings[i]))
            return true;
    return strstr(name, ".safetensors") != NULL || strstr(name, ".onnx") != NULL;
}

/* For reading; *size is the file's length. -1 and an error where it is nothing to be read. */
static int open_regular(const char *path, size_t max_bytes, size_t *size, GError **error)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &status) != 0) {
        ldm_set_error(error, FILE, _("%s cannot be opened: %s"), path, g_strerror(errno));
    } else if (!S_ISREG(status.st_mode)) {
        ldm_set_error(error, FORMAT, _("%s is not a regular file"), path);
    } else if (status.st_size == 0) {
        ldm_set_error(error, FORMAT, _("%s is empty: copy or download it again"), path);
    } else if ((uint64_t)status.st_size > max_bytes) {
        ldm_set_error(error, UNSUPPORTED,
                      _("%s is too long: %" PRIu64 " bytes, at most "
                        "%zu are read"),
                      path, (uint64_t)status.st_size, max_bytes);
    } else {
        *size = (size_t)status.st_size;
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

char *ldm_file_read(const char *path, size_t max_bytes, size_t *size, GError **error)
{
    int fd = open_regular(path, max_bytes, size, error);
    if (fd < 0)
        return NULL;
    g_autofree char *text = g_try_malloc(*size + 1);
    if (text == NULL) {
        ldm_set_no_memory(error, path, *size + 1);
        close(fd);
        return NULL;
    }
    size_t done = 0;
    ssize_t got = 1;
    while (done < *size && got > 0) {
        got = read(fd, text + done, *size - done);
        if (got < 0 && errno == EINTR)
            got = 1;
        else if (got > 0)
            done += (size_t)got;
    }
    int fault = errno;
    close(fd);
    if (got < 0) {
        ldm_set_error(error, FILE, _("%s cannot be read: %s"), path, g_strerror(fault));
        return NULL;
    }
    text[done] = '\0';
    *size = done;
    return g_steal_pointer(&text);
}

char *ldm_file_read_text(const char *path, size_t max_bytes, GError **error)
{
    const char *mark = "\xef\xbb\xbf";
    size_t size;
    g_autofree char *text = ldm_file_read(path, max_bytes, &size, error);
    if (text == NULL)
        return NULL;
    if (!g_utf8_validate(text, (gssize)size, NULL)) {
        ldm_set_error(error, FORMAT, _("%s is not text in UTF-8"), path);
        return NULL;
    }
    if (g_str_has_prefix(text, mark))
        memmove(text, text + strlen(mark), size - strlen(mark) + 1);
    return g_steal_pointer(&text);
}

const uint8_t *ldm_file_map(const char *path, size_t *size, GError **error)
{
    int fd = open_regular(path, PTRDIFF_MAX, size, error);
    if (fd < 0)
        return NULL;
    void *data = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
    int fault = errno;
    close(fd);
    if (data == MAP_FAILED) {
        ldm_set_error(error, FILE, _("%s cannot be mapped into memory: %s"), path,
                      g_strerror(fault));
        return NULL;
    }
    return data;
}

void ldm_file_unmap(const uint8_t *data, size_t size)
{
    if (data != NULL)
        munmap((void *)data, size);
}

/* A mapping begins and ends with a page, so whole pages around the part are its own. */
void ldm_file_release(const void *data, size_t size, bool shared)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = (uintptr_t)data, end = first + size;
    first = (shared ? first : first + page - 1) / page * page;
    end = (shared ? end + page - 1 : end) / page * page;
    if (size > 0 && end > first)
        madvise((void *)first, end - first, MADV_DONTNEED);
}

/* Linux takes no more of one request than its largest read, some hundreds of KB on most disks. */
void ldm_file_ahead(const void *data, size_t size, const gint *stop)
{
    const size_t piece = (size_t)256 << 10;
    for (size_t at = 0; at < size && g_atomic_int_get(stop) == 0; at += piece)
        if (madvise((char *)data + at, MIN(piece, size - at), MADV_WILLNEED) != 0)
            return;
}
