/* Keeps the last model, keyed by its path and a stamp of its files (number, bytes, newest change):
 * a model that was replaced on disk is loaded again. */
#include "worker/model-cache.h"

#include "weights/source.h"

#include <glib/gstdio.h>
#include <sys/stat.h>

#define STAMP_DEPTH 2    /* a diffusers folder: part/file */
#define STAMP_FILES 4096 /* looked at, no more */

typedef struct {
    guint64 files, bytes;
    gint64 newest; /* change of content, name or mode, ns since 1970; nobody can set it back */
} Stamp;

struct PentimentoModelCache {
    GMutex lock; /* held while loading */
    char *path;
    Stamp stamp;
    LdmModel *model;
};

static void stamp_add(Stamp *stamp, const char *path, int depth)
{
    g_autoptr(GDir) folder = NULL;
    const char *name;
    struct stat info;

    if (stamp->files >= STAMP_FILES || stat(path, &info) != 0)
        return;
    stamp->files++;
    stamp->newest = MAX(stamp->newest, (gint64)info.st_ctim.tv_sec * G_GINT64_CONSTANT(1000000000) +
                                           info.st_ctim.tv_nsec);
    if (S_ISREG(info.st_mode))
        stamp->bytes += (guint64)info.st_size;
    if (!S_ISDIR(info.st_mode) || depth == STAMP_DEPTH)
        return;
    folder = g_dir_open(path, 0, NULL);
    while (folder != NULL && (name = g_dir_read_name(folder)) != NULL) {
        g_autofree char *entry = g_build_filename(path, name, NULL);

        stamp_add(stamp, entry, depth + 1);
    }
}

/* A folder is stamped with what is in it, a single file with the .yaml beside it. */
static Stamp stamp_of(const char *path)
{
    g_autofree char *yaml = ldm_source_yaml_path(path);
    Stamp stamp = {0};

    stamp_add(&stamp, path, 0);
    stamp_add(&stamp, yaml, 0);
    return stamp;
}

PentimentoModelCache *pentimento_model_cache_new(void)
{
    PentimentoModelCache *cache = g_new0(PentimentoModelCache, 1);

    g_mutex_init(&cache->lock);
    return cache;
}

static void cache_clear(PentimentoModelCache *cache)
{
    g_clear_pointer(&cache->model, ldm_model_unref);
    g_clear_pointer(&cache->path, g_free);
}

void pentimento_model_cache_free(PentimentoModelCache *cache)
{
    cache_clear(cache);
    g_mutex_clear(&cache->lock);
    g_free(cache);
}

static bool cache_has(const PentimentoModelCache *cache, const char *path, const Stamp *stamp)
{
    return cache->model != NULL && strcmp(cache->path, path) == 0 &&
           cache->stamp.files == stamp->files && cache->stamp.bytes == stamp->bytes &&
           cache->stamp.newest == stamp->newest;
}

LdmModel *pentimento_model_cache_get(PentimentoModelCache *cache, const char *name, GError **error)
{
    g_autofree char *path = ldm_model_find(name, error);
    LdmModel *model = NULL;
    Stamp stamp;

    if (path == NULL)
        return NULL;
    stamp = stamp_of(path);
    g_mutex_lock(&cache->lock);
    if (!cache_has(cache, path, &stamp)) {
        cache_clear(cache);
        cache->model = ldm_model_load(path, error);
        cache->path = g_steal_pointer(&path);
        cache->stamp = stamp;
    }
    if (cache->model != NULL)
        model = ldm_model_ref(cache->model);
    g_mutex_unlock(&cache->lock);
    return model;
}

LdmModel *pentimento_model_cache_peek(PentimentoModelCache *cache, const char *name)
{
    g_autofree char *path = ldm_model_find(name, NULL);
    LdmModel *model = NULL;
    Stamp stamp;

    if (path == NULL || !g_mutex_trylock(&cache->lock))
        return NULL;
    stamp = stamp_of(path);
    if (cache_has(cache, path, &stamp))
        model = ldm_model_ref(cache->model);
    g_mutex_unlock(&cache->lock);
    return model;
}
