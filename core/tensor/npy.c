/* NumPy's .npy files, the border for single arrays. A file is "\x93NUMPY", two bytes of version,
 * the length of a header, the header (a Python dictionary: descr, fortran_order, shape), then the
 * numbers. Here rank-4 arrays become channels-last, there they are NCHW. */
#include "base/checked.h"
#include "base/error.h"
#include "base/file-atomic.h"
#include "tensor/half.h"
#include "tensor/tensor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAGIC      "\x93NUMPY"
#define MAGIC_SIZE 6

typedef struct {
    char type[4]; /* "<f4" */
    int rank;
    size_t shape[LDM_MAX_RANK];
    size_t data_offset;
} NpyHeader;

static bool damaged(GError **error, const char *path, const char *what)
{
    ldm_set_error(error, FORMAT, _("“%s” is not a usable .npy file: %s"), path, what);
    return false;
}

/* Skips spaces and then `text`; false where something else stands there. */
static bool accept(const char **at, const char *text)
{
    while (**at == ' ')
        (*at)++;
    if (!g_str_has_prefix(*at, text))
        return false;
    *at += strlen(text);
    return true;
}

/* "(2, 3)" or "(5,)" or "()", which counts as one number. */
static bool parse_shape(const char **at, NpyHeader *header)
{
    if (!accept(at, "("))
        return false;
    for (header->rank = 0; !accept(at, ")"); header->rank++) {
        if (header->rank == LDM_MAX_RANK || (header->rank > 0 && !accept(at, ",")))
            return false;
        if (accept(at, ")"))
            break;
        accept(at, "");
        char *end;
        guint64 size = g_ascii_isdigit(**at) ? g_ascii_strtoull(*at, &end, 10) : 0;
        if (size == 0 || size > SIZE_MAX / 2)
            return false;
        header->shape[header->rank] = (size_t)size;
        *at = end;
    }
    if (header->rank == 0)
        header->shape[header->rank++] = 1;
    return true;
}

/* The three entries in any order. */
static const char *parse_dictionary(const char *at, NpyHeader *header)
{
    bool descr = false, order = false, shape = false;
    if (!accept(&at, "{"))
        return _("its header is damaged");
    while (!accept(&at, "}")) {
        if (!descr && accept(&at, "'descr':")) {
            descr = accept(&at, "'") && strlen(at) > 4 && at[3] == '\'';
            if (!descr)
                return _("its numbers are of a kind that is not supported (f4, f2 and f8 are)");
            memcpy(header->type, at, 3);
            at += 4;
        } else if (!order && accept(&at, "'fortran_order':")) {
            order = accept(&at, "False");
            if (!order)
                return _("it is in Fortran order; save it with numpy.ascontiguousarray");
        } else if (!shape && accept(&at, "'shape':")) {
            shape = parse_shape(&at, header);
            if (!shape)
                return _("its shape is empty, too large or has more than 4 dimensions");
        } else {
            return _("its header is damaged");
        }
        accept(&at, ",");
    }
    return descr && order && shape ? NULL : _("its header is damaged");
}

static bool parse_header(const char *path, const guint8 *bytes, size_t length, NpyHeader *header,
                         GError **error)
{
    if (length < 10 || memcmp(bytes, MAGIC, MAGIC_SIZE) != 0)
        return damaged(error, path, _("it does not begin like one"));
    size_t version = bytes[6], start = version == 1 ? 10 : 12;
    if (version < 1 || version > 3 || length < start)
        return damaged(error, path, _("its version is unknown"));
    size_t size = bytes[8] | (size_t)bytes[9] << 8;
    if (version > 1)
        size |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    if (size > length - start || size > 65536)
        return damaged(error, path, _("its header is damaged"));
    g_autofree char *text = g_strndup((const char *)bytes + start, size);
    const char *fault = parse_dictionary(text, header);
    header->data_offset = start + size;
    return fault == NULL || damaged(error, path, fault);
}

static float read_double(const guint8 *bytes)
{
    guint64 bits;
    double value;
    memcpy(&bits, bytes, sizeof bits);
    bits = GUINT64_FROM_LE(bits);
    memcpy(&value, &bits, sizeof value);
    return (float)value;
}

static uint16_t read_16(const guint8 *bytes)
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static uint32_t read_32(const guint8 *bytes)
{
    return read_16(bytes) | (uint32_t)read_16(bytes + 2) << 16;
}

static void read_numbers(const guint8 *bytes, size_t size, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++, bytes += size)
        out[i] = size == 2   ? ldm_f16_to_f32(read_16(bytes))
                 : size == 4 ? ldm_float_from_bits(read_32(bytes))
                             : read_double(bytes);
}

/* A new array in the file's order from all its bytes. */
static LdmTensor *parse(const char *path, const guint8 *bytes, size_t length, GError **error)
{
    NpyHeader header = {0};
    if (!parse_header(path, bytes, length, &header, error))
        return NULL;
    if (header.type[0] != '<' || header.type[1] != 'f' || strchr("248", header.type[2]) == NULL) {
        damaged(error, path,
                _("its numbers are of a kind that is not supported (f4, f2 and f8 are)"));
        return NULL;
    }
    size_t size = (size_t)(header.type[2] - '0'), count, needed;
    if (!ldm_product(header.shape, header.rank, &count) || !ldm_mul(count, size, &needed) ||
        needed != length - header.data_offset) {
        g_autofree char *shape = ldm_shape_string(header.rank, header.shape);
        g_autofree char *what =
            g_strdup_printf(_("it holds %zu bytes of numbers, which does not suit its shape %s"),
                            length - header.data_offset, shape);
        damaged(error, path, what);
        return NULL;
    }
    LdmTensor *tensor = ldm_tensor_new(LDM_F32, header.rank, header.shape, error);
    if (tensor != NULL)
        read_numbers(bytes + header.data_offset, size, count, tensor->data);
    return tensor;
}

static GBytes *read_file(const char *path, GError **error)
{
    g_autoptr(GError) fault = NULL;
    if (strcmp(path, "-") != 0) {
        GMappedFile *file = g_mapped_file_new(path, FALSE, &fault);
        if (file != NULL) {
            GBytes *bytes = g_mapped_file_get_bytes(file);
            g_mapped_file_unref(file);
            return bytes;
        }
        ldm_set_error(error, FILE, _("Cannot read “%s”: %s"), path, fault->message);
        return NULL;
    }
    GByteArray *all = g_byte_array_new();
    guint8 part[65536];
    ssize_t got;
    while ((got = read(STDIN_FILENO, part, sizeof part)) != 0) {
        if (got > 0 && all->len <= G_MAXUINT / 2) {
            g_byte_array_append(all, part, (guint)got);
        } else if (got > 0 || errno != EINTR) {
            ldm_set_error(error, FILE, _("Cannot read standard input: %s"),
                          g_strerror(got > 0 ? EFBIG : errno));
            g_byte_array_unref(all);
            return NULL;
        }
    }
    return g_byte_array_free_to_bytes(all);
}

LdmTensor *ldm_npy_read(const char *path, GError **error)
{
    g_autoptr(GBytes) file = read_file(path, error);
    if (file == NULL)
        return NULL;
    gsize length;
    const guint8 *bytes = g_bytes_get_data(file, &length);
    g_autoptr(LdmTensor) tensor = parse(path, bytes, length, error);
    if (tensor == NULL || tensor->rank != 4)
        return g_steal_pointer(&tensor);
    const size_t *s = tensor->shape; /* [N, C, H, W] */
    LdmTensor *result = ldm_tensor_new_nhwc(s[0], s[2], s[3], s[1], error);
    if (result != NULL)
        ldm_nchw_to_nhwc(tensor->data, result->data, s[0], s[1], s[2], s[3]);
    return result;
}

/* Version 1.0; the numbers begin at a multiple of 64. */
static GString *make_header(int rank, const size_t *shape)
{
    GString *text = g_string_new("{'descr': '<f4', 'fortran_order': False, 'shape': (");
    for (int i = 0; i < rank; i++)
        g_string_append_printf(text, "%s%zu", i > 0 ? ", " : "", shape[i]);
    g_string_append(text, rank == 1 ? ",), }" : "), }");
    while ((10 + text->len + 1) % 64 != 0)
        g_string_append_c(text, ' ');
    g_string_append_c(text, '\n');
    char start[10] = MAGIC "\x01";
    start[8] = (char)(text->len & 0xff);
    start[9] = (char)(text->len >> 8);
    return g_string_prepend_len(text, start, sizeof start);
}

static bool write_standard_output(const void *data, size_t length, GError **error)
{
    if (fwrite(data, 1, length, stdout) == length && fflush(stdout) == 0)
        return true;
    ldm_set_error(error, FILE, _("Cannot write to standard output: %s"), g_strerror(errno));
    return false;
}

/* The numbers of `tensor` as little-endian f32 in the file's order; free with ldm_aligned_free. */
static uint32_t *file_numbers(const LdmTensor *tensor, GError **error)
{
    size_t count = ldm_tensor_count(tensor);
    const size_t *s = tensor->shape; /* rank 4: [N, H, W, C] */
    uint32_t *numbers = ldm_aligned_alloc(count, sizeof *numbers, _("writing an array"), error);
    if (numbers == NULL)
        return NULL;
    if (tensor->rank == 4)
        ldm_nhwc_to_nchw(tensor->data, (float *)numbers, s[0], s[3], s[1], s[2]);
    else
        memcpy(numbers, tensor->data, count * sizeof *numbers);
    for (size_t i = 0; i < count; i++)
        numbers[i] = GUINT32_TO_LE(numbers[i]);
    return numbers;
}

bool ldm_npy_write(const LdmTensor *tensor, const char *path, GError **error)
{
    if (tensor->dtype != LDM_F32) {
        ldm_set_error(error, UNSUPPORTED, _("Only f32 arrays can be written to “%s”, not %s"), path,
                      ldm_dtype_name(tensor->dtype));
        return false;
    }
    const size_t *s = tensor->shape;
    size_t swapped[] = {s[0], s[3], s[1], s[2]};
    uint32_t *numbers = file_numbers(tensor, error);
    if (numbers == NULL)
        return false;
    GString *header = make_header(tensor->rank, tensor->rank == 4 ? swapped : s);
    size_t bytes = ldm_tensor_count(tensor) * sizeof *numbers;
    bool done;
    if (strcmp(path, "-") == 0) {
        done = write_standard_output(header->str, header->len, error) &&
               write_standard_output(numbers, bytes, error);
    } else {
        g_autoptr(LdmAtomicFile) file = ldm_atomic_file_new(path, error);
        done = file != NULL && ldm_atomic_file_write(file, header->str, header->len, error) &&
               ldm_atomic_file_write(file, numbers, bytes, error) &&
               ldm_atomic_file_commit(file, error);
    }
    g_string_free(header, TRUE);
    ldm_aligned_free(numbers);
    return done;
}
