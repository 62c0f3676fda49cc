/* Resizing outside a pass. In: a picture, or anything laid out as one. Out: a new one of another
 * size, or nothing where somebody cancelled meanwhile. */
#include "layers/resample.h"

#include "base/checked.h"
#include "base/error.h"
#include "tensor/tensor.h"

LdmTensor *ldm_tensor_resample(LdmResample filter, const LdmTensor *x, size_t h, size_t w,
                               GCancellable *cancellable, GError **error)
{
    size_t H = x->shape[1], W = x->shape[2], C = x->shape[3];
    g_autoptr(LdmTensor) y = ldm_tensor_new_nhwc(1, h, w, C, error);
    void *scratch = y == NULL ? NULL
                              : ldm_aligned_alloc(ldm_resample_scratch(H, W, C, h, w), 1,
                                                  _("the resized picture"), error);
    if (scratch == NULL)
        return NULL;
    bool done = ldm_resample(filter, x, y, scratch, cancellable);
    ldm_aligned_free(scratch);
    if (!done) {
        ldm_set_error(error, CANCELLED, _("cancelled"));
        return NULL;
    }
    return g_steal_pointer(&y);
}
