/* Part of finish: colour match at the border of the mask. In come the original x, the decoded x'
 * and the mask; out goes x' without the brightness and colour shift that autoencoder and network
 * leave, so that the repainted part meets the rest without an edge. */
#include "base/checked.h"
#include "base/error.h"
#include "finish/finish.h"
#include "tensor/tensor.h"

#include <math.h>

#define DIFFERENCE_MAX 0.2f  /* of the range -1 .. 1: ten percent of brightness */
#define WEIGHT_MIN     1e-4f /* less of G(w) is out of reach */

/* `lines` lines of `length` pixels of 4 floats, `step` floats from pixel to pixel, `pitch` from
 * line to line: each pixel becomes the mean of those at most `radius` away on its line. */
typedef struct {
    size_t lines, length, step, pitch, radius;
} Lines;

static void box_line(const Lines *l, float *line, float *copy)
{
    double sum[4] = {0};
    size_t n = l->length, r = l->radius, count = 0;
    for (size_t i = 0; i < n; i++)
        memcpy(copy + i * 4, line + i * l->step, 4 * sizeof(float));
    for (size_t i = 0; i < MIN(r, n); i++, count++)
        for (int c = 0; c < 4; c++)
            sum[c] += copy[i * 4 + c];
    for (size_t i = 0; i < n; i++) {
        if (i + r < n) {
            count++;
            for (int c = 0; c < 4; c++)
                sum[c] += copy[(i + r) * 4 + c];
        }
        if (i > r) {
            count--;
            for (int c = 0; c < 4; c++)
                sum[c] -= copy[(i - r - 1) * 4 + c];
        }
        for (int c = 0; c < 4; c++)
            line[i * l->step + c] = (float)(sum[c] / (double)count);
    }
}

static void smooth(float *planes, size_t H, size_t W, size_t radius, float *copy)
{
    const Lines rows = {H, W, 4, W * 4, radius}, columns = {W, H, W * 4, 4, radius};
    for (int pass = 0; pass < 3; pass++) {
        for (size_t y = 0; y < H; y++)
            box_line(&rows, planes + y * rows.pitch, copy);
        for (size_t x = 0; x < W; x++)
            box_line(&columns, planes + x * columns.pitch, copy);
    }
}

/* planes [H, W, 4]: w d (three channels), w. Padding has no weight: the picture ends there. */
static void differences(const LdmTensor *decoded, const LdmPrepared *p, float *planes)
{
    const float *x = ldm_tensor_f32(p->image), *made = ldm_tensor_f32(decoded);
    for (size_t i = 0; i < p->H * p->W; i++) {
        bool known =
            ldm_tensor_f32(p->mask)[i] == 0.0f && i / p->W < p->inner_h && i % p->W < p->inner_w;
        for (int c = 0; c < 3; c++)
            planes[i * 4 + c] =
                known ? CLAMP(x[i * 3 + c] - made[i * 3 + c], -DIFFERENCE_MAX, DIFFERENCE_MAX)
                      : 0.0f;
        planes[i * 4 + 3] = known ? 1.0f : 0.0f;
    }
}

/* Outside the mask x is known, so the difference d = x - x' there is pure error. Its low
 * frequencies are carried on into the mask and fade out there:
 *
 *     x' += fade * G(w d) / G(w),   w = 1 where the mask is 0, fade = min(1, 2 G(w))
 *
 * with G three box averages of radius f (reach 3f; at a straight border G(w) is 1/2). Where d is 0,
 * x' stays as it is to the bit; where no pixel of w is in reach, too. |d| is capped, so that a
 * picture that differs in substance is not dragged along. */
bool ldm_match_colour(LdmTensor *decoded, const LdmPrepared *p, size_t f, GError **error)
{
    size_t H = p->H, W = p->W;
    float *planes = ldm_aligned_alloc(H * W, 4 * sizeof(float), _("the colour match"), error);
    float *copy = planes == NULL ? NULL
                                 : ldm_aligned_alloc(MAX(H, W), 4 * sizeof(float),
                                                     _("the colour match"), error);
    if (copy != NULL) {
        differences(decoded, p, planes);
        smooth(planes, H, W, f, copy);
        for (size_t i = 0; i < H * W; i++) {
            const float *d = planes + i * 4;
            if (d[3] < WEIGHT_MIN)
                continue;
            for (int c = 0; c < 3; c++)
                ldm_tensor_f32(decoded)[i * 3 + c] += MIN(1.0f, 2.0f * d[3]) * d[c] / d[3];
        }
    }
    ldm_aligned_free(copy);
    ldm_aligned_free(planes);
    return copy != NULL;
}
