/* Gradients of whole networks against PyTorch's (reference/make_gradients.py): the loss is half the
 * sum of squares of the output; and those in bf16 against those in f32. */
#include "base/rng.h"
#include "condition/clip-text.h"
#include "decode/vae-decoder.h"
#include "denoise/unet.h"
#include "encode/vae-encoder.h"
#include "layers/tape.h"
#include "pipeline/model.h"
#include "tensor/tensor.h"

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
    bool bf16;
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
    ldm_pass_set_bf16(plan, call->bf16);
    step(plan, call);
    ldm_pass_end(plan, &error);
    g_assert_no_error(error);
    LdmPass *pass = ldm_pass_new_compute(ldm_pass_peak(plan), NULL, &error);
    g_assert_no_error(error);
    ldm_pass_record(pass);
    ldm_pass_set_checkpoints(pass, checkpoints);
    ldm_pass_set_bf16(pass, call->bf16);
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
    ldm_params_set_trained(params, true);
    ldm_params_make_gradients(params, &error);
    g_assert_no_error(error);
}

/* With blocks run twice: the same bits. */
static void check_checkpoints(Call *call, LdmParams *params)
{
    size_t n;
    const float *gradients = ldm_params_gradients(params, &n);
    size_t bytes = n * sizeof *gradients;
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

static double length_of(const float *x, size_t n)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += (double)x[i] * x[i];
    return sqrt(squares);
}

/* |bf16 - f32| / |f32| of a parameter's gradient; `floor` joins the lengths where they vanish. */
static double apart(const LdmParam *param, const float *exact, double floor)
{
    size_t n = 1;
    for (int k = 0; k < param->rank; k++)
        n *= param->shape[k];
    g_autofree float *difference = g_new(float, n);
    for (size_t k = 0; k < n; k++)
        difference[k] = param->gradient[k] - exact[k];
    double length = length_of(exact, n);
    g_assert_cmpint(length > 0, ==, length_of(param->gradient, n) > 0);
    return length > 0 ? length_of(difference, n) / hypot(length, floor) : 0;
}

/* Products in bf16 against f32. A number is rounded by 2^-8 of itself at most, by 1.5e-3 on
 * average, and a product has two; a gradient has come through some tens of products, whose errors
 * add up like noise: about 1e-2 on average, and more where terms cancel, up to a quarter of a small
 * gradient of a trained denoiser, a twentieth of a trained text encoder's. Where all together are
 * e off, their direction's cosine is e^2 / 2 below 1: 1e-4 for 1.4e-2.
 * What cancels to nothing (a key's bias) is held to a hundredth of the other gradients' length.
 * None is zero that is not in f32. `mean`, `most`: how far one may be off; `turned`: how far below
 * 1 the cosine may be. */
static void check_bf16(Call *call, LdmParams *params, const char *what, double mean, double most,
                       double turned)
{
    double worst = 0, sum = 0;
    train_all(params);
    size_t n, count = ldm_params_length(params);
    const float *gradients = ldm_params_gradients(params, &n);
    size_t bytes = n * sizeof *gradients;
    g_autoptr(LdmPass) first = run(call, false);
    g_autofree float *exact = g_memdup2(gradients, bytes);
    double floor = 1e-2 * length_of(exact, n) / sqrt((double)count);
    ldm_params_clear_gradients(params);
    call->bf16 = true;
    g_autoptr(LdmPass) second = run(call, false);
    for (size_t i = 0; i < count; i++) {
        const LdmParam *param = ldm_params_at(params, i);
        double error = apart(param, exact + (param->gradient - gradients), floor);
        if (error > worst)
            g_test_message("%s: %.2e", param->name, error);
        worst = fmax(worst, error);
        sum += error;
    }
    double dot = 0, length = length_of(exact, n);
    for (size_t i = 0; i < n; i++)
        dot += (double)exact[i] * gradients[i];
    double whole = 1 - dot / length / length_of(gradients, n);
    g_test_message("%s: %.2e apart, %.2e at most; cosine 1 - %.1e", what, sum / (double)count,
                   worst, whole);
    g_assert_cmpfloat(whole, <=, turned);
    g_assert_cmpfloat(sum / (double)count, <=, mean);
    g_assert_cmpfloat(worst, <=, most);
    g_assert_true((worst > 1e-6) == ldm_kernels_have_bf16()); /* it does round */
    /* a second time: the same bits */
    g_autofree float *rounded = g_memdup2(gradients, bytes);
    ldm_params_clear_gradients(params);
    g_autoptr(LdmPass) third = run(call, true);
    g_assert_cmpmem(gradients, bytes, rounded, bytes);
}

static LdmTensor *noise(size_t n, size_t h, size_t w, size_t c)
{
    LdmTensor *x = ldm_tensor_new_nhwc(n, h, w, c, NULL);
    LdmRng rng;
    ldm_rng_seed(&rng, 1);
    ldm_rng_normal(&rng, ldm_tensor_f32(x), ldm_tensor_count(x));
    return x;
}

/* Networks that have learnt something: those of the fixtures are so small and wild that any
 * rounding grows in them. */
static void test_bf16(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmModel) model = ldm_model_load(NULL, &error);
    g_assert_no_error(error);
    const LdmModelConfig *config = &model->config;
    size_t z = (size_t)config->vae.latent_channels, width = (size_t)config->unet.context_width;
    g_autoptr(LdmTensor) x = noise(2, 8, 8, (size_t)config->unet.in_channels);
    g_autoptr(LdmTensor) context = noise(2, 1, 9, width), latent = noise(1, 4, 4, z);
    g_autoptr(LdmTensor) picture = noise(1, 32, 32, 3);
    g_autofree int32_t *ids = g_new0(int32_t, (size_t)config->text.tokens);
    for (int i = 0; i < config->text.tokens; i++)
        ids[i] = 7 * i + 1;
    context->rank = 3;
    context->shape[1] = 9;
    context->shape[2] = width;
    context->shape[3] = 1;
    Call unet = {.unet = model->unet, .x = x, .context = context, .timesteps = {100, 700}};
    check_bf16(&unet, model->unet_params, "denoiser", 2e-2, 0.5, 1e-4);
    check_bf16(&(Call){.text = model->text, .ids = ids, .n = 1}, model->text_params, "text", 1e-2,
               6e-2, 3e-4);
    check_bf16(&(Call){.encoder = model->encoder, .x = picture}, model->vae_params, "encoder", 1e-2,
               3e-2, 1e-4);
    check_bf16(&(Call){.decoder = model->decoder, .x = latent}, model->vae_params, "decoder", 1e-2,
               3e-2, 1e-4);
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
    g_test_add_func("/gradients/bf16", test_bf16);
    g_test_add_func("/gradients/memory", test_memory);
    return g_test_run();
}
