/* The autoencoders against diffusers. KL: moments, mean and sample of a picture that is not square,
 * and the picture of a batch of latents; VQ: latent, entries of the codebook and picture. */
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
static void check_latents(const char *model, const LdmTensor *moments, LdmVaeConfig config)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmTensor) noise = network_array(model, "vae-noise");
    g_autoptr(LdmTensor) expected = network_array(model, "vae-latent");
    g_autoptr(LdmTensor) sample = ldm_latent_from_moments(moments, noise, &config, &error);
    assert_close(sample, expected, "latent");
    for (size_t i = 0; i < ldm_tensor_count(noise); i++)
        ldm_tensor_f32(noise)[i] = 0;
    config.shift_factor = 0.5;
    g_autoptr(LdmTensor) mean = ldm_latent_from_moments(moments, NULL, &config, &error);
    g_autoptr(LdmTensor) zero = ldm_latent_from_moments(moments, noise, &config, &error);
    for (size_t i = 0; i < ldm_tensor_count(mean); i++)
        g_assert_cmpfloat(ldm_tensor_f32(mean)[i], ==, ldm_tensor_f32(zero)[i]);
    g_assert_cmpfloat_with_epsilon(ldm_tensor_f32(mean)[0],
                                   (ldm_tensor_f32(moments)[0] - 0.5) * config.scale_factor, 1e-6);
    g_assert_null(ldm_latent_from_moments(moments, moments, &config, &error));
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
    check_latents(model, moments, *config);

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

static LdmTensor *vq_array(const char *folder, const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *file = g_strconcat(name, ".npy", NULL);
    g_autofree char *path = g_build_filename(folder, file, NULL);
    LdmTensor *array = ldm_npy_read(path, &error);
    g_assert_no_error(error);
    return array;
}

/* The numbers of the nearest entries. */
static LdmTensor *look_up(LdmPass *pass, const void *data)
{
    const Call *call = data;
    LdmTensor *codes, *numbers = ldm_pass_like(pass, call->x, 1);
    LdmTensor *e = ldm_quantise_forward(pass, ldm_vae_decoder_codebook(call->decoder),
                                        ldm_pass_input(pass, call->x), &codes);
    for (size_t i = 0; numbers->data != NULL && i < ldm_tensor_count(numbers); i++)
        ldm_tensor_f32(numbers)[i] = (float)((const int32_t *)codes->data)[i];
    ldm_pass_drop(pass, codes);
    ldm_pass_drop(pass, e);
    return numbers;
}

static void test_vq(void)
{
    g_autofree char *folder = g_build_filename(g_getenv("PENTIMENTO_FIXTURES"), "vq", NULL);
    const LdmWanted wanted = {.first_stage = true};
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmSource) source = ldm_source_open_wanted(folder, &wanted, &error);
    g_autoptr(LdmParams) params = ldm_params_new();
    g_assert_no_error(error);
    const LdmVaeConfig *config = &source->config.vae;
    Call call = {ldm_vae_encoder_new(config, params), ldm_vae_decoder_new(config, params), NULL};
    network_bind(source, LDM_PART_VAE, params);

    g_autoptr(LdmTensor) x = vq_array(folder, "x");
    g_autoptr(LdmTensor) latent = vq_array(folder, "latent");
    call.x = x;
    g_autoptr(LdmTensor) moments = run(encode, &call);
    g_autoptr(LdmTensor) z = ldm_latent_from_moments(moments, latent, config, &error);
    assert_close(moments, latent, "latent");
    g_assert_cmpfloat_with_epsilon(ldm_tensor_f32(z)[1], ldm_tensor_f32(latent)[1] * 0.7, 1e-5);

    g_autoptr(LdmTensor) codes_expected = vq_array(folder, "codes");
    g_autoptr(LdmTensor) y_expected = vq_array(folder, "y");
    call.x = latent;
    g_autoptr(LdmTensor) codes = run(look_up, &call);
    size_t bytes = ldm_tensor_count(codes) * sizeof(float);
    g_assert_cmpmem(codes->data, bytes, codes_expected->data, bytes);
    g_autoptr(LdmTensor) y = run(decode, &call);
    assert_close(y, y_expected, "picture");
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
    g_test_add_func("/vae/vq", test_vq);
    return g_test_run();
}
