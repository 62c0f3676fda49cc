/* Gradients of whole networks against PyTorch's (reference/make_gradients.py): the loss is half the
 * sum of squares of the output. */
#include "condition/clip-text.h"
#include "decode/vae-decoder.h"
#include "denoise/unet.h"
#include "encode/vae-encoder.h"
#include "layers/tape.h"

#include "parity/networks.h"
#include "signs.h"

#include <string.h>

/* What a step needs: one network, its inputs. */
typedef struct {
    LdmUnet *unet;
    LdmVaeEncoder *encoder;
    LdmVaeDecoder *decoder;
    LdmClipText *text;
    LdmTensor *x, *context;
    double timesteps[2];
    int32_t *ids;
    size_t n;
    LdmTensor *x_handle, *context_handle;
} Call;

static LdmTensor *input(LdmPass *pass, const LdmTensor *array)
{
    LdmTensor *x = ldm_pass_input(pass, array);
    ldm_pass_want_gradient(pass, x);
    return x;
}

static LdmTensor *forward(LdmPass *pass, Call *call)
{
    if (call->text != NULL)
        return ldm_clip_text_forward(pass, call->text, call->ids, call->n);
    call->x_handle = input(pass, call->x);
    if (call->encoder != NULL)
        return ldm_vae_encoder_forward(pass, call->encoder, call->x_handle);
    if (call->decoder != NULL)
        return ldm_vae_decoder_forward(pass, call->decoder, call->x_handle);
    call->context_handle = input(pass, call->context);
    return ldm_unet_forward(pass, call->unet, call->x_handle, call->timesteps,
                            call->context_handle);
}

/* Forward, the loss's gradient, backward. */
static void step(LdmPass *pass, Call *call)
{
    LdmTensor *y = forward(pass, call);
    ldm_pass_seed(pass, y, y);
    ldm_pass_drop(pass, y);
    ldm_pass_backward(pass);
}

/* Plans, computes on exactly what was planned, and leaves the pass. */
static LdmPass *run(Call *call, bool checkpoints)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmPass) plan = ldm_pass_new_plan();
    ldm_pass_record(plan);
    ldm_pass_set_checkpoints(plan, checkpoints);
    step(plan, call);
    ldm_pass_end(plan, &error);
    g_assert_no_error(error);
    LdmPass *pass = ldm_pass_new_compute(ldm_pass_peak(plan), NULL, &error);
    g_assert_no_error(error);
    ldm_pass_record(pass);
    ldm_pass_set_checkpoints(pass, checkpoints);
    step(pass, call);
    g_assert_cmpuint(ldm_pass_peak(pass), ==, ldm_pass_peak(plan));
    g_assert_cmpfloat(ldm_pass_flops(pass), ==, ldm_pass_flops(plan));
    ldm_pass_end(pass, &error);
    g_assert_no_error(error);
    return pass;
}

static LdmTensor *reference(const char *model, const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *folder = network_folder(model);
    g_autofree char *file = g_strconcat(name, ".npy", NULL);
    g_autofree char *path = g_build_filename(folder, "gradients", file, NULL);
    LdmTensor *array = ldm_npy_read(path, &error);
    g_assert_no_error(error);
    return array;
}

static void check_parameters(LdmParams *params, const char *model, const char *name)
{
    g_autoptr(LdmTensor) rows = reference(model, name);
    g_autofree char *what = g_strdup_printf("%s %s", model, name);

    signs_check(params, rows, what);
}

static void check_input(LdmPass *pass, LdmTensor *x, const char *model, const char *name)
{
    g_autoptr(LdmTensor) expected = reference(model, name);
    const LdmTensor *d = ldm_pass_gradient(pass, x);
    g_assert_nonnull(d);
    assert_close(d, expected, name);
}

static void train_all(LdmParams *params)
{
    g_autoptr(GError) error = NULL;
    for (size_t i = 0; i < ldm_params_length(params); i++)
        ldm_params_at(params, i)->trained = true;
    ldm_params_make_gradients(params, &error);
    g_assert_no_error(error);
}

/* With blocks run twice: the same bits. */
static void check_checkpoints(Call *call, LdmParams *params)
{
    size_t bytes = ldm_params_gradient_bytes(params);
    const float *gradients = ldm_params_at(params, 0)->gradient; /* all in one block */
    g_autofree float *expected = g_memdup2(gradients, bytes);
    ldm_params_clear_gradients(params);
    g_autoptr(LdmPass) second = run(call, true);
    g_assert_cmpmem(gradients, bytes, expected, bytes);
}

static void unet_case(LdmUnet *unet, LdmParams *params, const char *model, const char *name)
{
    g_autoptr(LdmTensor) x = network_array(model, "unet-%s-x", name);
    g_autoptr(LdmTensor) times = network_array(model, "unet-%s-timesteps", name);
    g_autoptr(LdmTensor) context = network_array(model, "unet-%s-context", name);
    g_autofree char *file = g_strconcat("unet-", name, NULL);
    g_autofree char *x_file = g_strconcat(file, "-x", NULL);
    g_autofree char *context_file = g_strconcat(file, "-context", NULL);
    Call call = {.unet = unet, .x = x, .context = context};
    for (size_t n = 0; n < times->shape[0]; n++)
        call.timesteps[n] = ldm_tensor_f32(times)[n];
    ldm_params_clear_gradients(params);
    g_autoptr(LdmPass) pass = run(&call, false);
    check_parameters(params, model, file);
    check_input(pass, call.x_handle, model, x_file);
    check_input(pass, call.context_handle, model, context_file);
    check_checkpoints(&call, params);
}

static void test_unet(const void *model)
{
    g_autoptr(LdmSource) source = network_source(model);
    g_autoptr(LdmParams) params = ldm_params_new();
    LdmUnet *unet = ldm_unet_new(&source->config.unet, params);
    network_bind(source, LDM_PART_UNET, params);
    train_all(params);
    unet_case(unet, params, model, "even");
    unet_case(unet, params, model, "odd");
    unet_case(unet, params, model, "shared");
    ldm_unet_free(unet);
}

/* Encoder and decoder are two passes over one table: gradients accumulate. */
static void test_vae(const void *model)
{
    g_autoptr(LdmSource) source = network_source(model);
    g_autoptr(LdmParams) params = ldm_params_new();
    g_autoptr(LdmTensor) x = network_array(model, "vae-x");
    g_autoptr(LdmTensor) z = network_array(model, "vae-z");
    Call encode = {.encoder = ldm_vae_encoder_new(&source->config.vae, params), .x = x};
    Call decode = {.decoder = ldm_vae_decoder_new(&source->config.vae, params), .x = z};
    network_bind(source, LDM_PART_VAE, params);
    train_all(params);
    g_autoptr(LdmPass) first = run(&encode, false);
    g_autoptr(LdmPass) second = run(&decode, false);
    check_parameters(params, model, "vae");
    check_input(first, encode.x_handle, model, "vae-x");
    check_input(second, decode.x_handle, model, "vae-z");
    ldm_vae_encoder_free(encode.encoder);
    ldm_vae_decoder_free(decode.decoder);
}

static void test_text(const void *model)
{
    g_autoptr(LdmSource) source = network_source(model);
    g_autoptr(LdmParams) params = ldm_params_new();
    g_autoptr(LdmTensor) array = network_array(model, "text-ids");
    size_t count = ldm_tensor_count(array);
    g_autofree int32_t *ids = g_new(int32_t, count);
    for (size_t i = 0; i < count; i++)
        ids[i] = (int32_t)ldm_tensor_f32(array)[i];
    Call call = {.text = ldm_clip_text_new(&source->config.text, params),
                 .ids = ids,
                 .n = count / (size_t)source->config.text.tokens};
    network_bind(source, LDM_PART_TEXT, params);
    train_all(params);
    g_autoptr(LdmPass) pass = run(&call, false);
    check_parameters(params, model, "text");
    ldm_clip_text_free(call.text);
}

static size_t planned(Call *call, bool checkpoints)
{
    g_autoptr(LdmPass) plan = ldm_pass_new_plan();
    ldm_pass_record(plan);
    ldm_pass_set_checkpoints(plan, checkpoints);
    step(plan, call);
    g_assert_true(ldm_pass_end(plan, NULL));
    return ldm_pass_peak(plan);
}

/* What the option is for, where arrays are larger than the kernels' scratch memory. */
static void test_memory(void)
{
    g_autoptr(LdmSource) source = network_source("sd1");
    g_autoptr(LdmParams) params = ldm_params_new();
    LdmTensor x = {.rank = 4, .shape = {4, 64, 64, 4}},
              context = {.rank = 3, .shape = {4, 11, 24, 1}};
    Call call = {.unet = ldm_unet_new(&source->config.unet, params), .x = &x, .context = &context};
    train_all(params);
    size_t all = planned(&call, false), blocks = planned(&call, true);
    g_test_message("checkpoints: %.1f MB instead of %.1f", blocks / 1e6, all / 1e6);
    g_assert_cmpuint(blocks, <, all / 2);
    ldm_unet_free(call.unet);
}

static void add(const char *part, const char *model, GTestDataFunc func)
{
    g_autofree char *path = g_strdup_printf("/gradients/%s/%s", part, model);
    g_test_add_data_func(path, model, func);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(network_models); i++) {
        add("unet", network_models[i], test_unet);
        add("vae", network_models[i], test_vae);
        add("text", network_models[i], test_text);
    }
    g_test_add_func("/gradients/memory", test_memory);
    return g_test_run();
}
