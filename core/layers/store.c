/* What a pass keeps from step to step. Arrays come in by key and are copied to the far end of the
 * arena, where no reset reaches; later steps get handles to them. */
#include "base/error.h"
#include "layers/pass-private.h"
#include "tensor/tensor.h"

#include <string.h>

LdmTensor *ldm_pass_constant(LdmPass *pass, const LdmTensor *tensor)
{
    LdmTensor *x = ldm_pass_input(pass, tensor);
    ((Handle *)x)->constant = true;
    return x;
}

bool ldm_pass_is_constant(const LdmTensor *x)
{
    return ((const Handle *)x)->constant;
}

static Stored *find(LdmPass *pass, const void *key, size_t N)
{
    for (guint i = 0; i < pass->stored->len; i++) {
        Stored *stored = &g_array_index(pass->stored, Stored, i);
        if (stored->key == key && stored->tensor.shape[0] == N)
            return stored;
    }
    return NULL;
}

bool ldm_pass_store_place(LdmPass *pass, LdmTensor *x)
{
    size_t bytes = ldm_tensor_count(x) * sizeof(float), offset;
    GError *error = NULL;
    if (!ldm_arena_keep(&pass->arena, bytes, &offset)) {
        ldm_set_no_memory(&error, _("the network's working memory"), bytes);
        ldm_pass_fail(pass, error);
        return false;
    }
    x->data = pass->computes ? pass->memory + offset : NULL;
    return true;
}

/* A place for an array like x; NULL, and the pass failed, where there is none. */
static Stored *add(LdmPass *pass, const void *key, const LdmTensor *x)
{
    Stored stored = {.key = key, .tensor = *x};
    if (!ldm_pass_store_place(pass, &stored.tensor))
        return NULL;
    g_array_append_val(pass->stored, stored);
    return &g_array_index(pass->stored, Stored, pass->stored->len - 1);
}

void ldm_pass_store(LdmPass *pass, const void *key, const LdmTensor *x)
{
    if (pass->error != NULL)
        return;
    Stored *stored = find(pass, key, x->shape[0]);
    if (stored == NULL || !ldm_tensor_same_shape(&stored->tensor, x))
        stored = add(pass, key, x);
    if (stored != NULL && pass->computes)
        memcpy(stored->tensor.data, x->data, ldm_tensor_count(x) * sizeof(float));
}

LdmTensor *ldm_pass_recall(LdmPass *pass, const void *key, size_t N)
{
    const Stored *stored = find(pass, key, N);
    return stored != NULL ? ldm_pass_input(pass, &stored->tensor) : NULL;
}
