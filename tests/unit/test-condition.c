/* The condition stage: the extra channels of models that see mask and masked picture. Tokens of
 * prompts are in tests/parity/test-clip.c and test-tokenizer.c. */
#include "condition/condition.h"
#include "tensor/tensor.h"

enum { H = 2, W = 3, Z = 4 };

static void test_concat(void)
{
    g_autoptr(LdmTensor) cells = ldm_tensor_new_nhwc(1, H, W, 1, NULL);
    g_autoptr(LdmTensor) masked = ldm_tensor_new_nhwc(1, H, W, Z, NULL);

    for (int i = 0; i < H * W * Z; i++)
        ldm_tensor_f32(masked)[i] = (float)i;
    ldm_tensor_f32(cells)[1] = 0.004f;
    ldm_tensor_f32(cells)[5] = 1.0f;
    g_autoptr(LdmTensor) concat = ldm_condition_concat(cells, masked, NULL);
    g_assert_cmpuint(concat->shape[3], ==, 1 + Z);
    for (int i = 0; i < H * W; i++) {
        const float *cell = ldm_tensor_f32(concat) + i * (1 + Z);
        g_assert_cmpfloat(cell[0], ==, i == 1 || i == 5 ? 1.0f : 0.0f);
        for (int c = 0; c < Z; c++)
            g_assert_cmpfloat(cell[1 + c], ==, (float)(i * Z + c));
    }
}

static void test_all_hole(void)
{
    g_autoptr(LdmTensor) masked = ldm_tensor_new_nhwc(1, H, W, Z, NULL);
    g_autoptr(LdmTensor) concat = ldm_condition_concat(NULL, masked, NULL);

    for (int i = 0; i < H * W; i++)
        g_assert_cmpfloat(ldm_tensor_f32(concat)[i * (1 + Z)], ==, 1.0f);
}

static void test_other_shape(void)
{
    g_autoptr(LdmTensor) cells = ldm_tensor_new_nhwc(1, W, H, 1, NULL);
    g_autoptr(LdmTensor) masked = ldm_tensor_new_nhwc(1, H, W, Z, NULL);
    g_autoptr(GError) error = NULL;

    g_assert_null(ldm_condition_concat(cells, masked, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_SHAPE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/condition/concat", test_concat);
    g_test_add_func("/condition/all-hole", test_all_hole);
    g_test_add_func("/condition/other-shape", test_other_shape);
    return g_test_run();
}
