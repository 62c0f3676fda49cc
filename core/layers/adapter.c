/* Adapters. In: a layer's input and its residual. Out: the residual with scale * up (down x) added,
 * which the layer itself then adds to its own product: y = W x + (scale * up (down x) + residual).
 */
#include "layers/adapter.h"

#include "layers/linear.h"
#include "layers/tape.h"

static void scale_backward(LdmPass *pass, const LdmOp *op)
{
    const float *scale = op->detail, *dy = ldm_tape_output(pass, op)->data;
    LdmTapeInput dx = ldm_tape_input(pass, op->inputs[0]);
    size_t n = dx.wanted && ldm_tape_computes(pass) ? ldm_tensor_count(op->output) : 0;
    for (size_t i = 0; i < n; i++)
        dx.data[i] = *scale * dy[i] + (dx.add ? dx.data[i] : 0.0f);
}

/* scale * x, [..., rank]: too small to share among threads. */
static LdmTensor *scale_forward(LdmPass *pass, LdmTensor *x, float scale)
{
    LdmTensor *y = ldm_pass_over(pass, x);
    if (ldm_pass_op(pass, &(LdmOp){.name = "scale",
                                   .inputs = {x},
                                   .n_inputs = 1,
                                   .output = y,
                                   .backward = scale_backward,
                                   .detail = &scale,
                                   .detail_bytes = sizeof scale})) {
        const float *in = x->data;
        float *out = y->data;
        for (size_t i = 0, n = ldm_tensor_count(x); i < n; i++)
            out[i] = scale * in[i];
        ldm_pass_check(pass, true);
    }
    ldm_pass_drop(pass, x);
    return y;
}

/* scale * up h + residual; takes both over. */
static LdmTensor *go_up(LdmPass *pass, const LdmAdapter *adapter, LdmTensor *h, LdmTensor *residual)
{
    const LdmLinear up = {.weight = (LdmParam *)adapter->up,
                          .in = adapter->down->shape[0],
                          .out = adapter->up->shape[0]};
    if (adapter->scale != 1.0)
        h = scale_forward(pass, h, (float)adapter->scale);
    return ldm_linear_forward(pass, &up, h, residual);
}

LdmTensor *ldm_adapter_linear(LdmPass *pass, const LdmParam *weight, LdmTensor *x,
                              LdmTensor *residual)
{
    for (const LdmAdapter *adapter = weight->adapter; adapter != NULL; adapter = adapter->next) {
        const LdmLinear down = {.weight = (LdmParam *)adapter->down,
                                .in = adapter->down->shape[1],
                                .out = adapter->down->shape[0]};
        LdmTensor *h = ldm_linear_forward(pass, &down, ldm_pass_keep(pass, x), NULL);
        residual = go_up(pass, adapter, h, residual);
    }
    return residual;
}

LdmTensor *ldm_adapter_conv2d(LdmPass *pass, const LdmConv2d *layer, LdmTensor *x,
                              LdmTensor *residual)
{
    const LdmAdapter *adapter = layer->weight->adapter;
    for (; adapter != NULL; adapter = adapter->next) {
        LdmConv2d down = *layer;
        down.weight = (LdmParam *)adapter->down;
        down.bias = NULL;
        down.out = adapter->down->shape[0];
        LdmTensor *h = ldm_conv2d_forward(pass, &down, ldm_pass_keep(pass, x), NULL);
        residual = go_up(pass, adapter, h, residual);
    }
    return residual;
}
