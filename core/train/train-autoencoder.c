/* Training of the first stage. In: a model with an autoencoder, a data set, options. Out: the
 * trained autoencoder in a folder. Windows of the pictures and the posterior's noise are drawn by
 * (seed, step, place in the step); the rest is the loop's. */
#include "train/train-autoencoder.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/rng.h"
#include "layers/posterior.h"
#include "tensor/tensor.h"
#include "train/check.h"
#include "train/initial.h"
#include "train/keyed.h"
#include "train/linear-start.h"
#include "train/model-write.h"
#include "train/windows.h"

#include <math.h>
#include <string.h>

#define MEASURED 64 /* pictures that the scale factor is measured on */

typedef struct {
    LdmModel *model;
    const LdmAutoencoderOptions *options;
    const LdmTrainWatch *watch;
    const char *folder;
    LdmDtype dtype; /* of the model as it was: the finished one gets the same */
    LdmWindows windows;
    LdmLoop *loop;
    LdmDiscriminator *discriminator; /* NULL: none */
    LdmParams *discriminator_params;
    float *drawn; /* the discriminator's first weights */
    LdmAutoencoderLoss *loss;
    LdmTensor *x, *noise; /* of a pass; VQ: no noise */
    size_t least_cells;   /* that latents are made smaller to */
} Run;

LdmAutoencoderOptions ldm_autoencoder_defaults(void)
{
    LdmAutoencoderOptions options = {
        .loop = ldm_loop_defaults(),
        .augment = {.flip = true},
        .weights = {.l1 = 1.0,
                    .l2 = 0.0,
                    .perceptual = 1.0,
                    .kl = 1e-6,
                    .codebook = 1.0,
                    .commitment = 0.25,
                    .adversarial = 0.5},
        .discriminator = {.channels = 64, .layers = 3},
        .adversarial_start = 500,
    };

    options.loop.optimiser.beta1 = 0.5; /* as in the reference: moments that follow quickly, */
    options.loop.optimiser.beta2 = 0.9; /* since the discriminator moves the goal */
    return options;
}

/* ---- options ---- */

/* The wish is the model's own already, or it came too late. */
static bool check_wish(const LdmModel *model, const LdmVaeWish *wish, GError **error)
{
    static const char *const names[] = {[LDM_REGULARISER_KL] = "kl", [LDM_REGULARISER_VQ] = "vq"};
    const LdmVaeConfig *vae = &model->config.vae;
    LdmVaeConfig changed = *vae;

    ldm_vae_config_change(&changed, wish);
    if (changed.regulariser != vae->regulariser) {
        ldm_set_error(error, INVALID, _("regulariser is %s, but “%s” has %s: begin with --init"),
                      names[changed.regulariser], model->info.path, names[vae->regulariser]);
        return false;
    }
    if (changed.codebook == vae->codebook && changed.latent_channels == vae->latent_channels)
        return true;
    ldm_set_error(error, INVALID,
                  _("the codebook of “%s” has %d entries of %d numbers: others need --init"),
                  model->info.path, vae->codebook, vae->latent_channels);
    return false;
}

static bool check_options(const LdmModel *model, const LdmAutoencoderOptions *o, GError **error)
{
    size_t f = ldm_vae_factor(&model->config.vae), side = o->augment.side;
    size_t least = o->weights.adversarial > 0.0 ? ldm_discriminator_side(&o->discriminator) : 8;

    if (side % f != 0) {
        ldm_set_error(error, INVALID, _("size is %zu, but must be a multiple of %zu"), side, f);
        return false;
    }
    if (o->discriminator.channels % 8 != 0) {
        ldm_set_error(error, INVALID, _("disc-channels is %zu, but must be a multiple of %d"),
                      o->discriminator.channels, 8);
        return false;
    }
    if (o->discriminator.detail > 0.0 &&
        f % 2 != 0) { /* sides, made smaller or not, could be odd */
        ldm_set_error(
            error, INVALID,
            _("disc-detail needs an autoencoder whose latents are smaller than pictures"));
        return false;
    }
    if (o->weights.matching > 0.0 && o->weights.adversarial <= 0.0) {
        ldm_set_error(error, INVALID,
                      _("feature-matching needs a discriminator: adversarial must be above 0"));
        return false;
    }
    return check_wish(model, &o->vae, error) &&
           ldm_option_check("disc-layers", (double)o->discriminator.layers, 1,
                            LDM_DISCRIMINATOR_LAYERS, error) &&
           ldm_option_check("disc-channels", (double)o->discriminator.channels, 8, 1024, error) &&
           ldm_option_check("disc-detail", o->discriminator.detail, 0.0, 1000.0, error) &&
           ldm_option_check("size", (double)side, (double)least, 4096, error) &&
           ldm_option_check("crop", o->augment.crop, 0.0, 0.9, error) &&
           ldm_option_check("l1", o->weights.l1, 0.0, 1e6, error) &&
           ldm_option_check("l2", o->weights.l2, 0.0, 1e6, error) &&
           ldm_option_check("perceptual", o->weights.perceptual, 0.0, 1e6, error) &&
           ldm_option_check("texture", o->weights.texture, 0.0, 1e6, error) &&
           ldm_option_check("kl", o->weights.kl, 0.0, 1e6, error) &&
           ldm_option_check("codebook", o->weights.codebook, 0.0, 1e6, error) &&
           ldm_option_check("commitment", o->weights.commitment, 0.0, 1e6, error) &&
           ldm_option_check("adversarial", o->weights.adversarial, 0.0, 1e6, error) &&
           ldm_option_check("feature-matching", o->weights.matching, 0.0, 1e6, error) &&
           ldm_option_check("scale-equivariance", o->equivariance, 0.0, 1.0, error) &&
           ldm_option_check("adversarial-rate", o->adversarial_rate, 0.0, 1.0, error);
}

static bool is_vq(const Run *run)
{
    return run->model->config.vae.regulariser == LDM_REGULARISER_VQ;
}

/* What the numbers of a run depend on besides the loop's own options. */
static char *settings_text(const Run *run, GError **error)
{
    const LdmAutoencoderOptions *o = run->options;
    const LdmAutoencoderWeights *w = &o->weights;
    const struct {
        const char *name;
        double value;
        bool told; /* newer ones only where they are at work, so that older runs go on */
    } numbers[] = {
        {"l1", w->l1, true},
        {"l2", w->l2, true},
        {"perceptual", w->perceptual, true},
        {"kl", w->kl, true},
        {"adversarial", w->adversarial, true},
        {"crop", o->augment.crop, true},
        {"adversarial-rate", o->adversarial_rate, true},
        {"texture", w->texture, w->texture > 0.0},
        {"feature-matching", w->matching, w->matching > 0.0},
        {"disc-detail", o->discriminator.detail, o->discriminator.detail > 0.0},
        {"scale-equivariance", o->equivariance, o->equivariance > 0.0},
        {"codebook", w->codebook, is_vq(run)},
        {"commitment", w->commitment, is_vq(run)},
    };
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_autoptr(GString) text = g_string_new(NULL);

    if (!ldm_dataset_digest(run->windows.dataset, sum, run->watch->cancellable, error))
        return NULL;
    g_string_printf(text,
                    "size=%zu flip=%d freeze-encoder=%d disc-channels=%zu disc-layers=%zu "
                    "adversarial-start=%" G_GUINT64_FORMAT " data=%.32s",
                    o->augment.side, o->augment.flip, o->freeze_encoder, o->discriminator.channels,
                    o->discriminator.layers, (guint64)o->adversarial_start,
                    g_checksum_get_string(sum));
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
        if (numbers[i].told)
            ldm_option_append(text, numbers[i].name, numbers[i].value);
    return g_string_free(g_steal_pointer(&text), FALSE);
}

/* ---- samples ---- */

/* Sample `sample` of a step, counted through all of its passes, into `place` of the pass. */
static bool draw(Run *run, uint64_t step, size_t sample, size_t place, GError **error)
{
    LdmKeyed noise = ldm_keyed((uint64_t)run->options->loop.seed, LDM_KEY_POSTERIOR, step, sample);
    LdmRng rng;

    if (!ldm_windows_draw(&run->windows, step, sample, place, run->x, error))
        return false;
    if (run->noise == NULL)
        return true;
    size_t each = ldm_tensor_count(run->noise) / run->options->loop.batch;
    ldm_rng_seed(&rng, ldm_keyed_next(&noise));
    ldm_rng_normal(&rng, ldm_tensor_f32(run->noise) + place * each, each);
    return true;
}

/* The side that a pass's latents are made smaller to, the same for all processes; 0: they stay. */
static size_t rescaled(const Run *run, uint64_t step, size_t number)
{
    const LdmAutoencoderOptions *o = run->options;
    LdmKeyed keyed = ldm_keyed((uint64_t)o->loop.seed, LDM_KEY_RESCALE, step, number);
    size_t cells = o->augment.side / ldm_vae_factor(&run->model->config.vae);

    if (ldm_keyed_uniform(&keyed) >= o->equivariance)
        return 0;
    return run->least_cells + ldm_keyed_below(&keyed, cells - run->least_cells);
}

static bool pass(void *data, size_t number, LdmTrainStep *step, GError **error)
{
    Run *run = data;
    const LdmAutoencoderOptions *o = run->options;
    LdmAutoencoderBatch batch = {
        .x = run->x,
        .noise = run->noise,
        .scale = ldm_loop_share(run->loop),
        .adversarial = run->discriminator != NULL && step->step > o->adversarial_start,
        .cells = rescaled(run, step->step - 1, number),
    };
    LdmAutoencoderTerms terms = {0};

    for (size_t k = 0; k < o->loop.batch; k++)
        if (!draw(run, step->step - 1, ldm_loop_sample(run->loop, number, k), k, error))
            return false;
    if (!ldm_autoencoder_loss_backward(run->loss, &batch, &terms, error))
        return false;
    /* without the discriminator's terms, whose weight or measure changes from step to step:
     * outliers are judged by this number, and the curve shows it */
    step->loss += terms.loss -
                  (batch.adversarial ? terms.adaptive * terms.generator / batch.scale : 0.0) -
                  o->weights.matching * terms.matching;
    step->adversary += terms.discriminator;
    ldm_train_step_add(step, "reconstruction", terms.reconstruction);
    ldm_train_step_add(step, is_vq(run) ? "codebook" : "kl", terms.regulariser);
    if (is_vq(run))
        ldm_train_step_add(step, "perplexity", terms.perplexity);
    if (batch.adversarial) {
        ldm_train_step_add(step, "generator", terms.generator);
        ldm_train_step_add(step, "adaptive", terms.adaptive);
        ldm_train_step_add(step, "discriminator", terms.discriminator);
        if (o->weights.matching > 0.0)
            ldm_train_step_add(step, "matching", terms.matching);
    }
    return true;
}

/* ---- the finished model ---- */

static LdmTensor *encode(LdmPass *pass, const void *encoder, LdmTensor *x)
{
    return ldm_vae_encoder_forward(pass, encoder, x);
}

typedef struct {
    double count, sum, squares;
} Spread;

static void add_spread(Spread *spread, const LdmTensor *moments, const LdmVaeConfig *vae)
{
    size_t z = (size_t)vae->latent_channels, width = moments->shape[3];

    for (size_t i = 0, n = ldm_tensor_count(moments) / width * z; i < n; i++) {
        const float *mean = (const float *)moments->data + i / z * width + i % z;
        double variance =
            width == z ? 0.0 : exp(CLAMP((double)mean[z], LDM_LOGVAR_MIN, LDM_LOGVAR_MAX));
        spread->count += 1.0;
        spread->sum += mean[0];
        spread->squares += (double)mean[0] * mean[0] + variance;
    }
}

/* 1 / standard deviation of the latents of the data, by the averaged weights that were written. */
static bool measure_scale(Run *run, double *scale, GError **error)
{
    LdmOptimiser *optimiser = ldm_loop_optimiser(run->loop);
    Spread spread = {0};

    for (size_t i = 0; i < ldm_optimiser_length(optimiser); i++)
        ldm_optimiser_at(optimiser, i)->param->data = ldm_optimiser_at(optimiser, i)->ema;
    for (size_t i = 0; i < MIN(run->windows.found.count, MEASURED); i++) {
        g_autoptr(LdmTensor) window =
            ldm_windows_read(&run->windows, run->windows.found.examples[i], 0, error);
        if (window == NULL)
            return false;
        g_autoptr(LdmTensor) moments = ldm_network_run(encode, run->model->encoder, window, NULL,
                                                       NULL, run->watch->cancellable, error);
        if (moments == NULL)
            return false;
        add_spread(&spread, moments, &run->model->config.vae);
    }
    double mean = spread.sum / spread.count;
    *scale = 1.0 / sqrt(spread.squares / spread.count - mean * mean);
    return true;
}

static bool write_model(void *data, GError **error)
{
    Run *run = data;
    LdmVaeConfig vae = run->model->config.vae;
    bool changed = !run->options->freeze_encoder;
    double scale = vae.scale_factor;

    if (changed && !measure_scale(run, &scale, error))
        return false;
    if (scale >= 1e-6 && scale <= 1e6)
        vae.scale_factor = scale;
    return ldm_model_write(run->model, ldm_loop_optimiser(run->loop), run->dtype,
                           changed ? &vae : NULL, run->folder, error);
}

/* ---- before the loop ---- */

static bool is_encoder(const char *name)
{
    return g_str_has_prefix(name, "encoder.") || g_str_has_prefix(name, "quant_conv.");
}

static void mark_autoencoder(const Run *run)
{
    LdmParams *params = run->model->vae_params;

    ldm_params_set_trained(params, true);
    for (size_t i = 0; run->options->freeze_encoder && i < ldm_params_length(params); i++)
        if (is_encoder(ldm_params_at(params, i)->name))
            ldm_params_at(params, i)->trained = false;
}

static bool make_discriminator(Run *run, GError **error)
{
    const LdmAutoencoderOptions *o = run->options;
    LdmOptimiserOptions optimiser = o->loop.optimiser;

    if (o->weights.adversarial <= 0.0)
        return true;
    run->discriminator_params = ldm_params_new();
    run->discriminator = ldm_discriminator_new(&o->discriminator, run->discriminator_params);
    run->drawn = ldm_params_draw(run->discriminator_params, LDM_INITIAL_DISCRIMINATOR,
                                 "discriminator", (uint64_t)o->loop.seed, error);
    ldm_params_set_trained(run->discriminator_params, true);
    if (o->adversarial_rate > 0.0)
        optimiser.rate = o->adversarial_rate;
    memset(optimiser.profiles, 0, sizeof optimiser.profiles); /* no part of the model */
    optimiser.warm_up = optimiser.decay_from = optimiser.cool_down = 0;
    optimiser.steps = (uint64_t)1e12; /* the rate stays */
    return run->drawn != NULL &&
           ldm_loop_add_adversary(run->loop, &optimiser, o->adversarial_start, error) != NULL;
}

static bool plan_memory(const Run *run, const LdmAutoencoderTask *task, LdmTrainPlan *plan,
                        GError **error)
{
    const LdmParams *const own[] = {run->model->vae_params, NULL};
    const LdmParams *const judge[] = {run->discriminator_params, NULL};

    plan->trained = run->model->info.vae_parameters;
    if (!ldm_autoencoder_loss_measure(task, &plan->bytes, error))
        return false;
    plan->bytes += ldm_optimiser_bytes(&run->options->loop.optimiser, own);
    if (task->discriminator != NULL)
        plan->bytes +=
            ldm_optimiser_bytes(ldm_optimiser_options(ldm_loop_adversary(run->loop)), judge);
    return ldm_loop_check_memory(run->watch->ranks, plan->bytes, error);
}

static bool check_rescaling(const Run *run, size_t cells, GError **error)
{
    if (run->options->equivariance <= 0.0 || run->least_cells < cells)
        return true;
    ldm_set_error(
        error, INVALID,
        _("size is %zu, too small for scale-equivariance: the smaller pictures would have "
          "nothing for the discriminator to see; take a larger size or fewer disc-layers"),
        run->options->augment.side);
    return false;
}

/* Before the optimiser copies the weights; those of a run that goes on are its checkpoint's. */
static bool begin_linear(Run *run, GError **error)
{
    return run->model->drawn[LDM_PART_VAE] == NULL || run->options->loop.resume ||
           ldm_linear_start(run->model, &run->windows, 0, error);
}

static bool prepare(Run *run, LdmTrainPlan *plan, GError **error)
{
    const LdmAutoencoderOptions *o = run->options;
    const LdmVaeConfig *vae = &run->model->config.vae;
    size_t N = o->loop.batch, side = o->augment.side, cells = side / ldm_vae_factor(vae);

    *plan = (LdmTrainPlan){.examples = run->windows.found.count,
                           .skipped = run->windows.found.skipped->len};
    ldm_loop_set_examples(run->loop, run->windows.found.count);
    mark_autoencoder(run);
    if (!make_discriminator(run, error))
        return false;
    const LdmAutoencoderTask task = {.model = run->model,
                                     .discriminator = run->discriminator,
                                     .discriminator_params = run->discriminator_params,
                                     .weights = o->weights,
                                     .rescales = o->equivariance > 0.0,
                                     .bf16 = o->loop.precision == LDM_TRAIN_BF16,
                                     .checkpointing = o->loop.checkpointing,
                                     .ranks = run->watch->ranks,
                                     .N = N,
                                     .H = side,
                                     .W = side};
    run->least_cells = ldm_autoencoder_loss_cells(&task);
    if (!check_rescaling(run, cells, error) || !plan_memory(run, &task, plan, error) ||
        !begin_linear(run, error) ||
        !ldm_optimiser_add(ldm_loop_optimiser(run->loop), "vae", run->model->vae_params, error) ||
        (run->discriminator != NULL &&
         !ldm_optimiser_add(ldm_loop_adversary(run->loop), "discriminator",
                            run->discriminator_params, error)) ||
        (run->x = ldm_tensor_new_nhwc(N, side, side, 3, error)) == NULL)
        return false;
    mark_autoencoder(run);
    if (!is_vq(run) && (run->noise = ldm_tensor_new_nhwc(
                            N, cells, cells, (size_t)vae->latent_channels, error)) == NULL)
        return false;
    run->loss = ldm_autoencoder_loss_new(&task, run->watch->cancellable, error);
    return run->loss != NULL;
}

static void run_clear(Run *run)
{
    ldm_autoencoder_loss_free(run->loss);
    ldm_tensor_free(run->x);
    ldm_tensor_free(run->noise);
    ldm_loop_free(run->loop);
    ldm_discriminator_free(run->discriminator);
    ldm_params_free(run->discriminator_params);
    ldm_aligned_free(run->drawn);
    ldm_windows_clear(&run->windows);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Run, run_clear)

bool ldm_train_autoencoder(LdmModel *model, const LdmDataset *dataset,
                           const LdmAutoencoderOptions *options, const LdmTrainWatch *watch,
                           const char *folder, GError **error)
{
    LdmAutoencoderOptions own = *options;
    g_auto(Run) run = {.model = model,
                       .options = &own,
                       .watch = watch,
                       .windows = {.dataset = dataset, .augment = &own.augment, .watch = watch},
                       .folder = folder,
                       .dtype = options->loop.half ? LDM_F16 : model->info.dtype};
    const LdmLoopWork work = {.pass = pass, .write = write_model, .data = &run};
    LdmTrainPlan plan;

    own.augment.seed = (uint64_t)own.loop.seed;
    if (own.augment.side == 0)
        own.augment.side = (size_t)model->info.native_size;
    if (!check_options(model, &own, error) || !ldm_model_writable(model, error) ||
        (run.loop = ldm_loop_new(&own.loop, watch, folder, error)) == NULL)
        return false;
    run.windows.loop = run.loop;
    g_autofree char *settings = settings_text(&run, error);
    return settings != NULL && ldm_loop_set_settings(run.loop, settings, error) &&
           ldm_windows_find(&run.windows, run.folder, settings, error) &&
           prepare(&run, &plan, error) &&
           ldm_loop_run(run.loop, &plan, run.windows.found.skipped, &work, error);
}
