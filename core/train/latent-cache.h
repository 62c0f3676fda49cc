/* The latents of a data set, made once and kept on disk: every picture in some variants (window,
 * mirrored or not, hole), as the encoder's moments, so that training itself needs no encoder. */
#pragma once

#include "train/augment.h"
#include "train/bucket.h"
#include "train/dataset.h"

typedef struct {
    LdmAugment augment;
    size_t variants; /* of each picture */
    bool holes;      /* mask and masked latent, too: for models with 2z + 1 channels in */
    bool full_hole;  /* with holes: the one that leaves nothing, too, which is not kept on disk */
    bool buckets;    /* windows of each picture's own aspect, about as large as the square */
} LdmCacheOptions;

/* Called before each picture: done of total; false = stop. */
typedef bool (*LdmCacheProgress)(size_t done, size_t total, void *data);

typedef struct {
    LdmPictureRead read;
    void *read_data;
    LdmCacheProgress progress; /* or NULL */
    void *progress_data;
    GCancellable *cancellable;
} LdmCacheSource;

typedef struct {
    size_t side, z;   /* cells of the square window */
    size_t moments;   /* numbers of a cell as the encoder gives it: 2z, or z */
    size_t floats;    /* of one variant: [h, w, moments], then with holes [h, w, 1 + z] mask and
                       * masked, then where the picture is partly known [h, w]: 1 = wholly known;
                       * a smaller window leaves the rest */
    size_t variants;  /* of each example */
    size_t *examples; /* [count]: those that could be used, numbers in the data set */
    uint8_t *buckets; /* [count]: of each, see bucket.h; all square without buckets */
    size_t count;
    GPtrArray *skipped; /* of char *: "FILE: why" */
} LdmCacheInfo;

typedef struct LdmLatentCache LdmLatentCache;

/* A digest of everything that latents depend on but their scale, by which the files of masked ones
 * are told apart: same name, same numbers. Free with g_free. Errors: CANCELLED. */
char *ldm_latent_cache_name(const LdmModel *model, const LdmDataset *dataset,
                            const LdmCacheOptions *options, GCancellable *cancellable,
                            GError **error);

/* Opens the latents in the folder `path`, whose last part is their name as the function above gives
 * it for the same data set, encoder and options, or makes them there. Pictures that cannot
 * be read are skipped. Errors: FILE, MEMORY, CANCELLED; MISSING where none can be used. */
LdmLatentCache *ldm_latent_cache_open(const LdmModel *model, const LdmDataset *dataset,
                                      const LdmCacheOptions *options, const LdmCacheSource *source,
                                      const char *path, GError **error);
void ldm_latent_cache_free(LdmLatentCache *cache);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmLatentCache, ldm_latent_cache_free)

const LdmCacheInfo *ldm_latent_cache_info(const LdmLatentCache *cache);

/* Their name. */
const char *ldm_latent_cache_key(const LdmLatentCache *cache);

/* Variant `variant` of example info->examples[i]. */
const float *ldm_latent_cache_at(const LdmLatentCache *cache, size_t i, size_t variant);

/* Mask and masked latent [h, w, 1 + z] of a window of which nothing is left; with `full_hole`, of
 * buckets that examples have. */
const float *ldm_latent_cache_full_hole(const LdmLatentCache *cache, size_t bucket);
