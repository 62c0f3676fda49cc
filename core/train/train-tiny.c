/* Training of a tiny decoder. In: a model's encoder, which stays as it is, a data set, options.
 * Out: the decoder in a folder. Latents are encoded anew for every window; the rest is the loop's.
 */
#include "train/train-tiny.h"

#include "base/checked.h"
#include "base/error.h"
#include "decode/tiny-decoder.h"
#include "encode/encode.h"
#include "layers/tape.h"
#include "tensor/tensor.h"
#include "train/check.h"
#include "train/initial.h"
#include "train/model-write.h"
#include "train/windows.h"

#include <string.h>

typedef struct {
    const LdmModel *model;
    const LdmTinyOptions *options;
    const LdmTrainWatch *watch;
    const char *folder;
    LdmWindows windows;
    LdmLoop *loop;
    LdmTinyConfig config;
    LdmTinyDecoder *decoder;
    LdmParams *params;
    float *drawn; /* its first weights */
    LdmPass *pass;
    LdmPyramid *pyramid;
    LdmTensor *x, *z, *d_y; /* windows [N, H, W, 3], latents, gradient of the decoder's pictures */
} Run;

LdmTinyOptions ldm_tiny_defaults(void)
{
    LdmTinyOptions options = {
        .loop = ldm_loop_defaults(),
        .augment = {.flip = true},
        .weights = {.l1 = 1.0, .perceptual = 1.0},
        .channels = 64, /* as TAESD */
        .blocks = 3,
    };

    options.loop.optimiser.rate = 1e-3;
    return options;
}

/* ---- options ---- */

static bool check_options(const LdmModel *model, const LdmTinyOptions *o, GError **error)
{
    size_t f = ldm_vae_factor(&model->config.vae), side = o->augment.side;

    if (side % f != 0) {
        ldm_set_error(error, INVALID, _("size is %zu, but must be a multiple of %zu"), side, f);
        return false;
    }
    return ldm_option_check("size", (double)side, 8, 4096, error) &&
           ldm_option_check("crop", o->augment.crop, 0.0, 0.9, error) &&
           ldm_option_check("l1", o->weights.l1, 0.0, 1e6, error) &&
           ldm_option_check("l2", o->weights.l2, 0.0, 1e6, error) &&
           ldm_option_check("perceptual", o->weights.perceptual, 0.0, 1e6, error) &&
           ldm_option_check("channels", (double)o->channels, 1, 1024, error) &&
           ldm_option_check("blocks", (double)o->blocks, 0, 16, error);
}

static LdmTinyConfig config_of(const LdmModel *model, const LdmTinyOptions *o)
{
    LdmTinyConfig config = {.latent_channels = model->config.vae.latent_channels,
                            .channels = (int)o->channels,
                            .levels = 1,
                            .scale_factor = 1.0};

    for (size_t f = ldm_vae_factor(&model->config.vae); f > 1; f /= 2)
        config.levels++;
    for (int i = 0; i < config.levels; i++)
        config.blocks[i] = i + 1 < config.levels ? (int)o->blocks : 1;
    return config;
}

/* What the numbers of a run depend on besides the loop's own options. */
static char *settings_text(const Run *run, GError **error)
{
    const LdmTinyOptions *o = run->options;
    const double numbers[] = {o->weights.l1, o->weights.l2, o->weights.perceptual, o->augment.crop};
    static const char *const names[] = {"l1", "l2", "perceptual", "crop"};
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_autoptr(GChecksum) weights = g_checksum_new(G_CHECKSUM_SHA256);
    g_autoptr(GString) text = g_string_new(NULL);

    if (!ldm_dataset_digest(run->windows.dataset, sum, run->watch->cancellable, error))
        return NULL;
    g_string_printf(text, "size=%zu flip=%d channels=%zu blocks=%zu data=%.32s", o->augment.side,
                    o->augment.flip, o->channels, o->blocks, g_checksum_get_string(sum));
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
        ldm_option_append(text, names[i], numbers[i]);
    ldm_model_digest_table(run->model->vae_params, weights); /* whose encoder stays */
    g_string_append_printf(text, LDM_CHECKPOINT_MODEL "%.16s", g_checksum_get_string(weights));
    ldm_option_append_config(text, run->model);
    return g_string_free(g_steal_pointer(&text), FALSE);
}

/* ---- one pass ---- */

/* The decoder's pictures, 0..1, beside the windows, -1..1, brought to 0..1 once they are encoded;
 * `scale`d gradients go to the parameters. Planning: numbers are not looked at. */
static double decode_backward(const Run *run, LdmPass *pass, double scale)
{
    LdmTensor *z = ldm_pass_input(pass, run->z);
    LdmTensor *y = ldm_tiny_decoder_forward(pass, run->decoder, z);
    double loss = 0.0;

    ldm_pass_drop(pass, z);
    if (y->data != NULL) {
        float *d = ldm_tensor_f32(run->d_y);
        loss = ldm_reconstruction(&run->options->weights, run->pyramid, NULL, y, run->x, d);
        for (size_t i = 0; scale != 1.0 && i < ldm_tensor_count(y); i++)
            d[i] *= (float)scale;
    }
    ldm_pass_seed(pass, y, run->d_y);
    ldm_pass_drop(pass, y);
    ldm_pass_backward(pass);
    return loss;
}

/* Window `place` of the pass -> its latent. */
static bool encode(Run *run, size_t place, GError **error)
{
    const LdmEncode job = {.encoder = run->model->encoder,
                           .config = &run->model->config.vae,
                           .cancellable = run->watch->cancellable};
    size_t N = run->options->loop.batch, pixels = ldm_tensor_count(run->x) / N;
    LdmTensor window = *run->x;
    window.shape[0] = 1;
    window.data = ldm_tensor_f32(run->x) + place * pixels;
    g_autoptr(LdmTensor) z = ldm_encode_picture(&job, &window, NULL, error);

    if (z == NULL)
        return false;
    size_t n = ldm_tensor_count(z);
    memcpy(ldm_tensor_f32(run->z) + place * n, z->data, n * sizeof(float));
    for (size_t i = 0; i < pixels; i++)
        ldm_tensor_f32(&window)[i] = (ldm_tensor_f32(&window)[i] + 1.0f) / 2.0f;
    return true;
}

static bool pass(void *data, size_t number, LdmTrainStep *step, GError **error)
{
    Run *run = data;
    double share = ldm_loop_share(run->loop);

    for (size_t k = 0; k < run->options->loop.batch; k++)
        if (!ldm_windows_draw(&run->windows, step->step - 1, ldm_loop_sample(run->loop, number, k),
                              k, run->x, error) ||
            !encode(run, k, error))
            return false;
    double loss = decode_backward(run, run->pass, share);
    bool done = ldm_pass_end(run->pass, error);
    ldm_pass_reset(run->pass);
    step->loss += share * loss;
    return done;
}

static bool write_decoder(void *data, GError **error)
{
    const Run *run = data;

    return ldm_model_write_tiny(&run->config, ldm_loop_optimiser(run->loop), run->folder, error);
}

/* ---- before the loop ---- */

static bool measure(const Run *run, size_t *bytes, size_t *encoder, GError **error)
{
    const LdmTinyOptions *o = run->options;
    const LdmEncode job = {.encoder = run->model->encoder, .config = &run->model->config.vae};
    size_t N = o->loop.batch, side = o->augment.side, f = ldm_vae_factor(job.config);
    LdmTensor z = {LDM_F32, 4, {N, side / f, side / f, (size_t)job.config->latent_channels}, NULL};
    LdmTensor d_y = {LDM_F32, 4, {N, side, side, 3}, NULL};
    Run shapes = *run;
    g_autoptr(LdmPass) plan = ldm_pass_new_plan();
    double flops;

    shapes.z = &z;
    shapes.d_y = &d_y;
    ldm_pass_record(plan);
    decode_backward(&shapes, plan, 1.0);
    *bytes = ldm_pass_peak(plan);
    return ldm_pass_end(plan, error) &&
           ldm_encode_measure(&job, side, side, encoder, &flops, error);
}

static bool allocate(Run *run, size_t pass_bytes, GError **error)
{
    const LdmTinyOptions *o = run->options;
    const LdmVaeConfig *vae = &run->model->config.vae;
    size_t N = o->loop.batch, side = o->augment.side, cells = side / ldm_vae_factor(vae);

    if ((run->x = ldm_tensor_new_nhwc(N, side, side, 3, error)) == NULL ||
        (run->d_y = ldm_tensor_new_nhwc(N, side, side, 3, error)) == NULL ||
        (run->z = ldm_tensor_new_nhwc(N, cells, cells, (size_t)vae->latent_channels, error)) ==
            NULL ||
        (run->pyramid = ldm_pyramid_new(N, side, side, 3, error)) == NULL ||
        (run->pass = ldm_pass_new_compute(pass_bytes, run->watch->cancellable, error)) == NULL)
        return false;
    ldm_pass_record(run->pass);
    return true;
}

static bool make_decoder(Run *run, GError **error)
{
    run->config = config_of(run->model, run->options);
    if (!ldm_tiny_config_check(&run->config, run->model->info.path, error))
        return false;
    run->params = ldm_params_new();
    run->decoder = ldm_tiny_decoder_new(&run->config, run->params);
    run->drawn = ldm_params_draw(run->params, LDM_INITIAL_LAYERS, "tiny",
                                 (uint64_t)run->options->loop.seed, error);
    ldm_params_set_trained(run->params, true);
    return run->drawn != NULL;
}

static bool prepare(Run *run, LdmTrainPlan *plan, GError **error)
{
    const LdmTinyOptions *o = run->options;
    size_t N = o->loop.batch, side = o->augment.side, pass_bytes, encoder;

    *plan = (LdmTrainPlan){.examples = run->windows.found.count,
                           .skipped = run->windows.found.skipped->len};
    ldm_loop_set_examples(run->loop, run->windows.found.count);
    if (!make_decoder(run, error) || !measure(run, &pass_bytes, &encoder, error))
        return false;
    plan->trained = ldm_params_count(run->params);
    plan->bytes = pass_bytes + encoder + ldm_pyramid_bytes(N, side, side, 3) +
                  N * side * side * 9 * sizeof(float) +
                  ldm_optimiser_bytes(&run->options->loop.optimiser,
                                      (const LdmParams *const[]){run->params, NULL});
    return ldm_loop_check_memory(run->watch->ranks, plan->bytes, error) &&
           ldm_optimiser_add(ldm_loop_optimiser(run->loop), "tiny", run->params, error) &&
           allocate(run, pass_bytes, error);
}

static void run_clear(Run *run)
{
    ldm_pass_free(run->pass);
    ldm_pyramid_free(run->pyramid);
    ldm_tensor_free(run->x);
    ldm_tensor_free(run->z);
    ldm_tensor_free(run->d_y);
    ldm_loop_free(run->loop);
    ldm_tiny_decoder_free(run->decoder);
    ldm_params_free(run->params);
    ldm_aligned_free(run->drawn);
    ldm_windows_clear(&run->windows);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Run, run_clear)

bool ldm_train_tiny(LdmModel *model, const LdmDataset *dataset, const LdmTinyOptions *options,
                    const LdmTrainWatch *watch, const char *folder, GError **error)
{
    LdmTinyOptions own = *options;
    g_auto(Run) run = {.model = model,
                       .options = &own,
                       .watch = watch,
                       .folder = folder,
                       .windows = {.dataset = dataset, .augment = &own.augment, .watch = watch}};
    const LdmLoopWork work = {.pass = pass, .write = write_decoder, .data = &run};
    LdmTrainPlan plan;

    own.augment.seed = (uint64_t)own.loop.seed;
    if (own.augment.side == 0)
        own.augment.side = (size_t)model->info.native_size;
    if (!check_options(model, &own, error) ||
        (run.loop = ldm_loop_new(&own.loop, watch, folder, error)) == NULL)
        return false;
    run.windows.loop = run.loop;
    g_autofree char *settings = settings_text(&run, error);
    return settings != NULL && ldm_loop_set_settings(run.loop, settings, error) &&
           ldm_windows_find(&run.windows, run.folder, settings, error) &&
           prepare(&run, &plan, error) &&
           ldm_loop_run(run.loop, &plan, run.windows.found.skipped, &work, error);
}
