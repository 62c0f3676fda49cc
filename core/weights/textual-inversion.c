/* Textual inversion files. In: a safetensors file of one array. Out: a word and its rows for the
 * table of token embeddings, in f32; and the way back. */
#include "weights/textual-inversion.h"

#include "base/error.h"
#include "kernels/kernels.h"
#include "tensor/tensor.h"
#include "weights/safetensors-write.h"
#include "weights/safetensors.h"

#include <math.h>
#include <string.h>

#define WEB_UI_NAME "emb_params"

void ldm_inversion_clear(LdmInversion *inversion)
{
    g_clear_pointer(&inversion->word, g_free);
    g_clear_pointer(&inversion->rows, g_free);
}

/* The one array that is looked for. */
static const LdmFileTensor *find(const LdmFiles *files, GError **error)
{
    size_t n = ldm_files_length(files);
    const LdmFileTensor *t = n > 0 ? ldm_files_at(files, 0) : NULL;
    if (n == 1 || (n > 1 && (t = ldm_files_find(files, WEB_UI_NAME)) != NULL))
        return t;
    ldm_set_error(error, UNSUPPORTED,
                  _("%s has %zu tensors, expected one: it is no textual inversion for this kind of "
                    "model"),
                  ldm_files_path(files), n);
    return NULL;
}

static bool check(const LdmFileTensor *t, size_t width, GError **error)
{
    bool flat = t->rank == 1;
    size_t vectors = flat ? 1 : t->shape[0], found_width = flat ? t->shape[0] : t->shape[1];
    if (!t->weights) {
        ldm_set_error(error, UNSUPPORTED,
                      _("%s: tensor %s is stored as %s; only F32, F16 and BF16 "
                        "weights are read: convert the model"),
                      ldm_file_path(t->file), t->name, t->type);
        return false;
    }
    if ((flat || t->rank == 2) && found_width == width && vectors > 0 &&
        vectors <= LDM_INVERSION_VECTORS)
        return true;
    g_autofree char *found = ldm_shape_string(MIN(t->rank, LDM_MAX_RANK), t->shape);
    ldm_set_error(error, SHAPE,
                  _("%s: tensor %s has shape %s, expected [1 to %d, %zu]: the embedding was made "
                    "for another kind of model"),
                  ldm_file_path(t->file), t->name, found, LDM_INVERSION_VECTORS, width);
    return false;
}

/* The tensor's name, or the file's without folder and ending. */
static char *word_of(const LdmFileTensor *t, const char *path, GError **error)
{
    g_autofree char *word =
        strcmp(t->name, WEB_UI_NAME) != 0 ? g_strdup(t->name) : g_path_get_basename(path);
    char *dot = strrchr(word, '.');
    if (strcmp(t->name, WEB_UI_NAME) == 0 && dot != NULL && dot != word)
        *dot = '\0';
    if (g_utf8_validate(word, -1, NULL) && *g_strstrip(word) != '\0')
        return g_steal_pointer(&word);
    ldm_set_error(error, FORMAT, _("%s names no word that prompts could have"), path);
    return NULL;
}

bool ldm_inversion_load(const char *path, size_t width, LdmInversion *inversion, GError **error)
{
    g_autoptr(LdmFiles) files = ldm_files_new();
    *inversion = (LdmInversion){0};
    if (!ldm_files_add(files, path, error))
        return false;
    const LdmFileTensor *t = find(files, error);
    if (t == NULL || !check(t, width, error) || (inversion->word = word_of(t, path, error)) == NULL)
        return false;
    size_t count = t->bytes / (size_t)t->element;
    g_autofree void *aligned = g_memdup2(t->data, t->bytes);
    inversion->vectors = count / width;
    inversion->rows = g_new(float, count);
    ldm_convert_to_f32(aligned, t->dtype, inversion->rows, count);
    for (size_t i = 0; i < count; i++)
        if (!isfinite(inversion->rows[i])) {
            ldm_file_tensor_set_nonfinite(t, error);
            return false;
        }
    return true;
}

bool ldm_inversion_write(const LdmInversion *inversion, size_t width, const char *path,
                         GError **error)
{
    g_autoptr(LdmFileWriter) writer = ldm_file_writer_new();
    ldm_file_writer_declare(writer, inversion->word, LDM_F32, 2,
                            (size_t[]){inversion->vectors, width});
    return ldm_file_writer_open(writer, path, error) &&
           ldm_file_writer_put(writer, inversion->rows, inversion->vectors * width, error) &&
           ldm_file_writer_close(writer, error);
}
