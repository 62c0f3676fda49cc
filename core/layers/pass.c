/* One pass through a network: layers ask it for every array and announce every operation. It
 * computes in an arena of planned size, or only counts (bytes, FLOPs) with the same allocator and
 * nothing behind it. Arrays are handles with a reference count; the first error sticks, and from
 * then on handles have a shape but no memory and no operation runs. */
#include "base/checked.h"
#include "base/error.h"
#include "kernels/kernels.h"
#include "layers/pass-private.h"
#include "layers/room.h"
#include "tensor/tensor.h"

#include <string.h>

LdmPass *ldm_pass_new_plan(void)
{
    LdmPass *pass = g_new0(LdmPass, 1);
    ldm_arena_init(&pass->arena, SIZE_MAX);
    pass->tape = g_array_new(FALSE, FALSE, sizeof(LdmOp));
    pass->stored = g_array_new(FALSE, FALSE, sizeof(Stored));
    pass->histories = g_array_new(FALSE, FALSE, sizeof(History));
    return pass;
}

LdmPass *ldm_pass_new_compute(size_t arena_bytes, GCancellable *cancellable, GError **error)
{
    size_t bytes;
    uint8_t *memory = ldm_room_take(arena_bytes, &bytes, error);
    if (memory == NULL)
        return NULL;
    LdmPass *pass = ldm_pass_new_plan();
    pass->computes = true;
    pass->check_finite = g_strcmp0(g_getenv("PENTIMENTO_CHECK"), "finite") == 0;
    pass->memory = memory;
    pass->memory_bytes = bytes;
    pass->arena.limit = arena_bytes;
    pass->cancellable = cancellable != NULL ? g_object_ref(cancellable) : NULL;
    return pass;
}

void ldm_pass_reset(LdmPass *pass)
{
    ldm_tape_clear(pass);
    while (pass->handles != NULL) {
        Handle *handle = pass->handles;
        pass->handles = handle->next;
        g_free(handle->moments);
        g_free(handle);
    }
    ldm_arena_reset(&pass->arena);
    g_clear_error(&pass->error);
    pass->flops = 0;
}

void ldm_pass_free(LdmPass *pass)
{
    if (pass == NULL)
        return;
    ldm_pass_reset(pass);
    ldm_arena_clear(&pass->arena);
    g_array_unref(pass->tape);
    g_array_unref(pass->stored);
    g_array_unref(pass->histories);
    ldm_room_leave(pass->memory, pass->memory_bytes);
    g_clear_object(&pass->cancellable);
    g_free(pass);
}

void ldm_pass_set_progress(LdmPass *pass, LdmPassProgress progress, void *data)
{
    pass->progress = progress;
    pass->progress_data = data;
}

void ldm_pass_set_watch(LdmPass *pass, LdmPassWatch watch, void *data)
{
    pass->watch = watch;
    pass->watch_data = data;
}

void ldm_pass_set_bf16(LdmPass *pass, bool bf16)
{
    pass->bf16 = bf16;
}

bool ldm_pass_bf16(const LdmPass *pass)
{
    return pass->bf16;
}

bool ldm_pass_splits(const LdmPass *pass)
{
    return !pass->records && !pass->bf16;
}

bool ldm_pass_bf16_taps(const LdmPass *pass)
{
    /* records: whether or not it does at the moment */
    return pass->bf16 && (pass->records || ldm_kernels_prefer_bf16());
}

void ldm_pass_set_q8(LdmPass *pass, bool q8)
{
    pass->q8 = q8;
}

bool ldm_pass_q8(const LdmPass *pass, const LdmParam *param)
{
    return pass->q8 && param->coarse && !pass->records;
}

void ldm_pass_set_merge(LdmPass *pass, double share)
{
    pass->merge = share;
}

bool ldm_pass_fuses(const LdmPass *pass)
{
    return !pass->records; /* whether or not it does at the moment */
}

double ldm_pass_merge(const LdmPass *pass)
{
    return pass->records ? 0 : pass->merge;
}

bool ldm_pass_computes(const LdmPass *pass)
{
    return pass->computes;
}

GCancellable *ldm_pass_cancellable(const LdmPass *pass)
{
    return pass->cancellable;
}

size_t ldm_pass_peak(const LdmPass *pass)
{
    return pass->arena.peak + pass->arena.kept;
}

double ldm_pass_flops(const LdmPass *pass)
{
    return pass->flops;
}

/* ---- arrays ---- */

static Handle *handle_new(LdmPass *pass, int rank, const size_t *shape)
{
    Handle *handle = g_new0(Handle, 1);
    handle->tensor.dtype = LDM_F32;
    handle->tensor.rank = rank;
    for (int i = 0; i < LDM_MAX_RANK; i++)
        handle->tensor.shape[i] = i < rank ? shape[i] : 1;
    handle->refs = 1;
    handle->next = pass->handles;
    if (handle->next != NULL)
        handle->next->before = handle;
    pass->handles = handle;
    return handle;
}

static void handle_take(LdmPass *pass, Handle *handle, size_t bytes)
{
    GError *error = NULL;
    if (pass->error != NULL || bytes == 0)
        return;
    if (!ldm_arena_take(&pass->arena, bytes, &handle->offset)) {
        ldm_set_no_memory(&error, _("the network's working memory"), bytes);
        ldm_pass_fail(pass, error);
        return;
    }
    handle->bytes = bytes;
    if (pass->computes)
        handle->tensor.data = pass->memory + handle->offset;
}

LdmTensor *ldm_pass_tensor(LdmPass *pass, int rank, const size_t *shape)
{
    Handle *handle = handle_new(pass, rank, shape);
    size_t bytes = SIZE_MAX; /* a product that overflows is more than any arena has */
    if (ldm_product(shape, rank, &bytes) && !ldm_mul(bytes, sizeof(float), &bytes))
        bytes = SIZE_MAX;
    handle_take(pass, handle, bytes);
    return &handle->tensor;
}

LdmTensor *ldm_pass_nhwc(LdmPass *pass, size_t n, size_t h, size_t w, size_t c)
{
    return ldm_pass_tensor(pass, 4, (size_t[]){n, h, w, c});
}

LdmTensor *ldm_pass_like(LdmPass *pass, const LdmTensor *x, size_t C)
{
    size_t shape[LDM_MAX_RANK];
    memcpy(shape, x->shape, sizeof shape);
    shape[x->rank - 1] = C;
    return ldm_pass_tensor(pass, x->rank, shape);
}

LdmTensor *ldm_pass_over(LdmPass *pass, LdmTensor *x)
{
    Handle *handle = (Handle *)x;
    if (handle->refs > 1 || handle->borrowed || pass->records)
        return ldm_pass_tensor(pass, x->rank, x->shape);
    g_clear_pointer(&handle->moments, g_free);
    return ldm_pass_keep(pass, x);
}

double *ldm_pass_measure(LdmPass *pass, LdmTensor *y)
{
    Handle *handle = (Handle *)y;
    g_free(handle->moments);
    handle->moments = pass->computes ? g_new0(double, LDM_MOMENTS(y->shape[y->rank - 1])) : NULL;
    return handle->moments;
}

double *ldm_pass_take_moments(LdmTensor *x)
{
    return g_steal_pointer(&((Handle *)x)->moments);
}

LdmTensor *ldm_pass_input(LdmPass *pass, const LdmTensor *tensor)
{
    Handle *handle = handle_new(pass, tensor->rank, tensor->shape);
    handle->borrowed = true;
    handle->tensor.data = tensor->data;
    return &handle->tensor;
}

LdmTensor *ldm_pass_scratch(LdmPass *pass, size_t bytes)
{
    Handle *handle = handle_new(pass, 1, &bytes);
    handle_take(pass, handle, bytes);
    return &handle->tensor;
}

LdmTensor *ldm_pass_keep(LdmPass *pass, LdmTensor *tensor)
{
    ((Handle *)tensor)->refs++;
    return tensor;
}

void ldm_pass_drop(LdmPass *pass, LdmTensor *tensor)
{
    Handle *handle = (Handle *)tensor;
    if (handle == NULL || --handle->refs > 0)
        return;
    ldm_arena_give(&pass->arena, handle->offset, handle->bytes);
    handle->bytes = 0;
    handle->tensor.data = NULL;
    g_clear_pointer(&handle->moments, g_free);
    if (handle->taped)
        return;
    if (handle->before != NULL)
        handle->before->next = handle->next;
    else
        pass->handles = handle->next;
    if (handle->next != NULL)
        handle->next->before = handle->before;
    g_free(handle);
}

/* ---- operations ---- */

void ldm_pass_fail(LdmPass *pass, GError *error)
{
    if (pass->error == NULL)
        pass->error = error;
    else
        g_error_free(error);
}

void ldm_pass_expect(LdmPass *pass, const LdmTensor *x, size_t C, const char *what)
{
    GError *error = NULL;
    if (x->shape[x->rank - 1] == C)
        return;
    g_autofree char *shape = ldm_shape_string(x->rank, x->shape);
    ldm_set_error(&error, SHAPE, _("%s has shape %s, but the network takes %zu channels"), what,
                  shape, C);
    ldm_pass_fail(pass, error);
}

bool ldm_pass_cancelled(LdmPass *pass)
{
    GError *error = NULL;
    if (!ldm_cancelled(pass->cancellable, &error))
        return false;
    ldm_pass_fail(pass, error);
    return true;
}

static bool is_held(const LdmPass *pass, const LdmParam *param)
{
    return (ldm_pass_q8(pass, param) ? (const void *)param->q8.bytes : param->data) != NULL;
}

bool ldm_pass_op(LdmPass *pass, const LdmOp *op)
{
    GError *error = NULL;
    if (pass->error != NULL)
        return false;
    pass->flops += op->flops;
    ldm_tape_add(pass, op);
    if (!pass->computes || ldm_pass_cancelled(pass))
        return false;
    if (op->parameter != NULL && !is_held(pass, op->parameter)) {
        ldm_set_error(&error, MISSING, _("the model has no weights for %s; load it completely"),
                      op->parameter->name);
        ldm_pass_fail(pass, error);
        return false;
    }
    pass->op = *op;
    return true;
}

bool ldm_pass_check_finite(LdmPass *pass, const LdmOp *op, const LdmTensor *array, const char *what)
{
    GError *error = NULL;
    if (!pass->check_finite)
        return true;
    g_autofree char *name = g_strdup_printf("%s%s (%s)", what, op->name,
                                            op->parameter != NULL ? op->parameter->name : "-");
    if (ldm_tensor_check_finite(array, name, &error))
        return true;
    ldm_pass_fail(pass, error);
    return false;
}

void ldm_pass_check(LdmPass *pass, bool ok)
{
    GError *error = NULL;
    if (pass->error != NULL)
        return;
    if (!ok) {
        ldm_set_error(&error, CANCELLED, _("cancelled"));
        ldm_pass_fail(pass, error);
        return;
    }
    if (!ldm_pass_check_finite(pass, &pass->op, pass->op.output, ""))
        return;
    if (pass->watch != NULL)
        pass->watch(&pass->op, pass->watch_data);
    if (pass->progress != NULL)
        pass->progress(pass->flops, pass->progress_data);
}

bool ldm_pass_end(LdmPass *pass, GError **error)
{
    if (pass->error == NULL)
        return true;
    g_propagate_error(error, g_steal_pointer(&pass->error));
    /* still failed: the arrays handed out since have no memory behind them */
    pass->error = g_error_new_literal(LDM_ERROR, LDM_ERROR_INVALID, _("the pass has ended"));
    return false;
}

/* ---- whole forwards ---- */

bool ldm_forward_measure(LdmForward forward, const void *data, size_t *bytes, double *flops,
                         GError **error)
{
    g_autoptr(LdmPass) pass = ldm_pass_new_plan();
    forward(pass, data);
    *bytes = ldm_pass_peak(pass);
    *flops = ldm_pass_flops(pass);
    return ldm_pass_end(pass, error);
}

LdmTensor *ldm_forward_run(LdmForward forward, const void *data, LdmPassProgress progress,
                           void *progress_data, GCancellable *cancellable, GError **error)
{
    size_t bytes;
    double flops;
    if (!ldm_forward_measure(forward, data, &bytes, &flops, error))
        return NULL;
    g_autoptr(LdmPass) pass = ldm_pass_new_compute(bytes, cancellable, error);
    if (pass == NULL)
        return NULL;
    ldm_pass_set_progress(pass, progress, progress_data);
    LdmTensor *y = forward(pass, data);
    return ldm_pass_end(pass, error) ? ldm_tensor_copy(y, error) : NULL;
}

typedef struct {
    LdmNetworkForward forward;
    const void *network;
    const LdmTensor *x;
} Network;

static LdmTensor *forward_network(LdmPass *pass, const void *data)
{
    const Network *network = data;
    LdmTensor *x = ldm_pass_input(pass, network->x);
    LdmTensor *y = network->forward(pass, network->network, x);
    ldm_pass_drop(pass, x);
    return y;
}

bool ldm_network_measure(LdmNetworkForward forward, const void *network, const LdmTensor *x,
                         size_t *bytes, double *flops, GError **error)
{
    const Network plan = {forward, network, x};
    return ldm_forward_measure(forward_network, &plan, bytes, flops, error);
}

LdmTensor *ldm_network_run(LdmNetworkForward forward, const void *network, const LdmTensor *x,
                           LdmPassProgress progress, void *progress_data, GCancellable *cancellable,
                           GError **error)
{
    const Network run = {forward, network, x};
    return ldm_forward_run(forward_network, &run, progress, progress_data, cancellable, error);
}
