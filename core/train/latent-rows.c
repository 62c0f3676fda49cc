/* The latent cache's rows. In: one picture, the model's encoder, and which windows and holes are
 * wanted. Out: of each variant the moments; with holes, mask and masked latent; what is known. */
#include "train/latent-rows.h"

#include "pipeline/model.h"
#include "prepare/prepare.h"
#include "tensor/tensor.h"

#include <string.h>

/* One picture at work. */
typedef struct {
    const LdmLatentRows *rows;
    LdmAugment augment; /* with the window that suits the picture */
    LdmBucket shape;    /* the same in cells */
    size_t example;
    float *row; /* of the variant at hand */
} Maker;

static LdmTensor *forward(LdmPass *pass, const void *encoder, LdmTensor *x)
{
    return ldm_vae_encoder_forward(pass, encoder, x);
}

/* Window -> moments [h, w, m] into `out`. */
static bool encode(const Maker *maker, const LdmTensor *window, float *out, GError **error)
{
    const LdmLatentRows *rows = maker->rows;
    g_autoptr(LdmTensor) moments = ldm_network_run(forward, rows->model->encoder, window, NULL,
                                                   NULL, rows->cancellable, error);

    if (moments == NULL || !ldm_tensor_check_finite(moments, "encode", error))
        return false;
    memcpy(out, moments->data, ldm_tensor_count(moments) * sizeof(float));
    return true;
}

/* The cell that pixel i of the window belongs to. */
static size_t cell_of(const Maker *maker, size_t i)
{
    size_t w = maker->augment.width, f = w / maker->shape.w;

    return i / w / f * maker->shape.w + i % w / f;
}

/* Of each cell: 1 where all of its pixels are known, else 0. */
static void note_known(const Maker *maker, const LdmTensor *known)
{
    const LdmCacheInfo *info = maker->rows->info;
    size_t cells = maker->shape.h * maker->shape.w;
    size_t each = info->moments + (maker->rows->options->holes ? 1 + info->z : 0);
    float *out = maker->row + cells * each;

    for (size_t i = 0; i < cells; i++)
        out[i] = 1.0f;
    for (size_t i = 0; i < ldm_tensor_count(known); i++) {
        float *cell = &out[cell_of(maker, i)];
        *cell = MIN(*cell, ldm_tensor_f32(known)[i]);
    }
}

/* Largest mask value of each cell, and the latent (scaled mean) of the window with its hole
 * hidden, in the order the network takes them -> out [h, w, 1 + z]. */
static bool encode_hidden(const Maker *maker, LdmTensor *window, const LdmTensor *mask, float *out,
                          GError **error)
{
    const LdmCacheInfo *info = maker->rows->info;
    const LdmVaeConfig *vae = &maker->rows->model->config.vae;
    size_t pixels = maker->augment.width * maker->augment.height;
    size_t cells = maker->shape.h * maker->shape.w, z = info->z;
    g_autofree float *moments = g_new(float, cells * info->moments);

    if (!ldm_hide(maker->rows->model->info.hole, ldm_tensor_f32(window), ldm_tensor_f32(mask),
                  maker->augment.height, maker->augment.width, maker->rows->cancellable, error) ||
        !encode(maker, window, moments, error))
        return false;
    for (size_t i = 0; i < cells; i++) {
        out[i * (1 + z)] = 0.0f;
        for (size_t c = 0; c < z; c++)
            out[i * (1 + z) + 1 + c] =
                (float)((moments[i * info->moments + c] - vae->shift_factor) * vae->scale_factor);
    }
    for (size_t i = 0; i < pixels; i++) {
        float *cell = &out[cell_of(maker, i) * (1 + z)];
        *cell = MAX(*cell, ldm_tensor_f32(mask)[i]);
    }
    return true;
}

/* The hole that is this variant's, with all that is not `known` (NULL: all is), into the row. */
static bool encode_hole(const Maker *maker, size_t variant, LdmTensor *window,
                        const LdmTensor *known, GError **error)
{
    size_t cells = maker->shape.h * maker->shape.w;
    g_autoptr(LdmTensor) mask = ldm_augment_mask(&maker->augment, maker->example, variant, error);

    if (mask == NULL)
        return false;
    for (size_t i = 0; known != NULL && i < ldm_tensor_count(known); i++)
        if (ldm_tensor_f32(known)[i] == 0.0f)
            ldm_tensor_f32(mask)[i] = 1.0f;
    return encode_hidden(maker, window, mask, maker->row + cells * maker->rows->info->moments,
                         error);
}

/* One variant into maker->row. */
static LdmLatentRowsResult make_variant(const Maker *maker, size_t variant,
                                        const LdmTensor *picture, GError **error)
{
    bool holes = maker->rows->options->holes;
    g_autoptr(LdmTensor) window =
        ldm_augment_picture(&maker->augment, maker->example, variant, picture, error);
    g_autoptr(LdmTensor) known = NULL;

    if (window == NULL)
        return LDM_LATENT_ROWS_SKIPPED;
    if (maker->augment.partly) {
        known = ldm_augment_known(&maker->augment, maker->example, variant, picture, error);
        if (known == NULL)
            return LDM_LATENT_ROWS_FAILED;
        note_known(maker, known);
    }
    if (!encode(maker, window, maker->row, error) ||
        (holes && !encode_hole(maker, variant, window, known, error)))
        return LDM_LATENT_ROWS_FAILED;
    return LDM_LATENT_ROWS_MADE;
}

static void set_window(Maker *maker, size_t bucket)
{
    const LdmCacheOptions *options = maker->rows->options;
    size_t side = maker->rows->info->side, f = options->augment.side / side;

    maker->shape = ldm_bucket_shape(side, bucket);
    maker->augment = options->augment;
    maker->augment.width = maker->shape.w * f;
    maker->augment.height = maker->shape.h * f;
}

LdmLatentRowsResult ldm_latent_rows_make(const LdmLatentRows *rows, size_t example,
                                         const LdmTensor *picture, float *out, size_t *bucket,
                                         GError **error)
{
    Maker maker = {.rows = rows, .example = example, .row = out};
    LdmLatentRowsResult result = LDM_LATENT_ROWS_MADE;

    *bucket = LDM_BUCKET_SQUARE;
    if (rows->options->buckets)
        *bucket = ldm_bucket_of(rows->info->side, picture->shape[2], picture->shape[1]);
    set_window(&maker, *bucket);
    for (size_t v = 0; v < rows->info->variants && result == LDM_LATENT_ROWS_MADE; v++) {
        result = make_variant(&maker, v, picture, error);
        maker.row += rows->info->floats;
    }
    return result;
}

bool ldm_latent_rows_full_hole(const LdmLatentRows *rows, size_t bucket, float *out, GError **error)
{
    Maker maker = {.rows = rows};

    set_window(&maker, bucket);
    size_t h = maker.augment.height, w = maker.augment.width;
    g_autoptr(LdmTensor) window = ldm_tensor_new_nhwc(1, h, w, 3, error);
    g_autoptr(LdmTensor) mask = window != NULL ? ldm_tensor_new_nhwc(1, h, w, 1, error) : NULL;

    for (size_t i = 0; mask != NULL && i < h * w; i++)
        ldm_tensor_f32(mask)[i] = 1.0f;
    return mask != NULL && encode_hidden(&maker, window, mask, out, error);
}
