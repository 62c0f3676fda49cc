/* The examples of a run. In: a data set, a function that looks at one example. Out: those that can
 * be used, and a sentence about each of the others. */
#include "train/examples.h"

#include "base/error.h"

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

bool ldm_examples_find(LdmExamples *examples, const LdmDataset *dataset, const LdmTrainWatch *watch,
                       LdmExampleLook *look, void *data, GError **error)
{
    size_t total = ldm_dataset_length(dataset);

    examples->examples = g_new(size_t, total);
    examples->skipped = g_ptr_array_new_with_free_func(g_free);
    for (size_t i = 0; i < total; i++) {
        g_autoptr(GError) reason = NULL;
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
        return true;
    ldm_set_error(error, MISSING, _("no picture of “%s” can be used. %s"),
                  ldm_dataset_path(dataset), (const char *)g_ptr_array_index(examples->skipped, 0));
    return false;
}
