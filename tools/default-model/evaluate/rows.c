/* The data set's lists. In: train.tsv or held-out.tsv (columns file, caption, language, kind,
 * style, concept and others). Out: rows, and their pictures in a network's size and range. */
#include "base/error.h"
#include "cli/picture-io.h"
#include "evaluate.h"
#include "tensor/tensor.h"
#include "train/augment.h"

#include <string.h>

#define COLUMNS 6

static void row_free(gpointer data)
{
    EvaluateRow *row = data;
    char *texts[] = {row->path, row->caption, row->language, row->kind, row->style, row->concept};

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        g_free(texts[i]);
    g_free(row);
}

GPtrArray *evaluate_rows_read(const char *folder, const char *name, GError **error)
{
    static const char head[] = "file\tcaption\tlanguage\tkind\tstyle\tconcept\t";
    g_autoptr(GPtrArray) rows = g_ptr_array_new_with_free_func(row_free);
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autofree char *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, error)) {
        g_prefix_error(error, "./dev train-default --stage data makes the data set. ");
        return NULL;
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (guint i = 0; lines[i] != NULL && *lines[i] != '\0'; i++) {
        g_auto(GStrv) fields = g_strsplit(lines[i], "\t", -1);
        bool good = i == 0 ? g_str_has_prefix(lines[i], head) : g_strv_length(fields) >= COLUMNS;
        if (!good) {
            ldm_set_error(error, FORMAT, "%s, line %u is not of a list that make-set.py writes",
                          path, i + 1);
            return NULL;
        }
        if (i == 0)
            continue;
        EvaluateRow *row = g_new0(EvaluateRow, 1);
        *row = (EvaluateRow){.path = g_build_filename(folder, fields[0], NULL),
                             .caption = g_strdup(fields[1]),
                             .language = g_strdup(fields[2]),
                             .kind = g_strdup(fields[3]),
                             .style = g_strdup(fields[4]),
                             .concept = g_strdup(fields[5])};
        g_ptr_array_add(rows, row);
    }
    return g_steal_pointer(&rows);
}

GPtrArray *evaluate_rows_pick(const GPtrArray *rows, EvaluateWanted *wanted, size_t count)
{
    g_autoptr(GPtrArray) some = g_ptr_array_new();
    GPtrArray *picked = g_ptr_array_new();

    for (guint i = 0; i < rows->len; i++)
        if (wanted == NULL || wanted(g_ptr_array_index(rows, i)))
            g_ptr_array_add(some, g_ptr_array_index(rows, i));
    for (size_t i = 0, n = MIN(count, some->len); i < n; i++)
        g_ptr_array_add(picked, g_ptr_array_index(some, i * some->len / n));
    return picked;
}

LdmTensor *evaluate_resized(const LdmTensor *picture, size_t side, GError **error)
{
    const LdmAugment whole = {.side = side};

    return ldm_augment_picture(&whole, 0, 0, picture, error);
}

LdmTensor *evaluate_row_picture(const EvaluateRow *row, size_t side, GError **error)
{
    g_autoptr(LdmTensor) picture = pentimento_picture_read(row->path, NULL, error);

    return picture != NULL ? evaluate_resized(picture, side, error) : NULL;
}

LdmTensor *evaluate_rgb(const LdmTensor *picture, float scale, float shift, GError **error)
{
    size_t C = picture->shape[3];
    LdmTensor *rgb = ldm_tensor_new_nhwc(1, picture->shape[1], picture->shape[2], 3, error);

    for (size_t i = 0; rgb != NULL && i < ldm_tensor_count(rgb); i++) {
        float value = scale * ldm_tensor_f32(picture)[i / 3 * C + i % 3] + shift;
        ldm_tensor_f32(rgb)[i] = CLAMP(value, 0.0f, 1.0f);
    }
    return rgb;
}
