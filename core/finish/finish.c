/* Last stage of the line: the decoded work image x' in [-1, 1] becomes pixels of the picture,
 * R'G'B' in 0..1 with alpha, at the window's own size, and the blend factor min(1, 2 s) from the
 * mask at the picture's own resolution: a pixel half marked is fully replaced by its (half
 * repainted) new value, and below that the new fades into the old. */
#include "finish/finish.h"

#include "layers/resample.h"
#include "tensor/tensor.h"

/* The part of the work image that the window fills, as R'G'B' in 0..1 and opaque. */
static LdmTensor *inner_pixels(const LdmTensor *decoded, const LdmPrepared *p, GError **error)
{
    LdmTensor *rgba = ldm_tensor_new_nhwc(1, p->inner_h, p->inner_w, 4, error);
    for (size_t i = 0; rgba != NULL && i < p->inner_h * p->inner_w; i++) {
        const float *from = ldm_tensor_f32(decoded) + (i / p->inner_w * p->W + i % p->inner_w) * 3;
        float *to = ldm_tensor_f32(rgba) + i * 4;
        for (int c = 0; c < 3; c++)
            to[c] = CLAMP(from[c] * 0.5f + 0.5f, 0.0f, 1.0f);
        to[3] = 1.0f;
    }
    return rgba;
}

LdmTensor *ldm_enlarge(LdmTensor *rgba, size_t h, size_t w, GCancellable *cancellable,
                       GError **error)
{
    g_autoptr(LdmTensor) small = rgba;
    LdmTensor *out = ldm_tensor_resample(LDM_RESAMPLE_LANCZOS, small, h, w, cancellable, error);
    for (size_t i = 0; out != NULL && i < h * w * 4; i++) /* Lanczos overshoots */
        ldm_tensor_f32(out)[i] = CLAMP(ldm_tensor_f32(out)[i], 0.0f, 1.0f);
    return out;
}

/* Offset, in pixels, of pixel i of the window in the picture. */
static size_t picture_index(const LdmRect *window, size_t picture_width, size_t i)
{
    size_t y = i / (size_t)window->width, x = i % (size_t)window->width;
    return ((size_t)window->y + y) * picture_width + (size_t)window->x + x;
}

/* img2img keeps the source's own alpha; what is inpainted becomes opaque. */
static void keep_alpha(const LdmRequest *request, LdmResult *result)
{
    const LdmTensor *picture = request->picture;
    for (size_t i = 0, n = ldm_tensor_count(result->pixels) / 4; i < n; i++) {
        size_t at = picture_index(&result->window, picture->shape[2], i);
        float alpha = ldm_tensor_f32(picture)[at * 4 + 3];
        ldm_tensor_f32(result->pixels)[i * 4 + 3] = alpha > 0.0f ? MIN(alpha, 1.0f) : 0.0f;
    }
}

static bool blend_factor(const LdmRequest *request, LdmResult *result, GError **error)
{
    const LdmRect *window = &result->window;
    result->alpha = ldm_tensor_new_nhwc(1, (size_t)window->height, (size_t)window->width, 1, error);
    if (result->alpha == NULL)
        return false;
    const LdmTensor *mask = request->mask;
    for (size_t i = 0, n = ldm_tensor_count(result->alpha); i < n; i++) {
        float s =
            mask == NULL ? 1.0f : ldm_tensor_f32(mask)[picture_index(window, mask->shape[2], i)];
        ldm_tensor_f32(result->alpha)[i] = s > 0.0f ? MIN(1.0f, 2.0f * s) : 0.0f;
    }
    return true;
}

bool ldm_finish(LdmTensor *decoded, const LdmPrepared *p, const LdmRequest *request,
                LdmResult *result, GCancellable *cancellable, GError **error)
{
    bool repaint = request->task != LDM_TASK_GENERATE;
    if (!ldm_tensor_check_finite(decoded, "decode", error))
        return false;
    if (request->mask != NULL && !ldm_match_colour(decoded, p, p->H / p->cells->shape[1], error))
        return false;
    result->window = p->window;
    result->scale = p->scale;
    result->pixels = inner_pixels(decoded, p, error);
    if (result->pixels != NULL && p->scale < 1.0)
        result->pixels = ldm_enlarge(g_steal_pointer(&result->pixels), (size_t)p->window.height,
                                     (size_t)p->window.width, cancellable, error);
    if (result->pixels == NULL)
        return false;
    if (request->task == LDM_TASK_IMG2IMG)
        keep_alpha(request, result);
    return !repaint || blend_factor(request, result, error);
}

bool ldm_finish_unchanged(const LdmPrepared *p, const LdmRequest *request, LdmResult *result,
                          GError **error)
{
    size_t h = (size_t)p->window.height, w = (size_t)p->window.width;
    result->window = p->window;
    result->scale = 1.0;
    result->pixels = ldm_tensor_new_nhwc(1, h, w, 4, error);
    result->alpha = result->pixels == NULL ? NULL : ldm_tensor_new_nhwc(1, h, w, 1, error);
    if (result->alpha == NULL)
        return false;
    for (size_t i = 0; i < h * w; i++)
        memcpy(ldm_tensor_f32(result->pixels) + i * 4,
               ldm_tensor_f32(request->picture) +
                   picture_index(&p->window, request->picture->shape[2], i) * 4,
               4 * sizeof(float));
    return true;
}
