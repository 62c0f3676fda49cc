/* Binding: the parameter table of a network in, the same table with data pointers into the mapped
 * files out. Every fault names the file, the tensor as the file calls it, what was expected and
 * what was found. */
#include "weights/source.h"

#include "base/error.h"
#include "tensor/tensor.h"
#include "weights/stored.h"

#include <string.h>

/* Arrays that training or other frameworks leave in files and no forward pass needs. */
static const char *const harmless[] = {
    "position_ids", "logit_scale", "text_projection", "text_projection.weight", "attn_mask",
};

LdmSource *ldm_source_open(const char *path, GError **error)
{
    return ldm_source_open_wanted(path, &(LdmWanted){0}, error);
}

LdmSource *ldm_source_open_wanted(const char *path, const LdmWanted *wanted, GError **error)
{
    g_autoptr(LdmSource) source = g_new0(LdmSource, 1);
    source->path = g_strdup(path);
    source->wanted = *wanted;
    source->files = g_ptr_array_new_with_free_func((GDestroyNotify)ldm_files_free);
    bool folder = g_file_test(path, G_FILE_TEST_IS_DIR);
    if (!folder && (wanted->made_new | wanted->made_if_missing) != 0) {
        ldm_set_error(error, UNSUPPORTED,
                      _("“%s” is a single file; training starts from a diffusers folder"), path);
        return NULL;
    }
    if (!(folder ? ldm_source_open_folder(source, error) : ldm_source_open_single(source, error)))
        return NULL;
    return ldm_model_config_check(&source->config, path, error) ? g_steal_pointer(&source) : NULL;
}

void ldm_source_free(LdmSource *source)
{
    if (source == NULL)
        return;
    for (int i = 0; i < LDM_N_PARTS; i++) {
        g_free(source->parts[i].prefix);
        g_free(source->parts[i].region);
    }
    g_ptr_array_unref(source->files);
    g_free(source->path);
    g_free(source->vocab);
    g_free(source->merges);
    g_free(source);
}

/* 1x1 convolutions and linear layers hold the same numbers: [O, I, 1, 1] and [O, I] agree. */
static bool same_shape(const LdmParam *param, int rank, const size_t *shape)
{
    if (param->rank != rank && !(param->rank + rank == 6 && MAX(param->rank, rank) == 4))
        return false;
    for (int i = 0; i < LDM_MAX_RANK; i++)
        if (param->shape[i] != shape[i])
            return false;
    return true;
}

static bool check_shape(const LdmParam *param, const LdmFileTensor *t, const size_t *shape,
                        GError **error)
{
    if (t->rank >= 1 && t->rank <= LDM_MAX_RANK && same_shape(param, t->rank, shape))
        return true;
    return ldm_file_tensor_set_shape(t, param->rank, param->shape, error);
}

/* One parameter; `third` 0..2 takes that third of the rows, -1 all of them. */
static bool bind(LdmFiles *files, LdmParam *param, const LdmFileTensor *t, int third,
                 GError **error)
{
    size_t shape[LDM_MAX_RANK];
    memcpy(shape, t->shape, sizeof shape);
    size_t bytes = t->bytes;
    const uint8_t *data = t->data;
    if (!t->weights) {
        ldm_set_error(error, UNSUPPORTED,
                      _("%s: tensor %s is stored as %s; only F32, F16 and BF16 "
                        "weights are read: convert the model"),
                      ldm_file_path(t->file), t->name, t->type);
        return false;
    }
    if (third >= 0 && shape[0] % 3 == 0) {
        shape[0] /= 3;
        bytes /= 3;
        data += bytes * (size_t)third;
    }
    if (!check_shape(param, t, shape, error))
        return false;
    param->copied = (uintptr_t)data % (uintptr_t)t->element != 0;
    if (param->copied) {
        data = ldm_files_copy(files, data, bytes, error);
        if (data == NULL)
            return false;
    }
    param->dtype = t->dtype;
    param->data = data;
    return true;
}

/* The array that holds a parameter, by the file's name for it. */
static const LdmFileTensor *find(const LdmPartFiles *part, const char *name, int *third,
                                 char **file_name)
{
    g_autofree char *bare = ldm_name_to_file(&part->naming, name);
    *third = -1;
    *file_name = g_strconcat(part->prefix, bare != NULL ? bare : name, NULL);
    size_t length = strlen(*file_name);
    if (length > 3 && (*file_name)[length - 1] == ']') {
        *third = (*file_name)[length - 2] - '0';
        (*file_name)[length - 3] = '\0';
    }
    return bare == NULL ? NULL : ldm_files_find(part->files, *file_name);
}

static bool is_harmless(const LdmPartFiles *part, const char *name)
{
    const char *bare = name + strlen(part->region);
    for (size_t i = 0; i < G_N_ELEMENTS(harmless); i++) {
        if (g_str_has_suffix(bare, harmless[i])) {
            size_t before = strlen(bare) - strlen(harmless[i]);
            if (before == 0 || bare[before - 1] == '.')
                return true;
        }
    }
    /* The autoencoder's discriminator and moving averages. */
    return part->naming.table == LDM_NAMES_LDM_VAE &&
           (g_str_has_prefix(bare, "loss.") || g_str_has_prefix(bare, "model_ema."));
}

static bool check_extra(const LdmPartFiles *part, GHashTable *used, GError **error)
{
    for (size_t i = 0; i < ldm_files_length(part->files); i++) {
        const LdmFileTensor *t = ldm_files_at(part->files, i);
        if (!g_str_has_prefix(t->name, part->region) || g_hash_table_contains(used, t) ||
            is_harmless(part, t->name))
            continue;
        ldm_set_error(error, FORMAT,
                      _("%s: tensor %s belongs to nothing in this network: the file "
                        "is of another kind than its configuration says"),
                      ldm_file_path(t->file), t->name);
        return false;
    }
    return true;
}

static void fail_lacking(const LdmFiles *files, size_t lacking, const LdmParams *params,
                         const char *first, GError **error)
{
    ldm_set_error(error, MISSING,
                  _("%s lacks %zu of %zu tensors, the first is %s: the file is incomplete, get "
                    "it again"),
                  ldm_files_path(files), lacking, ldm_params_length(params), first);
}

bool ldm_source_bind(LdmSource *source, LdmPart id, LdmParams *params, GError **error)
{
    return (source->wanted.made_new & 1u << id) != 0 ||
           ldm_part_bind(&source->parts[id], params, error);
}

bool ldm_part_bind(const LdmPartFiles *part, LdmParams *params, GError **error)
{
    g_autoptr(GHashTable) used = g_hash_table_new(NULL, NULL);
    g_autofree char *missing = NULL;
    size_t lacking = 0;
    for (size_t i = 0; i < ldm_params_length(params); i++) {
        LdmParam *param = ldm_params_at(params, i);
        g_autofree char *name = NULL;
        int third;
        const LdmFileTensor *t = find(part, param->name, &third, &name);
        LdmStored stored = {0};
        if (t == NULL && param->coarse)
            stored = ldm_stored_find(part->files, name);
        if (stored.bytes != NULL) {
            if (!ldm_stored_bind(part->files, param, &stored, error))
                return false;
            g_hash_table_add(used, (gpointer)stored.bytes);
            g_hash_table_add(used, (gpointer)stored.scales);
        } else if (t == NULL && lacking++ == 0) {
            g_autofree char *shape = ldm_shape_string(param->rank, param->shape);
            missing = g_strdup_printf("%s %s", name, shape);
        } else if (t != NULL) {
            if (!bind(part->files, param, t, third, error))
                return false;
            g_hash_table_add(used, (gpointer)t);
        }
    }
    ldm_files_copy_end(part->files);
    if (missing != NULL) {
        fail_lacking(part->files, lacking, params, missing, error);
        return false;
    }
    return check_extra(part, used, error);
}

bool ldm_files_bind(LdmFiles *files, const char *prefix, LdmParams *params, GError **error)
{
    g_autofree char *missing = NULL;
    size_t lacking = 0;
    for (size_t i = 0; i < ldm_params_length(params); i++) {
        LdmParam *param = ldm_params_at(params, i);
        g_autofree char *name = g_strconcat(prefix, param->name, NULL);
        const LdmFileTensor *t = ldm_files_find(files, name);
        if (t == NULL && lacking++ == 0)
            missing = g_steal_pointer(&name);
        else if (t != NULL && !bind(files, param, t, -1, error))
            return false;
    }
    if (lacking > 0)
        fail_lacking(files, lacking, params, missing, error);
    return lacking == 0;
}
