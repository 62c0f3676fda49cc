/* The noise of a seed against torch's CPU generator: NCHW order, draw after draw from one generator
 * (tests/reference/make_samplers.py), laid out as NHWC. */
#include "diffuse/latents.h"
#include "tensor/tensor.h"

enum { H = 3, W = 5, Z = 4, COUNT = H * W * Z, DRAWS = 3 };

static void test_draws(void)
{
    g_autofree char *path =
        g_build_filename(g_getenv("PENTIMENTO_FIXTURES"), "samplers", "noise.npy", NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmTensor) expected = ldm_npy_read(path, &error);
    LdmRng rng;

    g_assert_no_error(error);
    g_assert_cmpuint(ldm_tensor_count(expected), ==, DRAWS * COUNT);
    ldm_rng_seed(&rng, 42);
    for (int draw = 0; draw < DRAWS; draw++) {
        g_autoptr(LdmTensor) noise = ldm_noise_new(&rng, H, W, Z, NULL);
        for (int c = 0; c < Z; c++)
            for (int p = 0; p < H * W; p++)
                g_assert_cmpfloat_with_epsilon(
                    ldm_tensor_f32(noise)[p * Z + c],
                    ldm_tensor_f32(expected)[draw * COUNT + c * H * W + p], 1e-6);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/noise/draws", test_draws);
    return g_test_run();
}
