/* Training: a pass that records, and its way back (reverse-mode differentiation).
 *
 *     LdmPass *pass = ldm_pass_new_plan();            or ldm_pass_new_compute(bytes, ...)
 *     ldm_pass_record(pass);                          before the first array
 *     LdmTensor *x = ldm_pass_input(pass, batch);
 *     ldm_pass_want_gradient(pass, x);                only where d(loss)/dx is wanted
 *     LdmTensor *y = ldm_unet_forward(pass, unet, x, timesteps, context);
 *     ... the loss and d_y = d(loss)/dy from y->data, outside or as recorded operations ...
 *     ldm_pass_seed(pass, y, d_y);                    any number of arrays
 *     ldm_pass_backward(pass);
 *     ... ldm_pass_gradient(pass, x), LdmParam.gradient of every trained parameter ...
 *     ok = ldm_pass_end(pass, &error);
 *     ldm_pass_reset(pass);                           the next step: same arena, still recording
 *
 * A planning pass goes the same way (x, d_y with data NULL) and its ldm_pass_peak is, to the byte,
 * the arena of the computing one; its ldm_pass_flops counts both ways.
 *
 * What is trained: parameters with LdmParam.trained. Backward adds to their LdmParam.gradient (f32,
 * the parameter's shape; see weights/param.h), so several passes accumulate until it is cleared.
 * Operations on which neither a trained parameter nor a wanted gradient has influence are not
 * recorded and keep nothing; frozen parameters may be f16 or bf16 and cost no gradient.
 *
 * What is kept: an operation names the arrays its backward needs (LdmOp.saved); they stay until it
 * has run. All else is given back when it is dropped, as without recording. Results never go over
 * their inputs (ldm_pass_over makes a new array).
 *
 * For a given number of threads and kind of processor, gradients are the same bit for bit. */
#pragma once

#include "layers/pass.h"

/* Makes a fresh (or reset) pass record; for good. */
void ldm_pass_record(LdmPass *pass);
bool ldm_pass_records(const LdmPass *pass);

/* Backward shall leave the gradient of x, an input of the pass or an array made by its layers; call
 * it before x is first used. Without effect where the pass does not record. */
void ldm_pass_want_gradient(LdmPass *pass, LdmTensor *x);

/* Memory for time: resblocks and transformers keep nothing but their inputs, and are run once more
 * on the way back (activation checkpointing). Gradients are the same bit for bit. Set before
 * the first array; planning and computing alike. */
void ldm_pass_set_checkpoints(LdmPass *pass, bool on);

/* Adds d_y (y's shape; data may be NULL while planning) to the gradient of y: where backward
 * starts. Copied. */
void ldm_pass_seed(LdmPass *pass, LdmTensor *y, const LdmTensor *d_y);

/* Walks the recorded operations back from the last to the first and empties the tape. Errors stick
 * (ldm_pass_end). Once per recording. */
void ldm_pass_backward(LdmPass *pass);

/* After backward: d(loss)/dx of an array whose gradient was wanted, x's shape, valid until the pass
 * is reset; NULL where the loss does not depend on x. data is NULL while planning. */
const LdmTensor *ldm_pass_gradient(LdmPass *pass, LdmTensor *x);

/* ---- for blocks of layers ---- */

/* A block that can be run again: takes inputs[0] over, borrows the others (NULL: none). */
typedef LdmTensor *LdmBlockForward(LdmPass *pass, const void *block, LdmTensor *const *inputs);

/* Runs it; where the pass checkpoints, all that the tape gets is the block with its inputs.
 * inputs [LDM_OP_INPUTS], those that are there first. */
LdmTensor *ldm_pass_block(LdmPass *pass, LdmBlockForward *forward, const void *block,
                          LdmTensor *const *inputs);

/* ---- for operations: what an LdmBackward calls ---- */

/* The gradient of the operation's result. */
const LdmTensor *ldm_tape_output(LdmPass *pass, const LdmOp *op);

/* Where the gradient of an input goes. wanted false: nowhere, nothing needs it. add: to what is
 * there already (x was used by later operations too), else it is to be written. Ask once for each
 * input and write all of it. */
typedef struct {
    float *data; /* NULL while planning */
    bool wanted, add;
} LdmTapeInput;
LdmTapeInput ldm_tape_input(LdmPass *pass, LdmTensor *x);

/* The result's gradient is also x's (a residual): handed over or added. To be called last, since
 * the result's gradient may be gone then. NULL is allowed. */
void ldm_tape_hand_on(LdmPass *pass, const LdmOp *op, LdmTensor *x);

/* True where arithmetic is to be done now (computing, no failure, not cancelled). */
bool ldm_tape_computes(LdmPass *pass);
