/* The UNet against diffusers: forms of SD 1, SD 2 and nine channels; even and odd sizes; a batch
 * with a context each and with one for all. */
#include "denoise/unet.h"

#include "networks.h"

typedef struct {
    LdmUnet *unet;
    LdmTensor *x, *context;
    double timesteps[2];
} Call;

static LdmTensor *forward(LdmPass *pass, const void *data)
{
    const Call *call = data;
    LdmTensor *x = ldm_pass_input(pass, call->x);
    LdmTensor *context = call->context != NULL ? ldm_pass_input(pass, call->context) : NULL;
    LdmTensor *y = ldm_unet_forward(pass, call->unet, x, call->timesteps, context);
    ldm_pass_drop(pass, x);
    ldm_pass_drop(pass, context);
    return y;
}

static void run_case(const LdmUnet *unet, const char *model, const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmTensor) x = network_array(model, "unet-%s-x", name);
    g_autoptr(LdmTensor) times = network_array(model, "unet-%s-timesteps", name);
    g_autoptr(LdmTensor) context = network_array(model, "unet-%s-context", name);
    g_autoptr(LdmTensor) expected = network_array(model, "unet-%s-y", name);
    Call call = {.unet = (LdmUnet *)unet, .x = x, .context = context};
    for (size_t n = 0; n < times->shape[0]; n++)
        call.timesteps[n] = ldm_tensor_f32(times)[n];
    g_autoptr(LdmTensor) y = ldm_forward_run(forward, &call, NULL, NULL, NULL, &error);
    g_assert_no_error(error);
    assert_close(y, expected, name);
}

static void test_model(const void *data)
{
    g_autoptr(LdmSource) source = network_source(data);
    g_autoptr(LdmParams) params = ldm_params_new();
    LdmUnet *unet = ldm_unet_new(&source->config.unet, params);
    network_bind(source, LDM_PART_UNET, params);
    run_case(unet, data, "even");
    run_case(unet, data, "odd");
    run_case(unet, data, "shared");
    run_case(unet, data, "thin"); /* a single cell at the last level */
    ldm_unet_free(unet);
}

static void assert_refused(Call *call)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(ldm_forward_run(forward, call, NULL, NULL, NULL, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_SHAPE);
}

/* Arrays of the wrong shape come from people: refused before anything is computed. */
static void test_refused(void)
{
    g_autoptr(LdmSource) source = network_source("sd1");
    g_autoptr(LdmParams) params = ldm_params_new();
    LdmUnet *unet = ldm_unet_new(&source->config.unet, params);
    g_autoptr(LdmTensor) x = ldm_tensor_new_nhwc(2, 4, 4, 4, NULL);
    g_autoptr(LdmTensor) wide = ldm_tensor_new_nhwc(2, 4, 4, 9, NULL);
    g_autoptr(LdmTensor) context = ldm_tensor_new(LDM_F32, 3, (size_t[]){1, 11, 24}, NULL);
    g_autoptr(LdmTensor) narrow = ldm_tensor_new(LDM_F32, 3, (size_t[]){1, 11, 16}, NULL);
    g_autoptr(LdmTensor) three = ldm_tensor_new(LDM_F32, 3, (size_t[]){3, 11, 24}, NULL);
    assert_refused(&(Call){.unet = unet, .x = wide, .context = context});
    assert_refused(&(Call){.unet = unet, .x = x, .context = narrow});
    assert_refused(&(Call){.unet = unet, .x = x, .context = three});
    assert_refused(&(Call){.unet = unet, .x = x});
    ldm_unet_free(unet);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(network_models); i++) {
        g_autofree char *name = g_strconcat("/unet/", network_models[i], NULL);
        g_test_add_data_func(name, network_models[i], test_model);
    }
    g_test_add_func("/unet/refused", test_refused);
    return g_test_run();
}
