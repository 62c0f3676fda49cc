/* Snapshots. In: an optimiser that follows two power profiles. Out: a few files in the run's
 * folder, and from them a model whose weights are averaged over another profile. */
#include "train/snapshots.h"

#include "base/error.h"
#include "base/folder-atomic.h"
#include "base/folder.h"
#include "kernels/kernels.h"
#include "train/check.h"
#include "train/model-write.h"
#include "weights/safetensors-write.h"
#include "weights/safetensors.h"

#include <glib/gstdio.h>
#include <inttypes.h>
#include <string.h>

#define NAME_FORMAT "step-%010" PRIu64 ".safetensors"

/* ---- while the run lasts ---- */

bool ldm_snapshot_due(uint64_t step, uint64_t steps, size_t count)
{
    return step * count / steps != (step - 1) * count / steps;
}

size_t ldm_snapshot_bytes(const LdmOptimiser *optimiser)
{
    size_t count = 0;

    for (size_t i = 0; i < ldm_optimiser_length(optimiser); i++)
        if (ldm_optimiser_at(optimiser, i)->param->trained)
            count += ldm_optimiser_at(optimiser, i)->count;
    return count * LDM_PROFILES * sizeof(uint16_t);
}

static char *folder_of(const char *run)
{
    return g_build_filename(run, "snapshots", NULL);
}

static void describe(LdmFileWriter *writer, LdmOptimiser *optimiser)
{
    const LdmOptimiserOptions *o = ldm_optimiser_options(optimiser);
    g_autofree char *taken =
        g_strdup_printf("%" G_GUINT64_FORMAT, (guint64)ldm_optimiser_state(optimiser)->taken);
    char width[G_ASCII_DTOSTR_BUF_SIZE];

    ldm_file_writer_describe(writer, "taken", taken);
    for (int k = 0; k < LDM_PROFILES; k++) {
        g_autofree char *key = g_strdup_printf("sigma_rel%d", k);
        ldm_file_writer_describe(writer, key, g_ascii_dtostr(width, sizeof width, o->profiles[k]));
    }
}

bool ldm_snapshot_write(LdmOptimiser *optimiser, const char *run, GError **error)
{
    g_autofree char *folder = folder_of(run);
    g_autofree char *name = g_strdup_printf(NAME_FORMAT, ldm_optimiser_state(optimiser)->step);
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autoptr(LdmFileWriter) writer = ldm_file_writer_new();
    size_t n = ldm_optimiser_length(optimiser);

    if (!ldm_folder_make(folder, error))
        return false;
    describe(writer, optimiser);
    for (size_t i = 0; i < LDM_PROFILES * n; i++) {
        const LdmTrained *t = ldm_optimiser_at(optimiser, i % n);
        g_autofree char *array = g_strdup_printf("%zu/%s", i / n, t->name);
        if (t->param->trained)
            ldm_file_writer_declare(writer, array, LDM_F16, t->param->rank, t->param->shape);
    }
    if (!ldm_file_writer_open(writer, path, error))
        return false;
    for (size_t i = 0; i < LDM_PROFILES * n; i++) {
        const LdmTrained *t = ldm_optimiser_at(optimiser, i % n);
        if (t->param->trained && !ldm_file_writer_put(writer, t->profiles[i / n], t->count, error))
            return false;
    }
    return ldm_file_writer_close(writer, error);
}

/* The step of a snapshot's name; 0 for anything else. */
static uint64_t step_of(const char *name)
{
    return g_str_has_prefix(name, "step-") && g_str_has_suffix(name, ".safetensors")
               ? g_ascii_strtoull(name + strlen("step-"), NULL, 10)
               : 0;
}

void ldm_snapshots_cut(const char *run, uint64_t step)
{
    g_autofree char *folder = folder_of(run);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        if (step_of(name) > step || g_str_has_prefix(name, ".pentimento-"))
            g_unlink(path);
    }
}

/* ---- afterwards ---- */

/* All of a run's. */
typedef struct {
    GPtrArray *files; /* LdmFiles, of one snapshot each */
    GArray *profiles; /* LdmPower, LDM_PROFILES of each */
    double *factors;  /* of each of these */
    size_t changed;   /* parameters */
} Snapshots;

static void snapshots_clear(Snapshots *all)
{
    g_ptr_array_unref(all->files);
    g_array_unref(all->profiles);
    g_free(all->factors);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Snapshots, snapshots_clear)

static bool damaged(const LdmFiles *files, GError **error)
{
    ldm_set_error(error, FORMAT, _("%s is damaged"), ldm_files_path(files));
    return false;
}

/* The number that a snapshot has under `key`, above 0; else 0. */
static double number_of(const LdmFiles *files, const char *key)
{
    const char *text = ldm_files_metadata(files, key);
    double value = text != NULL ? g_ascii_strtod(text, NULL) : 0.0;

    return value > 0.0 && value <= 1e15 ? value : 0.0;
}

static bool add_snapshot(Snapshots *all, const char *path, GError **error)
{
    LdmFiles *files = ldm_files_new();

    g_ptr_array_add(all->files, files);
    if (!ldm_files_add(files, path, error))
        return false;
    for (int k = 0; k < LDM_PROFILES; k++) {
        g_autofree char *key = g_strdup_printf("sigma_rel%d", k);
        double width = number_of(files, key);
        LdmPower power = {ldm_power_gamma(width), number_of(files, "taken")};
        if (!(width >= LDM_POWER_LEAST && width <= LDM_POWER_MOST) || power.t < 1.0)
            return damaged(files, error);
        g_array_append_val(all->profiles, power);
    }
    return true;
}

static int by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool open_snapshots(Snapshots *all, const char *run, GError **error)
{
    g_autofree char *folder = folder_of(run);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL)
        if (step_of(name) > 0)
            g_ptr_array_add(names, g_strdup(name));
    g_ptr_array_sort(names, by_name);
    for (guint i = 0; i < names->len; i++) {
        g_autofree char *path = g_build_filename(folder, g_ptr_array_index(names, i), NULL);
        if (!add_snapshot(all, path, error))
            return false;
    }
    if (names->len > 0)
        return true;
    ldm_set_error(error, MISSING,
                  _("there are no snapshots of averages in “%s”: train with ema-profiles"), folder);
    return false;
}

/* The weights `values` of a finished model, of a parameter that has snapshots, become their sum. */
static bool change(const char *name, size_t count, float *values, void *data, GError **error)
{
    Snapshots *all = data;
    g_autofree float *part = g_new(float, count);

    for (guint i = 0; i < all->profiles->len; i++) {
        const LdmFiles *files = g_ptr_array_index(all->files, i / LDM_PROFILES);
        g_autofree char *array = g_strdup_printf("%u/%s", i % LDM_PROFILES, name);
        const LdmFileTensor *t = ldm_files_find(files, array);
        if (t == NULL && i == 0)
            return true; /* it was not trained */
        if (t == NULL || !t->weights || t->bytes / (size_t)t->element != count)
            return damaged(files, error);
        ldm_convert_to_f32(t->data, t->dtype, part, count);
        for (size_t k = 0; k < count; k++)
            values[k] = (i > 0 ? values[k] : 0.0f) + (float)all->factors[i] * part[k];
    }
    all->changed++;
    return true;
}

bool ldm_snapshots_average(const char *run, double sigma_rel, const char *path, GError **error)
{
    g_auto(Snapshots)
        all = {.files = g_ptr_array_new_with_free_func((GDestroyNotify)ldm_files_free),
               .profiles = g_array_new(FALSE, FALSE, sizeof(LdmPower))};

    if (!ldm_option_check("sigma-rel", sigma_rel, LDM_POWER_LEAST, LDM_POWER_MOST, error) ||
        !ldm_folder_check_free(path, error) || !open_snapshots(&all, run, error))
        return false;
    guint n = all.profiles->len;
    LdmPower wanted = {ldm_power_gamma(sigma_rel), g_array_index(all.profiles, LdmPower, n - 1).t};
    all.factors = g_new(double, n);
    ldm_power_fit((const LdmPower *)(const void *)all.profiles->data, n, wanted, all.factors);
    g_autoptr(LdmAtomicFolder) folder = ldm_atomic_folder_new(path, error);
    if (folder == NULL ||
        !ldm_model_rewrite(run, ldm_atomic_folder_path(folder), change, &all, error))
        return false;
    if (all.changed > 0)
        return ldm_atomic_folder_publish(folder, false, error);
    ldm_set_error(error, MISSING, _("“%s” holds no finished model of the snapshots' kind"), run);
    return false;
}
