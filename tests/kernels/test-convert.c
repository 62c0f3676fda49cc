/* Conversions: every 16-bit value, and floats around every rounding boundary, against the plain
 * functions of tensor/half.h. */
#include "twin.h"

static void assert_same(uint32_t got, uint32_t expected, bool is_nan, bool got_nan)
{
    if (is_nan)
        g_assert_true(got_nan);
    else
        g_assert_cmphex(got, ==, expected);
}

static void test_expand(void)
{
    enum { N = 65536 };
    g_autofree uint16_t *half = g_new(uint16_t, N);
    for (uint32_t i = 0; i < N; i++)
        half[i] = (uint16_t)i;
    for (LdmDtype dtype = LDM_F16; dtype <= LDM_BF16; dtype++) {
        TwinArray got = twin_array(N);
        ldm_convert_to_f32(half, dtype, got.data, N);
        for (uint32_t i = 0; i < N; i++) {
            float plain =
                dtype == LDM_F16 ? ldm_f16_to_f32((uint16_t)i) : ldm_bf16_to_f32((uint16_t)i);
            assert_same(ldm_float_bits(got.data[i]), ldm_float_bits(plain), isnan(plain),
                        isnan(got.data[i]));
        }
        twin_free(got);
    }
}

static void test_shrink(void)
{
    enum { N = 9001 };
    TwinArray x = twin_array(N);
    g_autofree uint16_t *got = g_new(uint16_t, N);
    for (uint32_t i = 0; i < N; i++) /* near every boundary of both formats, both signs */
        x.data[i] = ldm_float_from_bits((i / 9 * 4295001u & 0xffffe000u) + 0x1000u * (i % 3) - 1 +
                                        i / 3 % 3);
    x.data[0] = INFINITY;
    x.data[1] = -0.0f;
    for (LdmDtype dtype = LDM_F16; dtype <= LDM_BF16; dtype++) {
        ldm_convert_from_f32(x.data, dtype, got, N);
        for (size_t i = 0; i < N; i++) {
            bool f16 = dtype == LDM_F16;
            uint16_t plain = f16 ? ldm_f32_to_f16(x.data[i]) : ldm_f32_to_bf16(x.data[i]);
            float back = f16 ? ldm_f16_to_f32(got[i]) : ldm_bf16_to_f32(got[i]);
            assert_same(got[i], plain, isnan(x.data[i]), isnan(back));
        }
    }
    twin_free(x);
}

static void test_odd_lengths(void)
{
    for (size_t n = 0; n < 40; n++) {
        TwinWeights w = twin_weights(n, LDM_F16);
        TwinArray y = twin_array(n), f32 = twin_array(n);
        ldm_convert_to_f32(w.memory, LDM_F16, y.data, n);
        g_assert_cmpmem(y.data, n * 4, w.values, n * 4);
        ldm_convert_from_f32(y.data, LDM_F32, f32.data, n);
        g_assert_cmpmem(f32.data, n * 4, w.values, n * 4);
        twin_free(y);
        twin_free(f32);
        twin_weights_free(w);
    }
}

static void test_name(void)
{
    const char *wanted = g_getenv("PENTIMENTO_CPU"), *name = ldm_kernels_name();
    g_test_message("instruction set: %s", name);
    if (g_strcmp0(wanted, "base") == 0)
        g_assert_cmpstr(name, ==, "base");
    const char *const known[] = {"base", "avx2", "avx512", "neon", NULL};
    g_assert_true(g_strv_contains(known, name));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/convert/name", test_name);
    g_test_add_func("/convert/expand", test_expand);
    g_test_add_func("/convert/shrink", test_shrink);
    g_test_add_func("/convert/odd-lengths", test_odd_lengths);
    return g_test_run();
}
