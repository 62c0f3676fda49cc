/* Converting a model. In: one that is loaded, from whatever layout. Out: a diffusers folder with
 * its weights in another dtype. It is filled under a hidden name and takes its own when it is
 * whole. A folder's files are copied, those of a single file are made from its configuration. */
#include "base/error.h"
#include "base/file-atomic.h"
#include "base/folder-atomic.h"
#include "base/folder.h"
#include "decode/tiny-decoder.h"
#include "pipeline/data-path.h"
#include "pipeline/model.h"
#include "pipeline/progress.h"
#include "weights/config-write.h"
#include "weights/file.h"
#include "weights/table-write.h"
#include "weights/tiny.h"

#include <glib/gstdio.h>
#include <string.h>

#define INDEX "model_index.json"

/* A file that goes along as it is. */
typedef struct {
    char *from, *to; /* a path; relative to the folder */
    uint64_t bytes;
} Copy;

typedef struct {
    const LdmModel *model;
    LdmDtype dtype;
    const char *vae;     /* the autoencoder's subfolder */
    bool single;         /* what is converted is one file */
    LdmParams *text;     /* the text encoder without layers that are never run, or NULL */
    GPtrArray *copies;   /* Copy */
    LdmTinySource *tiny; /* a tiny decoder beside a single file, or NULL */
    LdmParams *tiny_params;
    uint64_t weight_bytes, bytes;
    uint64_t wrote;
    LdmMeter meter;
    GCancellable *cancellable;
    LdmAtomicFolder *begun; /* the folder that is being filled, or NULL */
} Job;

static void copy_free(gpointer data)
{
    Copy *copy = data;
    g_free(copy->from);
    g_free(copy->to);
    g_free(copy);
}

static void job_clear(Job *job)
{
    g_clear_pointer(&job->copies, g_ptr_array_unref);
    g_clear_pointer(&job->tiny, ldm_tiny_source_free);
    g_clear_pointer(&job->tiny_params, ldm_params_free);
    g_clear_pointer(&job->text, ldm_params_free);
    g_clear_pointer(&job->begun, ldm_atomic_folder_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Job, job_clear)

/* ---- what goes along ---- */

static void add_copy(Job *job, const char *from, const char *to)
{
    GStatBuf info;
    Copy *copy = g_new0(Copy, 1);
    copy->from = g_strdup(from);
    copy->to = g_strdup(to);
    copy->bytes = g_stat(from, &info) == 0 && info.st_size > 0 ? (uint64_t)info.st_size : 0;
    job->bytes += copy->bytes;
    g_ptr_array_add(job->copies, copy);
}

/* The regular files of a subfolder, or of the model's own folder ("."). */
static void add_folder(Job *job, const char *name, bool weights)
{
    g_autofree char *path = g_build_filename(job->model->info.path, name, NULL);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *file;
    while (dir != NULL && (file = g_dir_read_name(dir)) != NULL) {
        g_autofree char *from = g_build_filename(path, file, NULL);
        g_autofree char *to = g_build_filename(name, file, NULL);
        if (file[0] != '.' && strcmp(file, INDEX) != 0 && (weights || !ldm_file_is_weights(file)) &&
            g_file_test(from, G_FILE_TEST_IS_REGULAR))
            add_copy(job, from, to);
    }
}

static void add_folders(Job *job)
{
    static const char *const networks[] = {"unet", "vae", "vqvae", "text_encoder"};
    static const char *const others[] = {"tokenizer", "scheduler",      "preview",
                                         "vae_tiny",  "safety_checker", "feature_extractor"};
    g_autofree char *index = g_build_filename(job->model->info.path, INDEX, NULL);
    add_folder(job, ".", false);
    for (size_t i = 0; i < G_N_ELEMENTS(networks); i++)
        add_folder(job, networks[i], false);
    for (size_t i = 0; i < G_N_ELEMENTS(others); i++)
        add_folder(job, others[i], true);
    if (g_file_test(index, G_FILE_TEST_IS_REGULAR)) /* the last: it makes the folder a model */
        add_copy(job, index, INDEX);
}

/* Single files have CLIP's own vocabulary, and perhaps a tiny decoder beside them. */
static bool add_for_single(Job *job, GError **error)
{
    static const char *const files[] = {"vocab.json", "merges.txt", "LICENSE"};
    for (size_t i = 0; job->model->config.has_text && i < G_N_ELEMENTS(files); i++) {
        g_autofree char *name = g_build_filename("tokenizer/clip", files[i], NULL);
        g_autofree char *to = g_build_filename("tokenizer", files[i], NULL);
        g_autofree char *from = ldm_data_path(name, error);
        if (from == NULL)
            return false;
        add_copy(job, from, to);
    }
    g_autofree char *tiny = ldm_tiny_source_find(job->model->info.path);
    if (tiny == NULL)
        return true;
    job->tiny = ldm_tiny_source_open(tiny, error);
    if (job->tiny == NULL)
        return false;
    job->tiny_params = ldm_params_new();
    ldm_tiny_decoder_free(ldm_tiny_decoder_new(&job->tiny->config, job->tiny_params));
    return ldm_part_bind(&job->tiny->part, job->tiny_params, error);
}

/* SD 2's single files hold one layer more than is run; folders do not. */
static LdmParams *run_layers(const LdmModel *model)
{
    LdmTextConfig config = model->config.text;
    LdmParams *params = ldm_params_new();
    config.layers -= config.skip_last;
    config.skip_last = 0;
    ldm_clip_text_free(ldm_clip_text_new(&config, params));
    for (size_t i = 0; i < ldm_params_length(params); i++) {
        LdmParam *param = ldm_params_at(params, i);
        const LdmParam *full = ldm_params_find(model->text_params, param->name);
        param->dtype = full->dtype;
        param->data = full->data;
    }
    return params;
}

static bool job_init(Job *job, const LdmModel *model, LdmDtype dtype, GError **error)
{
    bool single = strcmp(model->info.layout, "diffusers") != 0;
    *job = (Job){.model = model,
                 .dtype = dtype,
                 .single = single,
                 .vae = single ? "vae" : ldm_source_vae_folder(model->info.path),
                 .copies = g_ptr_array_new_with_free_func(copy_free)};
    if (dtype != LDM_F16 && dtype != LDM_BF16 && dtype != LDM_Q8) {
        ldm_set_error(error, INVALID, _("a model is written in f16, bf16 or q8"));
        return false;
    }
    if (!ldm_model_check_denoiser(model, error))
        return false;
    if (!single)
        add_folders(job);
    else if (!add_for_single(job, error))
        return false;
    if (model->config.has_text)
        job->text = run_layers(model);
    job->weight_bytes = ldm_table_bytes(model->unet_params, dtype) +
                        ldm_table_bytes(model->vae_params, dtype) +
                        (job->text != NULL ? ldm_table_bytes(job->text, dtype) : 0);
    job->bytes += job->weight_bytes;
    if (job->tiny_params != NULL)
        job->bytes += ldm_table_bytes(job->tiny_params, LDM_F16);
    return true;
}

/* ---- where it goes ---- */

/* Of the folder that it will be in. */
static uint64_t free_bytes(const char *folder)
{
    g_autofree char *parent = g_path_get_dirname(folder);
    g_autoptr(GFile) file = g_file_new_for_path(parent);
    g_autoptr(GFileInfo) info =
        g_file_query_filesystem_info(file, G_FILE_ATTRIBUTE_FILESYSTEM_FREE, NULL, NULL);
    return info != NULL && g_file_info_has_attribute(info, G_FILE_ATTRIBUTE_FILESYSTEM_FREE)
               ? g_file_info_get_attribute_uint64(info, G_FILE_ATTRIBUTE_FILESYSTEM_FREE)
               : G_MAXUINT64;
}

static bool is_inside(const char *path, const char *folder)
{
    g_autofree char *real = ldm_folder_real(path);
    g_autofree char *beginning = g_strconcat(folder, G_DIR_SEPARATOR_S, NULL);
    return g_str_has_prefix(real, beginning);
}

/* Only what a model is may go, and not with the file that is being read. */
static bool check_replaced(const Job *job, const char *path, GError **error)
{
    g_autofree char *unet = g_build_filename(path, "unet", NULL);
    g_autofree char *index = g_build_filename(path, INDEX, NULL);
    bool model = g_file_test(unet, G_FILE_TEST_IS_DIR) || g_file_test(index, G_FILE_TEST_EXISTS);
    if (!g_file_test(path, G_FILE_TEST_IS_DIR) || !model)
        ldm_set_error(error, FILE, _("“%s” is no model folder: it is not replaced"), path);
    else if (is_inside(job->model->info.path, path))
        ldm_set_error(error, FILE, _("“%s” holds the model that is read: it is not replaced"),
                      path);
    else
        return true;
    return false;
}

static bool check_place(const Job *job, const char *path, bool *replace, GError **error)
{
    uint64_t room = free_bytes(path);
    if (ldm_folder_is_free(path)) {
        *replace = false;
    } else if (!*replace) {
        ldm_set_error(error, FILE,
                      _("“%s” is there already: give another name, or say that it is to be "
                        "replaced"),
                      path);
        return false;
    } else if (!check_replaced(job, path, error)) {
        return false;
    }
    if (job->bytes <= room)
        return true;
    g_autofree char *needed = g_format_size(job->bytes), *left = g_format_size(room);
    ldm_set_error(error, FILE,
                  _("“%s” takes %s and %s are free there: make room, or choose another place"),
                  path, needed, left);
    return false;
}

/* ---- writing ---- */

static void wrote(size_t bytes, void *data)
{
    Job *job = data;
    job->wrote += bytes;
    ldm_meter_flops((double)job->wrote, &job->meter);
}

static char *inside(const Job *job, const char *folder, const char *name, GError **error)
{
    g_autofree char *path = g_build_filename(ldm_atomic_folder_path(job->begun), folder, NULL);
    return ldm_folder_make(path, error) ? g_build_filename(path, name, NULL) : NULL;
}

static bool write_table(Job *job, const LdmParams *params, LdmDtype dtype,
                        const char *const place[2], GError **error)
{
    const LdmTableWrite table = {.params = params,
                                 .dtype = dtype,
                                 .wrote = wrote,
                                 .data = job,
                                 .cancellable = job->cancellable};
    g_autofree char *path = inside(job, place[0], place[1], error);
    if (path == NULL || !ldm_table_write(&table, path, error))
        return false;
    ldm_model_release(job->model, params);
    return true;
}

/* No program that looks for a network's usual file takes one in 8 bits for it. */
static bool write_networks(Job *job, GError **error)
{
    const LdmModel *model = job->model;
    const char *unet = job->dtype == LDM_Q8 ? "diffusion_pytorch_model.q8.safetensors"
                                            : "diffusion_pytorch_model.safetensors";
    const char *const unet_place[] = {"unet", unet};
    const char *const vae_place[] = {job->vae, "diffusion_pytorch_model.safetensors"};
    static const char *const text_place[] = {"text_encoder", "model.safetensors"};
    static const char *const tiny_place[] = {"preview", "diffusion_pytorch_model.safetensors"};
    return write_table(job, model->unet_params, job->dtype, unet_place, error) &&
           write_table(job, model->vae_params, job->dtype, vae_place, error) &&
           (job->text == NULL || write_table(job, job->text, job->dtype, text_place, error)) &&
           (job->tiny == NULL || write_table(job, job->tiny_params, LDM_F16, tiny_place, error));
}

static bool write_copies(Job *job, GError **error)
{
    for (guint i = 0; i < job->copies->len; i++) {
        const Copy *copy = g_ptr_array_index(job->copies, i);
        g_autofree char *folder = g_path_get_dirname(copy->to);
        g_autofree char *name = g_path_get_basename(copy->to);
        g_autofree char *to = inside(job, folder, name, error);
        if (to == NULL || ldm_cancelled(job->cancellable, error) ||
            !ldm_file_copy_atomic(copy->from, to, error))
            return false;
        wrote((size_t)copy->bytes, job);
    }
    return true;
}

/* Takes `object`. */
static bool write_config(const Job *job, const char *folder, const char *name, JsonObject *object,
                         GError **error)
{
    g_autofree char *path = inside(job, folder, name, error);
    bool done = path != NULL && ldm_json_write(path, object, error);
    json_object_unref(object);
    return done;
}

static bool write_configs(const Job *job, GError **error)
{
    const LdmModelConfig *c = &job->model->config;
    if (c->has_text && !(write_config(job, "text_encoder", "config.json",
                                      ldm_config_write_text(&c->text), error) &&
                         write_config(job, "tokenizer", "special_tokens_map.json",
                                      ldm_config_write_tokens(&c->text), error)))
        return false;
    if (job->tiny != NULL && !write_config(job, "preview", "config.json",
                                           ldm_config_write_tiny(&job->tiny->config), error))
        return false;
    return write_config(job, "unet", "config.json", ldm_config_write_unet(&c->unet), error) &&
           write_config(job, job->vae, "config.json", ldm_config_write_vae(&c->vae), error) &&
           write_config(job, "scheduler", "scheduler_config.json",
                        ldm_config_write_schedule(&c->schedule), error) &&
           write_config(job, ".", INDEX, ldm_config_write_index(c, job->vae), error);
}

static bool fill(Job *job, const LdmMonitor *monitor, GError **error)
{
    double work[LDM_N_STAGES] = {[LDM_STAGE_LOAD] = (double)MAX(job->bytes, 1)};
    ldm_meter_begin(&job->meter, monitor, work);
    ldm_meter_stage(&job->meter, LDM_STAGE_LOAD);
    if (!write_networks(job, error) || !write_copies(job, error) ||
        (job->single && !write_configs(job, error)))
        return false;
    ldm_meter_end(&job->meter);
    return true;
}

/* ---- the two calls ---- */

bool ldm_convert_plan(LdmModel *model, const char *folder, LdmDtype dtype, LdmConversion *plan,
                      GError **error)
{
    g_auto(Job) job = {0};
    g_autofree char *path = ldm_folder_real(folder);
    if (!job_init(&job, model, dtype, error))
        return false;
    *plan = (LdmConversion){job.weight_bytes, job.bytes, free_bytes(path)};
    return true;
}

bool ldm_convert(LdmModel *model, const char *folder, LdmDtype dtype, bool replace,
                 const LdmMonitor *monitor, GError **error)
{
    g_auto(Job) job = {0};
    g_autofree char *path = ldm_folder_real(folder);
    g_autoptr(GMutexLocker) lock = g_mutex_locker_new(&model->busy);
    if (!job_init(&job, model, dtype, error) || !check_place(&job, path, &replace, error))
        return false;
    job.cancellable = ldm_monitor_cancellable(monitor);
    job.begun = ldm_atomic_folder_new(path, error);
    return job.begun != NULL && fill(&job, monitor, error) &&
           !ldm_cancelled(job.cancellable, error) &&
           ldm_atomic_folder_publish(job.begun, replace, error);
}
