/* safetensors: in a path, out a mapped file and a table of its arrays. Everything the header claims
 * is checked against the file before anything points into it: nothing is copied or converted.
 * Format: 8 bytes length of the header, little endian; the header, a JSON object
 * {NAME: {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {...}}; the data. */
#include "weights/safetensors.h"

#include "base/checked.h"
#include "base/error.h"
#include "kernels/kernels.h"
#include "tensor/tensor.h"
#include "weights/file.h"
#include "weights/json.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

struct LdmFile {
    char *path;
    const uint8_t *map;
    size_t size;
    size_t start;         /* of the data */
    GArray *arrays;       /* LdmFileTensor, in the order of their data once checked */
    JsonObject *metadata; /* of strings; NULL = none */
};

static const struct {
    const char *name;
    int element;
    int dtype; /* LdmDtype, or -1 */
} types[] = {
    {"F32", 4, LDM_F32}, {"F16", 2, LDM_F16}, {"BF16", 2, LDM_BF16}, {"F64", 8, -1},
    {"I64", 8, -1},      {"I32", 4, -1},      {"I16", 2, -1},        {"I8", 1, -1},
    {"U64", 8, -1},      {"U32", 4, -1},      {"U16", 2, -1},        {"U8", 1, -1},
    {"BOOL", 1, -1},     {"C64", 8, -1},      {"F8_E4M3", 1, -1},    {"F8_E5M2", 1, -1},
    {"F8_E8M0", 1, -1},
};

static void array_clear(gpointer data)
{
    g_free(((LdmFileTensor *)data)->name);
}

void ldm_file_free(LdmFile *file)
{
    if (file == NULL)
        return;
    g_array_unref(file->arrays);
    g_clear_pointer(&file->metadata, json_object_unref);
    ldm_file_unmap(file->map, file->size);
    g_free(file->path);
    g_free(file);
}

const char *ldm_file_path(const LdmFile *file)
{
    return file->path;
}

/* A non-negative whole number out of an array of them. */
static bool read_size(JsonArray *array, guint i, size_t *value)
{
    JsonNode *node = json_array_get_element(array, i);
    if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_INT64)
        return false;
    gint64 number = json_node_get_int(node);
    *value = (size_t)number;
    return number >= 0;
}

static JsonArray *member_array(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);
    return node != NULL && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
}

static bool read_type(JsonObject *entry, LdmFileTensor *t, GError **error)
{
    JsonNode *node = json_object_get_member(entry, "dtype");
    const char *type =
        node != NULL && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_string(node) : NULL;
    if (type == NULL) {
        ldm_set_error(error, FORMAT, _("%s is damaged: tensor %s has no dtype"), t->file->path,
                      t->name);
        return false;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        if (strcmp(type, types[i].name) != 0)
            continue;
        t->type = types[i].name;
        t->element = types[i].element;
        t->weights = types[i].dtype >= 0;
        t->dtype = t->weights ? (LdmDtype)types[i].dtype : LDM_F32;
        return true;
    }
    ldm_set_error(error, UNSUPPORTED, _("%s: tensor %s has the unknown dtype “%s”"), t->file->path,
                  t->name, type);
    return false;
}

/* Shape, offsets and that they agree: bytes = product of shape * element = end - begin. */
static bool read_extent(JsonObject *entry, LdmFileTensor *t, GError **error)
{
    JsonArray *shape = member_array(entry, "shape");
    JsonArray *offsets = member_array(entry, "data_offsets");
    size_t begin = 0, end = 0, bytes = (size_t)t->element, room = t->file->size - t->file->start;
    bool good = shape != NULL && offsets != NULL && json_array_get_length(shape) <= G_MAXINT &&
                json_array_get_length(offsets) == 2 && read_size(offsets, 0, &begin) &&
                read_size(offsets, 1, &end);
    t->rank = good ? (int)json_array_get_length(shape) : 0;
    for (int i = 0; i < LDM_MAX_RANK; i++)
        t->shape[i] = 1;
    for (int i = 0; good && i < t->rank; i++) {
        size_t side = 0;
        good = read_size(shape, (guint)i, &side) && ldm_mul(bytes, side, &bytes);
        if (i < LDM_MAX_RANK)
            t->shape[i] = side;
    }
    if (!good) {
        ldm_set_error(error, FORMAT,
                      _("%s is damaged: tensor %s has no valid shape and data_offsets"),
                      t->file->path, t->name);
        return false;
    }
    if (begin > end || end > room || end - begin != bytes) {
        ldm_set_error(error, FORMAT,
                      _("%s is damaged or cut short: tensor %s needs %zu"
                        " bytes, has %zu to %zu"
                        " of %zu; get it again"),
                      t->file->path, t->name, bytes, begin, end, room);
        return false;
    }
    t->data = t->file->map + t->file->start + begin;
    t->bytes = bytes;
    return true;
}

/* "__metadata__": an object of strings. */
static bool read_metadata(LdmFile *file, JsonNode *node, GError **error)
{
    bool good = JSON_NODE_HOLDS_OBJECT(node);
    JsonObjectIter iter;
    JsonNode *value;
    if (good) {
        json_object_iter_init(&iter, json_node_get_object(node));
        while (good && json_object_iter_next(&iter, NULL, &value))
            good = JSON_NODE_HOLDS_VALUE(value) && json_node_get_string(value) != NULL;
    }
    if (!good)
        ldm_set_error(error, FORMAT, _("%s is damaged: __metadata__ is not a table of strings"),
                      file->path);
    else
        file->metadata = json_node_dup_object(node);
    return good;
}

static bool read_array(LdmFile *file, const char *name, JsonNode *node, GError **error)
{
    if (strlen(name) > LDM_FILE_NAME_BYTES || name[0] == '\0') {
        ldm_set_error(error, FORMAT,
                      _("%s is damaged: a tensor's name is empty or longer than "
                        "%d bytes"),
                      file->path, LDM_FILE_NAME_BYTES);
        return false;
    }
    if (!JSON_NODE_HOLDS_OBJECT(node)) {
        ldm_set_error(error, FORMAT, _("%s is damaged: tensor %s is not described by an object"),
                      file->path, name);
        return false;
    }
    LdmFileTensor t = {.name = (char *)name, .file = file};
    JsonObject *entry = json_node_get_object(node);
    if (!read_type(entry, &t, error) || !read_extent(entry, &t, error))
        return false;
    t.name = g_strdup(name);
    g_array_append_val(file->arrays, t);
    return true;
}

static int compare_data(gconstpointer a, gconstpointer b)
{
    const LdmFileTensor *s = a, *t = b;
    if (s->data != t->data)
        return s->data < t->data ? -1 : 1;
    return (s->bytes > t->bytes) - (s->bytes < t->bytes);
}

/* The arrays must fill the data part exactly: no gap, no overlap, nothing behind the last. */
static bool check_cover(LdmFile *file, GError **error)
{
    const uint8_t *at = file->map + file->start;
    g_array_sort(file->arrays, compare_data);
    for (guint i = 0; i < file->arrays->len; i++) {
        const LdmFileTensor *t = &g_array_index(file->arrays, LdmFileTensor, i);
        if (t->data != at) {
            ldm_set_error(error, FORMAT,
                          _("%s is damaged: there is a gap or an overlap before "
                            "tensor %s"),
                          file->path, t->name);
            return false;
        }
        at += t->bytes;
    }
    if (at != file->map + file->size) {
        ldm_set_error(error, FORMAT,
                      _("%s is damaged: %zu bytes at its end "
                        "belong to no tensor"),
                      file->path, (size_t)(file->map + file->size - at));
        return false;
    }
    return true;
}

static bool read_header(LdmFile *file, JsonObject *header, GError **error)
{
    JsonObjectIter iter;
    const char *name;
    JsonNode *node;
    if (json_object_get_size(header) > LDM_FILE_TENSORS) {
        ldm_set_error(error, UNSUPPORTED, _("%s has %u tensors, more than the %d that are allowed"),
                      file->path, json_object_get_size(header), LDM_FILE_TENSORS);
        return false;
    }
    json_object_iter_init(&iter, header);
    while (json_object_iter_next(&iter, &name, &node)) {
        bool good = strcmp(name, "__metadata__") == 0 ? read_metadata(file, node, error)
                                                      : read_array(file, name, node, error);
        if (!good)
            return false;
    }
    return check_cover(file, error);
}

/* Of bytes that are no safetensors: the file's ending may tell what they are. */
static bool refuse_other(const LdmFile *file, GError **error)
{
    static const char *const pickles[] = {".ckpt", ".pt", ".pth", ".bin", NULL};
    const char *dot = strrchr(file->path, '.'), *ending = dot != NULL ? dot : "";
    if (g_strv_contains(pickles, ending))
        ldm_set_error(error, UNSUPPORTED,
                      _("%s holds pickled weights, which are not read: get them as a .safetensors "
                        "file"),
                      file->path);
    else if (strcmp(ending, ".gguf") == 0)
        ldm_set_error(error, UNSUPPORTED,
                      _("%s is a GGUF file, which is not read: get its weights as a .safetensors "
                        "file"),
                      file->path);
    else
        ldm_set_error(error, FORMAT,
                      _("%s is not a safetensors file, or is cut short: get it "
                        "again from where it came from"),
                      file->path);
    return false;
}

static bool file_read(LdmFile *file, GError **error)
{
    uint64_t length = 0;
    if (file->size >= 8) {
        memcpy(&length, file->map, 8);
        length = GUINT64_FROM_LE(length);
    }
    if (length < 2 || length > file->size - 8 || file->map[8] != '{')
        return refuse_other(file, error);
    if (length > LDM_FILE_HEADER_BYTES) {
        ldm_set_error(error, UNSUPPORTED,
                      _("%s has a header of %" PRIu64 " bytes, more "
                        "than 100 MB"),
                      file->path, length);
        return false;
    }
    file->start = 8 + (size_t)length;
    g_autoptr(JsonObject) header =
        ldm_json_parse((const char *)file->map + 8, (size_t)length, file->path, error);
    return header != NULL && read_header(file, header, error);
}

LdmFile *ldm_file_load(const char *path, GError **error)
{
    LdmFile *file = g_new0(LdmFile, 1);
    file->path = g_strdup(path);
    file->arrays = g_array_new(FALSE, FALSE, sizeof(LdmFileTensor));
    g_array_set_clear_func(file->arrays, array_clear);
    file->map = ldm_file_map(path, &file->size, error);
    if (file->map == NULL || !file_read(file, error)) {
        ldm_file_free(file);
        return NULL;
    }
    return file;
}

/* ---- several files as one ---- */

struct LdmFiles {
    GPtrArray *files;   /* LdmFile */
    GPtrArray *arrays;  /* LdmFileTensor, borrowed from the files */
    GHashTable *byname; /* name -> LdmFileTensor */
    GPtrArray *copies;  /* ldm_aligned_alloc */
};

LdmFiles *ldm_files_new(void)
{
    LdmFiles *files = g_new(LdmFiles, 1);
    files->files = g_ptr_array_new_with_free_func((GDestroyNotify)ldm_file_free);
    files->arrays = g_ptr_array_new();
    files->byname = g_hash_table_new(g_str_hash, g_str_equal);
    files->copies = g_ptr_array_new_with_free_func(ldm_aligned_free);
    return files;
}

void ldm_files_free(LdmFiles *files)
{
    if (files == NULL)
        return;
    g_hash_table_unref(files->byname);
    g_ptr_array_unref(files->arrays);
    g_ptr_array_unref(files->copies);
    g_ptr_array_unref(files->files);
    g_free(files);
}

bool ldm_files_add(LdmFiles *files, const char *path, GError **error)
{
    LdmFile *file = ldm_file_load(path, error);
    if (file == NULL)
        return false;
    g_ptr_array_add(files->files, file);
    for (guint i = 0; i < file->arrays->len; i++) {
        LdmFileTensor *t = &g_array_index(file->arrays, LdmFileTensor, i);
        const LdmFileTensor *other = ldm_files_find(files, t->name);
        if (other != NULL) {
            ldm_set_error(error, FORMAT, _("tensor %s is in %s and in %s: remove one of them"),
                          t->name, other->file->path, path);
            return false;
        }
        g_hash_table_insert(files->byname, t->name, t);
        g_ptr_array_add(files->arrays, t);
    }
    return true;
}

const LdmFileTensor *ldm_files_find(const LdmFiles *files, const char *name)
{
    return g_hash_table_lookup(files->byname, name);
}

size_t ldm_files_length(const LdmFiles *files)
{
    return files->arrays->len;
}

const LdmFileTensor *ldm_files_at(const LdmFiles *files, size_t i)
{
    return g_ptr_array_index(files->arrays, i);
}

const char *ldm_files_path(const LdmFiles *files)
{
    return files->files->len == 0 ? "" : ldm_file_path(g_ptr_array_index(files->files, 0));
}

void ldm_files_release(const LdmFiles *files, const void *data, size_t bytes, bool shared)
{
    for (guint i = 0; i < files->files->len; i++) {
        const LdmFile *file = g_ptr_array_index(files->files, i);
        const uint8_t *first = data;
        if (first >= file->map && first < file->map + file->size)
            ldm_file_release(data, bytes, shared);
    }
}

bool ldm_file_tensor_set_shape(const LdmFileTensor *t, int rank, const size_t *shape,
                               GError **error)
{
    g_autofree char *expected = ldm_shape_string(rank, shape);
    if (t->rank < 1 || t->rank > LDM_MAX_RANK) {
        ldm_set_error(error, SHAPE,
                      _("%s: tensor %s has rank %d, expected shape %s: weights and "
                        "configuration belong to different models"),
                      ldm_file_path(t->file), t->name, t->rank, expected);
        return false;
    }
    g_autofree char *found = ldm_shape_string(t->rank, t->shape);
    ldm_set_error(error, SHAPE,
                  _("%s: tensor %s has shape %s, expected %s: weights and configuration "
                    "belong to different models"),
                  ldm_file_path(t->file), t->name, found, expected);
    return false;
}

void ldm_file_tensor_set_nonfinite(const LdmFileTensor *t, GError **error)
{
    ldm_set_error(error, NONFINITE,
                  _("%s: tensor %s holds numbers that are not finite: get the file again, or leave "
                    "it out"),
                  ldm_file_path(t->file), t->name);
}

bool ldm_file_tensor_number(const LdmFileTensor *t, double *value)
{
    guint64 bits = 0;
    double number = NAN;
    float single;

    if (t->bytes != (size_t)t->element || t->bytes > sizeof bits)
        return false;
    memcpy(&bits, t->data, t->bytes);
    if (t->weights) {
        ldm_convert_to_f32(&bits, t->dtype, &single, 1);
        number = (double)single;
    } else if (strcmp(t->type, "F64") == 0) {
        memcpy(&number, &bits, sizeof number);
    } else if (t->type[0] == 'I') {
        int above = 64 - 8 * t->element; /* the sign goes up */
        number = (double)((gint64)(bits << above) >> above);
    } else if (t->type[0] == 'U') {
        number = (double)bits;
    }
    if (!isfinite(number))
        return false;
    *value = number;
    return true;
}

void ldm_files_ahead(const LdmFiles *files, const gint *stop)
{
    for (guint i = 0; i < files->files->len; i++) {
        const LdmFile *file = g_ptr_array_index(files->files, i);
        ldm_file_ahead(file->map, file->size, stop);
    }
}

const char *ldm_files_metadata(const LdmFiles *files, const char *name)
{
    const LdmFile *file = files->files->len > 0 ? g_ptr_array_index(files->files, 0) : NULL;
    return file != NULL && file->metadata != NULL
               ? json_object_get_string_member_with_default(file->metadata, name, NULL)
               : NULL;
}

void *ldm_files_copy(LdmFiles *files, const void *data, size_t bytes, GError **error)
{
    void *copy = ldm_aligned_alloc(bytes, 1, _("a copy of weights"), error);
    if (copy != NULL) {
        memcpy(copy, data, bytes);
        ldm_files_release(files, data, bytes, true);
        g_ptr_array_add(files->copies, copy);
    }
    return copy;
}

void ldm_files_copy_end(const LdmFiles *files)
{
    for (guint i = 0; files->copies->len > 0 && i < files->files->len; i++) {
        const LdmFile *file = g_ptr_array_index(files->files, i);
        ldm_file_release(file->map, file->size, false);
    }
}
