/* L_LDM. In: a batch of noisy latents, timesteps and captions. Out: the mean squared error of what
 * the denoiser predicts, and its gradient added to every trained parameter. */
#include "train/loss-ldm.h"

#include "base/checked.h"
#include "base/error.h"
#include "layers/tape.h"
#include "tensor/tensor.h"

#include <math.h>
#include <string.h>

/* ---- batches ---- */

bool ldm_batch_init(LdmBatch *batch, const LdmModel *model, size_t N, size_t h, size_t w,
                    GError **error)
{
    const LdmModelConfig *config = &model->config;

    *batch = (LdmBatch){
        .N = N,
        .x = ldm_tensor_new_nhwc(N, h, w, (size_t)config->unet.in_channels, error),
        .timesteps = g_new0(double, N),
        .weights = g_new0(double, N),
        .ids = config->has_text ? g_new0(int32_t, N *(size_t)config->text.tokens) : NULL,
    };
    if (batch->x != NULL)
        batch->known = ldm_aligned_alloc0(N * h * w, sizeof(float), _("the batch"), error);
    if (batch->known != NULL)
        batch->target = ldm_tensor_new_nhwc(N, h, w, (size_t)config->unet.out_channels, error);
    return batch->target != NULL;
}

void ldm_batch_clear(LdmBatch *batch)
{
    g_clear_pointer(&batch->x, ldm_tensor_free);
    g_clear_pointer(&batch->target, ldm_tensor_free);
    g_clear_pointer(&batch->timesteps, g_free);
    g_clear_pointer(&batch->weights, g_free);
    g_clear_pointer(&batch->known, ldm_aligned_free);
    g_clear_pointer(&batch->ids, g_free);
}

void ldm_batch_reshape(LdmBatch *batch, size_t h, size_t w)
{
    LdmTensor *arrays[] = {batch->x, batch->target};

    for (size_t i = 0; i < 2; i++) {
        arrays[i]->shape[1] = h;
        arrays[i]->shape[2] = w;
    }
}

int ldm_timestep_draw(double u, double shift, int steps)
{
    return MIN((int)(shift * u / (1.0 + (shift - 1.0) * u) * steps), steps - 1);
}

/* What makes every timestep count as if its signal-to-noise ratio were at most gamma. */
static double weight_of(LdmPrediction prediction, double alpha_bar, double gamma)
{
    double snr = alpha_bar / (1.0 - alpha_bar);

    if (gamma <= 0.0)
        return 1.0;
    switch (prediction) {
    case LDM_PREDICTION_EPSILON: return snr > gamma ? gamma / snr : 1.0;
    case LDM_PREDICTION_V: return MIN(snr, gamma) / (snr + 1.0);
    case LDM_PREDICTION_SAMPLE: break;
    }
    return MIN(snr, gamma);
}

/* What the cells' errors are multiplied by. Returns what makes the loss a mean over weights. */
static double weigh_cells(const LdmSample *sample, size_t cells, size_t step, double hole_focus,
                          float *known)
{
    float kept = (float)sqrt(1.0 - hole_focus);
    double sum = 0.0;

    for (size_t i = 0; i < cells; i++) {
        bool is_kept = sample->hole != NULL && sample->hole[i * step] == 0.0f;
        known[i] = (sample->known != NULL ? sample->known[i] : 1.0f) * (is_kept ? kept : 1.0f);
        sum += (double)known[i] * known[i];
    }
    return hole_focus > 0.0 && sum > 0.0 ? (double)cells / sum : 1.0;
}

void ldm_batch_set(LdmBatch *batch, size_t n, const LdmModel *model, const LdmLossOptions *options,
                   const LdmSample *sample)
{
    LdmPrediction prediction = model->config.schedule.prediction;
    size_t cells = batch->x->shape[1] * batch->x->shape[2], z = batch->target->shape[3];
    size_t in = batch->x->shape[3];
    float *x = ldm_tensor_f32(batch->x) + n * cells * in;
    float *target = ldm_tensor_f32(batch->target) + n * cells * z;
    float signal = (float)sqrt(sample->alpha_bar), spread = (float)sqrt(1.0 - sample->alpha_bar);

    for (size_t i = 0; i < cells; i++) {
        for (size_t c = 0; c < z; c++) {
            float z0 = sample->z0[i * z + c], noise = sample->noise[i * z + c];
            x[i * in + c] = signal * z0 + spread * noise;
            target[i * z + c] = prediction == LDM_PREDICTION_EPSILON ? noise
                                : prediction == LDM_PREDICTION_V     ? signal * noise - spread * z0
                                                                     : z0;
        }
        if (sample->hole != NULL)
            memcpy(x + i * in + z, sample->hole + i * (in - z), (in - z) * sizeof(float));
    }
    batch->timesteps[n] = sample->timestep;
    batch->weights[n] =
        weight_of(prediction, sample->alpha_bar, options->snr_gamma) *
        weigh_cells(sample, cells, in - z, options->hole_focus, batch->known + n * cells);
    batch->multiscale = options->multiscale;
}

/* ---- there and back ---- */

struct LdmLoss {
    const LdmModel *model;
    LdmPass *pass;
    LdmTensor *d_y; /* d(loss)/dy, [N, h, w, z] */
};

/* One sample's error e = known * (y - target), [h, w, z], and where its gradient goes. */
typedef struct {
    size_t h, w, z;
    const float *y, *target, *known;
    float *d;
} Error;

static double error_at(const Error *e, size_t cell, size_t c)
{
    size_t i = cell * e->z + c;

    return e->known[cell] * ((double)e->y[i] - e->target[i]);
}

/* One channel of a block of cells: adds scale * 2 m to the gradient of each, m their mean error.
 * Returns cells * m^2. */
static double block_error(const Error *e, const size_t rows[2], const size_t columns[2], size_t c,
                          double scale)
{
    double cells = (double)((rows[1] - rows[0]) * (columns[1] - columns[0])), mean = 0.0;

    for (size_t y = rows[0]; y < rows[1]; y++)
        for (size_t x = columns[0]; x < columns[1]; x++)
            mean += error_at(e, y * e->w + x, c) / cells;
    for (size_t y = rows[0]; y < rows[1]; y++)
        for (size_t x = columns[0]; x < columns[1]; x++) {
            size_t cell = y * e->w + x;
            e->d[cell * e->z + c] += (float)(2.0 * scale * e->known[cell] * mean);
        }
    return cells * mean * mean;
}

/* scale * the sum over cells of (e averaged over blocks of side x side)^2, and its gradient added;
 * blocks at the edges are of the cells that are there. */
static double scale_error(const Error *e, size_t side, double scale)
{
    double sum = 0.0;

    for (size_t y = 0; y < e->h; y += side)
        for (size_t x = 0; x < e->w; x += side)
            for (size_t c = 0; c < e->z; c++)
                sum += block_error(e, (const size_t[]){y, MIN(y + side, e->h)},
                                   (const size_t[]){x, MIN(x + side, e->w)}, c, scale);
    return scale * sum;
}

/* sum over samples of weight * (mean e^2 + the coarse scales' part), over N; and its gradient. */
static double square_error(const LdmBatch *batch, const LdmTensor *y, double scale, LdmTensor *d_y)
{
    size_t h = y->shape[1], w = y->shape[2], z = y->shape[3], each = h * w * z;
    double total = 0.0;

    for (size_t n = 0; n < batch->N; n++) {
        const Error e = {h,
                         w,
                         z,
                         ldm_tensor_f32(y) + n * each,
                         ldm_tensor_f32(batch->target) + n * each,
                         batch->known + n * h * w,
                         ldm_tensor_f32(d_y) + n * each};
        double share = scale * batch->weights[n] / ((double)batch->N * (double)each);
        memset(e.d, 0, each * sizeof *e.d);
        total += scale_error(&e, 1, share);
        for (size_t s = 2; batch->multiscale > 0.0 && s / 2 < MAX(h, w); s *= 2)
            total += scale_error(&e, s, share * batch->multiscale * (double)s);
    }
    return total;
}

/* Data of `d_y` NULL: planning. */
static void run(LdmPass *pass, const LdmModel *model, const LdmBatch *batch, double scale,
                double *value, LdmTensor *d_y)
{
    LdmTensor *context = NULL;

    if (model->text != NULL)
        context = ldm_clip_text_forward(pass, model->text, batch->ids, batch->N);
    LdmTensor *x = ldm_pass_input(pass, batch->x);
    LdmTensor *y = ldm_unet_forward(pass, model->unet, x, batch->timesteps, context);
    ldm_pass_drop(pass, x);
    ldm_pass_drop(pass, context);
    if (y->data != NULL)
        *value += square_error(batch, y, scale, d_y);
    ldm_pass_seed(pass, y, d_y);
    ldm_pass_drop(pass, y);
    ldm_pass_backward(pass);
}

/* Planned and computed alike. */
static void prepare_pass(LdmPass *pass, const LdmBatch *batch)
{
    ldm_pass_record(pass);
    ldm_pass_set_bf16(pass, batch->bf16);
    ldm_pass_set_checkpoints(pass, batch->checkpointing);
}

bool ldm_loss_measure(const LdmModel *model, const LdmBatch *batch, size_t *bytes, double *flops,
                      GError **error)
{
    g_autoptr(LdmPass) pass = ldm_pass_new_plan();
    LdmTensor d_y = *batch->target;
    double value = 0.0;

    d_y.data = NULL;
    prepare_pass(pass, batch);
    run(pass, model, batch, 1.0, &value, &d_y);
    *bytes = ldm_pass_peak(pass);
    *flops = ldm_pass_flops(pass);
    return ldm_pass_end(pass, error);
}

LdmLoss *ldm_loss_new(const LdmModel *model, const LdmBatch *batch, size_t bytes,
                      GCancellable *cancellable, GError **error)
{
    g_autoptr(LdmLoss) loss = g_new0(LdmLoss, 1);
    const size_t *s = batch->target->shape;
    size_t own;
    double flops;

    if (model->text == NULL && model->config.unet.context_width > 0) {
        ldm_set_error(error, UNSUPPORTED,
                      _("this model's denoiser takes text, but it has no text encoder: it cannot "
                        "be trained"));
        return NULL;
    }
    loss->model = model;
    if (!ldm_loss_measure(model, batch, &own, &flops, error) ||
        (loss->pass = ldm_pass_new_compute(MAX(own, bytes), cancellable, error)) == NULL ||
        (loss->d_y = ldm_tensor_new_nhwc(s[0], s[1], s[2], s[3], error)) == NULL)
        return NULL;
    prepare_pass(loss->pass, batch);
    return g_steal_pointer(&loss);
}

void ldm_loss_free(LdmLoss *loss)
{
    if (loss == NULL)
        return;
    ldm_pass_free(loss->pass);
    ldm_tensor_free(loss->d_y);
    g_free(loss);
}

bool ldm_loss_backward(LdmLoss *loss, const LdmBatch *batch, double scale, double *value,
                       GError **error)
{
    for (int i = 1; i < 3; i++) /* the batch at hand may be of another shape */
        loss->d_y->shape[i] = batch->target->shape[i];
    run(loss->pass, loss->model, batch, scale, value, loss->d_y);
    bool done = ldm_pass_end(loss->pass, error);
    ldm_pass_reset(loss->pass);
    return done;
}
