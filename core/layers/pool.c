/* Pooling: features of places or tokens in, one vector per sample out. The mean hands its gradient
 * to all of them in equal parts, the pick to the row it took. */
#include "layers/pool.h"

#include "layers/tape.h"

#include <string.h>

/* Numbers of a sample's rows: x [N, rows, C]. */
static size_t rows_of(const LdmTensor *x)
{
    return ldm_tensor_count(x) / (x->shape[0] * x->shape[x->rank - 1]);
}

static void mean_pool_backward(LdmPass *pass, const LdmOp *op)
{
    LdmTapeInput dx = ldm_tape_input(pass, op->inputs[0]);
    const LdmTensor *dy = ldm_tape_output(pass, op);
    size_t rows = rows_of(op->inputs[0]), C = dy->shape[1], n = ldm_tensor_count(op->inputs[0]);
    float share = 1.0f / (float)rows;

    if (!dx.wanted || !ldm_tape_computes(pass))
        return;
    for (size_t i = 0; i < n; i++) {
        float d = share * ((const float *)dy->data)[i / (rows * C) * C + i % C];
        dx.data[i] = dx.add ? dx.data[i] + d : d;
    }
}

LdmTensor *ldm_mean_pool_forward(LdmPass *pass, LdmTensor *x)
{
    size_t N = x->shape[0], C = x->shape[x->rank - 1], rows = rows_of(x);
    LdmTensor *y = ldm_pass_tensor(pass, 2, (size_t[]){N, C});

    if (ldm_pass_op(pass, &(LdmOp){.name = "mean-pool",
                                   .inputs = {x},
                                   .n_inputs = 1,
                                   .output = y,
                                   .backward = mean_pool_backward})) {
        float *out = y->data;
        memset(out, 0, N * C * sizeof *out);
        for (size_t i = 0; i < N * rows * C; i++)
            out[i / (rows * C) * C + i % C] += ((const float *)x->data)[i];
        for (size_t i = 0; i < N * C; i++)
            out[i] /= (float)rows;
        ldm_pass_check(pass, true);
    }
    ldm_pass_drop(pass, x);
    return y;
}

static void pick_backward(LdmPass *pass, const LdmOp *op)
{
    LdmTapeInput dx = ldm_tape_input(pass, op->inputs[0]);
    const LdmTensor *dy = ldm_tape_output(pass, op);
    const size_t *rows = op->detail;
    size_t T = op->inputs[0]->shape[1], N = dy->shape[0], C = dy->shape[1];

    if (!dx.wanted || !ldm_tape_computes(pass))
        return;
    if (!dx.add)
        memset(dx.data, 0, N * T * C * sizeof *dx.data);
    for (size_t i = 0; i < N * C; i++)
        dx.data[(i / C * T + rows[i / C]) * C + i % C] += ((const float *)dy->data)[i];
}

LdmTensor *ldm_pick_forward(LdmPass *pass, LdmTensor *x, const size_t *rows)
{
    size_t N = x->shape[0], T = x->shape[1], C = x->shape[2];
    LdmTensor *y = ldm_pass_tensor(pass, 2, (size_t[]){N, C});

    if (ldm_pass_op(pass, &(LdmOp){.name = "pick",
                                   .inputs = {x},
                                   .n_inputs = 1,
                                   .output = y,
                                   .backward = pick_backward,
                                   .detail = rows,
                                   .detail_bytes = N * sizeof *rows})) {
        for (size_t n = 0; n < N; n++)
            memcpy((float *)y->data + n * C, (const float *)x->data + (n * T + rows[n]) * C,
                   C * sizeof(float));
        ldm_pass_check(pass, true);
    }
    ldm_pass_drop(pass, x);
    return y;
}
