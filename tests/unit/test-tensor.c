/* Arrays: making them, layouts, finiteness, the 16-bit formats. */
#include "base/checked.h"
#include "tensor/half.h"
#include "tensor/tensor.h"

#include <math.h>

static void test_new(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmTensor) tensor = ldm_tensor_new(LDM_BF16, 3, (size_t[]){2, 3, 5}, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(ldm_tensor_count(tensor), ==, 30);
    g_assert_cmpuint(tensor->shape[3], ==, 1);
    for (int i = 0; i < 30; i++)
        g_assert_cmpuint(((uint16_t *)tensor->data)[i], ==, 0);
    ((uint16_t *)tensor->data)[29] = 7;
    g_autoptr(LdmTensor) copy = ldm_tensor_copy(tensor, &error);
    g_assert_true(ldm_tensor_same_shape(tensor, copy));
    g_assert_cmpuint(((uint16_t *)copy->data)[29], ==, 7);
    g_autoptr(LdmTensor) flat = ldm_tensor_new(LDM_F32, 1, (size_t[]){30}, &error);
    g_assert_false(ldm_tensor_same_shape(tensor, flat));
    g_autofree char *text = ldm_shape_string(3, tensor->shape);
    g_assert_cmpstr(text, ==, "[2, 3, 5]");
    g_assert_cmpstr(ldm_dtype_name(LDM_F16), ==, "f16");
    g_assert_cmpuint(ldm_dtype_size(LDM_F32), ==, 4);
}

static void assert_refused(int rank, const size_t *shape, LdmErrorCode code)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(ldm_tensor_new(LDM_F32, rank, shape, &error));
    g_assert_error(error, LDM_ERROR, (gint)code);
}

static void test_refused(void)
{
    size_t many = (size_t)1 << 40;
    assert_refused(0, (size_t[]){1}, LDM_ERROR_INVALID);
    assert_refused(5, (size_t[]){1, 1, 1, 1, 1}, LDM_ERROR_INVALID);
    assert_refused(2, (size_t[]){3, 0}, LDM_ERROR_INVALID);
    assert_refused(2, (size_t[]){many, many}, LDM_ERROR_INVALID);
    assert_refused(1, (size_t[]){SIZE_MAX / 2}, LDM_ERROR_MEMORY);
    ldm_alloc_fail_after(0, false);
    assert_refused(1, (size_t[]){4}, LDM_ERROR_MEMORY);
    ldm_tensor_free(NULL);
}

static void test_layouts(void)
{
    enum { N = 2, C = 3, H = 5, W = 19, COUNT = N * C * H * W };
    float nchw[COUNT], nhwc[COUNT], back[COUNT];
    for (int i = 0; i < COUNT; i++)
        nchw[i] = (float)i;
    ldm_nchw_to_nhwc(nchw, nhwc, N, C, H, W);
    for (int n = 0; n < N; n++)
        for (int c = 0; c < C; c++)
            for (int y = 0; y < H; y++)
                for (int x = 0; x < W; x++)
                    g_assert_cmpfloat(nhwc[((n * H + y) * W + x) * C + c], ==,
                                      nchw[((n * C + c) * H + y) * W + x]);
    ldm_nhwc_to_nchw(nhwc, back, N, C, H, W);
    g_assert_cmpmem(nchw, sizeof nchw, back, sizeof back);
}

static void test_finite(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmTensor) tensor = ldm_tensor_new(LDM_F32, 1, (size_t[]){37}, NULL);
    float *x = ldm_tensor_f32(tensor);
    x[3] = 3.4e38f;
    g_assert_true(ldm_tensor_check_finite(tensor, "encode", &error));
    x[36] = NAN;
    g_assert_false(ldm_tensor_check_finite(tensor, "encode", &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_NONFINITE);
    g_assert_nonnull(strstr(error->message, "encode"));
    x[36] = -INFINITY;
    g_assert_false(ldm_tensor_check_finite(tensor, "encode", NULL));

    g_autoptr(LdmTensor) half = ldm_tensor_new(LDM_F16, 1, (size_t[]){3}, NULL);
    ((uint16_t *)half->data)[1] = 0x7bff;
    g_assert_true(ldm_tensor_check_finite(half, "load", NULL));
    ((uint16_t *)half->data)[1] = 0x7c00;
    g_assert_false(ldm_tensor_check_finite(half, "load", NULL));
}

/* Every f16 value is a float and comes back; ties and limits round as IEEE 754 says. */
static void test_half(void)
{
    for (uint32_t i = 0; i < 65536; i++) {
        float value = ldm_f16_to_f32((uint16_t)i);
        if (!isnan(value))
            g_assert_cmpuint(ldm_f32_to_f16(value), ==, i);
        else
            g_assert_true(isnan(ldm_f16_to_f32(ldm_f32_to_f16(value))));
    }
    g_assert_cmpfloat(ldm_f16_to_f32(0x3c00), ==, 1);
    g_assert_cmpfloat(ldm_f16_to_f32(0x0001), ==, 0x1p-24f);
    g_assert_cmpfloat(ldm_f16_to_f32(0xfbff), ==, -65504);
    g_assert_cmpuint(ldm_f32_to_f16(65519.99f), ==, 0x7bff);
    g_assert_cmpuint(ldm_f32_to_f16(65520), ==, 0x7c00);
    g_assert_cmpuint(ldm_f32_to_f16(1 + 0x1p-11f), ==, 0x3c00);
    g_assert_cmpuint(ldm_f32_to_f16(1 + 0x3p-11f), ==, 0x3c02);
    g_assert_cmpuint(ldm_f32_to_f16(0x1p-25f), ==, 0);
    g_assert_cmpuint(ldm_f32_to_f16(-0x1.8p-25f), ==, 0x8001);

    g_assert_cmpuint(ldm_f32_to_bf16(1 + 0x1p-8f), ==, 0x3f80);
    g_assert_cmpuint(ldm_f32_to_bf16(1 + 0x3p-8f), ==, 0x3f82);
    g_assert_cmpuint(ldm_f32_to_bf16(3.4e38f), ==, 0x7f80);
    g_assert_true(isnan(ldm_bf16_to_f32(ldm_f32_to_bf16(ldm_float_from_bits(0x7f800001)))));
    g_assert_cmpfloat(ldm_bf16_to_f32(0xc040), ==, -3);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tensor/new", test_new);
    g_test_add_func("/tensor/refused", test_refused);
    g_test_add_func("/tensor/layouts", test_layouts);
    g_test_add_func("/tensor/finite", test_finite);
    g_test_add_func("/tensor/half", test_half);
    return g_test_run();
}
