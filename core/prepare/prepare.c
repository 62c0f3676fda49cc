/* First stage of the line: the window of the picture becomes the work image x in [-1, 1], [1, H, W,
 * 3]; the soft mask s becomes [1, H, W, 1] at the same size and, per latent cell, the max of s.
 * What the window does not fill (H, W are multiples of f) is a copy of its last row and column. */
#include "prepare/prepare.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/parallel.h"
#include "layers/resample.h"
#include "tensor/tensor.h"

#include <math.h>

/* ---- image ---- */

/* A window that is to be reduced is first box-averaged to at least twice its work size: cheap, and
 * no copy of a huge picture is made; Lanczos does the rest. */
static size_t read_size(size_t size, size_t inner)
{
    size_t factor = inner < size ? MAX(size / (2 * inner), 1) : 1;
    return (size + factor - 1) / factor;
}

size_t ldm_prepare_scratch(const LdmPrepared *p)
{
    size_t h = p->inner_h, w = p->inner_w;
    size_t rows = read_size((size_t)p->window.height, h);
    size_t columns = read_size((size_t)p->window.width, w);
    size_t reading = rows * columns * (4 + 3) * sizeof(float), reducing = 0;
    if (rows != h || columns != w)
        reducing = (rows * columns + h * w) * 3 * sizeof(float) +
                   ldm_resample_scratch(rows, columns, 3, h, w);
    return MAX(reading, reducing);
}

/* Takes `rgb`. */
static LdmTensor *reduce(LdmTensor *rgb, size_t h, size_t w, GCancellable *cancellable,
                         GError **error)
{
    g_autoptr(LdmTensor) full = rgb;
    return ldm_tensor_resample(LDM_RESAMPLE_LANCZOS, full, h, w, cancellable, error);
}

static bool prepare_image(const LdmTensor *picture, LdmPrepared *p, GCancellable *cancellable,
                          GError **error)
{
    size_t h = p->inner_h, w = p->inner_w;
    size_t rows = read_size((size_t)p->window.height, h);
    size_t columns = read_size((size_t)p->window.width, w);
    g_autoptr(LdmTensor) rgb =
        ldm_window_read(picture, &p->window, rows, columns, cancellable, error);
    if (rgb != NULL && (rows != h || columns != w))
        rgb = reduce(g_steal_pointer(&rgb), h, w, cancellable, error);
    p->image = rgb == NULL ? NULL : ldm_tensor_new_nhwc(1, p->H, p->W, 3, error);
    if (p->image == NULL)
        return false;
    float *to = ldm_tensor_f32(p->image);
    for (size_t y = 0; y < p->H; y++) {
        const float *row = ldm_tensor_f32(rgb) + MIN(y, h - 1) * w * 3;
        for (size_t x = 0; x < p->W; x++)
            for (size_t c = 0; c < 3; c++) /* Lanczos overshoots */
                *to++ = CLAMP(row[MIN(x, w - 1) * 3 + c] * 2.0f - 1.0f, -1.0f, 1.0f);
    }
    return true;
}

/* ---- mask ---- */

/* The max of s over the picture pixels that work pixel (y, x) touches, so that no marked pixel is
 * lost by reducing. Work pixels in the padding look at the window's last row or column. */
static float mask_at(const LdmTensor *mask, const LdmPrepared *p, size_t y, size_t x)
{
    size_t h = (size_t)p->window.height, w = (size_t)p->window.width;
    y = MIN(y, p->inner_h - 1);
    x = MIN(x, p->inner_w - 1);
    size_t y0 = y * h / p->inner_h, y1 = ((y + 1) * h + p->inner_h - 1) / p->inner_h;
    size_t x0 = x * w / p->inner_w, x1 = ((x + 1) * w + p->inner_w - 1) / p->inner_w;
    float most = 0.0f;
    for (size_t v = y0; v < y1; v++) {
        const float *row = (const float *)mask->data + ((size_t)p->window.y + v) * mask->shape[2] +
                           (size_t)p->window.x;
        for (size_t u = x0; u < x1; u++)
            most = row[u] > most ? row[u] : most; /* false for NaN */
    }
    return MIN(most, 1.0f);
}

typedef struct {
    const LdmTensor *mask;
    const LdmPrepared *p;
    size_t f;
} Marks;

/* A row of cells and its pixels. */
static void mark_row(size_t row, int thread, void *data)
{
    const Marks *m = data;
    size_t W = m->p->W;
    float *cells = ldm_tensor_f32(m->p->cells) + row * (W / m->f);
    for (size_t y = row * m->f; y < (row + 1) * m->f; y++)
        for (size_t x = 0; x < W; x++) {
            float s = m->mask == NULL ? 1.0f : mask_at(m->mask, m->p, y, x);
            ldm_tensor_f32(m->p->mask)[y * W + x] = s;
            cells[x / m->f] = MAX(cells[x / m->f], s);
        }
}

static bool prepare_mask(const LdmTensor *mask, size_t f, LdmPrepared *p, GCancellable *cancellable,
                         GError **error)
{
    size_t h = p->H / f, w = p->W / f;
    Marks marks = {mask, p, f};
    p->mask = ldm_tensor_new_nhwc(1, p->H, p->W, 1, error);
    p->cells = p->mask == NULL ? NULL : ldm_tensor_new_nhwc(1, h, w, 1, error);
    if (p->cells == NULL)
        return false;
    if (ldm_parallel_for(h, mark_row, &marks, cancellable))
        return true;
    ldm_set_error(error, CANCELLED, _("cancelled"));
    return false;
}

bool ldm_prepare(const LdmTensor *picture, const LdmTensor *mask, size_t f, LdmPrepared *prepared,
                 GCancellable *cancellable, GError **error)
{
    return prepare_image(picture, prepared, cancellable, error) &&
           prepare_mask(mask, f, prepared, cancellable, error);
}

/* What mask > 0 has hidden takes its colours from around it. */
static bool fill_hole(float *rgb, const float *mask, size_t H, size_t W, GCancellable *cancellable,
                      GError **error)
{
    size_t pixels = H * W;
    float *rgbw = ldm_aligned_alloc(pixels, 4 * sizeof(float), _("the fill of the hole"), error);
    if (rgbw == NULL)
        return false;
    for (size_t i = 0; i < pixels; i++) {
        memcpy(rgbw + i * 4, rgb + i * 3, 3 * sizeof(float));
        rgbw[i * 4 + 3] = mask[i] > 0.0f ? 0.0f : 1.0f;
    }
    bool ok = ldm_fill_holes(rgbw, H, W, cancellable, error);
    for (size_t i = 0; ok && i < pixels; i++)
        memcpy(rgb + i * 3, rgbw + i * 4, 3 * sizeof(float));
    ldm_aligned_free(rgbw);
    return ok;
}

bool ldm_hide(LdmHole hole, float *rgb, const float *mask, size_t H, size_t W,
              GCancellable *cancellable, GError **error)
{
    for (size_t i = 0; i < H * W; i++)
        if (mask[i] > 0.0f)
            memset(rgb + i * 3, 0, 3 * sizeof(float)); /* mid-grey */
    return hole == LDM_HOLE_GREY || fill_hole(rgb, mask, H, W, cancellable, error);
}

size_t ldm_prepare_masked_scratch(LdmHole hole, const LdmPrepared *p)
{
    if (hole == LDM_HOLE_GREY)
        return 0;
    return p->H * p->W * 4 * sizeof(float) + ldm_fill_holes_scratch(p->H, p->W);
}

bool ldm_prepare_masked(LdmHole hole, bool all, LdmPrepared *p, GCancellable *cancellable,
                        GError **error)
{
    p->masked = ldm_tensor_new_nhwc(1, p->H, p->W, 3, error);
    if (p->masked == NULL || all || p->image == NULL)
        return p->masked != NULL;
    memcpy(p->masked->data, p->image->data, ldm_tensor_count(p->image) * sizeof(float));
    return ldm_hide(hole, ldm_tensor_f32(p->masked), ldm_tensor_f32(p->mask), p->H, p->W,
                    cancellable, error);
}
