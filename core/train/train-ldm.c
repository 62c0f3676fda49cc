/* The training loop. In: a model, a data set, options. Out: the trained model in a folder. Each
 * step draws its samples (example and variant, noise, timestep, whether the caption is left out)
 * by (seed, step, place in the step), so that a step is the same whether the run was interrupted
 * before it or not. */
#include "train/train-ldm.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/rng.h"
#include "diffuse/schedule.h"
#include "tensor/tensor.h"
#include "train/keyed.h"
#include "train/model-write.h"
#include "train/train-log.h"

#include <math.h>
#include <string.h>

typedef struct {
    LdmModel *model;
    const LdmDataset *dataset;
    const LdmTrainOptions *options;
    const LdmTrainWatch *watch;
    const char *folder;
    LdmDtype dtype; /* of the model as it was: the finished one gets the same */
    LdmLatentCache *cache;
    LdmCheckpoints *checkpoints;
    LdmOptimiser *optimiser;
    LdmBatch batch;
    LdmLoss *loss;
    double *alpha_bar; /* [train_steps] */
    size_t *order;     /* [examples] of `epoch` */
    uint64_t epoch;
    float *z0, *noise; /* [h, w, z] of the sample at hand */
    char *log_path;
    FILE *log;
    double seconds; /* of one step */
} Run;

LdmTrainOptions ldm_train_defaults(const LdmModel *model)
{
    return (LdmTrainOptions){
        .optimiser = ldm_optimiser_defaults(),
        .latents = {.augment = {.side = (size_t)model->info.native_size, .flip = true},
                    .variants = 4},
        .batch = 8,
        .accumulate = 1,
        .drop = 0.1,
        .save_every = 100,
        .keep = 2,
    };
}

/* ---- options ---- */

static bool check(const char *name, double value, double least, double most, GError **error)
{
    if (value >= least && value <= most)
        return true;
    ldm_set_error(error, INVALID, _("%s is %g, but must lie between %g and %g"), name, value, least,
                  most);
    return false;
}

static bool check_options(const LdmModel *model, const LdmTrainOptions *o, GError **error)
{
    size_t f = (size_t)model->info.downsampling, side = o->latents.augment.side;

    if (side % f != 0) {
        ldm_set_error(error, INVALID, _("size is %zu, but must be a multiple of %zu"), side, f);
        return false;
    }
    return check("size", (double)side, 8, 4096, error) &&
           check("crop", o->latents.augment.crop, 0.0, 0.9, error) &&
           check("variants", (double)o->latents.variants, 1, 1000, error) &&
           check("batch", (double)o->batch, 1, 4096, error) &&
           check("accumulate", (double)o->accumulate, 1, 4096, error) &&
           check("drop", o->drop, 0.0, 1.0, error) &&
           check("snr-gamma", o->loss.snr_gamma, 0.0, 1e6, error) &&
           check("seed", (double)o->seed, 0.0, 9.3e18, error) &&
           check("save-every", (double)o->save_every, 1, 1e9, error) &&
           check("keep", o->keep, 1, 1000, error);
}

/* Everything that the numbers of a run depend on, as one text. */
static char *settings_text(const Run *run)
{
    const LdmTrainOptions *o = run->options;
    const LdmOptimiserOptions *a = &o->optimiser;
    const double numbers[] = {a->rate, a->beta1, a->beta2,   a->eps,  a->weight_decay,
                              a->clip, a->ema,   a->outlier, o->drop, o->loss.snr_gamma};
    static const char *const names[] = {"rate", "beta1", "beta2",   "eps",  "weight-decay",
                                        "clip", "ema",   "outlier", "drop", "snr-gamma"};
    GString *text = g_string_new(NULL);
    char number[G_ASCII_DTOSTR_BUF_SIZE];

    g_string_printf(text,
                    "seed=%" G_GINT64_FORMAT " batch=%zu accumulate=%zu steps=%" G_GUINT64_FORMAT
                    " warm-up=%" G_GUINT64_FORMAT " train-text=%d latents=%s",
                    (gint64)o->seed, o->batch, o->accumulate, (guint64)a->steps,
                    (guint64)a->warm_up, o->train_text, ldm_latent_cache_key(run->cache));
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
        g_string_append_printf(text, " %s=%s", names[i],
                               g_ascii_dtostr(number, sizeof number, numbers[i]));
    return g_string_free(text, FALSE);
}

/* ---- samples ---- */

/* Fisher and Yates, once an epoch. */
static void shuffle(Run *run, uint64_t epoch)
{
    size_t count = ldm_latent_cache_info(run->cache)->count;
    LdmKeyed keyed = ldm_keyed((uint64_t)run->options->seed, LDM_KEY_ORDER, epoch, 0);

    for (size_t i = 0; i < count; i++)
        run->order[i] = i;
    for (size_t i = count; i > 1; i--) {
        size_t k = ldm_keyed_below(&keyed, i), kept = run->order[i - 1];
        run->order[i - 1] = run->order[k];
        run->order[k] = kept;
    }
    run->epoch = epoch;
}

/* scale * (mean + exp(logvar / 2) * noise), the posterior's sample. */
static void draw_latent(Run *run, const float *moments, uint64_t step, size_t sample)
{
    const LdmCacheInfo *info = ldm_latent_cache_info(run->cache);
    const LdmVaeConfig *vae = &run->model->config.vae;
    LdmKeyed keyed = ldm_keyed((uint64_t)run->options->seed, LDM_KEY_POSTERIOR, step, sample);
    size_t z = info->z;
    LdmRng rng;

    ldm_rng_seed(&rng, ldm_keyed_next(&keyed));
    ldm_rng_normal(&rng, run->z0, info->h * info->w * z);
    for (size_t i = 0; i < info->h * info->w * z; i++) {
        const float *mean = moments + i / z * 2 * z + i % z;
        double spread = exp(CLAMP((double)mean[z], -30.0, 20.0) / 2);
        double value = mean[0] + spread * run->z0[i];
        run->z0[i] = (float)((value - vae->shift_factor) * vae->scale_factor);
    }
    keyed = ldm_keyed((uint64_t)run->options->seed, LDM_KEY_NOISE, step, sample);
    ldm_rng_seed(&rng, ldm_keyed_next(&keyed));
    ldm_rng_normal(&rng, run->noise, info->h * info->w * z);
}

static bool set_caption(Run *run, size_t example, uint64_t step, size_t sample, size_t place,
                        GError **error)
{
    const LdmTokenizer *tokenizer = run->model->tokenizer;
    LdmKeyed keyed = ldm_keyed((uint64_t)run->options->seed, LDM_KEY_DROP, step, sample);
    bool dropped = ldm_keyed_uniform(&keyed) < run->options->drop;

    if (tokenizer == NULL)
        return true;
    return ldm_tokenizer_encode(
        tokenizer, dropped ? "" : ldm_dataset_at(run->dataset, example)->caption,
        run->batch.ids + place * (size_t)run->model->config.text.tokens, NULL, error);
}

/* Sample `sample` of a step, counted through all of its passes, into `place` of the batch. */
static bool draw(Run *run, uint64_t step, size_t sample, size_t place, GError **error)
{
    const LdmTrainOptions *o = run->options;
    const LdmCacheInfo *info = ldm_latent_cache_info(run->cache);
    uint64_t seed = (uint64_t)o->seed, n = step * o->batch * o->accumulate + sample;
    LdmKeyed variant = ldm_keyed(seed, LDM_KEY_VARIANT, step, sample);
    LdmKeyed time = ldm_keyed(seed, LDM_KEY_TIMESTEP, step, sample);

    if (n / info->count != run->epoch)
        shuffle(run, n / info->count);
    size_t i = run->order[n % info->count];
    const float *row =
        ldm_latent_cache_at(run->cache, i, ldm_keyed_below(&variant, info->variants));
    draw_latent(run, row, step, sample);
    int t = (int)ldm_keyed_below(&time, (size_t)run->model->config.schedule.train_steps);
    ldm_batch_set(
        &run->batch, place, run->model, &o->loss,
        &(LdmSample){.z0 = run->z0,
                     .noise = run->noise,
                     .hole = o->latents.holes ? row + info->h * info->w * 2 * info->z : NULL,
                     .timestep = t,
                     .alpha_bar = run->alpha_bar[t]});
    return set_caption(run, info->examples[i], step, sample, place, error);
}

/* One pass of a step. */
static bool pass(Run *run, uint64_t step, size_t number, double *loss, GError **error)
{
    const LdmTrainOptions *o = run->options;

    for (size_t k = 0; k < o->batch; k++)
        if (!draw(run, step, number * o->batch + k, k, error))
            return false;
    return ldm_loss_backward(run->loss, &run->batch, 1.0 / (double)o->accumulate, loss, error);
}

/* ---- the loop ---- */

static bool take_step(Run *run, LdmTrainStep *step, GError **error)
{
    uint64_t number = ldm_optimiser_state(run->optimiser)->step;
    gint64 begun = g_get_monotonic_time();

    *step = (LdmTrainStep){.step = number + 1, .steps = run->options->optimiser.steps};
    for (size_t k = 0; k < run->options->accumulate; k++)
        if (!pass(run, number, k, &step->loss, error))
            return false;
    bool good = ldm_optimiser_step(run->optimiser, step->loss, &step->update, error);
    double seconds = (double)(g_get_monotonic_time() - begun) / 1e6;
    run->seconds = 0.9 * run->seconds + 0.1 * seconds;
    step->seconds_left = run->seconds * (double)(step->steps - step->step);
    return ldm_train_log_step(run->log, run->log_path, step, good ? error : NULL) && good;
}

static bool save(Run *run, uint64_t *saved, GError **error)
{
    uint64_t step = ldm_optimiser_state(run->optimiser)->step;

    if (step == *saved)
        return true;
    *saved = step;
    return ldm_checkpoints_save(run->checkpoints, run->optimiser, error);
}

static bool loop(Run *run, GError **error)
{
    const LdmOptimiserState *state = ldm_optimiser_state(run->optimiser);
    uint64_t saved = state->step;

    while (state->step < run->options->optimiser.steps) {
        g_autoptr(GError) reason = NULL;
        LdmTrainStep step;
        if (!take_step(run, &step, &reason)) {
            /* an interrupted step has changed no weight */
            if (g_error_matches(reason, LDM_ERROR, LDM_ERROR_CANCELLED) &&
                !save(run, &saved, error))
                return false;
            g_propagate_error(error, g_steal_pointer(&reason));
            return false;
        }
        if (run->watch->stepped != NULL)
            run->watch->stepped(&step, run->watch->data);
        if (state->step % run->options->save_every == 0 && !save(run, &saved, error))
            return false;
    }
    return save(run, &saved, error) &&
           ldm_model_write(run->model, run->optimiser, run->dtype, run->folder, error);
}

/* ---- before the loop ---- */

static bool encoding(size_t done, size_t total, void *data)
{
    const LdmTrainWatch *watch = data;

    if (watch->encoding != NULL)
        watch->encoding(done, total, watch->data);
    return true;
}

static bool open_cache(Run *run, GError **error)
{
    LdmCacheOptions options = run->options->latents;
    const LdmCacheSource source = {
        .read = run->watch->read,
        .read_data = run->watch->read_data,
        .progress = encoding,
        .progress_data = (void *)run->watch,
        .cancellable = run->watch->cancellable,
    };
    g_autofree char *folder = g_build_filename(run->folder, "latents", NULL);

    options.augment.seed = (uint64_t)run->options->seed;
    run->cache = ldm_latent_cache_open(run->model, run->dataset, &options, &source, folder, error);
    return run->cache != NULL;
}

/* The tables that are trained, into the optimiser. */
static bool add_tables(Run *run, GError **error)
{
    run->optimiser = ldm_optimiser_new(&run->options->optimiser, error);
    return run->optimiser != NULL &&
           ldm_optimiser_add(run->optimiser, "unet", run->model->unet_params, error) &&
           (!run->options->train_text || run->model->text == NULL ||
            ldm_optimiser_add(run->optimiser, "text", run->model->text_params, error));
}

static size_t trained_count(const Run *run)
{
    const LdmModelInfo *info = &run->model->info;

    return info->unet_parameters + (run->options->train_text ? info->text_parameters : 0);
}

/* All that will be allocated, and whether it fits. */
static bool plan_memory(Run *run, size_t *bytes, GError **error)
{
    double flops;

    if (!ldm_loss_measure(run->model, &run->batch, bytes, &flops, error))
        return false;
    *bytes += ldm_optimiser_bytes(trained_count(run));
    if (*bytes <= ldm_memory_available())
        return true;
    g_autofree char *needed = g_format_size(*bytes);
    g_autofree char *left = g_format_size(ldm_memory_available());
    ldm_set_error(error, MEMORY,
                  _("training needs %s of memory and %s are free: take a smaller batch or size"),
                  needed, left);
    return false;
}

static void mark_trained(LdmParams *params, bool trained)
{
    for (size_t i = 0; i < ldm_params_length(params); i++)
        ldm_params_at(params, i)->trained = trained;
}

static bool open_folder(Run *run, GError **error)
{
    run->checkpoints = ldm_checkpoints_open(run->folder, run->options->keep, error);
    if (run->checkpoints == NULL)
        return false;
    if (run->options->resume || !ldm_checkpoints_exist(run->checkpoints))
        return true;
    ldm_set_error(error, INVALID,
                  _("“%s” has checkpoints of an earlier run: resume it or choose another folder"),
                  run->folder);
    return false;
}

/* A step that is not counted tells how long one takes. */
static bool time_step(Run *run, GError **error)
{
    gint64 begun = g_get_monotonic_time();
    double loss = 0.0;

    if (!pass(run, 0, 0, &loss, error))
        return false;
    for (size_t i = 0; i < ldm_optimiser_length(run->optimiser); i++) {
        LdmTrained *trained = ldm_optimiser_at(run->optimiser, i);
        memset(trained->gradient, 0, trained->count * sizeof(float));
    }
    run->seconds =
        (double)(g_get_monotonic_time() - begun) / 1e6 * (double)run->options->accumulate;
    return true;
}

static bool prepare(Run *run, GError **error)
{
    const LdmCacheInfo *info = ldm_latent_cache_info(run->cache);
    LdmTrainPlan plan = {.examples = info->count,
                         .skipped = info->skipped->len,
                         .trained = trained_count(run),
                         .steps = run->options->optimiser.steps};
    g_autofree char *settings = settings_text(run);

    ldm_checkpoints_set_settings(run->checkpoints, settings);
    mark_trained(run->model->unet_params, true);
    mark_trained(run->model->text_params, run->options->train_text);
    run->order = g_new(size_t, info->count);
    run->z0 = g_new(float, info->h * info->w * info->z);
    run->noise = g_new(float, info->h * info->w * info->z);
    run->alpha_bar = g_new(double, run->model->config.schedule.train_steps);
    ldm_schedule_alpha_bar(&run->model->config.schedule, run->alpha_bar);
    shuffle(run, 0);
    if (!ldm_batch_init(&run->batch, run->model, run->options->batch, info->h, info->w, error) ||
        !plan_memory(run, &plan.bytes, error) || !add_tables(run, error) ||
        (run->options->resume && !ldm_checkpoints_load(run->checkpoints, run->optimiser, error)))
        return false;
    run->loss = ldm_loss_new(run->model, &run->batch, run->watch->cancellable, error);
    plan.first_step = ldm_optimiser_state(run->optimiser)->step;
    if (run->loss == NULL || !time_step(run, error))
        return false;
    plan.seconds = run->seconds;
    if (run->watch->planned != NULL)
        run->watch->planned(&plan, info->skipped, run->watch->data);
    run->log_path = g_build_filename(run->folder, "log.jsonl", NULL);
    run->log = ldm_train_log_open(run->log_path, plan.first_step, error);
    return run->log != NULL;
}

static void run_clear(Run *run)
{
    g_clear_pointer(&run->log, fclose);
    g_free(run->log_path);
    g_free(run->z0);
    g_free(run->noise);
    g_free(run->order);
    g_free(run->alpha_bar);
    ldm_loss_free(run->loss);
    ldm_batch_clear(&run->batch);
    ldm_optimiser_free(run->optimiser);
    ldm_checkpoints_free(run->checkpoints);
    ldm_latent_cache_free(run->cache);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Run, run_clear)

bool ldm_train_ldm(LdmModel *model, const LdmDataset *dataset, const LdmTrainOptions *options,
                   const LdmTrainWatch *watch, const char *folder, GError **error)
{
    LdmTrainOptions own = *options;
    g_auto(Run) run = {.model = model,
                       .dataset = dataset,
                       .options = &own,
                       .watch = watch,
                       .folder = folder,
                       .dtype = model->info.dtype};

    own.latents.holes = model->info.concat_inpainting;
    return check_options(model, &own, error) && ldm_model_writable(model, error) &&
           open_folder(&run, error) && open_cache(&run, error) && prepare(&run, error) &&
           loop(&run, error);
}
