/* The examples of a run. In: a data set, a function that looks at one example. Out: those that can
 * be used, and a sentence about each of the others. Decoding all pictures takes long where they
 * are many: a run that goes on looks at those alone that could not be used before. */
#include "train/examples.h"

#include "base/error.h"
#include "base/file-atomic.h"

#include <string.h>

#define VERSION "examples 1"

void ldm_examples_clear(LdmExamples *examples)
{
    g_clear_pointer(&examples->examples, g_free);
    g_clear_pointer(&examples->skipped, g_ptr_array_unref);
}

bool ldm_examples_end(const GError *reason)
{
    return g_error_matches(reason, LDM_ERROR, LDM_ERROR_CANCELLED) ||
           g_error_matches(reason, LDM_ERROR, LDM_ERROR_MEMORY);
}

/* ---- what is remembered: a line with the key's digest, then the numbers of those left out ---- */

static char *first_line(const LdmExamples *examples)
{
    g_autofree char *digest = g_compute_checksum_for_string(G_CHECKSUM_SHA256, examples->key, -1);

    return g_strdup_printf(VERSION " %.32s", digest);
}

/* Which of `total` are known to be of use; NULL: nothing is known. */
static bool *recall(const LdmExamples *examples, size_t total)
{
    g_autofree char *text = NULL;

    if (examples->path == NULL || !g_file_get_contents(examples->path, &text, NULL, NULL))
        return NULL;
    g_autofree char *first = first_line(examples);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    if (g_strcmp0(lines[0], first) != 0)
        return NULL;
    g_autofree bool *known = g_new(bool, total);
    memset(known, true, total * sizeof(bool));
    for (guint i = 1; lines[i] != NULL && *lines[i] != '\0'; i++) {
        guint64 number;
        if (!g_ascii_string_to_unsigned(lines[i], 10, 0, total - 1, &number, NULL))
            return NULL;
        known[number] = false;
    }
    return g_steal_pointer(&known);
}

static bool remember(const LdmExamples *examples, size_t total, GError **error)
{
    g_autofree char *first = first_line(examples);
    g_autoptr(GString) text = g_string_new(first);

    g_string_append_c(text, '\n');
    for (size_t i = 0, used = 0; i < total; i++) {
        if (used < examples->count && examples->examples[used] == i)
            used++;
        else
            g_string_append_printf(text, "%zu\n", i);
    }
    return ldm_file_write_atomic(examples->path, text->str, text->len, error);
}

/* ---- */

bool ldm_examples_find(LdmExamples *examples, const LdmDataset *dataset, const LdmTrainWatch *watch,
                       LdmExampleLook *look, void *data, GError **error)
{
    size_t total = ldm_dataset_length(dataset);
    g_autofree bool *known = recall(examples, total);

    examples->examples = g_new(size_t, total);
    examples->skipped = g_ptr_array_new_with_free_func(g_free);
    for (size_t i = 0; i < total; i++) {
        g_autoptr(GError) reason = NULL;
        if (known != NULL && known[i]) {
            examples->examples[examples->count++] = i;
            continue;
        }
        if (watch->encoding != NULL)
            watch->encoding(i, total, watch->data);
        if (ldm_cancelled(watch->cancellable, error))
            return false;
        if (look(i, data, &reason)) {
            examples->examples[examples->count++] = i;
        } else if (ldm_examples_end(reason)) {
            g_propagate_error(error, g_steal_pointer(&reason));
            return false;
        } else {
            g_ptr_array_add(examples->skipped, ldm_dataset_fault(dataset, i, reason));
        }
    }
    if (examples->count > 0)
        return examples->path == NULL || !ldm_ranks_first(watch->ranks) ||
               remember(examples, total, error);
    ldm_set_error(error, MISSING, _("no picture of “%s” can be used. %s"),
                  ldm_dataset_path(dataset), (const char *)g_ptr_array_index(examples->skipped, 0));
    return false;
}
