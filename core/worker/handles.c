/* Descriptors that come from another process: checked before a byte of them is touched, because
 * reading a mapping whose file shrinks kills the reader (SIGBUS). */
#include "worker/handles.h"

#include "base/checked.h"
#include "base/error.h"
#include "worker/protocol.h"

#include <inttypes.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bool array_bytes(int width, int height, int channels, size_t *bytes)
{
    size_t pixels;

    if (width < 1 || height < 1 || width > PENTIMENTO_MAX_SIDE || height > PENTIMENTO_MAX_SIDE)
        return false;
    return ldm_mul((size_t)width, (size_t)height, &pixels) && pixels <= PENTIMENTO_MAX_PIXELS &&
           ldm_mul(pixels, (size_t)channels * sizeof(float), bytes);
}

LdmTensor *pentimento_array_map(int fd, int width, int height, int channels, const char *what,
                                GError **error)
{
    const int needed = F_SEAL_SHRINK | F_SEAL_GROW;
    int seals = fcntl(fd, F_GET_SEALS);
    LdmTensor *array;
    struct stat info;
    size_t bytes;
    void *data;

    if (!array_bytes(width, height, channels, &bytes)) {
        ldm_set_error(
            error, INVALID,
            _("the handle \"%s\" cannot be %d × %d pixels: sides are 1 to %d and all together "
              "at most %u"),
            what, width, height, PENTIMENTO_MAX_SIDE, PENTIMENTO_MAX_PIXELS);
        return NULL;
    }
    if (seals < 0 || (seals & needed) != needed || fstat(fd, &info) != 0 ||
        !S_ISREG(info.st_mode)) {
        ldm_set_error(error, INVALID,
                      _("the handle \"%s\" is not a memfd sealed against shrinking and growing"),
                      what);
        return NULL;
    }
    if (info.st_size < 0 || (uint64_t)info.st_size != bytes) {
        ldm_set_error(error, INVALID,
                      _("the handle \"%s\" holds %" PRId64 " bytes, but %d × %d pixels take %zu"),
                      what, (gint64)info.st_size, width, height, bytes);
        return NULL;
    }
    data = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) {
        ldm_set_no_memory(error, _("the picture"), bytes);
        return NULL;
    }
    array = g_new0(LdmTensor, 1);
    *array = (LdmTensor){.dtype = LDM_F32,
                         .rank = 4,
                         .shape = {1, (size_t)height, (size_t)width, (size_t)channels},
                         .data = data};
    return array;
}

void pentimento_array_unmap(LdmTensor *array)
{
    if (array == NULL)
        return;
    munmap(array->data, ldm_tensor_count(array) * sizeof(float));
    g_free(array);
}

/* Written, not mapped: a full memory is then an error and not a signal. */
static bool write_whole(int fd, const char *data, size_t bytes)
{
    while (bytes > 0) {
        ssize_t n = write(fd, data, MIN(bytes, (size_t)1 << 30));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        bytes -= (size_t)n;
    }
    return true;
}

int pentimento_array_share(const LdmTensor *tensor, const char *what, GError **error)
{
    size_t bytes = ldm_tensor_count(tensor) * sizeof(float);
    int fd = memfd_create(what, MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd >= 0 && write_whole(fd, tensor->data, bytes) &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    ldm_set_no_memory(error, what, bytes);
    return -1;
}

int pentimento_handle_get(GVariant *handles, const char *name, GUnixFDList *list, GError **error)
{
    g_autoptr(GError) reason = NULL;
    gint32 index;
    int fd;

    if (!g_variant_lookup(handles, name, "h", &index))
        return -1;
    if (list == NULL || index < 0 || index >= g_unix_fd_list_get_length(list)) {
        ldm_set_error(error, INVALID, _("the handle \"%s\" came without its descriptor"), name);
        return -1;
    }
    fd = g_unix_fd_list_get(list, index, &reason);
    if (fd < 0)
        ldm_set_error(error, INVALID, _("the handle \"%s\" cannot be used: %s"), name,
                      reason->message);
    return fd;
}

int pentimento_pidfd_process(int fd)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fdinfo/%d", fd);
    g_autofree char *text = NULL;
    const char *line;
    int process;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return -1;
    line = strstr(text, "\nPid:");
    if (line == NULL || sscanf(line, "\nPid: %d", &process) != 1)
        return -1;
    return MAX(process, 0);
}
