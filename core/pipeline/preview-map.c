/* The linear map for a model's previews. In: the model's encoder, and a picture of leaves that fell
 * on one another ("dead leaves": edges and plain places of every size, as photographs have them).
 * Out: the map from the picture's latent to the mean colours of its cells, kept in the user's
 * cache. */
#include "pipeline/preview-map.h"

#include "base/digest.h"
#include "decode/rgb-map.h"
#include "encode/encode.h"
#include "layers/resample.h"
#include "layers/room.h"
#include "pipeline/plan.h"
#include "tensor/tensor.h"

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>

#define CELLS  32  /* a side, of the picture's latent */
#define PIXELS 512 /* a side at most, unless a cell is larger */
#define LEAVES 600 /* more than cover it */
#define SEED   1

/* ---- the picture ---- */

/* A disc of one colour; as many between radius 1 and 2 as between 2 and 4. */
static void drop_leaf(LdmTensor *picture, GRand *random)
{
    size_t side = picture->shape[1];
    double radius = pow((double)side / 3.0, g_rand_double(random));
    double x = g_rand_double(random) * (double)side, y = g_rand_double(random) * (double)side;
    float colour[3];
    for (size_t c = 0; c < 3; c++)
        colour[c] = (float)g_rand_double_range(random, -1.0, 1.0);
    size_t top = (size_t)MAX(y - radius, 0.0), left = (size_t)MAX(x - radius, 0.0);
    for (size_t i = top; i < side && (double)i < y + radius; i++)
        for (size_t k = left; k < side && (double)k < x + radius; k++)
            if (hypot((double)i + 0.5 - y, (double)k + 0.5 - x) <= radius)
                memcpy(ldm_tensor_f32(picture) + (i * side + k) * 3, colour, sizeof colour);
}

/* [1, side, side, 3] in [-1, 1] */
static LdmTensor *leaves(size_t side, GError **error)
{
    LdmTensor *picture = ldm_tensor_new_nhwc(1, side, side, 3, error);
    GRand *random = g_rand_new_with_seed(SEED);
    for (int i = 0; picture != NULL && i < LEAVES; i++)
        drop_leaf(picture, random);
    g_rand_free(random);
    return picture;
}

/* Mean colours of a picture's cells, 0..1. */
static LdmTensor *cell_colours(const LdmTensor *picture, size_t cells, GCancellable *cancellable,
                               GError **error)
{
    LdmTensor *rgb =
        ldm_tensor_resample(LDM_RESAMPLE_BOX, picture, cells, cells, cancellable, error);
    for (size_t i = 0; rgb != NULL && i < ldm_tensor_count(rgb); i++)
        ldm_tensor_f32(rgb)[i] = (ldm_tensor_f32(rgb)[i] + 1.0f) / 2.0f;
    return rgb;
}

LdmTensor *ldm_preview_map_make(const LdmModel *model, GCancellable *cancellable, GError **error)
{
    size_t f = ldm_vae_factor(&model->config.vae), cells = CLAMP(PIXELS / f, 1, CELLS), bytes;
    double flops;
    const LdmEncode job = {
        .encoder = model->encoder, .config = &model->config.vae, .cancellable = cancellable};
    if (!ldm_encode_measure(&job, cells * f, cells * f, &bytes, &flops, error) ||
        !ldm_plan_fits(bytes, ldm_room_available(), error))
        return NULL;
    g_autoptr(LdmTensor) picture = leaves(cells * f, error);
    g_autoptr(LdmTensor) z =
        picture != NULL ? ldm_encode_picture(&job, picture, NULL, error) : NULL;
    g_autoptr(LdmTensor) rgb = z != NULL ? cell_colours(picture, cells, cancellable, error) : NULL;
    ldm_model_release(model, model->vae_params);
    return rgb != NULL ? ldm_rgb_map_fit(z, rgb, error) : NULL;
}

/* ---- the cache ---- */

/* By the file of the autoencoder's weights, as it is now, and the scale of its latents; NULL where
 * it cannot be told. */
static char *cached_path(const LdmModel *model)
{
    const LdmSource *source = model->files;
    const LdmVaeConfig *vae = &model->config.vae;
    const char *weights = ldm_files_path(source->parts[LDM_PART_VAE].files);
    LdmDigits scale, shift;
    GStatBuf status;
    if (weights == NULL || g_stat(weights, &status) != 0)
        return NULL;
    g_autofree char *path = g_canonicalize_filename(weights, NULL);
    g_autofree char *text = g_strdup_printf(
        "map 2 %s %" G_GINT64_FORMAT " %" G_GINT64_FORMAT ".%09ld %s %s", path,
        (gint64)status.st_size, (gint64)status.st_mtim.tv_sec, (long)status.st_mtim.tv_nsec,
        ldm_digits(&scale, vae->scale_factor), ldm_digits(&shift, vae->shift_factor));
    g_autofree char *key = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
    g_autofree char *name = g_strdup_printf("%.32s.npy", key);
    return g_build_filename(g_get_user_cache_dir(), "pentimento", "previews", name, NULL);
}

/* A file that is damaged counts as none. */
static LdmTensor *read_cached(const char *path, const LdmModel *model)
{
    if (path == NULL || !g_file_test(path, G_FILE_TEST_EXISTS))
        return NULL;
    g_autoptr(LdmTensor) map = ldm_npy_read(path, NULL);
    if (map == NULL || !ldm_rgb_map_fits(map, (size_t)model->info.latent_channels))
        return NULL;
    return g_steal_pointer(&map);
}

LdmTensor *ldm_preview_map(const LdmModel *model, GCancellable *cancellable, GError **error)
{
    g_autofree char *path = cached_path(model);
    LdmTensor *map = read_cached(path, model);
    if (map != NULL)
        return map;
    map = ldm_preview_map_make(model, cancellable, error);
    if (map == NULL || path == NULL)
        return map;
    g_autofree char *folder = g_path_get_dirname(path);
    if (g_mkdir_with_parents(folder, 0700) == 0)
        ldm_npy_write(map, path, NULL); /* one that cannot be kept is made again */
    return map;
}
