/* The tape of a recording pass: which operations were done, in order. Comes in: announced
 * operations and the gradients to start from; goes out: the gradients of trained parameters and of
 * wanted arrays. Walking back, an array's gradient is complete once every later operation has been
 * gone through; it lives from the first contribution until the operation that made the array is
 * done. */
#include "layers/tape.h"

#include "base/error.h"
#include "kernels/kernels.h"
#include "layers/pass-private.h"

#include <string.h>

void ldm_pass_record(LdmPass *pass)
{
    pass->records = true;
}

void ldm_pass_set_checkpoints(LdmPass *pass, bool on)
{
    pass->checkpoints = on;
}

bool ldm_pass_records(const LdmPass *pass)
{
    return pass->records && !pass->paused;
}

void ldm_pass_want_gradient(LdmPass *pass, LdmTensor *x)
{
    Handle *handle = (Handle *)x;
    handle->needs = handle->wanted = pass->records;
}

bool ldm_tape_computes(LdmPass *pass)
{
    return pass->computes && pass->error == NULL && !ldm_pass_cancelled(pass);
}

/* ---- recording ---- */

/* The i-th array whose numbers op keeps, or NULL. */
static LdmTensor *saved_array(const LdmOp *op, int i)
{
    if (i < op->n_inputs)
        return (op->saved & LDM_SAVE_INPUT(i)) != 0 ? op->inputs[i] : NULL;
    if (i == LDM_OP_INPUTS)
        return (op->saved & LDM_SAVE_OUTPUT) != 0 ? op->output : NULL;
    return i == LDM_OP_INPUTS + 1 ? op->aside : NULL;
}

#define SAVED_ARRAYS (LDM_OP_INPUTS + 2)

static bool is_trained(LdmPass *pass, const LdmParam *param)
{
    GError *error = NULL;
    if (param == NULL || !param->trained)
        return false;
    if (pass->computes && param->gradient == NULL) {
        ldm_set_error(&error, INVALID, _("there is no memory for the gradient of %s"), param->name);
        ldm_pass_fail(pass, error);
    }
    return true;
}

static void append(LdmPass *pass, const LdmOp *op)
{
    LdmOp copy = *op;
    copy.detail = op->detail != NULL ? g_memdup2(op->detail, op->detail_bytes) : NULL;
    for (int i = 0; i < op->n_inputs; i++)
        ((Handle *)op->inputs[i])->taped = true;
    Handle *output = (Handle *)op->output;
    output->taped = output->needs = true;
    for (int i = 0; i < SAVED_ARRAYS; i++)
        if (saved_array(op, i) != NULL)
            ldm_pass_keep(pass, saved_array(op, i));
    g_array_append_val(pass->tape, copy);
}

void ldm_tape_add(LdmPass *pass, const LdmOp *op)
{
    if (!pass->records || op->backward == NULL)
        return;
    bool parameter = is_trained(pass, op->parameter), second = is_trained(pass, op->second);
    bool needs = parameter || second;
    for (int i = 0; i < op->n_inputs; i++)
        needs = needs || ((Handle *)op->inputs[i])->needs;
    if (pass->paused)
        pass->influenced = pass->influenced || needs;
    else if (needs)
        append(pass, op);
}

/* Forgets an operation and gives back what it kept. */
static void release(LdmPass *pass, LdmOp *op)
{
    for (int i = 0; i < SAVED_ARRAYS; i++)
        ldm_pass_drop(pass, saved_array(op, i));
    g_free((void *)op->detail);
}

void ldm_tape_clear(LdmPass *pass)
{
    for (guint i = 0; i < pass->tape->len; i++)
        release(pass, &g_array_index(pass->tape, LdmOp, i));
    g_array_set_size(pass->tape, 0);
}

/* ---- gradients of arrays ---- */

static Handle *new_gradient(LdmPass *pass, Handle *handle)
{
    handle->gradient = (Handle *)ldm_pass_tensor(pass, handle->tensor.rank, handle->tensor.shape);
    return handle->gradient;
}

/* handle's gradient += d (its shape). */
static void contribute(LdmPass *pass, Handle *handle, const LdmTensor *d)
{
    bool first = handle->gradient == NULL;
    size_t n = ldm_tensor_count(&handle->tensor);
    float *sum = (first ? new_gradient(pass, handle) : handle->gradient)->tensor.data;
    if (!ldm_tape_computes(pass))
        return;
    if (first)
        memcpy(sum, d->data, n * sizeof(float));
    else
        ldm_pass_check(pass, ldm_add_arrays(n, sum, d->data, sum, pass->cancellable));
}

void ldm_pass_seed(LdmPass *pass, LdmTensor *y, const LdmTensor *d_y)
{
    Handle *handle = (Handle *)y;
    if (handle->needs)
        contribute(pass, handle, d_y);
}

const LdmTensor *ldm_pass_gradient(LdmPass *pass, LdmTensor *x)
{
    Handle *handle = (Handle *)x;
    return handle->gradient != NULL ? &handle->gradient->tensor : NULL;
}

const LdmTensor *ldm_tape_output(LdmPass *pass, const LdmOp *op)
{
    return &((Handle *)op->output)->gradient->tensor;
}

LdmTapeInput ldm_tape_input(LdmPass *pass, LdmTensor *x)
{
    Handle *handle = (Handle *)x;
    if (!handle->needs)
        return (LdmTapeInput){0};
    bool add = handle->gradient != NULL;
    Handle *gradient = add ? handle->gradient : new_gradient(pass, handle);
    return (LdmTapeInput){.data = gradient->tensor.data, .wanted = true, .add = add};
}

void ldm_tape_hand_on(LdmPass *pass, const LdmOp *op, LdmTensor *x)
{
    Handle *from = (Handle *)op->output, *to = (Handle *)x;
    if (to == NULL || !to->needs)
        return;
    if (to->gradient == NULL && !from->wanted) {
        to->gradient = from->gradient;
        from->gradient = NULL;
    } else {
        contribute(pass, to, &from->gradient->tensor);
    }
}

/* ---- the way back ---- */

static double backward_flops(const LdmOp *op)
{
    bool trained = op->parameter != NULL && op->parameter->trained, inputs = false;
    for (int i = 0; i < op->n_inputs; i++)
        inputs = inputs || ((Handle *)op->inputs[i])->needs;
    return op->flops * (trained + inputs);
}

static void go_back(LdmPass *pass, const LdmOp *op)
{
    Handle *output = (Handle *)op->output;
    if (output->gradient == NULL || pass->error != NULL)
        return; /* nothing depends on it */
    pass->flops += backward_flops(op);
    op->backward(pass, op);
    for (int i = 0; i < op->n_inputs; i++) {
        const Handle *gradient = ((Handle *)op->inputs[i])->gradient;
        if (gradient != NULL && ldm_tape_computes(pass))
            ldm_pass_check_finite(pass, op, &gradient->tensor, "gradient of ");
    }
    if (pass->progress != NULL && pass->error == NULL)
        pass->progress(pass->flops, pass->progress_data);
}

void ldm_pass_backward(LdmPass *pass)
{
    while (pass->tape->len > 0) {
        LdmOp op = g_array_index(pass->tape, LdmOp, pass->tape->len - 1);
        g_array_set_size(pass->tape, pass->tape->len - 1);
        go_back(pass, &op);
        release(pass, &op);
        Handle *output = (Handle *)op.output;
        if (!output->wanted) {
            ldm_pass_drop(pass, output->gradient != NULL ? &output->gradient->tensor : NULL);
            output->gradient = NULL;
        }
    }
}

/* ---- checkpoints ---- */

/* Runs the block once more, recording this time: what it appends is gone back through next. */
static void block_backward(LdmPass *pass, const LdmOp *op)
{
    LdmBlockForward *forward = *(LdmBlockForward *const *)op->detail;
    ldm_pass_keep(pass, op->inputs[0]);
    LdmTensor *y = forward(pass, op->layer, op->inputs);
    ldm_tape_hand_on(pass, op, y);
    ldm_pass_drop(pass, y);
}

LdmTensor *ldm_pass_block(LdmPass *pass, LdmBlockForward *forward, const void *block,
                          LdmTensor *const *inputs)
{
    if (!ldm_pass_records(pass) || !pass->checkpoints || pass->error != NULL)
        return forward(pass, block, inputs);
    LdmOp op = {.name = "checkpoint",
                .layer = block,
                .backward = block_backward,
                .detail = &forward,
                .detail_bytes = sizeof forward};
    for (int i = 0; i < LDM_OP_INPUTS && inputs[i] != NULL; i++) {
        op.inputs[op.n_inputs++] = ldm_pass_keep(pass, inputs[i]);
        op.saved |= LDM_SAVE_INPUT(i);
    }
    pass->influenced = false;
    pass->paused = true;
    op.output = forward(pass, block, inputs);
    pass->paused = false;
    if (pass->influenced)
        append(pass, &op);
    for (int i = 0; i < op.n_inputs; i++)
        ldm_pass_drop(pass, op.inputs[i]);
    return op.output;
}
