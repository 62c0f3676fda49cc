/* Training of the denoiser. In: a model, a data set, options. Out: the trained model in a folder.
 * Each step draws its samples (example and variant, noise, timestep, whether the caption is left
 * out) by (seed, step, place in the step); the rest is the loop's. */
#include "train/train-ldm.h"

#include "base/digest.h"
#include "base/error.h"
#include "base/rng.h"
#include "diffuse/schedule.h"
#include "layers/posterior.h"
#include "tensor/tensor.h"
#include "train/check.h"
#include "train/keyed.h"
#include "train/model-write.h"

#include <math.h>
#include <string.h>

typedef struct {
    LdmModel *model;
    const LdmDataset *dataset;
    const LdmTrainOptions *options;
    const LdmTrainWatch *watch;
    const char *folder;
    LdmDtype dtype; /* of the model as it was: the finished one gets the same */
    char *latents;  /* the cache's name */
    LdmLatentCache *cache;
    LdmTrainAdapter *adapter; /* NULL: the model's own weights are trained */
    LdmLoop *loop;
    LdmBatch batch;
    LdmLoss *loss;
    double *alpha_bar; /* [train_steps] */
    float *z0, *noise; /* [h, w, z] of the sample at hand */
    size_t bucket;     /* of the batch at hand */
    LdmBucket shape;   /* its h, w */
} Run;

LdmTrainOptions ldm_train_defaults(void)
{
    return (LdmTrainOptions){
        .loop = ldm_loop_defaults(),
        .latents = {.augment = {.flip = true}, .variants = 4},
        .drop = 0.1,
        .hole_drop = 1.0,
        .timestep_shift = 1.0,
        .samples = 9,
    };
}

LdmTrainOptions ldm_train_adapter_defaults(LdmAdapterKind kind)
{
    LdmTrainOptions options = ldm_train_defaults();

    options.drop = 0.0;
    options.adapter = ldm_adapter_defaults(kind);
    if (kind == LDM_ADAPTER_WORD) {
        options.loop.optimiser.rate = 5e-3;
        options.loop.optimiser.weight_decay = 0.0;
    }
    return options;
}

/* ---- options ---- */

char *ldm_train_adapter_text(const LdmTrainOptions *o)
{
    LdmDigits rate, gamma, drop;

    return g_strdup_printf("%zu %s %s %s %zu %s", o->loop.batch,
                           ldm_digits(&rate, o->loop.optimiser.rate),
                           ldm_digits(&gamma, o->loss.snr_gamma), ldm_digits(&drop, o->drop),
                           o->adapter.rank, o->adapter.targets);
}

/* What would have no effect. */
static bool check_applies(const LdmModel *model, const LdmTrainOptions *o, GError **error)
{
    bool holes = o->full_holes > 0.0 || o->hole_drop != 1.0 || o->loss.hole_focus > 0.0;

    if (holes && !model->info.concat_inpainting)
        ldm_set_error(error, INVALID,
                      _("“%s” sees no holes: leave full-holes, hole-drop and hole-focus out"),
                      model->info.path);
    else if (o->train_text && model->text == NULL)
        ldm_set_error(error, INVALID, _("“%s” has no text encoder to train"), model->info.path);
    else if (o->train_text && o->adapter.kind == LDM_ADAPTER_WORD)
        ldm_set_error(error, INVALID, _("a new word is all that is trained: leave train-text out"));
    else
        return true;
    return false;
}

static bool check_options(const LdmModel *model, const LdmTrainOptions *o, GError **error)
{
    size_t f = (size_t)model->info.downsampling, side = o->latents.augment.side;

    if (side % f != 0) {
        ldm_set_error(error, INVALID, _("size is %zu, but must be a multiple of %zu"), side, f);
        return false;
    }
    return check_applies(model, o, error) &&
           ldm_option_check("size", (double)side, 8, 4096, error) &&
           ldm_option_check("crop", o->latents.augment.crop, 0.0, 0.9, error) &&
           ldm_option_check("variants", (double)o->latents.variants, 1, 1000, error) &&
           ldm_option_check("samples", (double)o->samples, 1, 100, error) &&
           ldm_option_check("drop", o->drop, 0.0, 1.0, error) &&
           ldm_option_check("hole-drop", o->hole_drop, 0.0, 1.0, error) &&
           ldm_option_check("full-holes", o->full_holes, 0.0, 1.0, error) &&
           ldm_option_check("timestep-shift", o->timestep_shift, 0.1, 100.0, error) &&
           ldm_option_check("snr-gamma", o->loss.snr_gamma, 0.0, 1e6, error) &&
           ldm_option_check("multiscale", o->loss.multiscale, 0.0, 1000.0, error) &&
           ldm_option_check("hole-focus", o->loss.hole_focus, 0.0, 0.99, error);
}

/* An option that runs did not always have: told where it is in use. */
static void append_used(GString *text, const char *name, double value, double unused)
{
    if (value != unused)
        ldm_option_append(text, name, value);
}

/* What is learnt from and with, as it is: captions, and the weights that stay. */
static void append_inputs(const Run *run, GString *text)
{
    const LdmModel *model = run->model;
    g_autoptr(GChecksum) captions = g_checksum_new(G_CHECKSUM_SHA256);
    g_autoptr(GChecksum) weights = g_checksum_new(G_CHECKSUM_SHA256);

    if (model->tokenizer == NULL && run->adapter == NULL)
        return;
    ldm_dataset_digest_captions(run->dataset, captions);
    if (run->adapter != NULL)
        ldm_model_digest_table(model->unet_params, weights);
    if (run->adapter != NULL || !run->options->train_text)
        ldm_model_digest_table(model->text_params, weights);
    g_string_append_printf(text, LDM_CHECKPOINT_CAPTIONS "%.16s" LDM_CHECKPOINT_MODEL "%.16s",
                           g_checksum_get_string(captions), g_checksum_get_string(weights));
}

/* What the numbers of a run depend on besides the loop's own options. */
static char *settings_text(const Run *run)
{
    const LdmTrainOptions *o = run->options;
    GString *text = g_string_new(NULL);

    g_string_printf(text, "train-text=%d latents=%s", o->train_text, run->latents);
    ldm_option_append(text, "drop", o->drop);
    ldm_option_append(text, "snr-gamma", o->loss.snr_gamma);
    append_used(text, "multiscale", o->loss.multiscale, 0.0);
    append_used(text, "hole-focus", o->loss.hole_focus, 0.0);
    append_used(text, "full-holes", o->full_holes, 0.0);
    append_used(text, "hole-drop", o->hole_drop, 1.0);
    append_used(text, "timestep-shift", o->timestep_shift, 1.0);
    if (run->cache != NULL) /* else nobody knows yet */
        append_used(text, "left-out", ldm_latent_cache_info(run->cache)->skipped->len, 0.0);
    if (run->adapter != NULL) {
        g_autofree char *adapter = ldm_train_adapter_settings(run->adapter);
        g_string_append_printf(text, " %s", adapter);
    }
    append_inputs(run, text);
    ldm_option_append_config(text, run->model);
    return g_string_free_and_steal(text);
}

/* ---- samples ---- */

/* scale * (mean + exp(logvar / 2) * noise), the posterior's sample; VQ: scale * z. */
static void draw_latent(Run *run, const float *moments, uint64_t step, size_t sample)
{
    const LdmCacheInfo *info = ldm_latent_cache_info(run->cache);
    const LdmVaeConfig *vae = &run->model->config.vae;
    LdmKeyed keyed = ldm_keyed((uint64_t)run->options->loop.seed, LDM_KEY_POSTERIOR, step, sample);
    size_t z = info->z, count = run->shape.h * run->shape.w * z;
    LdmRng rng;

    ldm_rng_seed(&rng, ldm_keyed_next(&keyed));
    ldm_rng_normal(&rng, run->z0, count);
    for (size_t i = 0; i < count; i++) {
        const float *mean = moments + i / z * info->moments + i % z;
        double value = mean[0];
        if (info->moments > z)
            value += exp(CLAMP((double)mean[z], LDM_LOGVAR_MIN, LDM_LOGVAR_MAX) / 2) * run->z0[i];
        run->z0[i] = (float)((value - vae->shift_factor) * vae->scale_factor);
    }
    keyed = ldm_keyed((uint64_t)run->options->loop.seed, LDM_KEY_NOISE, step, sample);
    ldm_rng_seed(&rng, ldm_keyed_next(&keyed));
    ldm_rng_normal(&rng, run->noise, count);
}

/* Whether a sample that is shown `hole` goes without its words. Without them a thing that is all
 * hidden by its hole would teach that there are things where there is only ground around. */
static bool drops_caption(const Run *run, uint64_t step, size_t sample, const float *hole)
{
    const LdmTrainOptions *o = run->options;
    LdmKeyed keyed = ldm_keyed((uint64_t)o->loop.seed, LDM_KEY_DROP, step, sample);
    size_t cells = run->shape.h * run->shape.w;
    bool all = true;

    for (size_t i = 0; hole != NULL && all && i < cells; i++)
        all = hole[i * (1 + ldm_latent_cache_info(run->cache)->z)] > 0.0f;
    return ldm_keyed_uniform(&keyed) < o->drop * (all ? 1.0 : o->hole_drop);
}

static bool set_caption(Run *run, size_t example, bool dropped, size_t place, GError **error)
{
    const LdmTokenizer *tokenizer = run->model->tokenizer;
    const char *caption = ldm_dataset_at(run->dataset, example)->caption;

    if (tokenizer == NULL)
        return true;
    g_autofree char *adapted =
        dropped ? g_strdup("") : ldm_train_adapter_caption(run->adapter, caption);
    return ldm_tokenizer_encode(tokenizer, adapted,
                                run->batch.ids + place * (size_t)run->model->config.text.tokens,
                                NULL, error);
}

/* Mask and masked latent that a sample is shown: its variant's `own`, or those of a full hole. */
static const float *choose_hole(const Run *run, uint64_t step, size_t sample, const float *own)
{
    LdmKeyed keyed = ldm_keyed((uint64_t)run->options->loop.seed, LDM_KEY_FULL, step, sample);

    if (!run->options->latents.holes)
        return NULL;
    return ldm_keyed_uniform(&keyed) < run->options->full_holes
               ? ldm_latent_cache_full_hole(run->cache, run->bucket)
               : own;
}

/* Sample `sample` of a step, counted through all of its passes, into `place` of the batch. */
static bool draw(Run *run, uint64_t step, size_t sample, size_t place, GError **error)
{
    const LdmTrainOptions *o = run->options;
    const LdmCacheInfo *info = ldm_latent_cache_info(run->cache);
    uint64_t seed = (uint64_t)o->loop.seed;
    LdmKeyed variant = ldm_keyed(seed, LDM_KEY_VARIANT, step, sample);
    LdmKeyed time = ldm_keyed(seed, LDM_KEY_TIMESTEP, step, sample);

    size_t i = ldm_loop_example(run->loop, step, sample), cells = run->shape.h * run->shape.w;
    const float *row =
        ldm_latent_cache_at(run->cache, i, ldm_keyed_below(&variant, info->variants));
    draw_latent(run, row, step, sample);
    int t = ldm_timestep_draw(ldm_keyed_uniform(&time), o->timestep_shift,
                              run->model->config.schedule.train_steps);
    const float *own = row + cells * info->moments;
    const float *known = own + (o->latents.holes ? cells * (1 + info->z) : 0);
    const float *hole = choose_hole(run, step, sample, own);
    ldm_batch_set(&run->batch, place, run->model, &o->loss,
                  &(LdmSample){.z0 = run->z0,
                               .noise = run->noise,
                               .hole = hole,
                               .known = o->latents.augment.partly ? known : NULL,
                               .timestep = t,
                               .alpha_bar = run->alpha_bar[t]});
    return set_caption(run, info->examples[i], drops_caption(run, step, sample, hole), place,
                       error);
}

/* That of a bucket, for all of a batch. */
static void set_shape(Run *run, size_t bucket)
{
    run->bucket = bucket;
    run->shape = ldm_bucket_shape(ldm_latent_cache_info(run->cache)->side, bucket);
    ldm_batch_reshape(&run->batch, run->shape.h, run->shape.w);
}

static bool pass(void *data, size_t number, LdmTrainStep *step, GError **error)
{
    Run *run = data;
    const LdmLoopOptions *o = &run->options->loop;
    size_t first =
        ldm_loop_example(run->loop, step->step - 1, ldm_loop_sample(run->loop, number, 0));

    set_shape(run, ldm_latent_cache_info(run->cache)->buckets[first]);
    for (size_t k = 0; k < o->batch; k++)
        if (!draw(run, step->step - 1, ldm_loop_sample(run->loop, number, k), k, error))
            return false;
    return ldm_loss_backward(run->loss, &run->batch, ldm_loop_share(run->loop), &step->loss, error);
}

static bool look(void *data, GError **error)
{
    const Run *run = data;
    const LdmSamples samples = {.dataset = run->dataset,
                                .adapter = run->adapter,
                                .count = run->options->samples,
                                .side = run->options->latents.augment.side,
                                .cancellable = run->watch->cancellable};
    g_autofree char *path = g_build_filename(run->folder, "samples.png", NULL);

    if (!ldm_samples_write(run->model, ldm_loop_optimiser(run->loop), &samples, path, error))
        return false;
    if (run->watch->looked != NULL)
        run->watch->looked(path, run->watch->data);
    return true;
}

static bool write_model(void *data, GError **error)
{
    Run *run = data;

    if (run->adapter != NULL)
        return ldm_train_adapter_write(run->adapter, ldm_loop_optimiser(run->loop), run->folder,
                                       error);
    return ldm_model_write(run->model, ldm_loop_optimiser(run->loop), run->dtype, NULL, run->folder,
                           error);
}

/* ---- before the loop ---- */

static bool encoding(size_t done, size_t total, void *data)
{
    const LdmTrainWatch *watch = data;

    if (watch->encoding != NULL)
        watch->encoding(done, total, watch->data);
    return true;
}

/* Which latents, and whether a resumed run had these: to make them may take hours. */
static bool name_latents(Run *run, GError **error)
{
    run->latents = ldm_latent_cache_name(run->model, run->dataset, &run->options->latents,
                                         run->watch->cancellable, error);
    if (run->latents == NULL || !run->options->loop.resume)
        return run->latents != NULL;
    g_autofree char *settings = settings_text(run);
    return ldm_loop_set_settings(run->loop, settings, error);
}

static bool open_cache(Run *run, GError **error)
{
    const LdmCacheSource source = {
        .read = run->watch->read,
        .read_data = run->watch->read_data,
        .progress = encoding,
        .progress_data = (void *)run->watch,
        .cancellable = run->watch->cancellable,
    };
    g_autofree char *path = g_build_filename(run->folder, "latents", run->latents, NULL);

    if (!ldm_ranks_first(run->watch->ranks) && !ldm_ranks_meet(run->watch->ranks, error))
        return false; /* the first makes it, the others find it */
    run->cache = ldm_latent_cache_open(run->model, run->dataset, &run->options->latents, &source,
                                       path, error);
    return run->cache != NULL &&
           (!ldm_ranks_first(run->watch->ranks) || ldm_ranks_meet(run->watch->ranks, error));
}

static bool trains_text(const Run *run)
{
    return run->options->train_text && run->model->text != NULL;
}

/* The tables that are trained, into the optimiser. */
static bool add_tables(Run *run, GError **error)
{
    LdmOptimiser *optimiser = ldm_loop_optimiser(run->loop);

    if (run->adapter != NULL)
        return ldm_optimiser_add(optimiser, "adapter", ldm_train_adapter_params(run->adapter),
                                 error);
    return ldm_optimiser_add(optimiser, "unet", run->model->unet_params, error) &&
           (!trains_text(run) ||
            ldm_optimiser_add(optimiser, "text", run->model->text_params, error));
}

static size_t optimiser_bytes(const Run *run)
{
    const LdmModel *model = run->model;
    const LdmParams *const whole[] = {model->unet_params,
                                      trains_text(run) ? model->text_params : NULL, NULL};
    const LdmOptimiserOptions *options = &run->options->loop.optimiser;

    if (run->adapter == NULL)
        return ldm_optimiser_bytes(options, whole);
    return ldm_optimiser_bytes(
        options, (const LdmParams *const[]){ldm_train_adapter_params(run->adapter), NULL});
}

static size_t trained_count(const Run *run)
{
    const LdmModelInfo *info = &run->model->info;

    if (run->adapter != NULL)
        return ldm_train_adapter_count(run->adapter);
    return info->unet_parameters + (run->options->train_text ? info->text_parameters : 0);
}

/* All that will be allocated, and whether it fits; `pass_bytes`: of the passes alone, the largest
 * of the shapes there are. */
static bool plan_memory(Run *run, size_t *bytes, size_t *pass_bytes, GError **error)
{
    const LdmCacheInfo *info = ldm_latent_cache_info(run->cache);
    bool wanted[LDM_BUCKETS] = {[LDM_BUCKET_SQUARE] = true};
    size_t shape_bytes;
    double flops;

    *pass_bytes = 0;
    for (size_t i = 0; i < info->count; i++)
        wanted[info->buckets[i]] = true;
    for (size_t i = 0; i < LDM_BUCKETS; i++) {
        if (!wanted[i])
            continue;
        set_shape(run, i);
        if (!ldm_loss_measure(run->model, &run->batch, &shape_bytes, &flops, error))
            return false;
        *pass_bytes = MAX(*pass_bytes, shape_bytes);
    }
    set_shape(run, LDM_BUCKET_SQUARE); /* no shape has more cells */
    *bytes = *pass_bytes + optimiser_bytes(run);
    return ldm_loop_check_memory(run->watch->ranks, *bytes, error);
}

/* Marks what is trained. */
static bool choose(Run *run, GError **error)
{
    const LdmTrainOptions *o = run->options;

    if (o->adapter.kind == LDM_ADAPTER_NONE) {
        ldm_params_set_trained(run->model->unet_params, true);
        ldm_params_set_trained(run->model->text_params, o->train_text);
        return true;
    }
    run->adapter = ldm_train_adapter_new(run->model, &o->adapter, o->train_text,
                                         (uint64_t)o->loop.seed, error);
    return run->adapter != NULL;
}

/* Examples without a caption, where these are learnt from as they are. */
static size_t count_wordless(const Run *run)
{
    const LdmCacheInfo *info = ldm_latent_cache_info(run->cache);
    size_t count = 0;

    if (run->model->tokenizer == NULL || run->options->adapter.kind == LDM_ADAPTER_WORD)
        return 0;
    for (size_t i = 0; i < info->count; i++)
        count += *ldm_dataset_at(run->dataset, info->examples[i])->caption == '\0';
    return count;
}

static bool prepare(Run *run, LdmTrainPlan *plan, GError **error)
{
    const LdmCacheInfo *info = ldm_latent_cache_info(run->cache);
    g_autofree char *settings = settings_text(run);
    size_t pass_bytes;

    *plan = (LdmTrainPlan){.examples = info->count,
                           .skipped = info->skipped->len,
                           .wordless = count_wordless(run),
                           .trained = trained_count(run)};
    if (!ldm_loop_set_settings(run->loop, settings, error))
        return false;
    ldm_loop_set_examples(run->loop, info->count);
    if (run->options->latents.buckets)
        ldm_loop_set_buckets(run->loop, info->buckets);
    run->z0 = g_new(float, info->side * info->side * info->z);
    run->noise = g_new(float, info->side * info->side * info->z);
    run->alpha_bar = g_new(double, run->model->config.schedule.train_steps);
    ldm_schedule_alpha_bar(&run->model->config.schedule, run->alpha_bar);
    if (!ldm_batch_init(&run->batch, run->model, run->options->loop.batch, info->side, info->side,
                        error))
        return false;
    run->batch.bf16 = run->options->loop.precision == LDM_TRAIN_BF16;
    run->batch.checkpointing = run->options->loop.checkpointing;
    if (!plan_memory(run, &plan->bytes, &pass_bytes, error) || !add_tables(run, error))
        return false;
    run->loss = ldm_loss_new(run->model, &run->batch, pass_bytes, run->watch->cancellable, error);
    return run->loss != NULL;
}

static void run_clear(Run *run)
{
    g_free(run->latents);
    g_free(run->z0);
    g_free(run->noise);
    g_free(run->alpha_bar);
    ldm_loss_free(run->loss);
    ldm_batch_clear(&run->batch);
    ldm_loop_free(run->loop);
    ldm_train_adapter_free(run->adapter);
    ldm_latent_cache_free(run->cache);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Run, run_clear)

bool ldm_train_ldm(LdmModel *model, const LdmDataset *dataset, const LdmTrainOptions *options,
                   const LdmTrainWatch *watch, const char *folder, GError **error)
{
    LdmTrainOptions own = *options;
    g_auto(Run) run = {
        .model = model,
        .dataset = dataset,
        .options = &own,
        .watch = watch,
        .folder = folder,
        .dtype = options->loop.half || model->info.dtype == LDM_Q8 ? LDM_F16 : model->info.dtype};
    const LdmLoopWork work = {.pass = pass, .look = look, .write = write_model, .data = &run};
    LdmTrainPlan plan;

    own.latents.holes = model->info.concat_inpainting;
    own.latents.full_hole = own.full_holes > 0.0;
    own.latents.augment.seed = (uint64_t)own.loop.seed;
    if (own.latents.augment.side == 0)
        own.latents.augment.side = (size_t)model->info.native_size;
    if (!ldm_model_check_trainable(model, error) || !check_options(model, &own, error) ||
        (own.adapter.kind == LDM_ADAPTER_NONE && !ldm_model_writable(model, error)) ||
        (run.loop = ldm_loop_new(&own.loop, watch, folder, error)) == NULL)
        return false;
    return choose(&run, error) && name_latents(&run, error) && open_cache(&run, error) &&
           prepare(&run, &plan, error) &&
           ldm_loop_run(run.loop, &plan, ldm_latent_cache_info(run.cache)->skipped, &work, error);
}
