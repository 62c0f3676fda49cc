/* Previews. In: the x0 that a step of the loop predicts. Out: a small picture of it, by a tiny
 * decoder or else by a linear map, handed to who asked for it. The run itself is only looked at:
 * nothing that it computes with is written to. */
#include "pipeline/preview.h"

#include "base/error.h"
#include "decode/rgb-map.h"
#include "decode/tiny-decoder.h"
#include "layers/resample.h"
#include "pipeline/preview-map.h"
#include "tensor/tensor.h"
#include "weights/tiny.h"

#include <math.h>
#include <string.h>

#define SHARE 10                     /* at most one part of so many of the time goes to previews */
#define SIDE  (2 * LDM_PREVIEW_SIDE) /* most pixels of a picture that is then reduced */

struct LdmPreviewDecoder {
    char *asked; /* the path that was asked for; NULL: whatever shows the model */
    char *path;  /* of the tiny decoder; NULL: the map */
    LdmTinySource *source;
    LdmParams *params;
    LdmTinyDecoder *tiny;
    LdmTensor *map;
};

void ldm_preview_decoder_free(LdmPreviewDecoder *decoder)
{
    if (decoder == NULL)
        return;
    ldm_tiny_decoder_free(decoder->tiny);
    ldm_params_free(decoder->params);
    ldm_tiny_source_free(decoder->source);
    ldm_tensor_free(decoder->map);
    g_free(decoder->path);
    g_free(decoder->asked);
    g_free(decoder);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmPreviewDecoder, ldm_preview_decoder_free)

/* ---- opening ---- */

/* A decoder trained for other latents would show nonsense, or nothing. */
static bool check_latents(const LdmTinyConfig *tiny, const LdmModelInfo *info, const char *path,
                          GError **error)
{
    int f = (int)ldm_tiny_factor(tiny);
    if (tiny->latent_channels == info->latent_channels && f == info->downsampling)
        return true;
    ldm_set_error(error, SHAPE,
                  _("%s decodes latents of %d channels, %d pixels a cell; the model's have %d "
                    "channels, %d pixels a cell: remove it, or give another"),
                  path, tiny->latent_channels, f, info->latent_channels, info->downsampling);
    return false;
}

static bool open_tiny(LdmPreviewDecoder *decoder, const LdmModelInfo *info, GError **error)
{
    decoder->source = ldm_tiny_source_open(decoder->path, error);
    if (decoder->source == NULL ||
        !check_latents(&decoder->source->config, info, decoder->path, error))
        return false;
    decoder->params = ldm_params_new();
    decoder->tiny = ldm_tiny_decoder_new(&decoder->source->config, decoder->params);
    return ldm_part_bind(&decoder->source->part, decoder->params, error);
}

static LdmPreviewDecoder *decoder_new(const LdmModel *model, const char *path,
                                      GCancellable *cancellable, GError **error)
{
    g_autoptr(LdmPreviewDecoder) decoder = g_new0(LdmPreviewDecoder, 1);
    decoder->path = g_strdup(path);
    if (path == NULL)
        decoder->map = ldm_preview_map(model, cancellable, error);
    if (path != NULL ? !open_tiny(decoder, &model->info, error) : decoder->map == NULL)
        return NULL;
    return g_steal_pointer(&decoder);
}

/* The tiny decoder that was asked for, or the one that lies with the model; where that one is
 * broken, or there is none, the map, so that no picture fails by what only shows it. */
static LdmPreviewDecoder *find_decoder(const LdmModel *model, const LdmMonitor *monitor,
                                       GError **error)
{
    LdmPreviewDecoder *decoder = NULL;
    if (monitor->preview_decoder != NULL)
        return decoder_new(model, monitor->preview_decoder, monitor->cancellable, error);
    g_autofree char *found = ldm_tiny_source_find(model->info.path);
    if (found != NULL)
        decoder = decoder_new(model, found, monitor->cancellable, NULL);
    return decoder != NULL ? decoder : decoder_new(model, NULL, monitor->cancellable, error);
}

/* ---- one picture ---- */

static LdmTensor *forward(LdmPass *pass, const void *decoder, LdmTensor *z)
{
    return ldm_tiny_decoder_forward(pass, decoder, z);
}

/* Of the size in which it is shown: the window's own, reduced where it is larger. */
static void lay_size(const LdmPrepared *geometry, LdmPreview *preview)
{
    size_t longest = MAX(geometry->inner_h, geometry->inner_w);
    double scale = MIN(1.0, (double)LDM_PREVIEW_SIDE / (double)longest);
    preview->width = MAX((int)rint(scale * (double)geometry->inner_w), 1);
    preview->height = MAX((int)rint(scale * (double)geometry->inner_h), 1);
}

/* The part of the picture [1, h, w, 3] that the window fills, without the padding; in place. */
static void crop(LdmTensor *picture, const LdmPrepared *geometry)
{
    size_t h = picture->shape[1], w = picture->shape[2];
    size_t rows = (geometry->inner_h * h + geometry->H - 1) / geometry->H;
    size_t columns = (geometry->inner_w * w + geometry->W - 1) / geometry->W;
    float *data = ldm_tensor_f32(picture);
    for (size_t y = 1; y < rows; y++)
        memmove(data + y * columns * 3, data + y * w * 3, columns * 3 * sizeof(float));
    picture->shape[1] = rows;
    picture->shape[2] = columns;
}

static size_t resize_bytes(const LdmPreview *preview, size_t h, size_t w)
{
    size_t height = (size_t)preview->height, width = (size_t)preview->width;
    return height * width * 3 * (sizeof(float) + 1) + ldm_resample_scratch(h, w, 3, height, width);
}

/* Hands it on in the preview's size, as bytes. */
static void hand_on(const LdmMonitor *monitor, LdmPreview *preview, const LdmTensor *picture)
{
    size_t h = picture->shape[1], w = picture->shape[2];
    size_t height = (size_t)preview->height, width = (size_t)preview->width;
    size_t n = height * width * 3;
    LdmResample filter = width <= w && height <= h ? LDM_RESAMPLE_BOX : LDM_RESAMPLE_BILINEAR;
    g_autoptr(LdmTensor) resized =
        ldm_tensor_resample(filter, picture, height, width, monitor->cancellable, NULL);
    g_autofree uint8_t *bytes = resized != NULL ? g_try_malloc(n) : NULL;
    if (bytes == NULL)
        return;
    const float *floats = resized->data;
    for (size_t i = 0; i < n; i++)
        bytes[i] = floats[i] > 0.0f ? (uint8_t)(MIN(floats[i], 1.0f) * 255.0f + 0.5f) : 0;
    preview->pixels = bytes;
    monitor->preview(preview, monitor->preview_data);
}

/* Cells of the latent that the tiny decoder sees: of a large one no more than make up a picture of
 * SIDE, so that neither time nor memory grow with what is only looked at. */
static void seen_cells(const LdmPreviews *previews, const size_t latent[4], size_t *h, size_t *w)
{
    size_t f = (size_t)ldm_tiny_factor(&previews->decoder->source->config);
    double scale = MIN(1.0, (double)MAX(SIDE / f, 1) / (double)MAX(latent[1], latent[2]));
    *h = MAX((size_t)rint(scale * (double)latent[1]), 1);
    *w = MAX((size_t)rint(scale * (double)latent[2]), 1);
}

static LdmTensor *decode(const LdmPreviews *previews, const LdmTensor *x0)
{
    const LdmPreviewDecoder *decoder = previews->decoder;
    GCancellable *cancellable = previews->monitor->cancellable;
    g_autoptr(LdmTensor) reduced = NULL;
    size_t h, w;
    if (decoder->map != NULL)
        return ldm_rgb_map_apply(decoder->map, x0, NULL);
    seen_cells(previews, x0->shape, &h, &w);
    if (h < x0->shape[1] || w < x0->shape[2]) {
        x0 = reduced = ldm_tensor_resample(LDM_RESAMPLE_BOX, x0, h, w, cancellable, NULL);
        if (reduced == NULL)
            return NULL;
    }
    return ldm_network_run(forward, decoder->tiny, x0, NULL, NULL, cancellable, NULL);
}

/* ---- a run's ---- */

static bool measure(const LdmPreviews *previews, const size_t latent[4], size_t *bytes,
                    GError **error)
{
    LdmTensor z = {LDM_F32, 4, {latent[0], latent[1], latent[2], latent[3]}, NULL};
    const LdmTinyDecoder *tiny = previews->decoder->tiny;
    size_t h = latent[1], w = latent[2], network = 0, f = 1;
    LdmPreview preview;
    double flops;
    *bytes = 0;
    if (tiny != NULL) {
        f = (size_t)ldm_tiny_factor(&previews->decoder->source->config);
        seen_cells(previews, latent, &h, &w);
        if (h < latent[1] || w < latent[2])
            *bytes = h * w * latent[3] * sizeof(float) +
                     ldm_resample_scratch(latent[1], latent[2], latent[3], h, w);
        z.shape[1] = h;
        z.shape[2] = w;
        if (!ldm_network_measure(forward, tiny, &z, &network, &flops, error))
            return false;
    }
    lay_size(previews->geometry, &preview);
    *bytes += network + h * f * w * f * 3 * sizeof(float) + resize_bytes(&preview, h * f, w * f);
    return true;
}

bool ldm_previews_open(LdmPreviews *previews, LdmModel *model, const size_t latent[4],
                       size_t *bytes, GError **error)
{
    const LdmMonitor *monitor = previews->monitor;
    *bytes = 0;
    if (monitor == NULL || monitor->preview == NULL)
        return true;
    if (model->preview == NULL || g_strcmp0(model->preview->asked, monitor->preview_decoder) != 0) {
        g_clear_pointer(&model->preview, ldm_preview_decoder_free);
        model->preview = find_decoder(model, monitor, error);
        if (model->preview != NULL)
            model->preview->asked = g_strdup(monitor->preview_decoder);
    }
    previews->decoder = model->preview;
    return previews->decoder != NULL && measure(previews, latent, bytes, error);
}

void ldm_previews_show(LdmPreviews *previews, int step, int steps, const LdmTensor *x0)
{
    const LdmMonitor *monitor = previews->monitor;
    gint64 begun = g_get_monotonic_time(), interval;
    LdmPreview preview = {.step = step, .steps = steps};
    if (previews->decoder == NULL || begun < previews->next)
        return;
    g_autoptr(LdmTensor) picture = decode(previews, x0);
    if (picture == NULL)
        return;
    lay_size(previews->geometry, &preview);
    crop(picture, previews->geometry);
    hand_on(monitor, &preview, picture);
    gint64 ended = g_get_monotonic_time();
    interval = (gint64)(monitor->preview_seconds * G_USEC_PER_SEC);
    if (interval > 0)
        previews->next = MAX(begun + interval, ended + (SHARE - 1) * (ended - begun));
}
