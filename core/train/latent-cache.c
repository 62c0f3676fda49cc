/* The latent cache. In: a data set and a model's encoder. Out: one mapped safetensors file,
 * "latents" [examples * variants, floats] and "used" [examples], named by a digest of all that the
 * numbers depend on, so that a changed picture or option makes another file. */
#include "train/latent-cache.h"

#include "base/error.h"
#include "base/folder.h"
#include "pipeline/model.h"
#include "tensor/tensor.h"
#include "weights/safetensors-write.h"
#include "weights/safetensors.h"

#include <string.h>

#define VERSION "latents 1"

struct LdmLatentCache {
    LdmCacheInfo info;
    bool bucketed;
    char *key;
    LdmFiles *files;
    const float *latents;
};

void ldm_latent_cache_free(LdmLatentCache *cache)
{
    if (cache == NULL)
        return;
    ldm_files_free(cache->files);
    g_free(cache->info.examples);
    g_free(cache->info.buckets);
    g_clear_pointer(&cache->info.skipped, g_ptr_array_unref);
    g_free(cache->key);
    g_free(cache);
}

const LdmCacheInfo *ldm_latent_cache_info(const LdmLatentCache *cache)
{
    return &cache->info;
}

const char *ldm_latent_cache_key(const LdmLatentCache *cache)
{
    return cache->key;
}

const float *ldm_latent_cache_at(const LdmLatentCache *cache, size_t i, size_t variant)
{
    size_t row = cache->info.examples[i] * cache->info.variants + variant;

    return cache->latents + row * cache->info.floats;
}

/* ---- the key ---- */

static void digest_text(GChecksum *sum, const char *text)
{
    g_checksum_update(sum, (const guchar *)text, (gssize)strlen(text) + 1);
}

static void digest_params(GChecksum *sum, const LdmParams *params)
{
    for (size_t i = 0; i < ldm_params_length(params); i++) {
        const LdmParam *param = ldm_params_at(params, i);
        size_t bytes = ldm_dtype_size(param->dtype);
        for (int k = 0; k < param->rank; k++)
            bytes *= param->shape[k];
        digest_text(sum, param->name);
        g_checksum_update(sum, param->data, (gssize)bytes);
    }
}

static char *make_key(const LdmModel *model, const LdmDataset *dataset, const LdmCacheOptions *o)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    char crop[G_ASCII_DTOSTR_BUF_SIZE];

    g_ascii_dtostr(crop, sizeof crop, o->augment.crop);
    g_autofree char *text =
        g_strdup_printf("%s %zu %s %d %" G_GUINT64_FORMAT " %zu %d%s%s", VERSION, o->augment.side,
                        crop, o->augment.flip, (guint64)o->augment.seed, o->variants, o->holes,
                        o->buckets ? " buckets" : "", o->augment.partly ? " partly" : "");
    digest_text(sum, text);
    digest_params(sum, model->vae_params);
    ldm_dataset_digest(dataset, sum);
    return g_strndup(g_checksum_get_string(sum), 32);
}

/* ---- making ---- */

typedef struct {
    const LdmModel *model;
    const LdmDataset *dataset;
    const LdmCacheOptions *options;
    const LdmCacheSource *source;
    LdmLatentCache *cache;
    LdmFileWriter *writer;
    float *row;         /* one variant's floats */
    LdmAugment augment; /* with the window of the picture at hand */
    LdmBucket shape;    /* the same in cells */
} Maker;

typedef struct {
    const LdmVaeEncoder *encoder;
    const LdmTensor *x;
} Encode;

static LdmTensor *forward(LdmPass *pass, const void *data)
{
    const Encode *encode = data;
    LdmTensor *x = ldm_pass_input(pass, encode->x);
    LdmTensor *moments = ldm_vae_encoder_forward(pass, encode->encoder, x);

    ldm_pass_drop(pass, x);
    return moments;
}

/* Window -> moments [h, w, m] into `out`. */
static bool encode(const Maker *maker, const LdmTensor *window, float *out, GError **error)
{
    Encode job = {maker->model->encoder, window};
    g_autoptr(LdmTensor) moments =
        ldm_forward_run(forward, &job, NULL, NULL, maker->source->cancellable, error);

    if (moments == NULL || !ldm_tensor_check_finite(moments, "encode", error))
        return false;
    memcpy(out, moments->data, ldm_tensor_count(moments) * sizeof(float));
    return true;
}

/* Of each cell: 1 where all of its pixels are known, else 0. */
static void note_known(const Maker *maker, const LdmTensor *known)
{
    const LdmCacheInfo *info = &maker->cache->info;
    size_t cells = maker->shape.h * maker->shape.w, w = maker->augment.width;
    size_t each = info->moments + (maker->options->holes ? 1 + info->z : 0);
    float *out = maker->row + cells * each;

    for (size_t i = 0; i < cells; i++)
        out[i] = 1.0f;
    for (size_t i = 0; i < ldm_tensor_count(known); i++) {
        size_t f = w / maker->shape.w, cell = i / w / f * maker->shape.w + i % w / f;
        out[cell] = MIN(out[cell], ldm_tensor_f32(known)[i]);
    }
}

/* Largest mask value of each cell, and the latent (scaled mean) of the window with its hole in
 * mid-grey, in the order the network takes them. What is not `known` (NULL: all is) is hole. */
static bool encode_hole(const Maker *maker, size_t example, size_t variant, LdmTensor *window,
                        const LdmTensor *known, GError **error)
{
    const LdmCacheInfo *info = &maker->cache->info;
    const LdmVaeConfig *vae = &maker->model->config.vae;
    size_t w = maker->augment.width, h = maker->augment.height, f = w / maker->shape.w;
    size_t cells = maker->shape.h * maker->shape.w, z = info->z;
    float *out = maker->row + cells * info->moments;
    g_autofree float *moments = g_new(float, cells * info->moments);
    g_autoptr(LdmTensor) mask = ldm_augment_mask(&maker->augment, example, variant, error);

    if (mask == NULL)
        return false;
    for (size_t i = 0; known != NULL && i < h * w; i++)
        if (ldm_tensor_f32(known)[i] == 0.0f)
            ldm_tensor_f32(mask)[i] = 1.0f;
    for (size_t i = 0; i < h * w; i++)
        if (ldm_tensor_f32(mask)[i] > 0.0f)
            memset(ldm_tensor_f32(window) + i * 3, 0, 3 * sizeof(float));
    if (!encode(maker, window, moments, error))
        return false;
    for (size_t i = 0; i < cells; i++) {
        out[i * (1 + z)] = 0.0f;
        for (size_t c = 0; c < z; c++)
            out[i * (1 + z) + 1 + c] =
                (float)((moments[i * info->moments + c] - vae->shift_factor) * vae->scale_factor);
    }
    for (size_t i = 0; i < h * w; i++) {
        size_t cell = i / w / f * maker->shape.w + i % w / f;
        out[cell * (1 + z)] = MAX(out[cell * (1 + z)], ldm_tensor_f32(mask)[i]);
    }
    return true;
}

/* One variant into maker->row; false and *skip where the picture is of no use. */
static bool make_variant(const Maker *maker, size_t example, size_t variant,
                         const LdmTensor *picture, bool *skip, GError **error)
{
    g_autoptr(LdmTensor) window =
        ldm_augment_picture(&maker->augment, example, variant, picture, error);
    g_autoptr(LdmTensor) known = NULL;

    *skip = window == NULL;
    if (window != NULL && maker->augment.partly) {
        known = ldm_augment_known(&maker->augment, example, variant, picture, error);
        if (known == NULL)
            return false;
        note_known(maker, known);
    }
    return window != NULL && encode(maker, window, maker->row, error) &&
           (!maker->options->holes || encode_hole(maker, example, variant, window, known, error));
}

/* The window that suits a picture; returns its bucket. */
static size_t choose_window(Maker *maker, const LdmTensor *picture)
{
    const LdmCacheInfo *info = &maker->cache->info;
    size_t bucket = LDM_BUCKET_SQUARE, f = maker->options->augment.side / info->side;

    if (maker->options->buckets)
        bucket = ldm_bucket_of(info->side, picture->shape[2], picture->shape[1]);
    maker->shape = ldm_bucket_shape(info->side, bucket);
    maker->augment = maker->options->augment;
    maker->augment.width = maker->shape.w * f;
    maker->augment.height = maker->shape.h * f;
    return bucket;
}

/* Writes an example's rows (zeros where it is of no use); *used: 0, else 1 or 1 + its bucket. */
static bool make_example(Maker *maker, size_t example, float *used, GError **error)
{
    const LdmCacheInfo *info = &maker->cache->info;
    const char *path = ldm_dataset_at(maker->dataset, example)->path;
    g_autoptr(GError) reason = NULL;
    g_autoptr(LdmTensor) picture = maker->source->read(path, maker->source->read_data, &reason);
    bool skip = picture == NULL;
    size_t bucket = skip ? 0 : choose_window(maker, picture);

    for (size_t v = 0; v < info->variants; v++) {
        memset(maker->row, 0, info->floats * sizeof(float));
        if (!skip && !make_variant(maker, example, v, picture, &skip, &reason) && !skip) {
            g_propagate_error(error, g_steal_pointer(&reason));
            return false;
        }
        if (!ldm_file_writer_put(maker->writer, maker->row, info->floats, error))
            return false;
    }
    *used = skip ? 0.0f : maker->options->buckets ? (float)(1 + bucket) : 1.0f;
    if (skip)
        g_ptr_array_add(info->skipped, ldm_dataset_fault(maker->dataset, example, reason));
    return true;
}

static bool make_examples(Maker *maker, float *used, GError **error)
{
    const LdmCacheSource *source = maker->source;
    size_t total = ldm_dataset_length(maker->dataset);

    for (size_t i = 0; i < total; i++) {
        if (g_cancellable_is_cancelled(source->cancellable) ||
            (source->progress != NULL && !source->progress(i, total, source->progress_data))) {
            ldm_set_error(error, CANCELLED, _("cancelled"));
            return false;
        }
        if (!make_example(maker, i, &used[i], error))
            return false;
    }
    return true;
}

static bool make(Maker *maker, const char *path, GError **error)
{
    const LdmCacheInfo *info = &maker->cache->info;
    size_t total = ldm_dataset_length(maker->dataset);
    g_autofree float *used = g_new0(float, total);

    ldm_file_writer_declare(maker->writer, "latents", LDM_F32, 2,
                            (size_t[]){total * info->variants, info->floats});
    ldm_file_writer_declare(maker->writer, "used", LDM_F32, 1, &total);
    if (!ldm_file_writer_open(maker->writer, path, error) || !make_examples(maker, used, error))
        return false;
    for (size_t i = 0; i < total; i++)
        if (used[i] > 0.0f)
            return ldm_file_writer_put(maker->writer, used, total, error) &&
                   ldm_file_writer_close(maker->writer, error);
    ldm_set_error(error, MISSING, _("no picture of “%s” can be used. %s"),
                  ldm_dataset_path(maker->dataset),
                  (const char *)g_ptr_array_index(info->skipped, 0));
    return false;
}

/* ---- opening ---- */

/* An example as the file has it; false where it is no bucket's. */
static bool add_example(LdmLatentCache *cache, size_t example, float used)
{
    LdmCacheInfo *info = &cache->info;

    if (!(used >= 1.0f && used <= (float)LDM_BUCKETS))
        return false;
    info->buckets[info->count] = cache->bucketed ? (uint8_t)(used - 1.0f) : LDM_BUCKET_SQUARE;
    info->examples[info->count++] = example;
    return true;
}

/* `made` just now: why pictures were skipped is known already. */
static bool map(LdmLatentCache *cache, const char *path, const LdmDataset *dataset, bool made,
                GError **error)
{
    size_t total = ldm_dataset_length(dataset);

    g_clear_pointer(&cache->files, ldm_files_free);
    cache->files = ldm_files_new();
    if (!ldm_files_add(cache->files, path, error))
        return false;
    const LdmFileTensor *latents = ldm_files_find(cache->files, "latents");
    const LdmFileTensor *used = ldm_files_find(cache->files, "used");
    size_t bytes = total * cache->info.variants * cache->info.floats * sizeof(float);
    if (latents == NULL || used == NULL || latents->bytes != bytes ||
        used->bytes != total * sizeof(float)) {
        ldm_set_error(error, FORMAT, _("%s is damaged"), path);
        return false;
    }
    cache->latents = (const float *)latents->data; /* the header's length keeps 8 bytes */
    cache->info.examples = g_renew(size_t, cache->info.examples, total);
    cache->info.buckets = g_renew(uint8_t, cache->info.buckets, total);
    cache->info.count = 0;
    for (size_t i = 0; i < total; i++)
        if (!add_example(cache, i, ((const float *)used->data)[i]) && !made)
            g_ptr_array_add(cache->info.skipped, g_strdup_printf(_("%s: it could not be used"),
                                                                 ldm_dataset_at(dataset, i)->path));
    return cache->info.count > 0;
}

static LdmLatentCache *cache_new(const LdmModel *model, const LdmCacheOptions *options)
{
    LdmLatentCache *cache = g_new0(LdmLatentCache, 1);
    LdmCacheInfo *info = &cache->info;

    info->z = (size_t)model->config.vae.latent_channels;
    info->moments = ldm_vae_moments(&model->config.vae);
    cache->bucketed = options->buckets;
    info->side = options->augment.side / ldm_vae_factor(&model->config.vae);
    info->variants = options->variants;
    info->floats = info->side * info->side *
                   (info->moments + (options->holes ? 1 + info->z : 0) + options->augment.partly);
    info->skipped = g_ptr_array_new_with_free_func(g_free);
    return cache;
}

LdmLatentCache *ldm_latent_cache_open(const LdmModel *model, const LdmDataset *dataset,
                                      const LdmCacheOptions *options, const LdmCacheSource *source,
                                      const char *folder, GError **error)
{
    g_autoptr(LdmLatentCache) cache = cache_new(model, options);
    g_autoptr(LdmFileWriter) writer = ldm_file_writer_new();
    g_autofree float *row = g_new0(float, cache->info.floats);
    Maker maker = {.model = model,
                   .dataset = dataset,
                   .options = options,
                   .source = source,
                   .cache = cache,
                   .writer = writer,
                   .row = row};

    cache->key = make_key(model, dataset, options);
    g_autofree char *name = g_strconcat(cache->key, ".safetensors", NULL);
    g_autofree char *path = g_build_filename(folder, name, NULL);
    if (!ldm_folder_make(folder, error))
        return NULL;
    if (g_file_test(path, G_FILE_TEST_EXISTS) && map(cache, path, dataset, false, NULL))
        return g_steal_pointer(&cache);
    if (!make(&maker, path, error) || !map(cache, path, dataset, true, error))
        return NULL;
    return g_steal_pointer(&cache);
}
