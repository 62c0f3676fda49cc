/* Parameter tables: names, order, addresses that stay. */
#include "weights/param.h"

static void test_names(void)
{
    static const size_t shape[] = {8, 4, 3, 3};
    g_autoptr(LdmParams) params = ldm_params_new();
    const LdmParam *conv = ldm_params_add(params, "down_blocks.0", "conv.weight", 4, shape);
    const LdmParam *bias = ldm_params_add(params, "", "conv.bias", 1, shape);
    const LdmParam *other = ldm_params_add(params, NULL, "norm.bias", 1, shape);
    g_assert_cmpstr(conv->name, ==, "down_blocks.0.conv.weight");
    g_assert_cmpstr(bias->name, ==, "conv.bias");
    g_assert_cmpstr(other->name, ==, "norm.bias");
    g_assert_cmpint(conv->rank, ==, 4);
    g_assert_cmpuint(conv->shape[3], ==, 3);
    g_assert_cmpuint(bias->shape[0], ==, 8);
    g_assert_cmpuint(bias->shape[1], ==, 1);
    g_assert_null(conv->data);
    g_assert_true(ldm_params_find(params, "conv.bias") == bias);
    g_assert_null(ldm_params_find(params, "conv"));
    g_assert_cmpuint(ldm_params_length(params), ==, 3);
    g_assert_true(ldm_params_at(params, 1) == bias);
    g_assert_null(ldm_params_at(params, 3));
}

static void test_addresses_stay(void)
{
    static const size_t shape[] = {1};
    g_autoptr(LdmParams) params = ldm_params_new();
    LdmParam *added[1000];
    for (int i = 0; i < 1000; i++) {
        g_autofree char *name = g_strdup_printf("%d", i);
        added[i] = ldm_params_add(params, "p", name, 1, shape);
    }
    for (int i = 0; i < 1000; i++) {
        g_autofree char *name = g_strdup_printf("p.%d", i);
        g_assert_true(ldm_params_find(params, name) == added[i]);
        g_assert_true(ldm_params_at(params, (size_t)i) == added[i]);
    }
}

static void test_twice(void)
{
    static const size_t shape[] = {1};
    if (g_test_subprocess()) {
        LdmParams *params = ldm_params_new();
        ldm_params_add(params, "a", "b", 1, shape);
        ldm_params_add(params, NULL, "a.b", 1, shape);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*a.b added twice*");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/param/names", test_names);
    g_test_add_func("/param/addresses-stay", test_addresses_stay);
    g_test_add_func("/param/twice", test_twice);
    return g_test_run();
}
