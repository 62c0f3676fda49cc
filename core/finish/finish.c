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
    for (size_t y = 0; rgba != NULL && y < p->inner_h; y++) {
        const float *from = ldm_tensor_f32(decoded) + y * p->W * 3;
        float *to = ldm_tensor_f32(rgba) + y * p->inner_w * 4;
        for (size_t x = 0; x < p->inner_w; x++, from += 3, to += 4) {
            for (int c = 0; c < 3; c++)
                to[c] = CLAMP(from[c] * 0.5f + 0.5f, 0.0f, 1.0f);
            to[3] = 1.0f;
        }
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

/* Where row y of the window begins in a picture or a mask. */
static const float *picture_row(const LdmTensor *picture, const LdmRect *window, size_t y)
{
    size_t at = ((size_t)window->y + y) * picture->shape[2] + (size_t)window->x;
    return ldm_tensor_f32(picture) + at * picture->shape[3];
}

/* img2img keeps the source's own alpha; what is inpainted becomes opaque. */
static void keep_alpha(const LdmRequest *request, LdmResult *result)
{
    size_t w = (size_t)result->window.width;
    for (size_t y = 0; y < (size_t)result->window.height; y++) {
        const float *from = picture_row(request->picture, &result->window, y);
        float *to = ldm_tensor_f32(result->pixels) + y * w * 4;
        for (size_t i = 3; i < w * 4; i += 4)
            to[i] = from[i] > 0.0f ? MIN(from[i], 1.0f) : 0.0f;
    }
}

static bool blend_factor(const LdmRequest *request, LdmResult *result, GError **error)
{
    size_t h = (size_t)result->window.height, w = (size_t)result->window.width;
    result->alpha = ldm_tensor_new_nhwc(1, h, w, 1, error);
    if (result->alpha == NULL)
        return false;
    for (size_t y = 0; y < h; y++) {
        const float *s =
            request->mask != NULL ? picture_row(request->mask, &result->window, y) : NULL;
        float *to = ldm_tensor_f32(result->alpha) + y * w;
        for (size_t x = 0; x < w; x++)
            to[x] = s == NULL ? 1.0f : s[x] > 0.0f ? MIN(1.0f, 2.0f * s[x]) : 0.0f;
    }
    return true;
}

bool ldm_finish(LdmTensor *decoded, const LdmPrepared *p, const LdmRequest *request,
                LdmResult *result, GCancellable *cancellable, GError **error)
{
    bool repaint = request->task != LDM_TASK_GENERATE;
    if (!ldm_tensor_check_finite(decoded, "decode", error))
        return false;
    if (request->mask != NULL &&
        !ldm_match_colour(decoded, p, p->H / p->cells->shape[1], cancellable, error))
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
    for (size_t y = 0; y < h; y++)
        memcpy(ldm_tensor_f32(result->pixels) + y * w * 4,
               picture_row(request->picture, &p->window, y), w * 4 * sizeof(float));
    return true;
}
