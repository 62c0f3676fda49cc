/* The KL autoencoder against diffusers: moments, mean and sample of a picture that is not square,
 * and the picture of a batch of latents. */
#include "decode/vae-decoder.h"
#include "encode/vae-encoder.h"

#include "networks.h"

typedef struct {
    LdmVaeEncoder *encoder;
    LdmVaeDecoder *decoder;
    const LdmTensor *x;
} Call;

static LdmTensor *encode(LdmPass *pass, const void *data)
{
    const Call *call = data;
    LdmTensor *x = ldm_pass_input(pass, call->x);
    LdmTensor *y = ldm_vae_encoder_forward(pass, call->encoder, x);
    ldm_pass_drop(pass, x);
    return y;
}

static LdmTensor *decode(LdmPass *pass, const void *data)
{
    const Call *call = data;
    LdmTensor *z = ldm_pass_input(pass, call->x);
    LdmTensor *y = ldm_vae_decoder_forward(pass, call->decoder, z);
    ldm_pass_drop(pass, z);
    return y;
}

static LdmTensor *run(LdmForward function, const Call *call)
{
    g_autoptr(GError) error = NULL;
    LdmTensor *y = ldm_forward_run(function, call, NULL, NULL, NULL, &error);
    g_assert_no_error(error);
    return y;
}

/* The mean is the latent of a noise of zeros. */
static void check_latents(const char *model, const LdmTensor *moments, double scale)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmTensor) noise = network_array(model, "vae-noise");
    g_autoptr(LdmTensor) expected = network_array(model, "vae-latent");
    g_autoptr(LdmTensor) sample = ldm_latent_from_moments(moments, noise, scale, 0, &error);
    assert_close(sample, expected, "latent");
    for (size_t i = 0; i < ldm_tensor_count(noise); i++)
        ldm_tensor_f32(noise)[i] = 0;
    g_autoptr(LdmTensor) mean = ldm_latent_from_moments(moments, NULL, scale, 0.5, &error);
    g_autoptr(LdmTensor) zero = ldm_latent_from_moments(moments, noise, scale, 0.5, &error);
    for (size_t i = 0; i < ldm_tensor_count(mean); i++)
        g_assert_cmpfloat(ldm_tensor_f32(mean)[i], ==, ldm_tensor_f32(zero)[i]);
    g_assert_cmpfloat_with_epsilon(ldm_tensor_f32(mean)[0],
                                   (ldm_tensor_f32(moments)[0] - 0.5) * scale, 1e-6);
    g_assert_null(ldm_latent_from_moments(moments, moments, scale, 0, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_SHAPE);
}

static void test_model(const void *model)
{
    g_autoptr(LdmSource) source = network_source(model);
    g_autoptr(LdmParams) params = ldm_params_new();
    const LdmVaeConfig *config = &source->config.vae;
    Call call = {ldm_vae_encoder_new(config, params), ldm_vae_decoder_new(config, params), NULL};
    network_bind(source, LDM_PART_VAE, params);

    g_autoptr(LdmTensor) x = network_array(model, "vae-x");
    g_autoptr(LdmTensor) moments_expected = network_array(model, "vae-moments");
    call.x = x;
    g_autoptr(LdmTensor) moments = run(encode, &call);
    assert_close(moments, moments_expected, "moments");
    check_latents(model, moments, config->scale_factor);

    g_autoptr(LdmTensor) z = network_array(model, "vae-z");
    g_autoptr(LdmTensor) y_expected = network_array(model, "vae-y");
    call.x = z;
    g_autoptr(LdmTensor) y = run(decode, &call);
    assert_close(y, y_expected, "picture");

    g_autoptr(GError) error = NULL;
    g_assert_null(ldm_forward_run(encode, &call, NULL, NULL, NULL, &error)); /* z is no picture */
    g_assert_error(error, LDM_ERROR, LDM_ERROR_SHAPE);
    ldm_vae_encoder_free(call.encoder);
    ldm_vae_decoder_free(call.decoder);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(network_models); i++) {
        g_autofree char *name = g_strconcat("/vae/", network_models[i], NULL);
        g_test_add_data_func(name, network_models[i], test_model);
    }
    return g_test_run();
}
