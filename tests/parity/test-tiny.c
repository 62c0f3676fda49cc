/* The tiny decoder against diffusers' AutoencoderTiny, from its folder and from files with TAESD's
 * names, with the encoder and without; and files that are none. */
#include "decode/tiny-decoder.h"
#include "weights/tiny.h"

#include "networks.h"

#include <string.h>

static LdmTensor *decode(LdmPass *pass, const void *decoder, LdmTensor *z)
{
    return ldm_tiny_decoder_forward(pass, decoder, z);
}

static char *fixture(const char *name)
{
    return g_build_filename(g_getenv("PENTIMENTO_FIXTURES"), "tiny", name, NULL);
}

static LdmTensor *array(const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = fixture(name);
    LdmTensor *read = ldm_npy_read(path, &error);
    g_assert_no_error(error);
    return read;
}

static void test_decoder(const void *name)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = fixture(name);
    g_autoptr(LdmTensor) z = array("z.npy"), expected = array("y.npy");
    g_autoptr(LdmTinySource) source = ldm_tiny_source_open(path, &error);
    g_assert_no_error(error);
    const LdmTinyConfig *config = &source->config;
    g_assert_cmpint(config->latent_channels, ==, 5);
    g_assert_cmpuint(ldm_tiny_factor(config), ==, 4);
    g_assert_cmpint(config->blocks[0], ==, 2);
    g_assert_cmpint(config->blocks[1], ==, 0);
    g_assert_cmpint(config->blocks[2], ==, 1);
    if (strcmp(name, "diffusers") != 0) /* files without a configuration have a scale of 1 */
        for (size_t i = 0; i < ldm_tensor_count(z); i++)
            ldm_tensor_f32(z)[i] /= 0.7f;
    g_autoptr(LdmParams) params = ldm_params_new();
    g_autoptr(LdmTinyDecoder) decoder = ldm_tiny_decoder_new(config, params);
    g_assert_true(ldm_part_bind(&source->part, params, &error));
    g_autoptr(LdmTensor) y = ldm_network_run(decode, decoder, z, NULL, NULL, NULL, &error);
    g_assert_no_error(error);
    for (size_t i = 0; i < ldm_tensor_count(y); i++) /* diffusers' range */
        ldm_tensor_f32(y)[i] = 2.0f * ldm_tensor_f32(y)[i] - 1.0f;
    assert_close(y, expected, name);
    g_autoptr(LdmTensor) picture = ldm_tensor_new_nhwc(1, 4, 4, 3, NULL);
    g_assert_null(ldm_network_run(decode, decoder, picture, NULL, NULL, NULL, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_SHAPE);
}

static void assert_refused(const char *path, int code, const char *words)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(ldm_tiny_source_open(path, &error));
    g_assert_error(error, LDM_ERROR, code);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, words));
}

static void test_refused(void)
{
    g_autofree char *model = network_folder("sd1");
    g_autofree char *vae = g_build_filename(model, "vae", NULL);
    g_autofree char *file = g_build_filename(vae, "diffusion_pytorch_model.safetensors", NULL);
    assert_refused(vae, LDM_ERROR_UNSUPPORTED, "_class_name");
    assert_refused(file, LDM_ERROR_UNSUPPORTED, "TAESD");
    assert_refused("/nonexistent", LDM_ERROR_FILE, "/nonexistent");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/tiny/diffusers", "diffusers", test_decoder);
    g_test_add_data_func("/tiny/taesd", "taesd.safetensors", test_decoder);
    g_test_add_data_func("/tiny/taesd-decoder", "taesd_decoder.safetensors", test_decoder);
    g_test_add_func("/tiny/refused", test_refused);
    return g_test_run();
}
