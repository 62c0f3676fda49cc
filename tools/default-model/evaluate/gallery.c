/* Pictures as features. In: pictures of any size. Out: what the evaluation's own network makes of
 * them, and the pictures themselves at a size at which a copy shows whatever its details. */
#include "base/checked.h"
#include "cli/picture-io.h"
#include "evaluate.h"
#include "tensor/tensor.h"

#include <math.h>
#include <string.h>

#define CHUNK 32 /* pictures of a pass */
#define BYTES (EVALUATE_SMALL * EVALUATE_SMALL * 3)

static LdmTensor *forward(LdmPass *pass, const void *tower, LdmTensor *x)
{
    return ldm_image_tower_forward(pass, tower, x);
}

static bool see(const LdmImageTower *tower, const LdmTensor *x, float *out, GError **error)
{
    g_autoptr(LdmTensor) y = ldm_network_run(forward, tower, x, NULL, NULL, NULL, error);

    if (y != NULL)
        memcpy(out, y->data, ldm_tensor_count(y) * sizeof(float));
    return y != NULL;
}

/* One picture into its place of the chunk and its small copy. */
static bool add(const LdmTensor *picture, size_t side, float *x, uint8_t *small, GError **error)
{
    g_autoptr(LdmTensor) seen = evaluate_resized(picture, side, error);
    g_autoptr(LdmTensor) little =
        seen != NULL ? evaluate_resized(picture, EVALUATE_SMALL, error) : NULL;

    if (little == NULL)
        return false;
    memcpy(x, seen->data, ldm_tensor_count(seen) * sizeof(float));
    for (size_t i = 0; i < BYTES; i++)
        small[i] = (uint8_t)lrintf((ldm_tensor_f32(little)[i] + 1.0f) * 127.5f);
    return true;
}

EvaluateGallery *evaluate_gallery_new(const LdmImageTower *tower, size_t count,
                                      EvaluateSource *source, void *data, GError **error)
{
    const LdmImageTowerConfig *config = ldm_image_tower_config(tower);
    size_t each = config->side * config->side * 3;
    g_autoptr(EvaluateGallery) gallery = g_new0(EvaluateGallery, 1);
    g_autoptr(LdmTensor) x = ldm_tensor_new_nhwc(CHUNK, config->side, config->side, 3, error);

    gallery->count = count;
    gallery->features = ldm_tensor_new(LDM_F32, 2, (size_t[]){count, config->width}, error);
    if (x == NULL || gallery->features == NULL)
        return NULL;
    gallery->small = ldm_aligned_alloc(count, BYTES, "the small pictures", error);
    if (gallery->small == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        g_autoptr(LdmTensor) picture = source(i, data, error);
        if (picture == NULL || !add(picture, config->side, ldm_tensor_f32(x) + i % CHUNK * each,
                                    gallery->small + i * BYTES, error))
            return NULL;
        if (i % CHUNK < CHUNK - 1 && i + 1 < count)
            continue;
        LdmTensor full = *x;
        full.shape[0] = i % CHUNK + 1;
        float *out = ldm_tensor_f32(gallery->features) + i / CHUNK * CHUNK * config->width;
        if (!see(tower, &full, out, error))
            return NULL;
    }
    return g_steal_pointer(&gallery);
}

static LdmTensor *row_picture(size_t i, void *data, GError **error)
{
    const EvaluateRow *row = g_ptr_array_index((GPtrArray *)data, i);

    return pentimento_picture_read(row->path, NULL, error);
}

EvaluateGallery *evaluate_gallery_of(const LdmImageTower *tower, GPtrArray *rows, GError **error)
{
    return evaluate_gallery_new(tower, rows->len, row_picture, rows, error);
}

void evaluate_gallery_free(EvaluateGallery *gallery)
{
    if (gallery == NULL)
        return;
    ldm_tensor_free(gallery->features);
    ldm_aligned_free(gallery->small);
    g_free(gallery);
}
