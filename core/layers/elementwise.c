/* Operations without parameters between the layers: activations, the gate of GEGLU, the time
 * embedding's addition, the joining of skips, one picture become several. */
#include "layers/elementwise.h"

#include "layers/tape.h"

#include <string.h>

static LdmMapBackward map_of(LdmPass *pass, const LdmOp *op, LdmTapeInput dx)
{
    return (LdmMapBackward){.x = op->inputs[0]->data,
                            .dy = ldm_tape_output(pass, op)->data,
                            .dx = dx.data,
                            .add = dx.add};
}

static void activation_backward(LdmPass *pass, const LdmOp *op)
{
    const LdmActivation *act = op->detail;
    LdmTapeInput dx = ldm_tape_input(pass, op->inputs[0]);
    LdmMapBackward map = map_of(pass, op, dx);
    if (dx.wanted && ldm_tape_computes(pass))
        ldm_pass_check(pass, ldm_activate_backward(*act, ldm_tensor_count(op->output), &map,
                                                   ldm_pass_cancellable(pass)));
}

LdmTensor *ldm_activation_forward(LdmPass *pass, LdmActivation act, LdmTensor *x)
{
    static const char *const names[] = {
        [LDM_ACT_SILU] = "silu", [LDM_ACT_GELU] = "gelu", [LDM_ACT_QUICK_GELU] = "quick-gelu"};
    LdmTensor *y = ldm_pass_over(pass, x);
    if (ldm_pass_op(pass, &(LdmOp){.name = names[act],
                                   .inputs = {x},
                                   .n_inputs = 1,
                                   .output = y,
                                   .backward = activation_backward,
                                   .saved = LDM_SAVE_INPUT(0),
                                   .detail = &act,
                                   .detail_bytes = sizeof act}))
        ldm_pass_check(pass, ldm_activate(act, ldm_tensor_count(x), x->data, y->data,
                                          ldm_pass_cancellable(pass)));
    ldm_pass_drop(pass, x);
    return y;
}

static void geglu_backward(LdmPass *pass, const LdmOp *op)
{
    size_t C = op->output->shape[op->output->rank - 1];
    LdmTapeInput dx = ldm_tape_input(pass, op->inputs[0]);
    LdmMapBackward map = map_of(pass, op, dx);
    if (dx.wanted && ldm_tape_computes(pass))
        ldm_pass_check(pass, ldm_geglu_backward(ldm_tensor_count(op->output) / C, C, &map,
                                                ldm_pass_cancellable(pass)));
}

LdmTensor *ldm_geglu_forward(LdmPass *pass, LdmTensor *x)
{
    size_t C = x->shape[x->rank - 1] / 2;
    LdmTensor *y = ldm_pass_like(pass, x, C);
    if (ldm_pass_op(pass, &(LdmOp){.name = "geglu",
                                   .inputs = {x},
                                   .n_inputs = 1,
                                   .output = y,
                                   .backward = geglu_backward,
                                   .saved = LDM_SAVE_INPUT(0)}))
        ldm_pass_check(pass, ldm_geglu(ldm_tensor_count(y) / C, C, x->data, y->data,
                                       ldm_pass_cancellable(pass)));
    ldm_pass_drop(pass, x);
    return y;
}

static void add_rows_backward(LdmPass *pass, const LdmOp *op)
{
    const LdmTensor *dy = ldm_tape_output(pass, op);
    size_t N = op->inputs[1]->shape[0], C = dy->shape[dy->rank - 1];
    LdmTapeInput db = ldm_tape_input(pass, op->inputs[1]);
    if (db.wanted && ldm_tape_computes(pass))
        ldm_pass_check(pass, ldm_sum_rows(N, ldm_tensor_count(dy) / (N * C), C, dy->data, db.data,
                                          db.add, ldm_pass_cancellable(pass)));
    ldm_tape_hand_on(pass, op, op->inputs[0]);
}

LdmTensor *ldm_add_rows_forward(LdmPass *pass, LdmTensor *x, LdmTensor *b)
{
    size_t N = b->shape[0], C = x->shape[x->rank - 1];
    LdmTensor *y = ldm_pass_over(pass, x);
    if (ldm_pass_op(pass, &(LdmOp){.name = "add-rows",
                                   .inputs = {x, b},
                                   .n_inputs = 2,
                                   .output = y,
                                   .backward = add_rows_backward}))
        ldm_pass_check(pass, ldm_add_rows(N, ldm_tensor_count(x) / (N * C), C, x->data, b->data,
                                          y->data, ldm_pass_cancellable(pass)));
    ldm_pass_drop(pass, x);
    ldm_pass_drop(pass, b);
    return y;
}

static void concat_backward(LdmPass *pass, const LdmOp *op)
{
    const LdmTensor *dy = ldm_tape_output(pass, op);
    size_t C = dy->shape[dy->rank - 1];
    LdmColumns columns = {.C = C};
    for (int i = 0; i < 2; i++) {
        LdmTapeInput dx = ldm_tape_input(pass, op->inputs[i]);
        columns.n = op->inputs[i]->shape[dy->rank - 1];
        columns.rows = ldm_tensor_count(op->inputs[i]) / columns.n;
        columns.y = dx.data;
        size_t parts = dy->shape[0] / op->inputs[i]->shape[0]; /* more than 1: b stood for all */
        for (size_t n = 0; n < parts && dx.wanted && ldm_tape_computes(pass); n++) {
            columns.x = (const float *)dy->data + n * columns.rows * C;
            columns.add = dx.add || n > 0;
            ldm_pass_check(pass, ldm_take_columns(&columns, ldm_pass_cancellable(pass)));
        }
        columns.first += columns.n;
    }
}

/* b's rows once, or, where it has N = 1, beside those of each of a's N. */
static bool concat(LdmPass *pass, const LdmTensor *a, const LdmTensor *b, float *y)
{
    size_t Ca = a->shape[a->rank - 1], Cb = b->shape[b->rank - 1];
    size_t rows = ldm_tensor_count(b) / Cb, parts = a->shape[0] / b->shape[0];
    bool ok = true;
    for (size_t n = 0; n < parts && ok; n++)
        ok = ldm_concat(rows, Ca, Cb, (const float *)a->data + n * rows * Ca, b->data,
                        y + n * rows * (Ca + Cb), ldm_pass_cancellable(pass));
    return ok;
}

LdmTensor *ldm_concat_forward(LdmPass *pass, LdmTensor *a, LdmTensor *b)
{
    size_t Ca = a->shape[a->rank - 1], Cb = b->shape[b->rank - 1];
    LdmTensor *y = ldm_pass_like(pass, a, Ca + Cb);
    if (ldm_pass_op(pass, &(LdmOp){.name = "concat",
                                   .inputs = {a, b},
                                   .n_inputs = 2,
                                   .output = y,
                                   .backward = concat_backward}))
        ldm_pass_check(pass, concat(pass, a, b, y->data));
    ldm_pass_drop(pass, a);
    ldm_pass_drop(pass, b);
    return y;
}

static void repeat_backward(LdmPass *pass, const LdmOp *op)
{
    size_t n = ldm_tensor_count(op->inputs[0]), N = op->output->shape[0];
    LdmTapeInput dx = ldm_tape_input(pass, op->inputs[0]);
    if (dx.wanted && ldm_tape_computes(pass))
        ldm_pass_check(pass, ldm_sum_rows(1, N, n, ldm_tape_output(pass, op)->data, dx.data, dx.add,
                                          ldm_pass_cancellable(pass)));
}

LdmTensor *ldm_repeat_forward(LdmPass *pass, LdmTensor *x, size_t N)
{
    size_t shape[LDM_MAX_RANK], n = ldm_tensor_count(x);
    if (x->shape[0] != 1 || N == 1)
        return x;
    memcpy(shape, x->shape, sizeof shape);
    shape[0] = N;
    LdmTensor *y = ldm_pass_tensor(pass, x->rank, shape);
    if (ldm_pass_op(pass, &(LdmOp){.name = "repeat",
                                   .inputs = {x},
                                   .n_inputs = 1,
                                   .output = y,
                                   .backward = repeat_backward})) {
        for (size_t i = 0; i < N; i++)
            memcpy((float *)y->data + i * n, x->data, n * sizeof(float));
        ldm_pass_check(pass, true);
    }
    ldm_pass_drop(pass, x);
    return y;
}
