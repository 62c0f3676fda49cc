/* Before training. In: a model, the options of a run, the number of pictures. Out: memory, exactly,
 * and time, from one pass that is really done: how long a step takes on this machine, now, is
 * nothing that a table could know. Encoding and samples are taken to run at the same FLOP/s. */
#include "train/estimate.h"

#include "base/memory.h"
#include "pipeline/plan.h"

#define WARM_BELOW 1.0 /* seconds: the first pass also reads the weights; a short one is repeated */

typedef struct {
    LdmModel *model;
    const LdmTrainOptions *options;
    size_t side; /* pixels */
} Guess;

static Guess guess_of(LdmModel *model, const LdmTrainOptions *options)
{
    size_t side = options->latents.augment.side;

    return (Guess){model, options, side > 0 ? side : (size_t)model->info.native_size};
}

/* FLOPs of the latent cache: every variant once, for models that fill holes twice. */
static bool measure_latents(const Guess *guess, size_t pictures, double *flops, GError **error)
{
    const LdmModel *model = guess->model;
    const LdmEncode job = {.encoder = model->encoder, .config = &model->config.vae};
    size_t times = pictures * guess->options->latents.variants, bytes;

    if (!ldm_encode_measure(&job, guess->side, guess->side, &bytes, flops, error))
        return false;
    *flops *= (double)times * (model->info.concat_inpainting ? 2 : 1);
    return true;
}

static bool batch_init(const Guess *guess, LdmBatch *batch, GError **error)
{
    size_t cells = guess->side / (size_t)guess->model->info.downsampling;

    if (!ldm_batch_init(batch, guess->model, guess->options->loop.batch, cells, cells, error))
        return false;
    batch->bf16 = guess->options->loop.precision == LDM_TRAIN_BF16;
    batch->checkpointing = guess->options->loop.checkpointing;
    return true;
}

static LdmTrainAdapter *adapter_new(const Guess *guess, GError **error)
{
    const LdmTrainOptions *o = guess->options;

    return ldm_train_adapter_new(guess->model, &o->adapter, o->train_text, 0, error);
}

bool ldm_train_measure(LdmModel *model, const LdmTrainOptions *options, size_t pictures,
                       LdmTrainMeasure *measure, GError **error)
{
    const Guess guess = guess_of(model, options);
    g_autoptr(LdmTrainAdapter) adapter = adapter_new(&guess, error);
    g_auto(LdmBatch) batch = {0};
    size_t bytes;

    *measure = (LdmTrainMeasure){0};
    if (adapter == NULL || !batch_init(&guess, &batch, error) ||
        !measure_latents(&guess, pictures, &measure->latents_flops, error) ||
        !ldm_loss_measure(model, &batch, &bytes, &measure->pass_flops, error))
        return false;
    measure->trained = ldm_train_adapter_count(adapter);
    measure->bytes =
        bytes +
        ldm_optimiser_bytes(&options->loop.optimiser,
                            (const LdmParams *const[]){ldm_train_adapter_params(adapter), NULL});
    return true;
}

/* FLOPs of all samples; their memory comes on top of the training's. */
static bool measure_samples(const Guess *guess, double *flops, size_t *bytes, GError **error)
{
    g_autoptr(LdmRequest) request = ldm_samples_request("", 0, guess->side);
    const LdmLoopOptions *loop = &guess->options->loop;
    LdmPlan plan;

    *flops = 0.0;
    *bytes = 0;
    if (loop->look_every == 0)
        return true;
    if (!ldm_plan(guess->model, request, &plan, error))
        return false;
    for (int stage = 0; stage < LDM_N_STAGES; stage++)
        *flops += plan.flops[stage];
    *flops *= (double)(guess->options->samples * (loop->optimiser.steps / loop->look_every));
    *bytes = plan.work_bytes;
    return true;
}

static bool time_pass(LdmLoss *loss, const LdmBatch *batch, double *seconds, GError **error)
{
    for (int i = 0; i < 2; i++) {
        gint64 begun = g_get_monotonic_time();
        double value = 0.0;
        if (!ldm_loss_backward(loss, batch, 1.0, &value, error))
            return false;
        *seconds = (double)(g_get_monotonic_time() - begun) / 1e6;
        if (*seconds > WARM_BELOW)
            break;
    }
    return true;
}

/* Seconds of one pass with the adapter. */
static bool measure_pass(const Guess *guess, GCancellable *cancellable, double *seconds,
                         GError **error)
{
    g_autoptr(LdmTrainAdapter) adapter = adapter_new(guess, error);
    g_autoptr(LdmOptimiser) optimiser =
        adapter != NULL ? ldm_optimiser_new(&guess->options->loop.optimiser, error) : NULL;
    g_auto(LdmBatch) batch = {0};

    if (optimiser == NULL || !batch_init(guess, &batch, error) ||
        !ldm_optimiser_add(optimiser, "adapter", ldm_train_adapter_params(adapter), error))
        return false;
    g_autoptr(LdmLoss) loss = ldm_loss_new(guess->model, &batch, 0, cancellable, error);
    return loss != NULL && time_pass(loss, &batch, seconds, error);
}

bool ldm_train_estimate(LdmModel *model, const LdmTrainOptions *options, size_t pictures,
                        GCancellable *cancellable, LdmTrainEstimate *estimate, GError **error)
{
    const Guess guess = guess_of(model, options);
    LdmTrainMeasure measure;
    double samples;
    size_t bytes;

    *estimate = (LdmTrainEstimate){0};
    if (!ldm_model_check_trainable(model, error) ||
        !ldm_train_measure(model, options, pictures, &measure, error) ||
        !measure_samples(&guess, &samples, &bytes, error))
        return false;
    estimate->trained = measure.trained;
    estimate->bytes = measure.bytes + bytes;
    if (!ldm_plan_fits(estimate->bytes, ldm_memory_available(), error) ||
        !measure_pass(&guess, cancellable, &estimate->seconds, error))
        return false;
    estimate->besides = (measure.latents_flops + samples) * estimate->seconds / measure.pass_flops;
    estimate->seconds *= (double)options->loop.accumulate;
    return true;
}
