/* The safetensors writer. In: declared arrays and their values as f32. Out: a file that appears
 * under its name only once all of it is on the disk. The header is made by json-glib, so that any
 * name is quoted rightly, and padded with spaces so that the data begin on a cache line. */
#include "weights/safetensors-write.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/file-atomic.h"
#include "kernels/kernels.h"
#include "tensor/tensor.h"

#include <json-glib/json-glib.h>
#include <math.h>
#include <string.h>

#define PIECE 16384 /* values converted at a time */

typedef struct {
    char *name;
    LdmDtype dtype;
    int rank;
    size_t shape[LDM_MAX_RANK];
    size_t count;
} Entry;

struct LdmFileWriter {
    GPtrArray *entries;
    JsonObject *metadata;
    char *path;
    LdmAtomicFile *file;
    guint current; /* array that the next value belongs to */
    size_t done;   /* values of it that are written */
};

static void entry_free(gpointer data)
{
    Entry *entry = data;

    g_free(entry->name);
    g_free(entry);
}

LdmFileWriter *ldm_file_writer_new(void)
{
    LdmFileWriter *writer = g_new0(LdmFileWriter, 1);

    writer->entries = g_ptr_array_new_with_free_func(entry_free);
    writer->metadata = json_object_new();
    json_object_set_string_member(writer->metadata, "format", "pt");
    return writer;
}

void ldm_file_writer_free(LdmFileWriter *writer)
{
    if (writer == NULL)
        return;
    g_ptr_array_unref(writer->entries);
    json_object_unref(writer->metadata);
    ldm_atomic_file_free(writer->file);
    g_free(writer->path);
    g_free(writer);
}

void ldm_file_writer_declare(LdmFileWriter *writer, const char *name, LdmDtype dtype, int rank,
                             const size_t *shape)
{
    Entry *entry = g_new0(Entry, 1);

    entry->name = g_strdup(name);
    entry->dtype = dtype;
    entry->rank = rank;
    memcpy(entry->shape, shape, (size_t)rank * sizeof *shape);
    g_ptr_array_add(writer->entries, entry);
}

void ldm_file_writer_describe(LdmFileWriter *writer, const char *key, const char *text)
{
    json_object_set_string_member(writer->metadata, key, text);
}

/* "NAME": {"dtype": "F16", "shape": [...], "data_offsets": [first, end]} */
static bool add_entry(JsonBuilder *builder, Entry *entry, size_t *offset)
{
    static const char *const dtypes[] = {"F32", "F16", "BF16", "I8"};
    size_t bytes;

    if (!ldm_product(entry->shape, entry->rank, &entry->count) ||
        !ldm_mul(entry->count, ldm_dtype_size(entry->dtype), &bytes) ||
        !ldm_add(*offset, bytes, &bytes) || bytes > G_MAXINT64)
        return false;
    json_builder_set_member_name(builder, entry->name);
    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "dtype");
    json_builder_add_string_value(builder, dtypes[entry->dtype]);
    json_builder_set_member_name(builder, "shape");
    json_builder_begin_array(builder);
    for (int i = 0; i < entry->rank; i++)
        json_builder_add_int_value(builder, (gint64)entry->shape[i]);
    json_builder_end_array(builder);
    json_builder_set_member_name(builder, "data_offsets");
    json_builder_begin_array(builder);
    json_builder_add_int_value(builder, (gint64)*offset);
    json_builder_add_int_value(builder, (gint64)bytes);
    json_builder_end_array(builder);
    json_builder_end_object(builder);
    *offset = bytes;
    return true;
}

/* The header's text, or NULL. */
static GString *make_header(LdmFileWriter *writer, GError **error)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
    size_t offset = 0;

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "__metadata__");
    JsonNode *metadata = json_node_new(JSON_NODE_OBJECT);
    json_node_set_object(metadata, writer->metadata);
    json_builder_add_value(builder, metadata);
    for (guint i = 0; i < writer->entries->len; i++) {
        Entry *entry = g_ptr_array_index(writer->entries, i);
        if (!g_hash_table_add(names, entry->name) || !add_entry(builder, entry, &offset)) {
            ldm_set_error(error, INVALID, _("“%s”: tensor %s is there twice or too large"),
                          writer->path, entry->name);
            return NULL;
        }
    }
    json_builder_end_object(builder);
    g_autoptr(JsonNode) root = json_builder_get_root(builder);
    g_autofree char *text = json_to_string(root, FALSE);
    GString *header = g_string_new(text);
    while ((sizeof(guint64) + header->len) % 64 != 0)
        g_string_append_c(header, ' ');
    return header;
}

/* Arrays without elements have nothing to wait for. */
static void skip_empty(LdmFileWriter *writer)
{
    while (writer->current < writer->entries->len) {
        const Entry *entry = g_ptr_array_index(writer->entries, writer->current);
        if (writer->done < entry->count)
            return;
        writer->current++;
        writer->done = 0;
    }
}

bool ldm_file_writer_open(LdmFileWriter *writer, const char *path, GError **error)
{
    writer->path = g_strdup(path);
    GString *header = make_header(writer, error);
    if (header == NULL)
        return false;
    guint64 length = GUINT64_TO_LE((guint64)header->len);
    writer->file = ldm_atomic_file_new(path, error);
    bool good = writer->file != NULL &&
                ldm_atomic_file_write(writer->file, &length, sizeof length, error) &&
                ldm_atomic_file_write(writer->file, header->str, header->len, error);
    g_string_free(header, TRUE);
    skip_empty(writer);
    return good;
}

/* Values of one array, no more than PIECE. */
static bool put_piece(LdmFileWriter *writer, const Entry *entry, const float *values, size_t count,
                      GError **error)
{
    guint16 half[PIECE];
    size_t size = ldm_dtype_size(entry->dtype);

    if (entry->dtype == LDM_F32)
        return ldm_atomic_file_write(writer->file, values, count * size, error);
    guint16 infinity = entry->dtype == LDM_F16 ? 0x7c00 : 0x7f80;
    ldm_convert_from_f32(values, entry->dtype, half, count);
    for (size_t i = 0; i < count; i++) {
        if ((half[i] & 0x7fff) == infinity && isfinite(values[i])) {
            ldm_set_error(error, NONFINITE, _("“%s”: tensor %s holds %g, too large for %s"),
                          writer->path, entry->name, (double)values[i],
                          ldm_dtype_name(entry->dtype));
            return false;
        }
    }
    return ldm_atomic_file_write(writer->file, half, count * size, error);
}

bool ldm_file_writer_put(LdmFileWriter *writer, const float *values, size_t count, GError **error)
{
    while (count > 0 && writer->current < writer->entries->len) {
        const Entry *entry = g_ptr_array_index(writer->entries, writer->current);
        size_t n = MIN(MIN(count, entry->count - writer->done), PIECE);
        if (!put_piece(writer, entry, values, n, error))
            return false;
        values += n;
        count -= n;
        writer->done += n;
        skip_empty(writer);
    }
    if (count == 0)
        return true;
    ldm_set_error(error, INVALID, _("“%s”: more values than were declared"), writer->path);
    return false;
}

bool ldm_file_writer_put_raw(LdmFileWriter *writer, const void *values, GError **error)
{
    const Entry *entry = writer->current < writer->entries->len
                             ? g_ptr_array_index(writer->entries, writer->current)
                             : NULL;
    if (entry == NULL || writer->done > 0) {
        ldm_set_error(error, INVALID, _("“%s”: more values than were declared"), writer->path);
        return false;
    }
    if (!ldm_atomic_file_write(writer->file, values, entry->count * ldm_dtype_size(entry->dtype),
                               error))
        return false;
    writer->done = entry->count;
    skip_empty(writer);
    return true;
}

bool ldm_file_writer_close(LdmFileWriter *writer, GError **error)
{
    if (writer->current == writer->entries->len)
        return ldm_atomic_file_commit(writer->file, error);
    const Entry *entry = g_ptr_array_index(writer->entries, writer->current);
    ldm_set_error(error, INVALID, _("“%s”: tensor %s has not been written"), writer->path,
                  entry->name);
    return false;
}
