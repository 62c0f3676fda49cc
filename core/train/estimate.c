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
    LdmTrainEstimate *estimate;
} Guess;

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

/* FLOPs of all samples; their memory comes on top of the training's. */
static bool measure_samples(const Guess *guess, double *flops, GError **error)
{
    g_autoptr(LdmRequest) request = ldm_samples_request("", 0, guess->side);
    const LdmLoopOptions *loop = &guess->options->loop;
    LdmPlan plan;

    *flops = 0.0;
    if (loop->look_every == 0)
        return true;
    if (!ldm_plan(guess->model, request, &plan, error))
        return false;
    for (int stage = 0; stage < LDM_N_STAGES; stage++)
        *flops += plan.flops[stage];
    *flops *= (double)(guess->options->samples * (loop->optimiser.steps / loop->look_every));
    guess->estimate->bytes += plan.work_bytes;
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

/* One pass with the adapter; its FLOPs. */
static bool measure_pass(const Guess *guess, GCancellable *cancellable, double *flops,
                         GError **error)
{
    const LdmTrainOptions *o = guess->options;
    LdmTrainEstimate *estimate = guess->estimate;
    size_t cells = guess->side / (size_t)guess->model->info.downsampling, bytes;
    g_autoptr(LdmTrainAdapter) adapter =
        ldm_train_adapter_new(guess->model, &o->adapter, o->train_text, 0, error);
    g_autoptr(LdmOptimiser) optimiser =
        adapter != NULL ? ldm_optimiser_new(&o->loop.optimiser, error) : NULL;
    g_auto(LdmBatch) batch = {0};

    if (optimiser == NULL ||
        !ldm_batch_init(&batch, guess->model, o->loop.batch, cells, cells, error) ||
        !ldm_loss_measure(guess->model, &batch, &bytes, flops, error))
        return false;
    estimate->trained = ldm_train_adapter_count(adapter);
    estimate->bytes += bytes + ldm_optimiser_bytes(estimate->trained);
    if (!ldm_plan_fits(estimate->bytes, ldm_memory_available(), error) ||
        !ldm_optimiser_add(optimiser, "adapter", ldm_train_adapter_params(adapter), error))
        return false;
    g_autoptr(LdmLoss) loss = ldm_loss_new(guess->model, &batch, bytes, cancellable, error);
    return loss != NULL && time_pass(loss, &batch, &estimate->seconds, error);
}

bool ldm_train_estimate(LdmModel *model, const LdmTrainOptions *options, size_t pictures,
                        GCancellable *cancellable, LdmTrainEstimate *estimate, GError **error)
{
    const LdmAugment *augment = &options->latents.augment;
    const Guess guess = {
        .model = model,
        .options = options,
        .side = augment->side > 0 ? augment->side : (size_t)model->info.native_size,
        .estimate = estimate,
    };
    double pass, latents, samples;

    *estimate = (LdmTrainEstimate){0};
    if (!measure_latents(&guess, pictures, &latents, error) ||
        !measure_samples(&guess, &samples, error) ||
        !measure_pass(&guess, cancellable, &pass, error))
        return false;
    estimate->besides = (latents + samples) * estimate->seconds / pass;
    estimate->seconds *= (double)options->loop.accumulate;
    return true;
}
