/* The line: one picture's way from request to result, one call per stage. In come model, request
 * and monitor; out goes the result. txt2img has no picture: prepare only lays the size, and encode
 * has nothing to encode but, for models that see a masked picture, the mid-grey that stands for
 * "everything is hole". */
#include "pipeline/generate.h"

#include "base/error.h"
#include "condition/condition.h"
#include "decode/decode.h"
#include "diffuse/latents.h"
#include "diffuse/schedule.h"
#include "encode/encode.h"
#include "finish/finish.h"
#include "kernels/kernels.h"
#include "layers/room.h"
#include "pipeline/adapters.h"
#include "pipeline/ahead.h"
#include "pipeline/areas.h"
#include "pipeline/plan.h"
#include "pipeline/preview.h"
#include "pipeline/progress.h"
#include "pipeline/refine.h"
#include "prepare/prepare.h"
#include "tensor/tensor.h"
#include "train/learn.h"

typedef struct {
    LdmModel *model;
    const LdmRequest *request;
    const LdmRect *area; /* of the mask; NULL: all */
    GCancellable *cancellable;
    const LdmMonitor *monitor; /* or NULL */
    LdmPreviews previews;
    LdmAdapters *adapters;
    LdmAhead *ahead;
    LdmLinePlan plan;
    LdmMeter meter;
    double flops_before; /* of the encode stage's first run, while its second one works */
    LdmRng rng;
    LdmPrepared prepared;
    LdmConditioning conditioning;
    LdmTimes times;
    LdmLatents latents;
    LdmTensor *decoded;
    LdmResult *result;
} LdmLine;

static void learn_progress(double share, int step, int steps, void *data)
{
    ldm_meter_at(data, share, step, steps);
}

static bool learn(LdmLine *line, GError **error)
{
    const LdmLearn job = {.model = line->model,
                          .request = line->request,
                          .geometry = &line->plan.geometry,
                          .progress = learn_progress,
                          .progress_data = &line->meter,
                          .cancellable = line->cancellable};
    if (line->request->learn == 0)
        return true;
    ldm_meter_stage(&line->meter, LDM_STAGE_LEARN);
    g_autofree char *file = ldm_learn(&job, error);
    return file != NULL && ldm_adapters_add_lora(line->model, file, &line->adapters, error);
}

static bool prepare(LdmLine *line, GError **error)
{
    const LdmRequest *request = line->request;
    bool repaint = request->task != LDM_TASK_GENERATE;
    ldm_meter_stage(&line->meter, LDM_STAGE_PREPARE);
    line->prepared = line->plan.geometry;
    if (repaint &&
        !ldm_prepare(request->picture, request->mask, (size_t)line->model->info.downsampling,
                     &line->prepared, line->cancellable, error))
        return false;
    bool all_hole = request->task != LDM_TASK_INPAINT;
    return !line->plan.masked || ldm_prepare_masked(line->model->info.hole, all_hole,
                                                    &line->prepared, line->cancellable, error);
}

static bool condition(LdmLine *line, GError **error)
{
    const LdmModel *model = line->model;
    LdmConditioning *c = &line->conditioning;
    if (!model->config.has_text)
        return true;
    ldm_meter_stage(&line->meter, LDM_STAGE_CONDITION);
    c->context = ldm_condition_prompt(model->tokenizer, model->text, &model->config.text,
                                      line->request->prompt, line->cancellable, error);
    if (c->context == NULL)
        return false;
    if (line->plan.guided) {
        ldm_meter_at(&line->meter, 0.5, 0, 0);
        c->negative =
            ldm_condition_prompt(model->tokenizer, model->text, &model->config.text,
                                 line->request->negative_prompt, line->cancellable, error);
        if (c->negative == NULL)
            return false;
    }
    ldm_meter_at(&line->meter, 1.0, 0, 0);
    ldm_model_release(model, model->text_params);
    return true;
}

static void encode_progress(double flops, void *data)
{
    LdmLine *line = data;
    ldm_meter_flops(line->flops_before + flops, &line->meter);
}

static bool encode_all(LdmLine *line, GError **error)
{
    LdmPrepared *p = &line->prepared;
    LdmEncode job = {.encoder = line->model->encoder,
                     .config = &line->model->config.vae,
                     .tile = line->plan.encode_tile,
                     .progress = encode_progress,
                     .progress_data = line,
                     .cancellable = line->cancellable};
    if (p->image != NULL) {
        line->latents.z0 = ldm_encode_picture(&job, p->image, NULL, error);
        if (line->latents.z0 == NULL)
            return false;
        line->flops_before = p->masked != NULL ? line->plan.flops[LDM_STAGE_ENCODE] / 2 : 0;
    }
    if (p->masked == NULL)
        return true;
    g_autoptr(LdmTensor) masked = ldm_encode_picture(&job, p->masked, NULL, error);
    if (masked == NULL)
        return false;
    g_clear_pointer(&p->masked, ldm_tensor_free);
    const LdmTensor *cells = line->request->task == LDM_TASK_INPAINT ? p->cells : NULL;
    line->conditioning.concat = ldm_condition_concat(cells, masked, error);
    return line->conditioning.concat != NULL;
}

static bool encode(LdmLine *line, GError **error)
{
    const LdmPrepared *p = &line->prepared;
    if (p->image == NULL && p->masked == NULL)
        return true;
    ldm_meter_stage(&line->meter, LDM_STAGE_ENCODE);
    if (!encode_all(line, error))
        return false;
    ldm_model_release(line->model, line->model->vae_params);
    return true;
}

static bool diffuse(LdmLine *line, GError **error)
{
    const LdmRequest *request = line->request;
    const LdmLinePlan *plan = &line->plan;
    bool blank = request->task == LDM_TASK_GENERATE;
    ldm_meter_stage(&line->meter, LDM_STAGE_DIFFUSE);
    if (!ldm_times_init(&line->times, &line->model->config.schedule, request->sampler,
                        request->schedule, request->steps, blank ? 1.0 : request->strength, error))
        return false;
    ldm_rng_seed(&line->rng, (uint64_t)line->result->seed);
    line->latents.noise = request->latent != NULL
                              ? ldm_tensor_copy(request->latent, error)
                              : ldm_noise_new(&line->rng, plan->h, plan->w, plan->z, error);
    if (line->latents.noise == NULL)
        return false;
    bool pure_noise = blank || (request->task == LDM_TASK_INPAINT && request->strength == 1.0);
    return ldm_latents_start(&line->latents, &line->times, pure_noise, error);
}

static void denoise_progress(int step, int steps, double fraction, void *data)
{
    LdmLine *line = data;
    ldm_meter_at(&line->meter, fraction, step, steps);
}

static bool denoise_stepped(int step, int steps, const LdmTensor *z, const LdmTensor *x0,
                            void *data)
{
    LdmLine *line = data;
    line->result->steps = step;
    line->result->planned_steps = steps;
    ldm_previews_show(&line->previews, step, steps, x0);
    return line->monitor == NULL || !g_cancellable_is_cancelled(line->monitor->finish);
}

static bool denoise(LdmLine *line, GError **error)
{
    LdmParams *params = line->model->unet_params;
    ldm_meter_stage(&line->meter, LDM_STAGE_DENOISE);
    LdmDenoise job = ldm_line_denoise(line->model, line->request, &line->times, &line->conditioning,
                                      &line->latents);
    job.cells = line->request->mask != NULL ? line->prepared.cells : NULL;
    job.window = line->plan.cells;
    job.rng = &line->rng;
    job.hooks =
        (LdmLoopHooks){.progress = denoise_progress, .stepped = denoise_stepped, .data = line};
    job.cancellable = line->cancellable;
    if (!ldm_model_hold_denoiser(line->model, job.q8, line->cancellable, error) ||
        !ldm_denoise(&job, line->latents.zt, &line->result->evaluations, error))
        return false;
    ldm_params_drop_copies(params);
    ldm_model_release(line->model, params);
    ldm_conditioning_clear(&line->conditioning);
    g_clear_pointer(&line->latents.z0, ldm_tensor_free);
    g_clear_pointer(&line->latents.noise, ldm_tensor_free);
    return true;
}

static bool decode(LdmLine *line, GError **error)
{
    LdmDecode job = {.decoder = line->model->decoder,
                     .config = &line->model->config.vae,
                     .tile = line->plan.decode_tile,
                     .progress = ldm_meter_flops,
                     .progress_data = &line->meter,
                     .cancellable = line->cancellable};
    ldm_meter_stage(&line->meter, LDM_STAGE_DECODE);
    line->decoded = ldm_decode_latent(&job, line->latents.zt, error);
    ldm_latents_clear(&line->latents);
    ldm_model_release(line->model, line->model->vae_params);
    return line->decoded != NULL;
}

static bool finish(LdmLine *line, GError **error)
{
    ldm_meter_stage(&line->meter, LDM_STAGE_FINISH);
    return ldm_finish(line->decoded, &line->prepared, line->request, line->result,
                      line->cancellable, error);
}

/* Strength 0, or too little for a single step: the input is the result. */
static bool unchanged(LdmLine *line, GError **error)
{
    ldm_meter_stage(&line->meter, LDM_STAGE_FINISH);
    return ldm_finish_unchanged(&line->plan.geometry, line->request, line->result, error);
}

/* ---- begin and end ---- */

/* Their memory is taken while the loop waits. Where there is none for them, a picture that nobody
 * sees coming is better than no picture. */
static bool open_previews(LdmLine *line, uint64_t available, GError **error)
{
    LdmLinePlan *plan = &line->plan;
    const size_t latent[] = {1, plan->h, plan->w, plan->z};
    size_t bytes;
    line->previews = (LdmPreviews){.monitor = line->monitor, .geometry = &plan->geometry};
    if (plan->start == line->request->steps)
        return true;
    if (!ldm_previews_open(&line->previews, line->model, latent, &bytes, error))
        return false;
    if (plan->bytes[LDM_STAGE_DENOISE] + bytes <= available)
        plan->bytes[LDM_STAGE_DENOISE] += bytes;
    else
        line->previews.decoder = NULL;
    return true;
}

static bool line_begin(LdmLine *line, GError **error)
{
    uint64_t available = ldm_room_available();
    if (ldm_cancelled(line->cancellable, error))
        return false;
    if (line->request->precision == LDM_PRECISION_BF16 && !ldm_kernels_have_bf16()) {
        ldm_set_error(error, UNSUPPORTED,
                      _("this processor does not multiply bf16 faster: leave precision at exact"));
        return false;
    }
    if (!ldm_adapters_add(line->model, line->request, &line->adapters, error) ||
        !ldm_line_plan(line->model, line->request, line->area, available, &line->plan, error) ||
        !open_previews(line, available, error) ||
        !ldm_plan_fits(ldm_line_plan_peak(&line->plan), available, error))
        return false;
    line->result = g_new0(LdmResult, 1);
    line->result->seed = line->request->seed >= 0 ? line->request->seed : ldm_seed_new();
    ldm_meter_begin(&line->meter, line->monitor, line->plan.flops);
    return true;
}

static LdmResult *line_end(LdmLine *line)
{
    ldm_meter_end(&line->meter);
    memcpy(line->result->seconds, line->meter.seconds, sizeof line->result->seconds);
    return g_steal_pointer(&line->result);
}

static void line_clear(LdmLine *line)
{
    ldm_params_drop_copies(line->model->unet_params); /* where the line was left half-way */
    ldm_prepared_clear(&line->prepared);
    ldm_conditioning_clear(&line->conditioning);
    ldm_times_clear(&line->times);
    ldm_latents_clear(&line->latents);
    ldm_tensor_free(line->decoded);
    ldm_result_free(line->result);
    ldm_adapters_free(line->adapters);
    ldm_ahead_free(line->ahead);
}

/* ---- the line ---- */

static bool run_stages(LdmLine *line, GError **error)
{
    return learn(line, error) &&     /* picture, mask -> a LoRA, where it is asked for */
           prepare(line, error) &&   /* picture, mask -> x, s, cells: the window worked on */
           condition(line, error) && /* prompts -> c: tau_theta(y) */
           encode(line, error) &&    /* x -> z0, concat: E */
           diffuse(line, error) &&   /* z0, noise -> z_t: q(z_t | z_0) */
           denoise(line, error) &&   /* z_t, c, cells -> z0': the loop around epsilon_theta */
           decode(line, error) &&    /* z0' -> x': D */
           finish(line, error);      /* x', picture, s -> pixels, alpha at the picture's size */
}

LdmResult *ldm_line_run(LdmModel *model, const LdmRequest *request, const LdmRect *area,
                        const LdmMonitor *monitor, GError **error)
{
    LdmLine line = {.model = model,
                    .request = request,
                    .area = area,
                    .monitor = monitor,
                    .cancellable = ldm_monitor_cancellable(monitor)};
    LdmResult *result = NULL;
    g_mutex_lock(&model->busy);
    if (line_begin(&line, error)) {
        bool idle = line.plan.start == request->steps;
        line.ahead = idle ? NULL : ldm_ahead_begin(model, ~0u);
        if (idle ? unchanged(&line, error) : run_stages(&line, error))
            result = line_end(&line);
        else
            ldm_adapters_explain(line.adapters, error);
    }
    line_clear(&line);
    g_mutex_unlock(&model->busy);
    return result;
}

LdmResult *ldm_generate(LdmModel *model, const LdmRequest *request, const LdmMonitor *monitor,
                        GError **error)
{
    LdmRefine refine;
    LdmAreas areas;
    if (ldm_refine_split(model, request, &refine))
        return ldm_refine_run(&refine, model, monitor, error);
    if (ldm_areas_split(model, request, &areas))
        return ldm_areas_run(&areas, model, request, monitor, error);
    return ldm_line_run(model, request, NULL, monitor, error);
}
