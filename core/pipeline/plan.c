/* Planning: the same stage functions that will run are measured, and the arrays that the line
 * holds between them are added up, stage by stage. Nothing that depends on the size of the job is
 * allocated here. */
#include "pipeline/plan.h"

#include "base/error.h"
#include "condition/condition.h"
#include "diffuse/schedule.h"
#include "finish/finish.h"
#include "kernels/kernels.h"
#include "layers/room.h"
#include "pipeline/adapters.h"
#include "pipeline/areas.h"
#include "pipeline/refine.h"
#include "pipeline/request.h"
#include "tensor/tensor.h"
#include "train/learn.h"
#include "weights/coarse.h"

#define FLOPS_PER_PIXEL 100 /* of prepare and finish: only for progress */

static size_t floats(size_t n)
{
    return n * sizeof(float);
}

/* What refine makes anew is worked on at its own size, as what is generated at once. */
LdmPrepareOptions ldm_line_prepare_options(const LdmModel *model, const LdmRequest *request)
{
    const LdmModelInfo *info = &model->info;
    bool refines = request->task == LDM_TASK_IMG2IMG && request->refine > 0.0;
    return (LdmPrepareOptions){
        .f = (size_t)info->downsampling,
        .native = (size_t)info->native_size,
        .max_side = refines ? LDM_SIDE_MAX : (size_t)MAX(info->max_side, info->downsampling),
    };
}

/* The networks have to fit together and to one of the two ways to paint. */
static bool check_model(const LdmModel *model, GError **error)
{
    const LdmModelConfig *config = &model->config;
    int z = model->info.latent_channels, in = config->unet.in_channels;
    if (!ldm_model_check_denoiser(model, error))
        return false;
    if ((in != z && !model->info.concat_inpainting) || config->unet.out_channels != z) {
        ldm_set_error(error, UNSUPPORTED,
                      _("%s is made for another task: its network takes %d channels and gives %d, "
                        "its latent has %d"),
                      model->info.path, in, config->unet.out_channels, z);
        return false;
    }
    if (config->unet.context_width > 0 && !config->has_text) {
        ldm_set_error(error, UNSUPPORTED, _("%s has no text encoder, which its network needs"),
                      model->info.path);
        return false;
    }
    return true;
}

/* ---- geometry ---- */

void ldm_line_size(const LdmModel *model, const LdmRequest *request, size_t *width, size_t *height)
{
    size_t native = (size_t)model->info.native_size;
    *width = request->width > 0 ? (size_t)request->width : native;
    *height = request->height > 0 ? (size_t)request->height : native;
}

static bool lay_window(const LdmModel *model, const LdmRequest *request, const LdmRect *area,
                       LdmLinePlan *p, GError **error)
{
    LdmPrepared *geometry = &p->geometry;
    LdmPrepareOptions options = ldm_line_prepare_options(model, request);
    if (request->task == LDM_TASK_GENERATE) {
        size_t width, height;
        ldm_line_size(model, request, &width, &height);
        ldm_prepare_blank(&options, width, height, geometry);
        return true;
    }
    LdmRect marked = area != NULL ? *area : (LdmRect){0};
    if (area == NULL && request->mask != NULL && !ldm_mask_bounds(request->mask, &marked)) {
        ldm_set_error(error, INVALID,
                      _("the mask is empty: mark (select) what is to be repainted"));
        return false;
    }
    ldm_prepare_window(&options, request->picture->shape[2], request->picture->shape[1],
                       request->mask == NULL ? NULL : &marked, geometry);
    if (request->mask != NULL && request->surroundings > 0)
        p->cells = ldm_prepare_cells(&options, geometry, &marked, (size_t)request->surroundings,
                                     (size_t)1 << (model->config.unet.levels - 1));
    return true;
}

static bool check_latent(const LdmRequest *request, const LdmLinePlan *p, GError **error)
{
    const LdmTensor *t = request->latent;
    if (t == NULL || (t->dtype == LDM_F32 && t->rank == 4 && t->shape[0] == 1 &&
                      t->shape[1] == p->h && t->shape[2] == p->w && t->shape[3] == p->z))
        return true;
    g_autofree char *found = ldm_shape_string(t->rank, t->shape);
    ldm_set_error(error, SHAPE,
                  _("the start latent is %s, but this picture needs [1, %zu, %zu, %zu] (rows, "
                    "columns, channels)"),
                  found, p->h, p->w, p->z);
    return false;
}

/* ---- stages ---- */

LdmDenoise ldm_line_denoise(const LdmModel *model, const LdmRequest *request, const LdmTimes *times,
                            const LdmConditioning *conditioning, const LdmLatents *latents)
{
    return (LdmDenoise){
        .network = ldm_network_unet,
        .network_data = model->unet,
        .prediction = model->config.schedule.prediction,
        .times = times,
        .conditioning = conditioning,
        .guidance = request->guidance,
        .guidance_rescale = request->guidance_rescale,
        .guidance_start = request->guidance_start,
        .guidance_end = request->guidance_end,
        .reuse = request->reuse,
        .merge = request->merge,
        .bf16 = request->precision != LDM_PRECISION_EXACT,
        .q8 = request->precision == LDM_PRECISION_Q8,
        .sampler = request->sampler,
        .eta = request->eta,
        .strength = request->task == LDM_TASK_GENERATE ? 1.0 : request->strength,
        .latents = latents,
    };
}

static size_t pixels_of(const LdmPrepared *g)
{
    return g->H * g->W;
}

static size_t window_pixels(const LdmPrepared *g)
{
    return (size_t)g->window.width * (size_t)g->window.height;
}

/* What prepare leaves: image, mask, cells; the masked picture apart. */
static size_t prepared_bytes(const LdmRequest *request, const LdmLinePlan *p)
{
    if (request->task == LDM_TASK_GENERATE)
        return 0;
    return floats(pixels_of(&p->geometry) * 4 + p->h * p->w);
}

static void plan_prepare(const LdmModel *model, const LdmRequest *request, LdmLinePlan *p)
{
    const LdmPrepared *g = &p->geometry;
    size_t transient = request->task == LDM_TASK_GENERATE ? 0 : ldm_prepare_scratch(g);
    if (p->masked && request->task == LDM_TASK_INPAINT)
        transient = MAX(transient, ldm_prepare_masked_scratch(model->info.hole, g));
    p->bytes[LDM_STAGE_PREPARE] = prepared_bytes(request, p) + p->masked_bytes + transient;
    p->flops[LDM_STAGE_PREPARE] =
        FLOPS_PER_PIXEL * ((double)window_pixels(g) + (double)pixels_of(g));
}

static bool plan_condition(const LdmModel *model, size_t held, LdmLinePlan *p, GError **error)
{
    const LdmTextConfig *text = &model->config.text;
    if (!model->config.has_text)
        return true;
    size_t bytes;
    double flops;
    if (!ldm_condition_measure(model->text, text, &bytes, &flops, error))
        return false;
    p->condition_bytes = floats((size_t)text->tokens * (size_t)text->width) * (p->guided ? 2 : 1);
    p->bytes[LDM_STAGE_CONDITION] = held + bytes + p->condition_bytes;
    p->flops[LDM_STAGE_CONDITION] = flops * (p->guided ? 2 : 1);
    return true;
}

static bool plan_encode(const LdmModel *model, const LdmRequest *request, size_t held,
                        uint64_t available, LdmLinePlan *p, GError **error)
{
    int runs = (request->task != LDM_TASK_GENERATE) + p->masked;
    if (runs == 0)
        return true;
    size_t H = p->geometry.H, W = p->geometry.W, z = floats(p->h * p->w * p->z);
    LdmEncode job = {.encoder = model->encoder, .config = &model->config.vae};
    size_t bytes;
    double flops;
    held += z * (size_t)runs + (p->masked ? p->concat_bytes : 0);
    if (!ldm_encode_measure(&job, H, W, &bytes, &flops, error))
        return false;
    if (held + bytes > available) {
        p->encode_tile = job.tile = LDM_TILE_CELLS;
        if (!ldm_encode_measure(&job, H, W, &bytes, &flops, error))
            return false;
    }
    p->bytes[LDM_STAGE_ENCODE] = held + bytes;
    p->flops[LDM_STAGE_ENCODE] = flops * runs;
    return true;
}

static bool plan_denoise(const LdmModel *model, const LdmRequest *request, size_t held,
                         LdmLinePlan *p, GError **error)
{
    const LdmModelConfig *config = &model->config;
    g_auto(LdmTimes) times = {0};
    if (!ldm_times_init(&times, &config->schedule, request->sampler, request->schedule,
                        request->steps,
                        request->task == LDM_TASK_GENERATE ? 1.0 : request->strength, error))
        return false;
    p->start = times.start;
    if (p->start == times.steps)
        return true;
    LdmTensor z = {LDM_F32, 4, {1, p->h, p->w, p->z}, NULL};
    LdmTensor cells = {LDM_F32, 4, {1, p->h, p->w, 1}, NULL};
    LdmTensor concat = {LDM_F32, 4, {1, p->h, p->w, 1 + p->z}, NULL};
    LdmTensor context = {
        LDM_F32, 3, {1, (size_t)config->text.tokens, (size_t)config->text.width, 1}, NULL};
    LdmConditioning conditioning = {.context = config->has_text ? &context : NULL,
                                    .negative = p->guided ? &context : NULL,
                                    .concat = p->masked ? &concat : NULL};
    LdmLatents latents = {.z0 = &z, .noise = &z, .zt = &z};
    LdmDenoise job = ldm_line_denoise(model, request, &times, &conditioning, &latents);
    job.cells = request->mask != NULL ? &cells : NULL;
    job.window = p->cells;
    size_t bytes;
    if (!ldm_denoise_measure(&job, &z, &bytes, &p->flops[LDM_STAGE_DENOISE], error))
        return false;
    p->bytes[LDM_STAGE_DENOISE] = held + bytes + ldm_coarse_bytes(model->unet_params, job.q8);
    return true;
}

static bool plan_decode(const LdmModel *model, size_t held, uint64_t available, LdmLinePlan *p,
                        GError **error)
{
    LdmDecode job = {.decoder = model->decoder, .config = &model->config.vae};
    size_t bytes, picture = floats(pixels_of(&p->geometry) * 3);
    double *flops = &p->flops[LDM_STAGE_DECODE];
    if (!ldm_decode_measure(&job, p->h, p->w, &bytes, flops, error))
        return false;
    if (held + picture + bytes > available) {
        p->decode_tile = job.tile = LDM_TILE_CELLS;
        if (!ldm_decode_measure(&job, p->h, p->w, &bytes, flops, error))
            return false;
    }
    p->bytes[LDM_STAGE_DECODE] = held + picture + bytes;
    return true;
}

static void plan_finish(const LdmRequest *request, size_t held, LdmLinePlan *p)
{
    const LdmPrepared *g = &p->geometry;
    bool repaint = request->task != LDM_TASK_GENERATE;
    size_t decoded = floats(pixels_of(g) * 3), inner = floats(g->inner_h * g->inner_w * 4);
    size_t window = floats(window_pixels(g));
    size_t match = request->mask != NULL ? ldm_match_bytes(g) : 0;
    size_t enlarge = 0;
    if (g->scale < 1.0)
        enlarge = inner + ldm_resample_scratch(g->inner_h, g->inner_w, 4, (size_t)g->window.height,
                                               (size_t)g->window.width);
    size_t pixels = window * 4 + MAX(enlarge, repaint ? window : 0);
    p->bytes[LDM_STAGE_FINISH] = held + decoded + MAX(match, pixels);
    p->flops[LDM_STAGE_FINISH] =
        FLOPS_PER_PIXEL * ((double)window_pixels(g) + (double)pixels_of(g));
}

/* ---- weights ---- */

/* Of the mapped parameters whose names begin so. */
static size_t mapped_bytes(const LdmParams *params, const char *beginning)
{
    size_t bytes = 0;
    for (size_t i = 0; i < ldm_params_length(params); i++) {
        const LdmParam *param = ldm_params_at(params, i);
        bool counts = !param->copied && g_str_has_prefix(param->name, beginning);
        bytes += counts ? ldm_param_bytes(param) : 0;
    }
    return bytes;
}

/* Mapped weights that a stage touches; they are released when it ends. Of the table of tokens only
 * a few rows are read. */
static size_t stage_weights(const LdmModel *model, const LdmRequest *request, LdmStage stage)
{
    const LdmParams *vae = model->vae_params;
    const LdmParam *words;
    bool q8 = request->precision == LDM_PRECISION_Q8;
    switch (stage) {
    case LDM_STAGE_CONDITION:
        words = ldm_clip_text_words(model->text);
        return mapped_bytes(model->text_params, "") - (words->copied ? 0 : ldm_param_bytes(words));
    case LDM_STAGE_ENCODE: return mapped_bytes(vae, "encoder.") + mapped_bytes(vae, "quant_conv.");
    case LDM_STAGE_LEARN: return ldm_coarse_mapped(model->unet_params, false);
    case LDM_STAGE_DENOISE: return ldm_coarse_mapped(model->unet_params, q8);
    case LDM_STAGE_DECODE:
        return mapped_bytes(vae, "decoder.") + mapped_bytes(vae, "post_quant_conv.") +
               mapped_bytes(vae, "quantize.");
    default: return 0;
    }
}

/* Buffers and weights at the highest; copies of weights are there all the time. */
static size_t peak_with_weights(const LdmModel *model, const LdmRequest *request,
                                const LdmLinePlan *p)
{
    size_t peak = 0;
    for (int i = 0; i < LDM_N_STAGES; i++)
        if (p->bytes[i] > 0)
            peak = MAX(peak, p->bytes[i] + stage_weights(model, request, (LdmStage)i));
    return peak + ldm_params_copied_bytes(model->text_params) +
           ldm_params_copied_bytes(model->unet_params) + ldm_params_copied_bytes(model->vae_params);
}

/* ---- the whole ---- */

static bool plan_learn(LdmModel *model, const LdmRequest *request, LdmLinePlan *p, GError **error)
{
    const LdmLearn job = {.model = model, .request = request, .geometry = &p->geometry};
    if (request->learn == 0 || p->start == request->steps)
        return true;
    size_t bytes;
    if (!ldm_learn_measure(&job, &bytes, &p->flops[LDM_STAGE_LEARN], error))
        return false;
    /* 0: it has been learnt */
    p->bytes[LDM_STAGE_LEARN] = bytes > 0 ? bytes + ldm_coarse_bytes(model->unet_params, false) : 0;
    return true;
}

/* Strength 0: only the copy of the window. */
static void plan_unchanged(LdmLinePlan *p)
{
    memset(p->bytes, 0, sizeof p->bytes);
    memset(p->flops, 0, sizeof p->flops);
    p->bytes[LDM_STAGE_FINISH] = floats(window_pixels(&p->geometry) * 5);
    p->flops[LDM_STAGE_FINISH] = FLOPS_PER_PIXEL * (double)window_pixels(&p->geometry);
}

static bool plan_stages(const LdmModel *model, const LdmRequest *request, uint64_t available,
                        LdmLinePlan *p, GError **error)
{
    size_t prepared = prepared_bytes(request, p), z = floats(p->h * p->w * p->z);
    bool repaint = request->task != LDM_TASK_GENERATE;
    plan_prepare(model, request, p);
    if (!plan_condition(model, prepared + p->masked_bytes, p, error))
        return false;
    size_t held = prepared + p->condition_bytes;
    if (!plan_encode(model, request, held + p->masked_bytes, available, p, error))
        return false;
    held += p->concat_bytes + (repaint ? z : 0) + 2 * z; /* z0, noise and z_t */
    p->bytes[LDM_STAGE_DIFFUSE] = held;
    p->flops[LDM_STAGE_DIFFUSE] = FLOPS_PER_PIXEL * (double)(p->h * p->w * p->z);
    if (!plan_denoise(model, request, held, p, error))
        return false;
    if (!plan_decode(model, prepared + z, available, p, error))
        return false;
    plan_finish(request, prepared, p);
    if (p->start == request->steps)
        plan_unchanged(p);
    return true;
}

bool ldm_line_plan(LdmModel *model, const LdmRequest *request, const LdmRect *area,
                   uint64_t available, LdmLinePlan *p, GError **error)
{
    *p = (LdmLinePlan){0};
    if (!ldm_request_check(request, error) || !check_model(model, error) ||
        !lay_window(model, request, area, p, error))
        return false;
    size_t f = (size_t)model->info.downsampling;
    p->h = p->geometry.H / f;
    p->w = p->geometry.W / f;
    p->z = (size_t)model->info.latent_channels;
    p->guided = model->config.has_text && request->guidance != 1.0;
    p->masked = model->info.concat_inpainting;
    p->masked_bytes = p->masked ? floats(pixels_of(&p->geometry) * 3) : 0;
    p->concat_bytes = p->masked ? floats(p->h * p->w * (p->z + 1)) : 0;
    return check_latent(request, p, error) && plan_stages(model, request, available, p, error) &&
           plan_learn(model, request, p, error);
}

size_t ldm_line_plan_peak(const LdmLinePlan *plan)
{
    size_t peak = 0;
    for (int i = 0; i < LDM_N_STAGES; i++)
        peak = MAX(peak, plan->bytes[i]);
    return peak;
}

bool ldm_plan_fits(size_t bytes, uint64_t available, GError **error)
{
    if (bytes <= available) {
        ldm_room_make(bytes);
        return true;
    }
    g_autofree char *needed = g_format_size(bytes), *left = g_format_size(available);
    ldm_set_error(error, MEMORY,
                  _("this needs %s of memory and %s are free: choose a smaller size, or close "
                    "other programs"),
                  needed, left);
    return false;
}

bool ldm_line_plan_alone(LdmModel *model, const LdmRequest *request, const LdmRect *area,
                         uint64_t held, LdmPlan *plan, GError **error)
{
    LdmLinePlan line;
    LdmAdapters *adapters;
    uint64_t available = ldm_room_available();
    g_autoptr(GMutexLocker) lock = g_mutex_locker_new(&model->busy);
    if (!ldm_adapters_add(model, request, &adapters, error))
        return false;
    bool planned =
        ldm_line_plan(model, request, area, available - MIN(held, available), &line, error);
    ldm_adapters_free(adapters);
    if (!planned)
        return false;
    *plan = (LdmPlan){.weight_bytes = model->info.weight_bytes,
                      .work_bytes = ldm_line_plan_peak(&line),
                      .peak_bytes = peak_with_weights(model, request, &line),
                      .free_bytes = available,
                      .latent_width = (int)line.w,
                      .latent_height = (int)line.h};
    memcpy(plan->flops, line.flops, sizeof plan->flops);
    return true;
}

bool ldm_plan(LdmModel *model, const LdmRequest *request, LdmPlan *plan, GError **error)
{
    LdmRefine refine;
    LdmAreas areas;
    if (ldm_refine_split(model, request, &refine))
        return ldm_refine_plan(&refine, model, plan, error);
    if (ldm_areas_split(model, request, &areas))
        return ldm_areas_plan(&areas, model, request, plan, error);
    return ldm_line_plan_alone(model, request, NULL, 0, plan, error);
}
