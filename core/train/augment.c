/* Windows and holes. In: a picture and the numbers of example and variant. Out: the window that the
 * encoder sees, and a mask; both follow from (seed, example, variant) alone. */
#include "train/augment.h"

#include "base/error.h"
#include "layers/resample.h"
#include "tensor/tensor.h"
#include "train/keyed.h"

#include <math.h>
#include <string.h>

#define FULL_SHARE 0.25 /* of masks that leave nothing */
#define MAX_SHAPES 4
#define KNOWN      0.99f /* of alpha, which resampling changes in the last bits */

/* [1, H, W, 4] on white, or as it is -> [1, H, W, 3] in [-1, 1] */
static LdmTensor *flatten(const LdmTensor *picture, bool opaque, GError **error)
{
    size_t n = picture->shape[1] * picture->shape[2];
    LdmTensor *rgb = ldm_tensor_new_nhwc(1, picture->shape[1], picture->shape[2], 3, error);

    for (size_t i = 0; rgb != NULL && i < n; i++) {
        const float *p = ldm_tensor_f32(picture) + i * 4;
        float alpha = opaque ? 1.0f : p[3];
        for (size_t c = 0; c < 3; c++)
            ldm_tensor_f32(rgb)[i * 3 + c] = 2.0f * (p[c] * alpha + 1.0f - alpha) - 1.0f;
    }
    return rgb;
}

/* [1, H, W, 4] -> [1, H, W, 3]: alpha in [-1, 1], three times */
static LdmTensor *alphas(const LdmTensor *picture, GError **error)
{
    size_t n = picture->shape[1] * picture->shape[2];
    LdmTensor *grey = ldm_tensor_new_nhwc(1, picture->shape[1], picture->shape[2], 3, error);

    for (size_t i = 0; grey != NULL && i < 3 * n; i++)
        ldm_tensor_f32(grey)[i] = 2.0f * ldm_tensor_f32(picture)[i / 3 * 4 + 3] - 1.0f;
    return grey;
}

static size_t width_of(const LdmAugment *augment)
{
    return augment->width > 0 ? augment->width : augment->side;
}

static size_t height_of(const LdmAugment *augment)
{
    return augment->height > 0 ? augment->height : augment->side;
}

/* The window of rgb at (x, y), columns backwards where `flip`. */
static LdmTensor *cut(const LdmTensor *rgb, size_t x, size_t y, const LdmAugment *augment,
                      bool flip, GError **error)
{
    size_t W = rgb->shape[2], w = width_of(augment), h = height_of(augment);
    LdmTensor *window = ldm_tensor_new_nhwc(1, h, w, 3, error);

    for (size_t i = 0; window != NULL && i < h * w; i++) {
        size_t column = flip ? w - 1 - i % w : i % w;
        const float *from = ldm_tensor_f32(rgb) + ((y + i / w) * W + x + column) * 3;
        for (size_t c = 0; c < 3; c++)
            ldm_tensor_f32(window)[i * 3 + c] = CLAMP(from[c], -1.0f, 1.0f);
    }
    return window;
}

/* The window of rgb [1, H, W, 3] that this variant of the example is. */
static LdmTensor *window_of(const LdmAugment *augment, size_t example, size_t variant,
                            const LdmTensor *rgb, GError **error)
{
    LdmKeyed keyed = ldm_keyed(augment->seed, LDM_KEY_CROP, example, variant);
    size_t H = rgb->shape[1], W = rgb->shape[2];
    size_t w = width_of(augment), h = height_of(augment);
    double cut_away = augment->crop * ldm_keyed_uniform(&keyed);
    double fit = MAX((double)w / (double)W, (double)h / (double)H), scale = fit / (1.0 - cut_away);
    size_t Ho = MAX((size_t)lrint((double)H * scale), h);
    size_t Wo = MAX((size_t)lrint((double)W * scale), w);
    g_autoptr(LdmTensor) resized =
        ldm_tensor_resample(LDM_RESAMPLE_LANCZOS, rgb, Ho, Wo, NULL, error);
    if (resized == NULL)
        return NULL;
    size_t x = ldm_keyed_below(&keyed, Wo - w + 1), y = ldm_keyed_below(&keyed, Ho - h + 1);
    return cut(resized, x, y, augment, augment->flip && variant % 2 == 1, error);
}

LdmTensor *ldm_augment_picture(const LdmAugment *augment, size_t example, size_t variant,
                               const LdmTensor *picture, GError **error)
{
    size_t H = picture->shape[1], W = picture->shape[2];
    size_t least_w = (width_of(augment) + 3) / 4, least_h = (height_of(augment) + 3) / 4;

    if (W < least_w || H < least_h) {
        ldm_set_error(error, FORMAT,
                      _("it is only %zu × %zu pixels, and at least %zu × %zu are needed"), W, H,
                      least_w, least_h);
        return NULL;
    }
    if (!ldm_tensor_check_finite(picture, "prepare", error))
        return NULL;
    g_autoptr(LdmTensor) rgb = flatten(picture, augment->partly, error);
    return rgb != NULL ? window_of(augment, example, variant, rgb, error) : NULL;
}

LdmTensor *ldm_augment_known(const LdmAugment *augment, size_t example, size_t variant,
                             const LdmTensor *picture, GError **error)
{
    g_autoptr(LdmTensor) grey = alphas(picture, error);
    g_autoptr(LdmTensor) window =
        grey != NULL ? window_of(augment, example, variant, grey, error) : NULL;
    LdmTensor *known = window != NULL
                           ? ldm_tensor_new_nhwc(1, window->shape[1], window->shape[2], 1, error)
                           : NULL;

    for (size_t i = 0; known != NULL && i < ldm_tensor_count(known); i++)
        ldm_tensor_f32(known)[i] = ldm_tensor_f32(window)[3 * i] >= 2.0f * KNOWN - 1.0f;
    return known;
}

/* ---- holes ---- */

/* In units of the sides; a stroke goes from (x, y) to (x2, y2) with half-width rx. */
typedef struct {
    enum { RECTANGLE, ELLIPSE, STROKE, N_KINDS } kind;
    double x, y, rx, ry, x2, y2;
} Shape;

static Shape shape_new(LdmKeyed *keyed)
{
    Shape shape = {.kind = ldm_keyed_below(keyed, N_KINDS)};
    double u[6];

    for (size_t i = 0; i < 6; i++)
        u[i] = ldm_keyed_uniform(keyed);
    shape.x = u[0];
    shape.y = u[1];
    shape.x2 = u[2];
    shape.y2 = u[3];
    shape.rx = shape.kind == STROKE ? 0.02 + 0.08 * u[4] : 0.05 + 0.3 * u[4];
    shape.ry = 0.05 + 0.3 * u[5];
    return shape;
}

static bool inside(const Shape *s, double x, double y)
{
    double dx = (x - s->x) / s->rx, dy = (y - s->y) / s->ry;

    if (s->kind == RECTANGLE)
        return fabs(dx) <= 1.0 && fabs(dy) <= 1.0;
    if (s->kind == ELLIPSE)
        return dx * dx + dy * dy <= 1.0;
    double ax = s->x2 - s->x, ay = s->y2 - s->y, length = ax * ax + ay * ay + 1e-12;
    double along = CLAMP(((x - s->x) * ax + (y - s->y) * ay) / length, 0.0, 1.0);
    return hypot(x - s->x - along * ax, y - s->y - along * ay) <= s->rx;
}

LdmTensor *ldm_augment_mask(const LdmAugment *augment, size_t example, size_t variant,
                            GError **error)
{
    LdmKeyed keyed = ldm_keyed(augment->seed, LDM_KEY_MASK, example, variant);
    size_t w = width_of(augment), h = height_of(augment), count = 1;
    LdmTensor *mask = ldm_tensor_new_nhwc(1, h, w, 1, error);
    bool full = ldm_keyed_uniform(&keyed) < FULL_SHARE;
    Shape shapes[MAX_SHAPES];

    count += ldm_keyed_below(&keyed, MAX_SHAPES);
    for (size_t k = 0; k < count; k++)
        shapes[k] = shape_new(&keyed);
    for (size_t i = 0; mask != NULL && i < h * w; i++) {
        double x = ((double)(i % w) + 0.5) / (double)w, y = ((double)(i / w) + 0.5) / (double)h;
        bool hole = full;
        for (size_t k = 0; k < count && !hole; k++)
            hole = inside(&shapes[k], x, y);
        ldm_tensor_f32(mask)[i] = hole ? 1.0f : 0.0f;
    }
    return mask;
}
