/* The single stages, for the command line and for tests that drive one network at a time. Each
 * checks the shapes it is given, plans, refuses what does not fit, and runs. */
#include "base/error.h"
#include "base/rng.h"
#include "condition/condition.h"
#include "layers/room.h"
#include "pipeline/ahead.h"
#include "pipeline/plan.h"
#include "pipeline/progress.h"
#include "tensor/tensor.h"
#include "weights/coarse.h"

#include <math.h>

/* ---- checks ---- */

static bool is_f32(const LdmTensor *t, int rank)
{
    return t->dtype == LDM_F32 && t->rank == rank && ldm_tensor_count(t) > 0;
}

static bool set_shape_error(const char *what, const LdmTensor *found, GError **error,
                            const char *expected)
{
    g_autofree char *shape = ldm_shape_string(found->rank, found->shape);
    ldm_set_error(error, SHAPE, _("the %s is %s (channels last), expected %s"), what, shape,
                  expected);
    return false;
}

static bool check_nhwc(const char *what, const LdmTensor *t, int channels, GError **error)
{
    if (is_f32(t, 4) && t->shape[3] == (size_t)channels)
        return true;
    g_autofree char *expected = g_strdup_printf("[N, H, W, %d] f32", channels);
    return set_shape_error(what, t, error, expected);
}

/* ---- begin and end of a call ---- */

typedef struct {
    LdmModel *model;
    LdmMeter meter;
    double flops_before; /* of the pictures of a batch that are done */
    double flops_each;
} Call;

static void progress(double flops, void *data)
{
    Call *call = data;
    ldm_meter_flops(call->flops_before + flops, &call->meter);
}

static bool call_begin(Call *call, LdmStage stage, const LdmMonitor *monitor, size_t bytes,
                       GError **error)
{
    double flops[LDM_N_STAGES] = {0};
    flops[stage] = call->flops_each;
    if (!ldm_plan_fits(bytes, ldm_room_available(), error))
        return false;
    ldm_meter_begin(&call->meter, monitor, flops);
    ldm_meter_stage(&call->meter, stage);
    return true;
}

static LdmTensor *call_end(Call *call, LdmTensor *out)
{
    if (out != NULL)
        ldm_meter_end(&call->meter);
    g_mutex_unlock(&call->model->busy);
    return out;
}

/* ---- tau_theta ---- */

static LdmTensor *run_condition(Call *call, const char *prompt, const LdmMonitor *monitor,
                                GError **error)
{
    const LdmModel *model = call->model;
    size_t bytes;
    if (!model->config.has_text) {
        ldm_set_error(error, UNSUPPORTED, _("this model has no text encoder: it takes no prompt"));
        return NULL;
    }
    if (!ldm_condition_measure(model->text, &model->config.text, &bytes, &call->flops_each,
                               error) ||
        !call_begin(call, LDM_STAGE_CONDITION, monitor, bytes, error))
        return NULL;
    return ldm_condition_prompt(model->tokenizer, model->text, &model->config.text, prompt,
                                ldm_monitor_cancellable(monitor), error);
}

LdmTensor *ldm_condition(LdmModel *model, const char *prompt, const LdmMonitor *monitor,
                         GError **error)
{
    Call call = {.model = model};
    g_mutex_lock(&model->busy);
    return call_end(&call, run_condition(&call, prompt, monitor, error));
}

/* ---- E and D ---- */

/* Picture n of a batch, borrowed. */
static LdmTensor slice(const LdmTensor *batch, size_t n)
{
    LdmTensor one = *batch;
    one.shape[0] = 1;
    one.data = ldm_tensor_f32(batch) + n * (ldm_tensor_count(batch) / batch->shape[0]);
    return one;
}

/* Takes `made`, result n of `count`; the first one makes the batch. */
static bool store(LdmTensor **batch, size_t n, size_t count, LdmTensor *made, GError **error)
{
    g_autoptr(LdmTensor) one = made;
    if (one == NULL)
        return false;
    if (*batch == NULL)
        *batch = ldm_tensor_new_nhwc(count, one->shape[1], one->shape[2], one->shape[3], error);
    if (*batch == NULL)
        return false;
    LdmTensor place = slice(*batch, n);
    memcpy(place.data, one->data, ldm_tensor_count(one) * sizeof(float));
    return true;
}

/* As torch.randn([N, z, h, w]) of a generator seeded with `seed`. */
static LdmTensor *posterior_noise(int64_t seed, const size_t shape[4], GError **error)
{
    LdmRng rng;
    g_autoptr(LdmTensor) nchw = ldm_tensor_new(LDM_F32, 4, shape, error);
    LdmTensor *noise = nchw == NULL ? NULL : ldm_tensor_new(LDM_F32, 4, shape, error);
    if (noise == NULL)
        return NULL;
    ldm_rng_seed(&rng, (uint64_t)seed);
    ldm_rng_normal(&rng, ldm_tensor_f32(nchw), ldm_tensor_count(nchw));
    ldm_nchw_to_nhwc(ldm_tensor_f32(nchw), ldm_tensor_f32(noise), shape[0], shape[3], shape[1],
                     shape[2]);
    return noise;
}

static LdmTensor *run_encode(Call *call, const LdmTensor *x, int64_t seed,
                             const LdmMonitor *monitor, GError **error)
{
    const LdmVaeConfig *config = &call->model->config.vae;
    size_t f = ldm_vae_factor(config), N = x->shape[0], bytes;
    const size_t shape[4] = {N, x->shape[1] / f, x->shape[2] / f, (size_t)config->latent_channels};
    LdmEncode job = {.encoder = call->model->encoder,
                     .config = config,
                     .progress = progress,
                     .progress_data = call,
                     .cancellable = ldm_monitor_cancellable(monitor)};
    double flops;
    if (!ldm_encode_measure(&job, x->shape[1], x->shape[2], &bytes, &flops, error))
        return NULL;
    if (bytes > ldm_room_available()) {
        job.tile = LDM_TILE_CELLS;
        if (!ldm_encode_measure(&job, x->shape[1], x->shape[2], &bytes, &flops, error))
            return NULL;
    }
    call->flops_each = flops * (double)N;
    if (!call_begin(call, LDM_STAGE_ENCODE, monitor, bytes, error))
        return NULL;
    g_autoptr(LdmTensor) noise = seed >= 0 ? posterior_noise(seed, shape, error) : NULL;
    if (seed >= 0 && noise == NULL)
        return NULL;
    g_autoptr(LdmTensor) out = NULL;
    for (size_t n = 0; n < N; n++, call->flops_before += flops) {
        LdmTensor one = slice(x, n), own = noise == NULL ? (LdmTensor){0} : slice(noise, n);
        LdmTensor *z = ldm_encode_picture(&job, &one, noise == NULL ? NULL : &own, error);
        if (!store(&out, n, N, z, error))
            return NULL;
    }
    return g_steal_pointer(&out);
}

LdmTensor *ldm_encode(LdmModel *model, const LdmTensor *picture, int64_t seed,
                      const LdmMonitor *monitor, GError **error)
{
    Call call = {.model = model};
    size_t f = ldm_vae_factor(&model->config.vae);
    if (!check_nhwc("picture", picture, model->config.vae.in_channels, error))
        return NULL;
    if (picture->shape[1] % f != 0 || picture->shape[2] % f != 0) {
        ldm_set_error(error, SHAPE,
                      _("the picture is %zu×%zu pixels: both must be multiples of %zu"),
                      picture->shape[2], picture->shape[1], f);
        return NULL;
    }
    g_mutex_lock(&model->busy);
    return call_end(&call, run_encode(&call, picture, seed, monitor, error));
}

static LdmTensor *run_decode(Call *call, const LdmTensor *z, const LdmMonitor *monitor,
                             GError **error)
{
    size_t N = z->shape[0], bytes;
    LdmDecode job = {.decoder = call->model->decoder,
                     .config = &call->model->config.vae,
                     .progress = progress,
                     .progress_data = call,
                     .cancellable = ldm_monitor_cancellable(monitor)};
    double flops;
    if (!ldm_decode_measure(&job, z->shape[1], z->shape[2], &bytes, &flops, error))
        return NULL;
    if (bytes > ldm_room_available()) {
        job.tile = LDM_TILE_CELLS;
        if (!ldm_decode_measure(&job, z->shape[1], z->shape[2], &bytes, &flops, error))
            return NULL;
    }
    call->flops_each = flops * (double)N;
    if (!call_begin(call, LDM_STAGE_DECODE, monitor, bytes, error))
        return NULL;
    g_autoptr(LdmTensor) out = NULL;
    for (size_t n = 0; n < N; n++, call->flops_before += flops) {
        LdmTensor one = slice(z, n);
        if (!store(&out, n, N, ldm_decode_latent(&job, &one, error), error))
            return NULL;
    }
    return g_steal_pointer(&out);
}

LdmTensor *ldm_decode(LdmModel *model, const LdmTensor *latent, const LdmMonitor *monitor,
                      GError **error)
{
    Call call = {.model = model};
    if (!check_nhwc("latent", latent, model->config.vae.latent_channels, error))
        return NULL;
    g_mutex_lock(&model->busy);
    return call_end(&call, run_decode(&call, latent, monitor, error));
}

/* ---- epsilon_theta ---- */

typedef struct {
    const LdmUnet *unet;
    const LdmTensor *x, *context;
    const double *timesteps;
} Prediction;

static LdmTensor *predict(LdmPass *pass, const void *data)
{
    const Prediction *p = data;
    LdmTensor *x = ldm_pass_input(pass, p->x);
    LdmTensor *context = p->context == NULL ? NULL : ldm_pass_input(pass, p->context);
    LdmTensor *out = ldm_unet_forward(pass, p->unet, x, p->timesteps, context);
    ldm_pass_drop(pass, context);
    ldm_pass_drop(pass, x);
    return out;
}

/* [N, h, w, z] | [N, h, w, k] -> [N, h, w, z + k] */
static LdmTensor *join(const LdmTensor *latent, const LdmTensor *concat, GError **error)
{
    size_t a = latent->shape[3], b = concat == NULL ? 0 : concat->shape[3];
    LdmTensor *x =
        ldm_tensor_new_nhwc(latent->shape[0], latent->shape[1], latent->shape[2], a + b, error);
    for (size_t i = 0, n = ldm_tensor_count(latent) / a; x != NULL && i < n; i++) {
        float *to = ldm_tensor_f32(x) + i * (a + b);
        memcpy(to, ldm_tensor_f32(latent) + i * a, a * sizeof(float));
        if (b > 0)
            memcpy(to + a, ldm_tensor_f32(concat) + i * b, b * sizeof(float));
    }
    return x;
}

static bool check_prediction(const LdmModel *model, const LdmTensor *latent, double timestep,
                             const LdmTensor *context, const LdmTensor *concat, GError **error)
{
    int z = model->info.latent_channels, extra = model->config.unet.in_channels - z;
    int last = model->config.schedule.train_steps - 1;
    if (!ldm_model_check_denoiser(model, error))
        return false;
    if (!(timestep >= 0.0 && timestep <= last)) {
        ldm_set_error(error, INVALID, _("timestep must be a number from 0 to %d"), last);
        return false;
    }
    if (!check_nhwc("latent", latent, z, error))
        return false;
    if ((concat != NULL) != (extra > 0)) {
        ldm_set_error(error, SHAPE,
                      extra > 0 ? _("this model needs %d more channels (mask, masked latent): give "
                                    "them as concat")
                                : _("this model takes no concat channels (%d): leave them out"),
                      extra);
        return false;
    }
    if (concat != NULL &&
        (!check_nhwc("concat array", concat, extra, error) ||
         memcmp(concat->shape, latent->shape, 3 * sizeof latent->shape[0]) != 0)) {
        if (error != NULL && *error == NULL)
            set_shape_error("concat array", concat, error, "the latent's N, H and W");
        return false;
    }
    size_t width = (size_t)model->config.unet.context_width;
    if (width > 0 && context == NULL) {
        ldm_set_error(error, SHAPE, _("this model needs a context of width %zu"), width);
        return false;
    }
    if (context != NULL && (!is_f32(context, 3) || context->shape[2] != width ||
                            (context->shape[0] != 1 && context->shape[0] != latent->shape[0]))) {
        g_autofree char *expected = g_strdup_printf("[1 or N, tokens, %zu] f32", width);
        return set_shape_error("context", context, error, expected);
    }
    return true;
}

static LdmTensor *run_predict(Call *call, Prediction *p, const LdmMonitor *monitor, GError **error)
{
    size_t bytes;
    LdmParams *params = call->model->unet_params;
    GCancellable *cancellable = ldm_monitor_cancellable(monitor);
    g_autoptr(LdmAhead) ahead = ldm_ahead_begin(call->model, 1u << LDM_PART_UNET);
    if (!ldm_forward_measure(predict, p, &bytes, &call->flops_each, error) ||
        !call_begin(call, LDM_STAGE_DENOISE, monitor, bytes + ldm_coarse_bytes(params, false),
                    error) ||
        !ldm_model_hold_denoiser(call->model, false, cancellable, error))
        return NULL;
    g_autoptr(LdmTensor) out = ldm_forward_run(predict, p, progress, call, cancellable, error);
    ldm_params_drop_copies(params);
    if (out == NULL || !ldm_tensor_check_finite(out, "denoise", error))
        return NULL;
    return g_steal_pointer(&out);
}

LdmTensor *ldm_predict(LdmModel *model, const LdmTensor *latent, double timestep,
                       const LdmTensor *context, const LdmTensor *concat, const LdmMonitor *monitor,
                       GError **error)
{
    Call call = {.model = model};
    if (!check_prediction(model, latent, timestep, context, concat, error))
        return NULL;
    g_autoptr(LdmTensor) x = join(latent, concat, error);
    if (x == NULL)
        return NULL;
    g_autofree double *timesteps = g_new(double, latent->shape[0]);
    for (size_t n = 0; n < latent->shape[0]; n++)
        timesteps[n] = timestep;
    Prediction p = {model->unet, x, context, timesteps};
    g_mutex_lock(&model->busy);
    return call_end(&call, run_predict(&call, &p, monitor, error));
}
