/* After the line: the finished picture. In come the input, the new pixels and the blend factor a
 * that finish made; out goes a copy of the input, changed only where a > 0. */
#include "base/error.h"
#include "finish/finish.h"
#include "tensor/tensor.h"

#include <math.h>

static bool usable(const float *rgba)
{
    return isfinite(rgba[0]) && isfinite(rgba[1]) && isfinite(rgba[2]) && isfinite(rgba[3]);
}

/* Straight alpha:
 *
 *     alpha = (1 - a) alpha_old + a alpha_new
 *     colour = ((1 - a) alpha_old colour_old + a alpha_new colour_new) / alpha
 *
 * so that the meaningless colour of a clear pixel never shows. Where a is 0 nothing is computed:
 * the input's values stay, bit for bit, whatever they are. `old` is read and written. */
static void blend_pixel(float *old, const float *made, double a)
{
    if (a >= 1.0 || !usable(old)) {
        memcpy(old, made, 4 * sizeof(float));
        return;
    }
    double kept = (1.0 - a) * old[3], added = a * made[3], alpha = kept + added;
    for (int c = 0; c < 3 && alpha > 0.0; c++)
        old[c] = (float)((kept * old[c] + added * made[c]) / alpha);
    old[3] = (float)alpha;
}

LdmTensor *ldm_result_composite(const LdmResult *result, const LdmRequest *request, GError **error)
{
    if (request->picture == NULL || result->alpha == NULL)
        return ldm_tensor_copy(result->pixels, error);
    LdmTensor *picture = ldm_tensor_copy(request->picture, error);
    if (picture == NULL)
        return NULL;
    size_t w = (size_t)result->window.width, n = ldm_tensor_count(result->alpha);
    for (size_t i = 0; i < n; i++) {
        float a = ldm_tensor_f32(result->alpha)[i];
        size_t y = (size_t)result->window.y + i / w, x = (size_t)result->window.x + i % w;
        if (a > 0.0f)
            blend_pixel(ldm_tensor_f32(picture) + (y * picture->shape[2] + x) * 4,
                        ldm_tensor_f32(result->pixels) + i * 4, a);
    }
    return picture;
}
