/* Copies in 8 bits, and out of them: the table of a network goes in, every matrix of it is as the
 * stage needs it when it comes out. All lie in one block, whose pages the system gives one by one,
 * while those of the mapped weights may go. */
#include "weights/coarse.h"

#include "base/checked.h"
#include "base/error.h"

#include <unistd.h>

/* True where a stage reads the matrix in 8 bits. */
static bool is_q8(const LdmParam *param, bool q8)
{
    return q8 && param->coarse;
}

/* Whole cache lines; 0: none, the file has what is needed. */
static size_t copy_bytes(const LdmParam *param, bool q8)
{
    if (is_q8(param, q8) == param->stored)
        return 0;
    return ((param->stored ? ldm_param_bytes(param) : ldm_param_q8_bytes(param)) + 63) / 64 * 64;
}

size_t ldm_coarse_bytes(const LdmParams *params, bool q8)
{
    size_t bytes = 0;
    for (size_t i = 0; i < ldm_params_length(params); i++)
        bytes += copy_bytes(ldm_params_at(params, i), q8);
    return bytes;
}

typedef struct {
    uintptr_t first, end;
} Span;

static int span_order(gconstpointer a, gconstpointer b)
{
    const Span *one = a, *other = b;
    return one->first < other->first ? -1 : one->first > other->first;
}

/* In whole pages: what is read between matrices that have copies now keeps those it lies in. */
size_t ldm_coarse_mapped(const LdmParams *params, bool q8)
{
    g_autoptr(GArray) spans = g_array_new(FALSE, FALSE, sizeof(Span));
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), seen = 0;
    size_t bytes = 0;
    for (size_t i = 0; i < ldm_params_length(params); i++) {
        const LdmParam *param = ldm_params_at(params, i);
        uintptr_t at = (uintptr_t)(param->stored ? (const void *)param->q8.bytes : param->data);
        uintptr_t end = at + ldm_param_file_bytes(param);
        Span span = {at / page * page, (end + page - 1) / page * page};
        if (copy_bytes(param, q8) == 0 && !param->copied)
            g_array_append_val(spans, span);
    }
    g_array_sort(spans, span_order);
    for (guint i = 0; i < spans->len; i++) {
        Span span = g_array_index(spans, Span, i);
        bytes += span.end - CLAMP(seen, span.first, span.end);
        seen = MAX(seen, span.end);
    }
    return bytes;
}

/* Linux maps some pages around every one that is asked for. What stays in use is asked for before
 * its neighbours are released: later it would bring them back. */
static void touch_others(const LdmParams *params, bool q8)
{
    for (size_t i = 0; i < ldm_params_length(params); i++) {
        const LdmParam *param = ldm_params_at(params, i);
        const volatile uint8_t *data = param->data;
        bool used = copy_bytes(param, q8) == 0 && data != NULL;
        for (size_t at = 0; used && at < ldm_param_bytes(param); at += 4096)
            (void)data[at];
    }
}

static bool copy(LdmParam *param, void *memory, GCancellable *cancellable)
{
    if (param->stored) {
        param->data = memory;
        return ldm_q8_expand(&param->q8, memory, cancellable);
    }
    param->q8 =
        ldm_q8_place(param->shape[0], param->shape[1], param->shape[2] * param->shape[3], memory);
    return ldm_q8_round(&param->q8, (LdmWeights){param->data, param->dtype}, cancellable);
}

bool ldm_coarse_make(LdmParams *params, bool q8, LdmCoarseMade made, void *data,
                     GCancellable *cancellable, GError **error)
{
    size_t bytes = ldm_coarse_bytes(params, q8), n = ldm_params_length(params);
    ldm_params_drop_copies(params);
    if (bytes == 0)
        return true;
    uint8_t *memory = ldm_params_make_copies(params, bytes, error);
    if (memory == NULL)
        return false;
    touch_others(params, q8);
    for (size_t i = 0; i < n; i++) {
        LdmParam *param = ldm_params_at(params, i);
        size_t own = copy_bytes(param, q8);
        if (own == 0)
            continue;
        if (!copy(param, memory, cancellable)) {
            ldm_params_drop_copies(params);
            ldm_set_error(error, CANCELLED, _("cancelled"));
            return false;
        }
        memory += own;
        if (made != NULL)
            made(param, data);
    }
    return true;
}
