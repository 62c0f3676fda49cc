/* Bilinear resizing: features or pictures in, larger or smaller ones out. Every result is a sum of
 * four places, and its gradient goes back to them. */
#include "layers/resize.h"

#include "layers/tape.h"
#include "tensor/tensor.h"

#include <string.h>

/* Two neighbours on an axis, and how much the second counts. */
typedef struct {
    size_t first, second;
    float share;
} Between;

static Between between(size_t i, size_t in, size_t out)
{
    double at = MAX(((double)i + 0.5) * (double)in / (double)out - 0.5, 0.0);
    size_t first = MIN((size_t)at, in - 1);

    return (Between){first, MIN(first + 1, in - 1), (float)(at - (double)first)};
}

/* Calls for all results: forward, or back where `back`: adds to x what y has. */
static void walk(const size_t *in, const size_t *out, float *x, float *y, bool back)
{
    size_t C = in[3];

    for (size_t i = 0; i < in[0] * out[1] * out[2]; i++) {
        Between v = between(i / out[2] % out[1], in[1], out[1]);
        Between h = between(i % out[2], in[2], out[2]);
        float *picture = x + i / (out[1] * out[2]) * in[1] * in[2] * C;
        const struct {
            size_t place;
            float share;
        } corners[] = {{v.first * in[2] + h.first, (1.0f - v.share) * (1.0f - h.share)},
                       {v.first * in[2] + h.second, (1.0f - v.share) * h.share},
                       {v.second * in[2] + h.first, v.share * (1.0f - h.share)},
                       {v.second * in[2] + h.second, v.share * h.share}};
        float *result = y + i * C;
        if (!back)
            memset(result, 0, C * sizeof *result);
        for (size_t k = 0; k < G_N_ELEMENTS(corners); k++) {
            float *corner = picture + corners[k].place * C;
            for (size_t c = 0; c < C; c++)
                *(back ? &corner[c] : &result[c]) +=
                    corners[k].share * (back ? result[c] : corner[c]);
        }
    }
}

void ldm_resize(const LdmTensor *x, const LdmTensor *y)
{
    walk(x->shape, y->shape, x->data, y->data, false);
}

static void resize_backward(LdmPass *pass, const LdmOp *op)
{
    LdmTensor *x = op->inputs[0];
    LdmTapeInput dx = ldm_tape_input(pass, x);
    const LdmTensor *dy = ldm_tape_output(pass, op);

    if (!dx.wanted || !ldm_tape_computes(pass))
        return;
    if (!dx.add)
        memset(dx.data, 0, ldm_tensor_count(x) * sizeof(float));
    walk(x->shape, dy->shape, dx.data, dy->data, true);
}

LdmTensor *ldm_resize_forward(LdmPass *pass, LdmTensor *x, size_t h, size_t w)
{
    LdmTensor *y = ldm_pass_nhwc(pass, x->shape[0], h, w, x->shape[3]);

    if (ldm_pass_op(pass, &(LdmOp){.name = "resize",
                                   .inputs = {x},
                                   .n_inputs = 1,
                                   .output = y,
                                   .backward = resize_backward})) {
        ldm_resize(x, y);
        ldm_pass_check(pass, true);
    }
    ldm_pass_drop(pass, x);
    return y;
}
