/* The latent cache. In: a data set and a model's encoder. Out: a folder of mapped safetensors
 * files, each of PART examples: "latents" [examples * variants, floats], "used" [examples], with
 * holes "scale". It is named by a digest of pictures, encoder and options, so that a changed one
 * makes another; a picture that could not be read is tried again. What is stopped or killed
 * meanwhile goes on with the first file that is not there. */
#include "train/latent-cache.h"

#include "base/digest.h"
#include "base/error.h"
#include "base/folder.h"
#include "pipeline/model.h"
#include "tensor/tensor.h"
#include "train/examples.h"
#include "train/latent-rows.h"
#include "weights/safetensors-write.h"
#include "weights/safetensors.h"

#include <string.h>

#define VERSION "latents 1"
#define PART    64 /* examples of a file: what a kill may cost */

typedef struct {
    LdmFiles *files;
    const float *latents; /* mapped */
} Part;

struct LdmLatentCache {
    LdmCacheInfo info;
    bool bucketed;
    char *key, *folder; /* the folder's name is the key */
    float *full_holes[LDM_BUCKETS];
    Part *parts;
    size_t part_count;
};

void ldm_latent_cache_free(LdmLatentCache *cache)
{
    if (cache == NULL)
        return;
    for (size_t i = 0; i < cache->part_count; i++)
        ldm_files_free(cache->parts[i].files);
    g_free(cache->parts);
    for (size_t i = 0; i < LDM_BUCKETS; i++)
        g_free(cache->full_holes[i]);
    g_free(cache->info.examples);
    g_free(cache->info.buckets);
    g_clear_pointer(&cache->info.skipped, g_ptr_array_unref);
    g_free(cache->key);
    g_free(cache->folder);
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
    size_t example = cache->info.examples[i];
    size_t row = example % PART * cache->info.variants + variant;

    return cache->parts[example / PART].latents + row * cache->info.floats;
}

const float *ldm_latent_cache_full_hole(const LdmLatentCache *cache, size_t bucket)
{
    return cache->full_holes[bucket];
}

/* ---- the key ---- */

/* Latents are the encoder's: another decoder finds them as they are. */
static bool decodes(const char *name)
{
    return g_str_has_prefix(name, "decoder.") || g_str_has_prefix(name, "post_quant_conv.");
}

static bool digest_encoder(GChecksum *sum, const LdmParams *vae, GCancellable *cancellable,
                           GError **error)
{
    for (size_t i = 0; i < ldm_params_length(vae); i++) {
        const LdmParam *param = ldm_params_at(vae, i);
        if (decodes(param->name))
            continue;
        if (ldm_cancelled(cancellable, error))
            return false;
        ldm_digest_text(sum, param->name);
        g_checksum_update(sum, param->data, (gssize)ldm_param_bytes(param));
    }
    return true;
}

char *ldm_latent_cache_name(const LdmModel *model, const LdmDataset *dataset,
                            const LdmCacheOptions *o, GCancellable *cancellable, GError **error)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    char crop[G_ASCII_DTOSTR_BUF_SIZE];

    g_ascii_dtostr(crop, sizeof crop, o->augment.crop);
    g_autofree char *text =
        g_strdup_printf("%s %zu %s %d %" G_GUINT64_FORMAT " %zu %d%s%s%s", VERSION, o->augment.side,
                        crop, o->augment.flip, (guint64)o->augment.seed, o->variants, o->holes,
                        o->buckets ? " buckets" : "", o->augment.partly ? " partly" : "",
                        o->holes && model->info.hole == LDM_HOLE_FILLED ? " filled" : "");
    ldm_digest_text(sum, text);
    if (!digest_encoder(sum, model->vae_params, cancellable, error) ||
        !ldm_dataset_digest(dataset, sum, cancellable, error))
        return NULL;
    return g_strndup(g_checksum_get_string(sum), 32);
}

/* ---- making ---- */

/* Masked latents are scaled, moments are not. */
typedef struct {
    float numbers[2];
} Scale;

static Scale scale_of(const LdmModel *model)
{
    const LdmVaeConfig *vae = &model->config.vae;

    return (Scale){{(float)vae->scale_factor, (float)vae->shift_factor}};
}

typedef struct {
    LdmLatentRows rows;
    const LdmDataset *dataset;
    const LdmCacheSource *source;
    LdmLatentCache *cache;
    float *latents; /* one example's rows */
} Maker;

/* Examples of a part. */
static size_t part_length(const LdmDataset *dataset, size_t part)
{
    return MIN(PART, ldm_dataset_length(dataset) - part * PART);
}

#define UNREAD (-1.0f)

/* An example's rows (zeros where it is of no use); *used: 0, where its picture could not be read
 * UNREAD, else 1 + its bucket. */
static bool make_example(Maker *maker, size_t example, float *used, GError **error)
{
    const LdmCacheInfo *info = &maker->cache->info;
    const char *path = ldm_dataset_at(maker->dataset, example)->path;
    LdmLatentRowsResult result = LDM_LATENT_ROWS_SKIPPED;
    g_autoptr(GError) reason = NULL;
    g_autoptr(LdmTensor) picture = maker->source->read(path, maker->source->read_data, &reason);
    size_t bucket = 0;

    memset(maker->latents, 0, info->variants * info->floats * sizeof(float));
    if (picture != NULL)
        result =
            ldm_latent_rows_make(&maker->rows, example, picture, maker->latents, &bucket, &reason);
    if (result == LDM_LATENT_ROWS_FAILED ||
        (result == LDM_LATENT_ROWS_SKIPPED && ldm_examples_end(reason))) {
        g_propagate_error(error, g_steal_pointer(&reason));
        return false;
    }
    *used = result != LDM_LATENT_ROWS_SKIPPED ? (float)(1 + bucket)
            : picture != NULL                 ? 0.0f
                                              : UNREAD;
    if (result == LDM_LATENT_ROWS_SKIPPED)
        g_ptr_array_add(info->skipped, ldm_dataset_fault(maker->dataset, example, reason));
    return true;
}

static bool go_on(const Maker *maker, size_t example, GError **error)
{
    const LdmCacheSource *source = maker->source;

    if (!g_cancellable_is_cancelled(source->cancellable) &&
        (source->progress == NULL ||
         source->progress(example, ldm_dataset_length(maker->dataset), source->progress_data)))
        return true;
    ldm_set_error(error, CANCELLED, _("cancelled"));
    return false;
}

static bool make_part(Maker *maker, size_t part, const char *path, GError **error)
{
    const LdmCacheInfo *info = &maker->cache->info;
    size_t length = part_length(maker->dataset, part), floats = info->variants * info->floats;
    g_autoptr(LdmFileWriter) writer = ldm_file_writer_new();
    const Scale scale = scale_of(maker->rows.model);
    bool scaled = maker->rows.options->holes;
    float used[PART];

    ldm_file_writer_declare(writer, "latents", LDM_F32, 2,
                            (size_t[]){length * info->variants, info->floats});
    ldm_file_writer_declare(writer, "used", LDM_F32, 1, &length);
    if (scaled)
        ldm_file_writer_declare(writer, "scale", LDM_F32, 1, (size_t[]){2});
    if (!ldm_file_writer_open(writer, path, error))
        return false;
    for (size_t i = 0; i < length; i++)
        if (!go_on(maker, part * PART + i, error) ||
            !make_example(maker, part * PART + i, &used[i], error) ||
            !ldm_file_writer_put(writer, maker->latents, floats, error))
            return false;
    return ldm_file_writer_put(writer, used, length, error) &&
           (!scaled || ldm_file_writer_put(writer, scale.numbers, 2, error)) &&
           ldm_file_writer_close(writer, error);
}

/* ---- opening ---- */

/* An example as its file has it; false where it is no bucket's. */
static bool add_example(LdmLatentCache *cache, size_t example, float used)
{
    LdmCacheInfo *info = &cache->info;

    if (!(used >= 1.0f && used <= (float)LDM_BUCKETS))
        return false;
    info->buckets[info->count] = cache->bucketed ? (uint8_t)(used - 1.0f) : LDM_BUCKET_SQUARE;
    info->examples[info->count++] = example;
    return true;
}

/* Whether a picture that could not be read when its part was made can be by now. */
static bool reads_now(const Maker *maker, size_t part, const float *used, size_t length)
{
    const LdmCacheSource *source = maker->source;

    for (size_t i = 0; i < length; i++) {
        const char *path = ldm_dataset_at(maker->dataset, part * PART + i)->path;
        if (used[i] != UNREAD)
            continue;
        g_autoptr(LdmTensor) picture = source->read(path, source->read_data, NULL);
        if (picture != NULL)
            return true;
    }
    return false;
}

/* Files of earlier versions do not say. */
static bool scaled_alike(const Maker *maker, const LdmFiles *files)
{
    const Scale scale = scale_of(maker->rows.model);
    const LdmFileTensor *theirs = ldm_files_find(files, "scale");

    return theirs == NULL ||
           (theirs->bytes == sizeof scale && memcmp(theirs->data, &scale, sizeof scale) == 0);
}

/* `made` just now: why pictures were skipped is known already. */
static bool map_part(const Maker *maker, size_t part, const char *path, bool made, GError **error)
{
    LdmLatentCache *cache = maker->cache;
    const LdmDataset *dataset = maker->dataset;
    const LdmCacheInfo *info = &cache->info;
    size_t length = part_length(dataset, part);
    g_autoptr(LdmFiles) files = ldm_files_new();

    if (!ldm_files_add(files, path, error))
        return false;
    const LdmFileTensor *latents = ldm_files_find(files, "latents");
    const LdmFileTensor *used = ldm_files_find(files, "used");
    if (latents == NULL || used == NULL || used->bytes != length * sizeof(float) ||
        latents->bytes != length * info->variants * info->floats * sizeof(float)) {
        ldm_set_error(error, FORMAT, _("%s is damaged"), path);
        return false;
    }
    if (!made &&
        (!scaled_alike(maker, files) || reads_now(maker, part, (const float *)used->data, length)))
        return false;
    for (size_t i = 0; i < length; i++) {
        size_t example = part * PART + i;
        float value = ((const float *)used->data)[i];
        g_autoptr(GError) reason = NULL;
        if (value >= 1.0f && !ldm_dataset_check_caption(dataset, example, &reason))
            g_ptr_array_add(info->skipped, ldm_dataset_fault(dataset, example, reason));
        else if (!add_example(cache, example, value) && !made)
            g_ptr_array_add(info->skipped, g_strdup_printf(_("%s: it could not be used"),
                                                           ldm_dataset_at(dataset, example)->path));
    }
    /* the header's length keeps 8 bytes */
    cache->parts[part] = (Part){g_steal_pointer(&files), (const float *)latents->data};
    return true;
}

/* A part that is there and whole is taken as it is, unless a picture of it has come since, or it
 * belongs to another scale of latents. */
static bool open_part(Maker *maker, size_t part, GError **error)
{
    LdmLatentCache *cache = maker->cache;
    g_autofree char *name = g_strdup_printf("%06zu.safetensors", part);
    g_autofree char *path = g_build_filename(cache->folder, name, NULL);

    if (g_file_test(path, G_FILE_TEST_EXISTS) && map_part(maker, part, path, false, NULL))
        return true;
    return make_part(maker, part, path, error) && map_part(maker, part, path, true, error);
}

static bool open_parts(Maker *maker, GError **error)
{
    LdmLatentCache *cache = maker->cache;

    for (size_t part = 0; part < cache->part_count; part++)
        if (!open_part(maker, part, error))
            return false;
    if (cache->info.count > 0)
        return true;
    ldm_set_error(error, MISSING, _("no picture of “%s” can be used. %s"),
                  ldm_dataset_path(maker->dataset),
                  (const char *)g_ptr_array_index(cache->info.skipped, 0));
    return false;
}

/* Of every bucket that examples have. */
static bool make_full_holes(Maker *maker, GError **error)
{
    const LdmCacheInfo *info = &maker->cache->info;

    for (size_t i = 0; i < info->count; i++) {
        float **hole = &maker->cache->full_holes[info->buckets[i]];
        if (*hole != NULL)
            continue;
        *hole = g_new(float, info->side * info->side * (1 + info->z));
        if (!ldm_latent_rows_full_hole(&maker->rows, info->buckets[i], *hole, error))
            return false;
    }
    return true;
}

static LdmLatentCache *cache_new(const LdmModel *model, const LdmDataset *dataset,
                                 const LdmCacheOptions *options, const char *path)
{
    LdmLatentCache *cache = g_new0(LdmLatentCache, 1);
    LdmCacheInfo *info = &cache->info;
    size_t total = ldm_dataset_length(dataset);

    info->z = (size_t)model->config.vae.latent_channels;
    info->moments = ldm_vae_moments(&model->config.vae);
    cache->bucketed = options->buckets;
    info->side = options->augment.side / ldm_vae_factor(&model->config.vae);
    info->variants = options->variants;
    info->floats = info->side * info->side *
                   (info->moments + (options->holes ? 1 + info->z : 0) + options->augment.partly);
    info->skipped = g_ptr_array_new_with_free_func(g_free);
    info->examples = g_new(size_t, total);
    info->buckets = g_new(uint8_t, total);
    cache->key = g_path_get_basename(path);
    cache->folder = g_strdup(path);
    cache->part_count = (total + PART - 1) / PART;
    cache->parts = g_new0(Part, cache->part_count);
    return cache;
}

LdmLatentCache *ldm_latent_cache_open(const LdmModel *model, const LdmDataset *dataset,
                                      const LdmCacheOptions *options, const LdmCacheSource *source,
                                      const char *path, GError **error)
{
    g_autoptr(LdmLatentCache) cache = cache_new(model, dataset, options, path);
    const LdmCacheInfo *info = &cache->info;
    const size_t rows[] = {info->variants, info->floats};
    g_autoptr(LdmTensor) latents = ldm_tensor_new(LDM_F32, 2, rows, error);
    if (latents == NULL)
        return NULL;
    Maker maker = {.rows = {.model = model,
                            .options = options,
                            .info = info,
                            .cancellable = source->cancellable},
                   .dataset = dataset,
                   .source = source,
                   .cache = cache,
                   .latents = ldm_tensor_f32(latents)};

    ldm_folder_tidy(cache->folder);
    if (!ldm_folder_make(cache->folder, error) || !open_parts(&maker, error) ||
        (options->holes && options->full_hole && !make_full_holes(&maker, error)))
        return NULL;
    return g_steal_pointer(&cache);
}
