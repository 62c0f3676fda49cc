/* The way back through convolutions, linear layers and norms: the gradient of a result in, those of
 * inputs and parameters out. */
#include "layers/backward.h"

static void conv_input(LdmPass *pass, const LdmOp *op, const LdmConv *conv, LdmTapeInput dx)
{
    LdmTensor *scratch = ldm_pass_scratch(pass, ldm_conv_backward_input_scratch(conv));
    LdmConvBackward back = {.conv = conv,
                            .dy = ldm_tape_output(pass, op)->data,
                            .d = dx.data,
                            .add = dx.add,
                            .scratch = scratch->data};
    if (ldm_tape_computes(pass))
        ldm_pass_check(pass, ldm_conv_backward_input(&back, ldm_pass_cancellable(pass)));
    ldm_pass_drop(pass, scratch);
}

static void conv_weights(LdmPass *pass, const LdmOp *op, const LdmConv *conv)
{
    LdmTensor *scratch = ldm_pass_scratch(pass, ldm_conv_backward_weights_scratch(conv));
    LdmConvBackward back = {.conv = conv,
                            .dy = ldm_tape_output(pass, op)->data,
                            .d = op->parameter->gradient,
                            .scratch = scratch->data};
    if (ldm_tape_computes(pass))
        ldm_pass_check(pass, ldm_conv_backward_weights(&back, ldm_pass_cancellable(pass)));
    ldm_pass_drop(pass, scratch);
}

void ldm_backward_conv(LdmPass *pass, const LdmOp *op, const LdmConv *conv)
{
    const LdmTensor *dy = ldm_tape_output(pass, op);
    if (op->parameter->trained)
        conv_weights(pass, op, conv);
    if (op->second != NULL && op->second->trained && ldm_tape_computes(pass))
        ldm_pass_check(pass,
                       ldm_sum_rows(1, ldm_tensor_count(dy) / conv->Cout, conv->Cout, dy->data,
                                    op->second->gradient, true, ldm_pass_cancellable(pass)));
    LdmTapeInput dx = ldm_tape_input(pass, op->inputs[0]);
    if (dx.wanted)
        conv_input(pass, op, conv, dx);
    ldm_tape_hand_on(pass, op, op->n_inputs > 1 ? op->inputs[1] : NULL);
}

void ldm_backward_norm(LdmPass *pass, const LdmOp *op, LdmNormBackwardFunc *func,
                       size_t scratch_bytes)
{
    LdmTapeInput dx = ldm_tape_input(pass, op->inputs[0]);
    LdmTensor *scratch = ldm_pass_scratch(pass, scratch_bytes);
    LdmNormBackward back = {.norm = op->detail,
                            .dy = ldm_tape_output(pass, op)->data,
                            .dx = dx.data,
                            .dgamma = ldm_param_gradient(op->parameter),
                            .dbeta = ldm_param_gradient(op->second),
                            .add = dx.add,
                            .scratch = scratch->data};
    if (ldm_tape_computes(pass))
        ldm_pass_check(pass, func(&back, ldm_pass_cancellable(pass)));
    ldm_pass_drop(pass, scratch);
}
