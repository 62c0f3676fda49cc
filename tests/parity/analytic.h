/* A network that both sides can compute, elementwise:
 * 0.5 x + 0.3 tanh x + 0.2 sin(t / 50 + channel), tests/reference/make_samplers.py. */
#pragma once

#include "layers/pass.h"

#include <math.h>

/* Of the channels the first `*(const size_t *) data` are z_t; contexts all get one answer. */
static inline LdmTensor *analytic_network(LdmPass *pass, const void *data, LdmTensor *x,
                                          const double *timesteps, LdmTensor *context)
{
    const size_t *shape = x->shape, z = *(const size_t *)data, width = shape[3];
    const size_t one = shape[1] * shape[2] * z, N = context != NULL ? context->shape[0] : shape[0];
    LdmTensor *out = ldm_pass_nhwc(pass, N, shape[1], shape[2], z);

    if (!ldm_pass_op(
            pass,
            &(LdmOp){
                .name = "analytic", .inputs = {x}, .n_inputs = 1, .output = out, .flops = 1.0}))
        return out;
    for (size_t i = 0; i < N * one; i++) {
        double in = ((const float *)x->data)[i % one / z * width + i % z];
        ((float *)out->data)[i] =
            (float)(0.5 * in + 0.3 * tanh(in) + 0.2 * sin(timesteps[0] / 50.0 + (double)(i % z)));
    }
    ldm_pass_check(pass, true);
    return out;
}
