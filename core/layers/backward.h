/* What several layers share on the way back; not for use outside this folder. */
#pragma once

#include "kernels/kernels.h"
#include "layers/tape.h"

/* Convolutions and linear layers: dX to input 0, dW and db to op's two parameters, dY on to input 1
 * (the residual) where there is one. conv: sizes, x, w. */
void ldm_backward_conv(LdmPass *pass, const LdmOp *op, const LdmConv *conv);

/* GroupNorm or LayerNorm, by the kernel function given: dX, dgamma, dbeta. */
typedef bool LdmNormBackwardFunc(const LdmNormBackward *back, GCancellable *cancellable);
void ldm_backward_norm(LdmPass *pass, const LdmOp *op, LdmNormBackwardFunc *func,
                       size_t scratch_bytes);

/* Where op's parameter adds its gradient: NULL where it has none. */
static inline float *ldm_param_gradient(const LdmParam *param)
{
    return param != NULL && param->trained ? param->gradient : NULL;
}
