/* Sampling between encoder and decoder, which the gradient has to pass: moments and noise in, a
 * latent out; dmean = dz, dlogvar = dz noise exp(logvar / 2) / 2. */
#include "layers/posterior.h"

#include "layers/tape.h"

#include <math.h>

static void posterior_backward(LdmPass *pass, const LdmOp *op)
{
    LdmTapeInput d = ldm_tape_input(pass, op->inputs[0]);
    const LdmTensor *dz = ldm_tape_output(pass, op);
    size_t z = dz->shape[3], cells = ldm_tensor_count(dz) / z;

    if (!d.wanted || !ldm_tape_computes(pass))
        return;
    for (size_t i = 0; i < cells * z; i++) {
        size_t at = i / z * 2 * z + i % z;
        float logvar = ((const float *)op->inputs[0]->data)[at + z];
        float noise = ((const float *)op->inputs[1]->data)[i], g = ((const float *)dz->data)[i];
        bool inside = logvar >= LDM_LOGVAR_MIN && logvar <= LDM_LOGVAR_MAX;
        float spread = inside ? 0.5f * g * noise * expf(0.5f * logvar) : 0.0f;
        d.data[at] = d.add ? d.data[at] + g : g;
        d.data[at + z] = d.add ? d.data[at + z] + spread : spread;
    }
}

LdmTensor *ldm_posterior_forward(LdmPass *pass, LdmTensor *moments, LdmTensor *noise)
{
    size_t z = moments->shape[3] / 2;
    LdmTensor *y = ldm_pass_like(pass, moments, z);
    size_t count = ldm_tensor_count(y);

    if (ldm_pass_op(pass, &(LdmOp){.name = "posterior",
                                   .inputs = {moments, noise},
                                   .n_inputs = 2,
                                   .output = y,
                                   .backward = posterior_backward,
                                   .saved = LDM_SAVE_INPUT(0) | LDM_SAVE_INPUT(1)})) {
        for (size_t i = 0; i < count; i++) {
            const float *mean = (const float *)moments->data + i / z * 2 * z + i % z;
            float logvar = CLAMP(mean[z], LDM_LOGVAR_MIN, LDM_LOGVAR_MAX);
            ((float *)y->data)[i] = mean[0] + expf(0.5f * logvar) * ((const float *)noise->data)[i];
        }
        ldm_pass_check(pass, true);
    }
    ldm_pass_drop(pass, moments);
    ldm_pass_drop(pass, noise);
    return y;
}
