/* Attention as every network here has it: among pixels, from pixels to the prompt's tokens, among
 * tokens. The kernel works in tiles; the matrix of all pairs never exists. */
#include "layers/attention.h"

#include "layers/elementwise.h"
#include "layers/tape.h"

#include <math.h>

void ldm_multi_head_init(LdmMultiHead *layer, LdmScope scope, const LdmMultiHeadSizes *sizes)
{
    size_t C = sizes->width;
    layer->width = C;
    layer->heads = sizes->heads;
    ldm_linear_init(&layer->q, ldm_scope(&scope, "to_q"), C, C, sizes->bias);
    ldm_linear_init(&layer->k, ldm_scope(&scope, "to_k"), sizes->context_width, C, sizes->bias);
    ldm_linear_init(&layer->v, ldm_scope(&scope, "to_v"), sizes->context_width, C, sizes->bias);
    ldm_linear_init(&layer->out, ldm_scope(&scope, "to_out.0"), C, C, true);
}

void ldm_multi_head_init_clip(LdmMultiHead *layer, LdmScope scope, size_t width, size_t heads)
{
    layer->width = width;
    layer->heads = heads;
    ldm_linear_init(&layer->k, ldm_scope(&scope, "k_proj"), width, width, true);
    ldm_linear_init(&layer->v, ldm_scope(&scope, "v_proj"), width, width, true);
    ldm_linear_init(&layer->q, ldm_scope(&scope, "q_proj"), width, width, true);
    ldm_linear_init(&layer->out, ldm_scope(&scope, "out_proj"), width, width, true);
}

/* The kernel makes the softmax weights anew, block by block, from the sums the forward left. */
static void attend_backward(LdmPass *pass, const LdmOp *op)
{
    const LdmAttention *attention = op->detail;
    LdmTapeInput q = ldm_tape_input(pass, op->inputs[0]), k = ldm_tape_input(pass, op->inputs[1]);
    LdmTapeInput v = ldm_tape_input(pass, op->inputs[2]);
    LdmTensor *scratch = ldm_pass_scratch(pass, ldm_attention_backward_scratch(attention));
    LdmAttentionBackward back = {.attention = attention,
                                 .dy = ldm_tape_output(pass, op)->data,
                                 .dq = q.data,
                                 .dk = k.data,
                                 .dv = v.data,
                                 .add_q = q.add,
                                 .add_k = k.add,
                                 .add_v = v.add,
                                 .scratch = scratch->data};
    if (ldm_tape_computes(pass))
        ldm_pass_check(pass, ldm_attention_backward(&back, ldm_pass_cancellable(pass)));
    ldm_pass_drop(pass, scratch);
}

/* q [N, ..., C], k and v [N or 1, ..., C] -> q's shape; takes all over. */
static LdmTensor *attend(LdmPass *pass, const LdmMultiHead *layer, LdmTensor *q, LdmTensor *k,
                         LdmTensor *v, bool causal)
{
    size_t C = layer->width, d = C / layer->heads;
    LdmTensor *y = ldm_pass_like(pass, q, C);
    LdmAttention attention = {.N = q->shape[0],
                              .Nkv = k->shape[0],
                              .Tq = ldm_tensor_count(q) / (q->shape[0] * C),
                              .Tk = ldm_tensor_count(k) / (k->shape[0] * C),
                              .heads = layer->heads,
                              .d = d,
                              .q_stride = C,
                              .k_stride = C,
                              .v_stride = C,
                              .scale = (float)(1.0 / sqrt((double)d)),
                              .causal = causal,
                              .bf16 = ldm_pass_bf16(pass),
                              .split = ldm_pass_splits(pass),
                              .q = q->data,
                              .k = k->data,
                              .v = v->data,
                              .y = y->data};
    LdmTensor *scratch = ldm_pass_scratch(pass, ldm_attention_scratch(&attention));
    LdmTensor *sums = NULL;
    if (ldm_pass_records(pass)) {
        sums = ldm_pass_tensor(pass, 3, (size_t[]){attention.N, attention.heads, attention.Tq});
        attention.logsumexp = sums->data;
    }
    attention.scratch = scratch->data;
    if (ldm_pass_op(pass, &(LdmOp){.name = causal ? "attention-causal" : "attention",
                                   .layer = layer,
                                   .parameter = layer->out.weight,
                                   .inputs = {q, k, v},
                                   .n_inputs = 3,
                                   .output = y,
                                   .flops = 4.0 * attention.N * attention.Tq * attention.Tk * C,
                                   .backward = attend_backward,
                                   .saved = LDM_SAVE_INPUT(0) | LDM_SAVE_INPUT(1) |
                                            LDM_SAVE_INPUT(2) | LDM_SAVE_OUTPUT,
                                   .aside = sums,
                                   .detail = &attention,
                                   .detail_bytes = sizeof attention}))
        ldm_pass_check(pass, ldm_attention(&attention, ldm_pass_cancellable(pass)));
    ldm_pass_drop(pass, scratch);
    ldm_pass_drop(pass, sums);
    ldm_pass_drop(pass, q);
    ldm_pass_drop(pass, k);
    ldm_pass_drop(pass, v);
    return y;
}

/* Keys or values: where the context is the same in every step, made in the first one only. */
static LdmTensor *project(LdmPass *pass, const LdmLinear *layer, LdmTensor *context)
{
    bool constant = ldm_pass_is_constant(context);
    LdmTensor *y = constant ? ldm_pass_recall(pass, layer, context->shape[0]) : NULL;
    if (y != NULL) {
        ldm_pass_drop(pass, context);
        return y;
    }
    y = ldm_linear_forward(pass, layer, context, NULL);
    if (constant)
        ldm_pass_store(pass, layer, y);
    return y;
}

LdmTensor *ldm_multi_head_forward(LdmPass *pass, const LdmMultiHead *layer, LdmTensor *x,
                                  LdmTensor *context, LdmTensor *residual, bool causal)
{
    if (context == NULL)
        context = ldm_pass_keep(pass, x);
    LdmTensor *q = ldm_linear_forward(pass, &layer->q, x, NULL);
    LdmTensor *k = project(pass, &layer->k, ldm_pass_keep(pass, context));
    LdmTensor *v = project(pass, &layer->v, context);
    q = ldm_repeat_forward(pass, q, k->shape[0]);
    LdmTensor *y = attend(pass, layer, q, k, v, causal);
    if (residual != NULL)
        residual = ldm_repeat_forward(pass, residual, y->shape[0]);
    return ldm_linear_forward(pass, &layer->out, y, residual);
}
