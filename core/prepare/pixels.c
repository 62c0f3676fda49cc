/* Reads the window out of the picture. Straight alpha and float input mean that some pixels have
 * no colour worth learning from (fully transparent, NaN, infinite): these are filled from around
 * them, so that the encoder never sees an edge that is not in the picture. */
#include "base/checked.h"
#include "base/error.h"
#include "base/parallel.h"
#include "prepare/prepare.h"
#include "tensor/tensor.h"

#include <math.h>

static void add_pixel(double sum[4], const float *rgba)
{
    if (!(rgba[3] > 0.0f) || !isfinite(rgba[0]) || !isfinite(rgba[1]) || !isfinite(rgba[2]))
        return;
    double weight = MIN(rgba[3], 1.0f);
    for (int c = 0; c < 3; c++)
        sum[c] += weight * CLAMP(rgba[c], 0.0f, 1.0f);
    sum[3] += weight;
}

/* One cell of the box average: picture rows y0 .. y1, columns x0 .. x1. */
static void read_cell(const LdmTensor *picture, const size_t box[4], float *rgbw)
{
    double sum[4] = {0};
    size_t W = picture->shape[2];
    for (size_t y = box[0]; y < box[1]; y++)
        for (size_t x = box[2]; x < box[3]; x++)
            add_pixel(sum, (const float *)picture->data + (y * W + x) * 4);
    for (int c = 0; c < 3; c++)
        rgbw[c] = sum[3] > 0.0 ? (float)(sum[c] / sum[3]) : 0.5f;
    rgbw[3] = sum[3] > 0.0 ? 1.0f : 0.0f;
}

/* A level of the pyramid and the one of half its size. */
typedef struct {
    float *rgbw, *half;
    size_t H, W;
} Level;

/* Row `row` of the half size, each cell the mean of its weighted pixels. */
static void push(size_t row, int thread, void *data)
{
    const Level *l = data;
    size_t w = (l->W + 1) / 2, y0 = row * 2;
    float *half = l->half + row * w * 4;
    for (size_t i = 0; i < w; i++, half += 4) {
        size_t x0 = i * 2;
        float sum[4] = {0};
        for (size_t y = y0; y < MIN(y0 + 2, l->H); y++)
            for (size_t x = x0; x < MIN(x0 + 2, l->W); x++)
                for (int c = 0; c < 4; c++) {
                    const float *p = l->rgbw + (y * l->W + x) * 4;
                    sum[c] += c < 3 ? p[c] * p[3] : p[3];
                }
        for (int c = 0; c < 3; c++)
            half[c] = sum[3] > 0.0f ? sum[c] / sum[3] : 0.5f;
        half[3] = sum[3] > 0.0f ? 1.0f : 0.0f;
    }
}

/* Between the two nearest of a row or column of the half size: where they are, and the share of the
 * second. Pixel i lies at (i - 1/2) / 2. */
static float between(size_t i, size_t half, size_t at[2])
{
    at[0] = (i + 1) / 2 - (i > 0);
    at[1] = MIN((i + 1) / 2, half - 1);
    return i % 2 == 0 ? 0.75f : 0.25f;
}

/* Every pixel of weight 0 of row y takes its colour from the half size, linearly between cells. */
static void pull(size_t y, int thread, void *data)
{
    const Level *l = data;
    size_t h = (l->H + 1) / 2, w = (l->W + 1) / 2, rows[2], columns[2];
    float v = between(y, h, rows), *rgbw = l->rgbw + y * l->W * 4;
    const float *top = l->half + rows[0] * w * 4, *bottom = l->half + rows[1] * w * 4;
    for (size_t x = 0; x < l->W; x++, rgbw += 4) {
        if (rgbw[3] > 0.0f)
            continue;
        float u = between(x, w, columns);
        for (size_t c = 0; c < 3; c++) {
            float a = top[columns[0] * 4 + c], b = top[columns[1] * 4 + c];
            float d = bottom[columns[0] * 4 + c], e = bottom[columns[1] * 4 + c];
            rgbw[c] = (1.0f - v) * ((1.0f - u) * a + u * b) + v * ((1.0f - u) * d + u * e);
        }
    }
}

size_t ldm_fill_holes_scratch(size_t H, size_t W)
{
    size_t h = (H + 1) / 2, w = (W + 1) / 2, here = h * w * 4 * sizeof(float);
    return H * W <= 1 ? 0 : here + ldm_fill_holes_scratch(h, w);
}

bool ldm_fill_holes(float *rgbw, size_t H, size_t W, GCancellable *cancellable, GError **error)
{
    bool holes = false, colours = false;
    for (size_t i = 0; i < H * W; i++)
        *(rgbw[i * 4 + 3] > 0.0f ? &colours : &holes) = true;
    if (!holes || !colours)
        return true; /* nothing to fill, or nothing to fill from: mid-grey stays */
    size_t h = (H + 1) / 2, w = (W + 1) / 2;
    float *half = ldm_aligned_alloc(h * w, 4 * sizeof(float), _("the fill of clear pixels"), error);
    if (half == NULL)
        return false;
    Level level = {rgbw, half, H, W};
    bool on = ldm_parallel_for(h, push, &level, cancellable);
    bool filled = on && ldm_fill_holes(half, h, w, cancellable, error);
    on = filled ? ldm_parallel_for(H, pull, &level, cancellable) : on;
    ldm_aligned_free(half);
    if (!on)
        ldm_set_error(error, CANCELLED, _("cancelled"));
    return filled && on;
}

typedef struct {
    const LdmTensor *picture;
    const LdmRect *window;
    LdmTensor *rgbw;
} Reading;

/* Row y of the box average: the picture's rows and columns are shared out as evenly as whole
 * numbers allow. */
static void read_row(size_t y, int thread, void *data)
{
    const Reading *r = data;
    size_t rows = r->rgbw->shape[1], columns = r->rgbw->shape[2];
    size_t h = (size_t)r->window->height, w = (size_t)r->window->width;
    size_t top = (size_t)r->window->y, left = (size_t)r->window->x;
    for (size_t x = 0; x < columns; x++) {
        const size_t box[4] = {top + y * h / rows, top + (y + 1) * h / rows, left + x * w / columns,
                               left + (x + 1) * w / columns};
        read_cell(r->picture, box, ldm_tensor_f32(r->rgbw) + (y * columns + x) * 4);
    }
}

LdmTensor *ldm_window_read(const LdmTensor *picture, const LdmRect *window, size_t rows,
                           size_t columns, GCancellable *cancellable, GError **error)
{
    g_autoptr(LdmTensor) rgbw = ldm_tensor_new_nhwc(1, rows, columns, 4, error);
    if (rgbw == NULL)
        return NULL;
    Reading reading = {picture, window, rgbw};
    if (!ldm_parallel_for(rows, read_row, &reading, cancellable)) {
        ldm_set_error(error, CANCELLED, _("cancelled"));
        return NULL;
    }
    if (!ldm_fill_holes(ldm_tensor_f32(rgbw), rows, columns, cancellable, error))
        return NULL;
    LdmTensor *rgb = ldm_tensor_new_nhwc(1, rows, columns, 3, error);
    for (size_t i = 0; rgb != NULL && i < rows * columns; i++)
        memcpy(ldm_tensor_f32(rgb) + i * 3, ldm_tensor_f32(rgbw) + i * 4, 3 * sizeof(float));
    return rgb;
}
