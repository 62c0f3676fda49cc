/* The finished model. In: the folder that training began with, and the optimiser. Out: a folder of
 * the same form; files of what was not trained are copied, a network's weights are written from the
 * moving averages. */
#include "train/model-write.h"

#include "base/error.h"
#include "base/file-atomic.h"
#include "base/folder.h"
#include "kernels/kernels.h"
#include "weights/config-write.h"
#include "weights/file.h"
#include "weights/json.h"
#include "weights/safetensors-write.h"
#include "weights/safetensors.h"

#include <string.h>

/* Subfolders, the table trained in each, and its weights' file. */
static const struct {
    const char *folder, *part, *weights;
} parts[] = {
    {"unet", "unet/", "diffusion_pytorch_model.safetensors"},
    {"text_encoder", "text/", "model.safetensors"},
    {"vae", "vae/", "diffusion_pytorch_model.safetensors"},
    {"vqvae", "vae/", "diffusion_pytorch_model.safetensors"},
    {"tokenizer", NULL, NULL},
    {"scheduler", NULL, NULL},
    {"preview", NULL, NULL},
    {"vae_tiny", NULL, NULL},
    {"safety_checker", NULL, NULL},
    {"feature_extractor", NULL, NULL},
};

bool ldm_model_writable(const LdmModel *model, GError **error)
{
    if (strcmp(model->info.layout, "diffusers") == 0)
        return true;
    ldm_set_error(error, UNSUPPORTED,
                  _("“%s” is a single file; training starts from a diffusers folder"),
                  model->info.path);
    return false;
}

/* A model without index is one, too; its parts that tell of numbers have a configuration each. */
static bool has_model(const char *folder)
{
    static const char *const signs[] = {"model_index.json",         "unet/config.json",
                                        "text_encoder/config.json", "vae/config.json",
                                        "vqvae/config.json",        "preview/config.json",
                                        "vae_tiny/config.json",     "image_tower/config.json"};

    for (size_t i = 0; i < G_N_ELEMENTS(signs); i++) {
        g_autofree char *path = g_build_filename(folder, signs[i], NULL);
        if (g_file_test(path, G_FILE_TEST_EXISTS))
            return true;
    }
    return false;
}

static bool has_weights(const char *folder)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL)
        if (name[0] != '.' && ldm_file_is_weights(name))
            return true;
    return false;
}

bool ldm_model_check_room(const char *folder, GError **error)
{
    if (!has_model(folder) && !has_weights(folder))
        return true;
    ldm_set_error(error, INVALID,
                  _("“%s” holds a model already, which would be lost: choose another folder, or "
                    "move it away"),
                  folder);
    return false;
}

/* Whom the model it began with is owed to; not its card, which tells what it could do. */
static bool is_notice(const char *name)
{
    return g_str_has_prefix(name, "ATTRIBUTION") || g_str_has_prefix(name, "LICENSE") ||
           g_str_has_prefix(name, "COPYING") || g_str_has_prefix(name, "NOTICE");
}

static bool is_trained(const LdmOptimiser *optimiser, const char *part)
{
    for (size_t i = 0; part != NULL && i < ldm_optimiser_length(optimiser); i++)
        if (g_str_has_prefix(ldm_optimiser_at(optimiser, i)->name, part) &&
            ldm_optimiser_at(optimiser, i)->param->trained)
            return true;
    return false;
}

/* The denoiser's weights know the latents of the encoder that they were trained with. */
static bool is_stale(const LdmOptimiser *optimiser, const char *folder)
{
    return strcmp(folder, "unet") == 0 && is_trained(optimiser, "vae/encoder.");
}

/* And so do the tiny decoder's, which is nothing without them. */
static bool is_gone(const LdmOptimiser *optimiser, const char *folder)
{
    bool tiny = strcmp(folder, "preview") == 0 || strcmp(folder, "vae_tiny") == 0;
    return tiny && is_trained(optimiser, "vae/encoder.");
}

static bool all_but_weights(const char *name)
{
    return !ldm_file_is_weights(name);
}

/* Those files of a folder that `wanted` says, or all; not its folders. */
static bool copy_folder(const char *from, const char *to, bool (*wanted)(const char *name),
                        GError **error)
{
    g_autoptr(GDir) dir = g_dir_open(from, 0, NULL);
    const char *name;

    if (!ldm_folder_make(to, error))
        return false;
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *source = g_build_filename(from, name, NULL);
        g_autofree char *target = g_build_filename(to, name, NULL);
        if (name[0] == '.' || !g_file_test(source, G_FILE_TEST_IS_REGULAR) ||
            (wanted != NULL && !wanted(name)))
            continue;
        if (!ldm_file_copy_atomic(source, target, error))
            return false;
    }
    return true;
}

static bool write_weights(const LdmOptimiser *optimiser, const char *part, LdmDtype dtype,
                          const char *path, GError **error)
{
    g_autoptr(LdmFileWriter) writer = ldm_file_writer_new();
    size_t n = ldm_optimiser_length(optimiser);

    for (size_t i = 0; i < n; i++) {
        const LdmTrained *trained = ldm_optimiser_at(optimiser, i);
        if (g_str_has_prefix(trained->name, part))
            ldm_file_writer_declare(writer, trained->param->name, dtype, trained->param->rank,
                                    trained->param->shape);
    }
    if (!ldm_file_writer_open(writer, path, error))
        return false;
    for (size_t i = 0; i < n; i++) {
        const LdmTrained *trained = ldm_optimiser_at(optimiser, i);
        if (g_str_has_prefix(trained->name, part) &&
            !ldm_file_writer_put(writer, trained->ema, trained->count, error))
            return false;
    }
    return ldm_file_writer_close(writer, error);
}

/* The autoencoder's configuration, where training has changed it. */
static bool write_vae(const LdmVaeConfig *vae, const char *folder, GError **error)
{
    g_autofree char *path =
        g_build_filename(folder, ldm_source_vae_folder(folder), "config.json", NULL);
    g_autoptr(JsonObject) object = ldm_json_load(path, LDM_CONFIG_BYTES, error);

    if (object == NULL)
        return false;
    ldm_config_write_regulariser(object, vae);
    return ldm_json_write(path, object, error);
}

/* model_index.json, which names the autoencoder's class, too. */
static bool write_index(const char *from, const LdmVaeConfig *vae, const char *to, GError **error)
{
    g_autofree char *index = g_build_filename(from, "model_index.json", NULL);
    g_autofree char *target = g_build_filename(to, "model_index.json", NULL);

    if (!g_file_test(index, G_FILE_TEST_EXISTS))
        return true;
    if (vae == NULL)
        return ldm_file_copy_atomic(index, target, error);
    g_autoptr(JsonObject) object = ldm_json_load(index, LDM_CONFIG_BYTES, error);
    if (object == NULL)
        return false;
    ldm_config_write_vae_class(object, ldm_source_vae_folder(to), vae);
    return ldm_json_write(target, object, error);
}

bool ldm_model_write(const LdmModel *model, const LdmOptimiser *optimiser, LdmDtype dtype,
                     const LdmVaeConfig *vae, const char *folder, GError **error)
{
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        g_autofree char *from = g_build_filename(model->info.path, parts[i].folder, NULL);
        g_autofree char *to = g_build_filename(folder, parts[i].folder, NULL);
        bool trained = is_trained(optimiser, parts[i].part);
        bool leave = trained || is_stale(optimiser, parts[i].folder);
        if (!g_file_test(from, G_FILE_TEST_IS_DIR) || is_gone(optimiser, parts[i].folder))
            continue; /* the model has no such part */
        ldm_folder_tidy(to);
        if (!copy_folder(from, to, leave ? all_but_weights : NULL, error))
            return false;
        if (!trained)
            continue;
        g_autofree char *weights = g_build_filename(to, parts[i].weights, NULL);
        if (!write_weights(optimiser, parts[i].part, dtype, weights, error))
            return false;
    }
    return (vae == NULL || write_vae(vae, folder, error)) &&
           copy_folder(model->info.path, folder, is_notice, error) &&
           write_index(model->info.path, vae, folder, error);
}

/* ---- a finished model with other weights ---- */

static bool rewrite_tensor(LdmFileWriter *writer, const LdmFileTensor *t, const char *part,
                           LdmWeightsChange change, void *data, GError **error)
{
    size_t count = t->bytes / (size_t)t->element;
    g_autofree float *values = g_new(float, count);
    g_autofree char *name = g_strconcat(part, t->name, NULL);

    ldm_convert_to_f32(t->data, t->dtype, values, count);
    return change(name, count, values, data, error) &&
           ldm_file_writer_put(writer, values, count, error);
}

static bool rewrite_weights(const char *from, const char *to, const char *part,
                            LdmWeightsChange change, void *data, GError **error)
{
    g_autoptr(LdmFiles) files = ldm_files_new();
    g_autoptr(LdmFileWriter) writer = ldm_file_writer_new();

    if (!ldm_files_add(files, from, error))
        return false;
    for (size_t i = 0; i < ldm_files_length(files); i++) {
        const LdmFileTensor *t = ldm_files_at(files, i);
        if (!t->weights || t->rank > LDM_MAX_RANK) {
            ldm_set_error(error, FORMAT, _("%s: the tensor %s holds no weights"), from, t->name);
            return false;
        }
        ldm_file_writer_declare(writer, t->name, t->dtype, t->rank, t->shape);
    }
    if (!ldm_file_writer_open(writer, to, error))
        return false;
    for (size_t i = 0; i < ldm_files_length(files); i++)
        if (!rewrite_tensor(writer, ldm_files_at(files, i), part, change, data, error))
            return false;
    return ldm_file_writer_close(writer, error);
}

bool ldm_model_rewrite(const char *from, const char *folder, LdmWeightsChange change, void *data,
                       GError **error)
{
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        const char *file = parts[i].weights != NULL ? parts[i].weights : "";
        g_autofree char *own = g_build_filename(from, parts[i].folder, NULL);
        g_autofree char *to = g_build_filename(folder, parts[i].folder, NULL);
        g_autofree char *weights = g_build_filename(own, file, NULL);
        g_autofree char *changed = g_build_filename(to, file, NULL);
        bool has = g_file_test(weights, G_FILE_TEST_IS_REGULAR);
        if (!g_file_test(own, G_FILE_TEST_IS_DIR))
            continue;
        if (!copy_folder(own, to, has ? all_but_weights : NULL, error) ||
            (has && !rewrite_weights(weights, changed, parts[i].part, change, data, error)))
            return false;
    }
    return copy_folder(from, folder, is_notice, error) && write_index(from, NULL, folder, error);
}

bool ldm_model_write_table(const LdmOptimiser *optimiser, const char *part, LdmDtype dtype,
                           const char *folder, const char *config, GError **error)
{
    g_autofree char *prefix = g_strconcat(part, "/", NULL);
    g_autofree char *json = g_build_filename(folder, "config.json", NULL);
    g_autofree char *weights = g_build_filename(folder, "model.safetensors", NULL);

    return ldm_folder_make(folder, error) &&
           ldm_file_write_atomic(json, config, strlen(config), error) &&
           write_weights(optimiser, prefix, dtype, weights, error);
}

/* ---- the tiny decoder ---- */

bool ldm_model_write_tiny(const LdmTinyConfig *config, const LdmOptimiser *optimiser,
                          const char *folder, GError **error)
{
    g_autofree char *preview = g_build_filename(folder, "preview", NULL);
    g_autofree char *path = g_build_filename(preview, "config.json", NULL);
    g_autofree char *weights =
        g_build_filename(preview, "diffusion_pytorch_model.safetensors", NULL);
    g_autoptr(JsonObject) object = ldm_config_write_tiny(config);

    return ldm_folder_make(preview, error) &&
           write_weights(optimiser, "tiny/", LDM_F16, weights, error) &&
           ldm_json_write(path, object, error);
}
