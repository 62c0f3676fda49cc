/* Overlapping tiles: tiles lie evenly, the first at 0 and the last at the far end, at least
 * `overlap` cells in common; the blend of two neighbours is linear. */
#include "tensor/tiles.h"

size_t ldm_tiles_size(const LdmTiling *t, size_t length)
{
    return MIN(t->tile, length);
}

size_t ldm_tiles_count(const LdmTiling *t, size_t length)
{
    if (length <= t->tile)
        return 1;
    size_t stride = t->tile - t->overlap;
    return (length - t->overlap + stride - 1) / stride;
}

/* First cell of tile i. */
static size_t start(const LdmTiling *t, size_t length, size_t i)
{
    size_t count = ldm_tiles_count(t, length);
    return count == 1 ? 0 : i * (length - t->tile) / (count - 1);
}

/* Share of output pixel `at` of an axis of `size` pixels. */
static float share(size_t at, size_t size, size_t ramp)
{
    size_t edge = MIN(at, size - 1 - at);
    return MIN(1.0f, ((float)edge + 0.5f) / (float)MAX(ramp, 1));
}

/* The rectangle at (y, x) of src, as large as dst; or back, added with its share to sum. */
static void copy_tile(const LdmTensor *src, size_t y, size_t x, LdmTensor *dst)
{
    size_t row = dst->shape[2] * dst->shape[3];
    for (size_t v = 0; v < dst->shape[1]; v++)
        memcpy(ldm_tensor_f32(dst) + v * row,
               ldm_tensor_f32(src) + ((y + v) * src->shape[2] + x) * src->shape[3],
               row * sizeof(float));
}

/* sum [1, H, W, C + 1]: shares times values, and the shares. */
static void add_tile(const LdmTensor *tile, size_t y, size_t x, size_t ramp, LdmTensor *sum)
{
    size_t h = tile->shape[1], w = tile->shape[2], C = tile->shape[3];
    for (size_t i = 0; i < h * w; i++) {
        float part = share(i / w, h, ramp) * share(i % w, w, ramp);
        const float *from = ldm_tensor_f32(tile) + i * C;
        float *to = ldm_tensor_f32(sum) + ((y + i / w) * sum->shape[2] + x + i % w) * (C + 1);
        for (size_t c = 0; c < C; c++)
            to[c] += part * from[c];
        to[C] += part;
    }
}

static LdmTensor *divide(const LdmTensor *sum, GError **error)
{
    size_t C = sum->shape[3] - 1, n = sum->shape[1] * sum->shape[2];
    LdmTensor *out = ldm_tensor_new_nhwc(1, sum->shape[1], sum->shape[2], C, error);
    for (size_t i = 0; out != NULL && i < n; i++) {
        const float *from = ldm_tensor_f32(sum) + i * (C + 1);
        for (size_t c = 0; c < C; c++)
            ldm_tensor_f32(out)[i * C + c] = from[c] / from[C];
    }
    return out;
}

LdmTensor *ldm_tiles_run(const LdmTiling *t, const LdmTensor *x, size_t Cout, GError **error)
{
    size_t h = x->shape[1] / t->in, w = x->shape[2] / t->in;
    size_t rows = ldm_tiles_count(t, h), columns = ldm_tiles_count(t, w);
    g_autoptr(LdmTensor) sum = ldm_tensor_new_nhwc(1, h * t->out, w * t->out, Cout + 1, error);
    g_autoptr(LdmTensor) in =
        sum == NULL ? NULL
                    : ldm_tensor_new_nhwc(1, ldm_tiles_size(t, h) * t->in,
                                          ldm_tiles_size(t, w) * t->in, x->shape[3], error);
    if (in == NULL)
        return NULL;
    for (size_t i = 0; i < rows * columns; i++) {
        size_t top = start(t, h, i / columns), left = start(t, w, i % columns);
        copy_tile(x, top * t->in, left * t->in, in);
        g_autoptr(LdmTensor) out = t->run(in, t->data, error);
        if (out == NULL)
            return NULL;
        add_tile(out, top * t->out, left * t->out, t->overlap * t->out, sum);
    }
    return divide(sum, error);
}
