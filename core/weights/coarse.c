/* Copies in 8 bits: the table of a network goes in, every matrix of it that allows them has them
 * when it comes out. All lie in one block, whose pages the system gives one by one, while those of
 * the originals may go. */
#include "weights/coarse.h"

#include "base/checked.h"
#include "base/error.h"

static size_t taps_of(const LdmParam *param)
{
    return param->shape[2] * param->shape[3];
}

/* Whole cache lines; 0: none. */
static size_t copy_bytes(const LdmParam *param)
{
    if (!param->coarse)
        return 0;
    return (ldm_q8_bytes(param->shape[0], param->shape[1], taps_of(param)) + 63) / 64 * 64;
}

size_t ldm_coarse_bytes(const LdmParams *params)
{
    size_t bytes = 0;
    for (size_t i = 0; i < ldm_params_length(params); i++)
        bytes += copy_bytes(ldm_params_at(params, i));
    return bytes;
}

/* Linux maps some pages around every one that is asked for. What stays in use is asked for before
 * its neighbours are released: later it would bring them back. */
static void touch_others(const LdmParams *params)
{
    for (size_t i = 0; i < ldm_params_length(params); i++) {
        const LdmParam *param = ldm_params_at(params, i);
        const volatile uint8_t *data = param->data;
        for (size_t at = 0; !param->coarse && data != NULL && at < ldm_param_bytes(param);
             at += 4096)
            (void)data[at];
    }
}

bool ldm_coarse_make(LdmParams *params, LdmCoarseMade made, void *data, GCancellable *cancellable,
                     GError **error)
{
    size_t bytes = ldm_coarse_bytes(params), n = ldm_params_length(params);
    uint8_t *memory = ldm_params_make_copies(params, bytes, error);
    if (memory == NULL)
        return false;
    touch_others(params);
    for (size_t i = 0; i < n; i++) {
        LdmParam *param = ldm_params_at(params, i);
        if (!param->coarse)
            continue;
        param->q8 = ldm_q8_place(param->shape[0], param->shape[1], taps_of(param), memory);
        memory += copy_bytes(param);
        if (!ldm_q8_round(&param->q8, (LdmWeights){param->data, param->dtype}, cancellable)) {
            ldm_params_drop_copies(params);
            ldm_set_error(error, CANCELLED, _("cancelled"));
            return false;
        }
        if (made != NULL)
            made(param, data);
    }
    return true;
}
