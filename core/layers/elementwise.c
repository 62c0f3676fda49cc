/* Operations without parameters between the layers: activations, the gate of GEGLU, the time
 * embedding's addition, the joining of skips. */
#include "layers/elementwise.h"

LdmTensor *ldm_activation_forward(LdmPass *pass, LdmActivation act, LdmTensor *x)
{
    static const char *const names[] = {
        [LDM_ACT_SILU] = "silu", [LDM_ACT_GELU] = "gelu", [LDM_ACT_QUICK_GELU] = "quick-gelu"};
    LdmTensor *y = ldm_pass_over(pass, x);
    if (ldm_pass_op(pass, &(LdmOp){.name = names[act], .inputs = {x}, .n_inputs = 1, .output = y}))
        ldm_pass_check(pass, ldm_activate(act, ldm_tensor_count(x), x->data, y->data,
                                          ldm_pass_cancellable(pass)));
    ldm_pass_drop(pass, x);
    return y;
}

LdmTensor *ldm_geglu_forward(LdmPass *pass, LdmTensor *x)
{
    size_t C = x->shape[x->rank - 1] / 2;
    LdmTensor *y = ldm_pass_like(pass, x, C);
    if (ldm_pass_op(pass, &(LdmOp){.name = "geglu", .inputs = {x}, .n_inputs = 1, .output = y}))
        ldm_pass_check(pass, ldm_geglu(ldm_tensor_count(y) / C, C, x->data, y->data,
                                       ldm_pass_cancellable(pass)));
    ldm_pass_drop(pass, x);
    return y;
}

LdmTensor *ldm_add_rows_forward(LdmPass *pass, LdmTensor *x, LdmTensor *b)
{
    size_t N = x->shape[0], C = x->shape[x->rank - 1];
    LdmTensor *y = ldm_pass_over(pass, x);
    if (ldm_pass_op(pass,
                    &(LdmOp){.name = "add-rows", .inputs = {x, b}, .n_inputs = 2, .output = y}))
        ldm_pass_check(pass, ldm_add_rows(N, ldm_tensor_count(x) / (N * C), C, x->data, b->data,
                                          y->data, ldm_pass_cancellable(pass)));
    ldm_pass_drop(pass, x);
    ldm_pass_drop(pass, b);
    return y;
}

LdmTensor *ldm_concat_forward(LdmPass *pass, LdmTensor *a, LdmTensor *b)
{
    size_t Ca = a->shape[a->rank - 1], Cb = b->shape[b->rank - 1];
    LdmTensor *y = ldm_pass_like(pass, a, Ca + Cb);
    if (ldm_pass_op(pass, &(LdmOp){.name = "concat", .inputs = {a, b}, .n_inputs = 2, .output = y}))
        ldm_pass_check(pass, ldm_concat(ldm_tensor_count(a) / Ca, Ca, Cb, a->data, b->data, y->data,
                                        ldm_pass_cancellable(pass)));
    ldm_pass_drop(pass, a);
    ldm_pass_drop(pass, b);
    return y;
}
