/* Previews. In: the x0 that a step of the loop predicts. Out: a small picture of it, by a tiny
 * decoder or else by a linear map, handed to who asked for it. The run itself is only looked at:
 * nothing that it computes with is written to. */
#include "pipeline/preview.h"

#include "base/checked.h"
#include "base/error.h"
#include "decode/rgb-map.h"
#include "decode/tiny-decoder.h"
#include "kernels/kernels.h"
#include "pipeline/preview-map.h"
#include "tensor/tensor.h"
#include "weights/tiny.h"

#include <math.h>
#include <string.h>

#define SHARE 10 /* at most one part of so many of the time goes to previews */

struct LdmPreviewDecoder {
    char *path; /* of the tiny decoder; NULL: the map */
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

static LdmPreviewDecoder *decoder_new(const LdmModel *model, char *path, GCancellable *cancellable,
                                      GError **error)
{
    g_autoptr(LdmPreviewDecoder) decoder = g_new0(LdmPreviewDecoder, 1);
    decoder->path = path;
    if (path == NULL)
        decoder->map = ldm_preview_map(model, cancellable, error);
    if (path != NULL ? !open_tiny(decoder, &model->info, error) : decoder->map == NULL)
        return NULL;
    return g_steal_pointer(&decoder);
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
    return (height * width * 3 * 5 + 3) / 4 * sizeof(float) +
           ldm_resample_scratch(h, w, 3, height, width);
}

/* Hands it on in the preview's size, as bytes. */
static void hand_on(const LdmMonitor *monitor, LdmPreview *preview, const LdmTensor *picture)
{
    size_t h = picture->shape[1], w = picture->shape[2];
    size_t height = (size_t)preview->height, width = (size_t)preview->width;
    size_t n = height * width * 3;
    LdmResample filter = width <= w && height <= h ? LDM_RESAMPLE_BOX : LDM_RESAMPLE_BILINEAR;
    float *floats = ldm_aligned_alloc(resize_bytes(preview, h, w), 1, _("the preview"), NULL);
    if (floats == NULL)
        return;
    uint8_t *bytes = (uint8_t *)(floats + n);
    void *scratch = floats + n + (n + 3) / 4;
    ldm_resample(filter, h, w, 3, picture->data, height, width, floats, scratch,
                 monitor->cancellable);
    for (size_t i = 0; i < n; i++)
        bytes[i] = floats[i] > 0.0f ? (uint8_t)(MIN(floats[i], 1.0f) * 255.0f + 0.5f) : 0;
    preview->pixels = bytes;
    monitor->preview(preview, monitor->preview_data);
    ldm_aligned_free(floats);
}

static LdmTensor *decode(const LdmPreviews *previews, const LdmTensor *x0)
{
    const LdmPreviewDecoder *decoder = previews->decoder;
    if (decoder->map != NULL)
        return ldm_rgb_map_apply(decoder->map, x0, NULL);
    return ldm_network_run(forward, decoder->tiny, x0, NULL, NULL, previews->monitor->cancellable,
                           NULL);
}

/* ---- a run's ---- */

static bool measure(const LdmPreviews *previews, const size_t latent[4], size_t *bytes,
                    GError **error)
{
    LdmTensor z = {LDM_F32, 4, {latent[0], latent[1], latent[2], latent[3]}, NULL};
    const LdmTinyDecoder *tiny = previews->decoder->tiny;
    size_t h = previews->geometry->H, w = previews->geometry->W, network = 0;
    LdmPreview preview;
    double flops;
    if (tiny != NULL && !ldm_network_measure(forward, tiny, &z, &network, &flops, error))
        return false;
    lay_size(previews->geometry, &preview);
    *bytes = network + h * w * 3 * sizeof(float) + resize_bytes(&preview, h, w);
    return true;
}

bool ldm_previews_open(LdmPreviews *previews, LdmModel *model, const size_t latent[4],
                       size_t *bytes, GError **error)
{
    const LdmMonitor *monitor = previews->monitor;
    *bytes = 0;
    if (monitor == NULL || monitor->preview == NULL)
        return true;
    char *path = monitor->preview_decoder != NULL ? g_strdup(monitor->preview_decoder)
                                                  : ldm_tiny_source_find(model->info.path);
    if (model->preview != NULL && g_strcmp0(model->preview->path, path) == 0) {
        g_free(path);
    } else {
        g_clear_pointer(&model->preview, ldm_preview_decoder_free);
        model->preview = decoder_new(model, path, monitor->cancellable, error);
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
