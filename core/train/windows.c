/* Windows of pictures. In: a data set, what becomes of its pictures, a reader. Out: those that can
 * be used, and windows of them, drawn by (seed, step, place in the step). */
#include "train/windows.h"

#include "tensor/tensor.h"
#include "train/keyed.h"

#include <string.h>

LdmTensor *ldm_windows_read(const LdmWindows *windows, size_t example, size_t variant,
                            GError **error)
{
    const LdmTrainWatch *watch = windows->watch;
    const char *path = ldm_dataset_at(windows->dataset, example)->path;
    g_autoptr(LdmTensor) picture = watch->read(path, watch->read_data, error);

    return picture == NULL
               ? NULL
               : ldm_augment_picture(windows->augment, example, variant, picture, error);
}

/* Whether a picture can be read. */
static bool look(size_t example, void *data, GError **error)
{
    g_autoptr(LdmTensor) window = ldm_windows_read(data, example, 0, error);

    return window != NULL;
}

bool ldm_windows_find(LdmWindows *windows, const char *folder, const char *settings, GError **error)
{
    g_autofree char *path = folder != NULL ? g_build_filename(folder, ".pictures", NULL) : NULL;
    g_autofree char *key =
        g_strdup_printf("seed=%" G_GUINT64_FORMAT " %s", (guint64)windows->augment->seed,
                        settings != NULL ? settings : "");

    windows->found.path = path;
    windows->found.key = key;
    bool done =
        ldm_examples_find(&windows->found, windows->dataset, windows->watch, look, windows, error);
    windows->found.path = windows->found.key = NULL;
    return done;
}

void ldm_windows_clear(LdmWindows *windows)
{
    ldm_examples_clear(&windows->found);
}

bool ldm_windows_draw(const LdmWindows *windows, uint64_t step, size_t sample, size_t place,
                      LdmTensor *x, GError **error)
{
    LdmKeyed variant = ldm_keyed(windows->augment->seed, LDM_KEY_VARIANT, step, sample);
    size_t example = windows->found.examples[ldm_loop_example(windows->loop, step, sample)];
    g_autoptr(LdmTensor) window =
        ldm_windows_read(windows, example, (size_t)(ldm_keyed_next(&variant) >> 32), error);

    if (window == NULL)
        return false;
    size_t n = ldm_tensor_count(window);
    memcpy(ldm_tensor_f32(x) + place * n, window->data, n * sizeof(float));
    return true;
}
