/* Dense arrays: making, copying, describing and checking them. Every size is checked, since shapes
 * come from files. */
#include "tensor/tensor.h"

#include "base/checked.h"
#include "base/error.h"
#include "tensor/half.h"

#include <string.h>

size_t ldm_dtype_size(LdmDtype dtype)
{
    return dtype == LDM_F32 ? 4 : dtype == LDM_Q8 ? 1 : 2;
}

const char *ldm_dtype_name(LdmDtype dtype)
{
    static const char *const names[] = {"f32", "f16", "bf16", "q8"};
    return (unsigned)dtype < G_N_ELEMENTS(names) ? names[dtype] : "unknown";
}

char *ldm_shape_string(int rank, const size_t *shape)
{
    GString *text = g_string_new("[");
    for (int i = 0; i < rank; i++)
        g_string_append_printf(text, "%s%" G_GSIZE_FORMAT, i > 0 ? ", " : "", shape[i]);
    return g_string_free(g_string_append_c(text, ']'), FALSE);
}

LdmTensor *ldm_tensor_new(LdmDtype dtype, int rank, const size_t *shape, GError **error)
{
    if (rank < 1 || rank > LDM_MAX_RANK) {
        ldm_set_error(error, INVALID,
                      _("An array cannot have %d dimensions (1 to %d are possible)"), rank,
                      LDM_MAX_RANK);
        return NULL;
    }
    size_t count;
    if (!ldm_product(shape, rank, &count) || count == 0 || dtype == LDM_Q8) {
        g_autofree char *text = ldm_shape_string(rank, shape);
        ldm_set_error(error, INVALID, _("An array of shape %s is impossible"), text);
        return NULL;
    }
    void *data = ldm_aligned_alloc0(count, ldm_dtype_size(dtype), _("an array"), error);
    if (data == NULL)
        return NULL;
    LdmTensor *tensor = g_new(LdmTensor, 1);
    *tensor = (LdmTensor){.dtype = dtype, .rank = rank, .data = data};
    for (int i = 0; i < LDM_MAX_RANK; i++)
        tensor->shape[i] = i < rank ? shape[i] : 1;
    return tensor;
}

LdmTensor *ldm_tensor_new_nhwc(size_t n, size_t h, size_t w, size_t c, GError **error)
{
    return ldm_tensor_new(LDM_F32, 4, (size_t[]){n, h, w, c}, error);
}

void ldm_tensor_free(LdmTensor *tensor)
{
    if (tensor == NULL)
        return;
    ldm_aligned_free(tensor->data);
    g_free(tensor);
}

size_t ldm_tensor_count(const LdmTensor *tensor)
{
    return tensor->shape[0] * tensor->shape[1] * tensor->shape[2] * tensor->shape[3];
}

LdmTensor *ldm_tensor_copy(const LdmTensor *tensor, GError **error)
{
    LdmTensor *copy = ldm_tensor_new(tensor->dtype, tensor->rank, tensor->shape, error);
    if (copy != NULL)
        memcpy(copy->data, tensor->data, ldm_tensor_count(tensor) * ldm_dtype_size(tensor->dtype));
    return copy;
}

bool ldm_tensor_same_shape(const LdmTensor *a, const LdmTensor *b)
{
    return a->rank == b->rank && memcmp(a->shape, b->shape, sizeof a->shape) == 0;
}

/* All bits of the exponent set means infinity or NaN, in each format. */
static bool all_finite(const LdmTensor *tensor)
{
    size_t count = ldm_tensor_count(tensor);
    uint32_t bad = 0;
    if (tensor->dtype == LDM_F32) {
        const float *x = tensor->data;
        for (size_t i = 0; i < count; i++)
            bad |= (ldm_float_bits(x[i]) & 0x7f800000) == 0x7f800000;
    } else {
        uint16_t exponent = tensor->dtype == LDM_F16 ? 0x7c00 : 0x7f80;
        const uint16_t *x = tensor->data;
        for (size_t i = 0; i < count; i++)
            bad |= (x[i] & exponent) == exponent;
    }
    return bad == 0;
}

bool ldm_tensor_check_finite(const LdmTensor *tensor, const char *stage, GError **error)
{
    if (all_finite(tensor))
        return true;
    ldm_set_error(error, NONFINITE,
                  _("The stage “%s” gave numbers that are not finite: the model is damaged or does "
                    "not suit this task; get it again, or choose another"),
                  stage);
    return false;
}

/* Both layouts of one picture are matrices [c, p] and [p, c], p = h * w pixels; 16 x 16 blocks
 * keep both sides of the transposition in cache. */
static void transpose(const float *src, float *dst, size_t rows, size_t columns)
{
    enum { BLOCK = 16 };
    for (size_t i0 = 0; i0 < rows; i0 += BLOCK)
        for (size_t j0 = 0; j0 < columns; j0 += BLOCK)
            for (size_t i = i0; i < MIN(i0 + BLOCK, rows); i++)
                for (size_t j = j0; j < MIN(j0 + BLOCK, columns); j++)
                    dst[j * rows + i] = src[i * columns + j];
}

void ldm_nchw_to_nhwc(const float *src, float *dst, size_t n, size_t c, size_t h, size_t w)
{
    for (size_t i = 0; i < n; i++)
        transpose(src + i * c * h * w, dst + i * c * h * w, c, h * w);
}

void ldm_nhwc_to_nchw(const float *src, float *dst, size_t n, size_t c, size_t h, size_t w)
{
    for (size_t i = 0; i < n; i++)
        transpose(src + i * c * h * w, dst + i * c * h * w, h * w, c);
}
