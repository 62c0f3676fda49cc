/* The first stage's losses. In: pictures and noise. Out: the terms, and gradients added to every
 * trained parameter of encoder, decoder and discriminator. Two passes: the autoencoder's, which
 * waits with its reconstruction while the discriminator's tells the gradient of L_GAN by it. */
#include "train/loss-autoencoder.h"

#include "base/error.h"
#include "kernels/kernels.h"
#include "layers/haar.h"
#include "layers/posterior.h"
#include "layers/resize.h"
#include "layers/tape.h"
#include "tensor/tensor.h"
#include "train/reconstruction.h"

#include <math.h>
#include <string.h>

#define ADAPTIVE_FLOOR 1e-4 /* of the reference */
#define ADAPTIVE_MOST  1e4

struct LdmAutoencoderLoss {
    LdmAutoencoderTask task;
    LdmPass *pass, *judge; /* judge: of the discriminator, or NULL */
    LdmPyramid *pyramid;
    LdmTexture *texture;  /* NULL: not in the loss */
    LdmTensor *d_y;       /* dL/dx', [N, H, W, 3] */
    LdmTensor *small;     /* x made smaller, or NULL */
    LdmTensor *d_moments; /* dL_reg/d(mean | logvar), [N, h, w, 2z]; VQ: /dz or /de, [N, h, w, z] */
    LdmTensor *d_logits;  /* [N, h', w', 1] or NULL */
};

/* One call. Planning: numbers are not looked at. */
typedef struct {
    LdmAutoencoderLoss *loss;
    const LdmAutoencoderBatch *batch;
    LdmTensor x, d_y;          /* what x' should be, dL/dx', in the size of x' */
    LdmAutoencoderTerms terms; /* unscaled */
} Call;

/* ---- terms ---- */

/* L_rec, and its gradient into d_y. */
static double reconstruct(const Call *call, const LdmTensor *y)
{
    const LdmAutoencoderWeights *w = &call->loss->task.weights;
    const LdmReconstruction weights = {w->l1, w->l2, w->perceptual, w->texture};

    return ldm_reconstruction(&weights, call->loss->pyramid, call->loss->texture, y, &call->x,
                              ldm_tensor_f32(&call->d_y));
}

/* KL(q || N(0, 1)) = sum (mean^2 + exp(logvar) - 1 - logvar) / 2: the sum over the batch; kl times
 * its share of L goes into d_moments. */
static double divergence(const Call *call, const LdmTensor *moments)
{
    const LdmAutoencoderTask *task = &call->loss->task;
    size_t z = moments->shape[3] / 2, n = ldm_tensor_count(moments) / 2;
    double share =
        call->batch->scale * task->weights.kl / (double)(task->N * task->H * task->W * 3);
    float *d = call->loss->d_moments->data;
    double sum = 0.0;

    for (size_t i = 0; i < n; i++) {
        size_t at = i / z * 2 * z + i % z;
        float mean = ((const float *)moments->data)[at];
        float raw = ((const float *)moments->data)[at + z];
        double logvar = CLAMP(raw, LDM_LOGVAR_MIN, LDM_LOGVAR_MAX), variance = exp(logvar);
        bool inside = raw >= LDM_LOGVAR_MIN && raw <= LDM_LOGVAR_MAX;
        sum += 0.5 * ((double)mean * mean + variance - 1.0 - logvar);
        d[at] = (float)(share * mean);
        d[at + z] = inside ? (float)(share * 0.5 * (variance - 1.0)) : 0.0f;
    }
    return sum;
}

/* z from the posterior; *share gets the KL's share of L. */
static LdmTensor *sample(Call *call, LdmTensor *moments, double *share)
{
    LdmAutoencoderLoss *loss = call->loss;
    double kl = moments->data != NULL ? divergence(call, moments) : 0.0;

    call->terms.regulariser = kl / ((double)ldm_tensor_count(moments) / 2.0);
    *share = loss->task.weights.kl * kl / (double)ldm_tensor_count(call->batch->x);
    ldm_pass_seed(loss->pass, moments, loss->d_moments);
    return ldm_posterior_forward(loss->pass, moments,
                                 ldm_pass_input(loss->pass, call->batch->noise));
}

/* mean |a - b|^2; `weight` times its gradient by a is a's from now on. */
static double pull(const Call *call, LdmTensor *a, const LdmTensor *b, double weight)
{
    LdmTensor *d = call->loss->d_moments;
    size_t n = ldm_tensor_count(a);
    double share = 2.0 * weight * call->batch->scale / (double)n, sum = 0.0;

    for (size_t i = 0; a->data != NULL && b->data != NULL && i < n; i++) {
        double distance = (double)((const float *)a->data)[i] - ((const float *)b->data)[i];
        sum += distance * distance;
        ldm_tensor_f32(d)[i] = (float)(share * distance);
    }
    ldm_pass_seed(call->loss->pass, a, d);
    return sum / (double)n;
}

/* Exp of the entropy of how often each entry occurs. */
static double perplexity(const int32_t *codes, size_t n, size_t entries)
{
    g_autofree size_t *counts = g_new0(size_t, entries);
    double entropy = 0.0;

    for (size_t i = 0; i < n; i++)
        counts[codes[i]]++;
    for (size_t k = 0; k < entries; k++) {
        double share = (double)counts[k] / (double)n;
        entropy -= counts[k] > 0 ? share * log(share) : 0.0;
    }
    return exp(entropy);
}

/* Entries of the codebook in place of z; *share gets the share of both distances in L. */
static LdmTensor *quantise(Call *call, LdmTensor *z, double *share)
{
    const LdmAutoencoderWeights *w = &call->loss->task.weights;
    const LdmQuantise *codebook = ldm_vae_decoder_codebook(call->loss->task.model->decoder);
    LdmPass *pass = call->loss->pass;
    LdmTensor *codes, *e = ldm_quantise_forward(pass, codebook, ldm_pass_keep(pass, z), &codes);
    double distance = pull(call, z, e, w->codebook * w->commitment);

    pull(call, e, z, w->codebook);
    call->terms.regulariser = (1.0 + w->commitment) * distance;
    *share = w->codebook * call->terms.regulariser;
    if (ldm_tape_computes(pass))
        call->terms.perplexity =
            perplexity(codes->data, ldm_tensor_count(z) / codebook->width, codebook->entries);
    ldm_pass_drop(pass, codes);
    return ldm_straight_through_forward(pass, z, e);
}

/* ---- the discriminator ---- */

/* Forward, the logits' gradient by `judge_logits`, backward. The gradient of x stays until the
 * pass is reset where `wanted`. */
typedef double LogitsLoss(const LdmTensor *logits, double scale, float *d);

static const LdmTensor *judge(Call *call, const LdmTensor *picture, LogitsLoss *logits_loss,
                              double scale, double *value, bool wanted)
{
    LdmAutoencoderLoss *loss = call->loss;
    LdmPass *pass = loss->judge;
    LdmTensor *x = ldm_pass_input(pass, picture);

    if (wanted)
        ldm_pass_want_gradient(pass, x);
    LdmTensor *logits = ldm_discriminator_forward(pass, loss->task.discriminator, x);
    LdmTensor d = *logits;
    d.data = loss->d_logits->data;
    if (logits->data != NULL)
        *value += logits_loss(logits, scale, ldm_tensor_f32(&d));
    ldm_pass_seed(pass, logits, &d);
    ldm_pass_drop(pass, logits);
    ldm_pass_backward(pass);
    const LdmTensor *gradient = wanted ? ldm_pass_gradient(pass, x) : NULL;
    ldm_pass_drop(pass, x);
    return gradient;
}

/* -mean D(x') */
static double generator_loss(const LdmTensor *logits, double scale, float *d)
{
    size_t n = ldm_tensor_count(logits);
    double sum = 0.0;

    for (size_t i = 0; i < n; i++) {
        sum -= ldm_tensor_f32(logits)[i];
        d[i] = (float)(-scale / (double)n);
    }
    return sum / (double)n;
}

/* mean max(0, 1 - sign D) / 2. NaN stays NaN. */
static double hinge(const LdmTensor *logits, double scale, float sign, float *d)
{
    size_t n = ldm_tensor_count(logits);
    double sum = 0.0;

    for (size_t i = 0; i < n; i++) {
        float margin = 1.0f - sign * ldm_tensor_f32(logits)[i];
        bool none = margin <= 0.0f;
        sum += none ? 0.0 : 0.5 * margin;
        d[i] = none ? 0.0f : (float)(-0.5 * scale * sign / (double)n);
    }
    return sum / (double)n;
}

static double real_loss(const LdmTensor *logits, double scale, float *d)
{
    return hinge(logits, scale, 1.0f, d);
}

static double fake_loss(const LdmTensor *logits, double scale, float *d)
{
    return hinge(logits, scale, -1.0f, d);
}

static bool judge_end(Call *call, LdmPass *pass)
{
    GError *error = NULL;
    bool good = ldm_pass_end(call->loss->judge, &error);

    ldm_pass_reset(call->loss->judge);
    if (!good)
        ldm_pass_fail(pass, error);
    return good;
}

/* ---- the autoencoder ---- */

/* 2-norm of the gradient of the last layer's weights where dL/dx' is d_y, by all ranks' batches. */
static double last_length(const Call *call, const LdmModel *model, const LdmTensor *h,
                          const LdmTensor *d_y)
{
    LdmPass *pass = call->loss->pass;
    LdmRanks *ranks = call->loss->task.ranks;
    const LdmConv2d *last = ldm_vae_decoder_last(model->decoder);
    bool haar = model->config.vae.haar_stem;
    size_t floats = last->in * last->out * last->kernel * last->kernel;
    LdmConv conv = ldm_conv2d_kernel(last, h);
    LdmTensor *weights = ldm_pass_scratch(pass, floats * sizeof(float));
    LdmTensor *scratch = ldm_pass_scratch(pass, ldm_conv_backward_weights_scratch(&conv));
    LdmTensor *bands = ldm_pass_scratch(pass, haar ? ldm_tensor_count(d_y) * sizeof(float) : 0);
    double squares = 0.0;
    GError *error = NULL;

    if (ldm_tape_computes(pass)) {
        LdmConvBackward back = {.conv = &conv,
                                .dy = haar ? bands->data : d_y->data,
                                .d = weights->data,
                                .scratch = scratch->data};
        if (haar)
            ldm_haar_split(d_y, bands->data);
        memset(weights->data, 0, floats * sizeof(float));
        ldm_pass_check(pass, ldm_conv_backward_weights(&back, ldm_pass_cancellable(pass)));
        if (!ldm_ranks_sum(ranks, back.d, floats, &error))
            ldm_pass_fail(pass, error);
        for (size_t i = 0; i < floats; i++)
            squares += (double)back.d[i] * back.d[i];
    }
    ldm_pass_drop(pass, bands);
    ldm_pass_drop(pass, scratch);
    ldm_pass_drop(pass, weights);
    return sqrt(squares) / ldm_ranks_count(ranks);
}

/* Adds lambda dL_GAN/dx' to d_y. Planning: counts. */
static void add_generator(Call *call, const LdmTensor *h, const LdmTensor *y)
{
    LdmAutoencoderLoss *loss = call->loss;
    const LdmModel *model = loss->task.model;
    LdmAutoencoderTerms *terms = &call->terms;

    ldm_params_set_trained(loss->task.discriminator_params, false);
    const LdmTensor *d = judge(call, y, generator_loss, 1.0, &terms->generator, true);
    ldm_params_set_trained(loss->task.discriminator_params, true);
    if (d == NULL)
        return; /* failed or cancelled */
    double rec = last_length(call, model, h, &call->d_y);
    double gan = last_length(call, model, h, d);
    if (d->data != NULL) {
        double ratio = rec / (gan + ADAPTIVE_FLOOR);
        terms->adaptive = loss->task.weights.adversarial * CLAMP(ratio, 0.0, ADAPTIVE_MOST);
        for (size_t i = 0; i < ldm_tensor_count(d); i++)
            ldm_tensor_f32(&call->d_y)[i] += (float)terms->adaptive * ((const float *)d->data)[i];
    }
}

/* mean |a - b|; weight times its gradient by a is a's from now on. NaN stays NaN in both. */
static double match(LdmPass *pass, LdmTensor *a, const LdmTensor *b, double weight)
{
    LdmTensor *d = ldm_pass_like(pass, a, a->shape[3]);
    size_t n = ldm_tensor_count(a);
    double sum = 0.0;

    for (size_t i = 0; ldm_tape_computes(pass) && i < n; i++) {
        double distance = (double)((const float *)a->data)[i] - ((const float *)b->data)[i];
        double sign = distance > 0.0 ? 1.0 : distance < 0.0 ? -1.0 : distance;
        sum += fabs(distance);
        ldm_tensor_f32(d)[i] = (float)(weight * sign / (double)n);
    }
    ldm_pass_seed(pass, a, d);
    ldm_pass_drop(pass, d);
    return sum / (double)n;
}

/* Adds matching dL_FM/dx' to d_y. Planning: counts. */
static void add_matching(Call *call, const LdmTensor *y)
{
    LdmAutoencoderLoss *loss = call->loss;
    const LdmDiscriminator *discriminator = loss->task.discriminator;
    LdmPass *pass = loss->judge;
    LdmTensor *wanted[LDM_DISCRIMINATOR_LAYERS + 1], *made[LDM_DISCRIMINATOR_LAYERS + 1];
    LdmTensor *x = ldm_pass_input(pass, &call->x), *own = ldm_pass_input(pass, y);

    ldm_params_set_trained(loss->task.discriminator_params, false);
    ldm_discriminator_features(pass, discriminator, x, wanted);
    ldm_pass_want_gradient(pass, own);
    size_t layers = ldm_discriminator_features(pass, discriminator, own, made);
    for (size_t i = 0; i < layers; i++) {
        call->terms.matching += match(pass, made[i], wanted[i], loss->task.weights.matching);
        ldm_pass_drop(pass, made[i]);
        ldm_pass_drop(pass, wanted[i]);
    }
    ldm_pass_backward(pass);
    ldm_params_set_trained(loss->task.discriminator_params, true);
    const LdmTensor *d = ldm_pass_gradient(pass, own);
    for (size_t i = 0; d != NULL && d->data != NULL && i < ldm_tensor_count(d); i++)
        ldm_tensor_f32(&call->d_y)[i] += ((const float *)d->data)[i];
    ldm_pass_drop(pass, own);
    ldm_pass_drop(pass, x);
}

/* The discriminator's part of a step: d_y gets the generator's, its own parameters theirs. */
static void oppose(Call *call, const LdmTensor *h, const LdmTensor *y)
{
    double scale = call->batch->scale;

    if (y->data == NULL && ldm_pass_computes(call->loss->pass))
        return; /* failed or cancelled */
    add_generator(call, h, y);
    if (!judge_end(call, call->loss->pass))
        return;
    if (call->loss->task.weights.matching > 0.0) {
        add_matching(call, y);
        if (!judge_end(call, call->loss->pass))
            return;
    }
    judge(call, &call->x, real_loss, scale, &call->terms.discriminator, false);
    if (!judge_end(call, call->loss->pass))
        return;
    judge(call, y, fake_loss, scale, &call->terms.discriminator, false);
    judge_end(call, call->loss->pass);
}

static void scale_gradient(LdmTensor *d, double scale)
{
    for (size_t i = 0; scale != 1.0 && i < ldm_tensor_count(d); i++)
        ldm_tensor_f32(d)[i] *= (float)scale;
}

/* z and x in the size that the pass is to have. */
static LdmTensor *rescale(Call *call, LdmTensor *z)
{
    const LdmAutoencoderLoss *loss = call->loss;
    const LdmTensor *x = call->batch->x;
    size_t cells = call->batch->cells, f = ldm_vae_factor(&loss->task.model->config.vae);

    call->x = *x;
    call->d_y = *loss->d_y;
    if (cells > 0) {
        z = ldm_resize_forward(loss->pass, z, cells, cells);
        call->x.data = loss->small->data;
        for (int i = 1; i <= 2; i++)
            call->x.shape[i] = call->d_y.shape[i] = cells * f;
        if (ldm_tape_computes(loss->pass))
            ldm_resize(x, &call->x);
    }
    if (loss->pyramid != NULL)
        ldm_pyramid_reshape(loss->pyramid, call->x.shape[1], call->x.shape[2]);
    if (loss->texture != NULL)
        ldm_texture_reshape(loss->texture, call->x.shape[1], call->x.shape[2]);
    return z;
}

static void run(Call *call)
{
    LdmAutoencoderLoss *loss = call->loss;
    const LdmModel *model = loss->task.model;
    LdmPass *pass = loss->pass;
    LdmAutoencoderTerms *terms = &call->terms;
    bool vq = model->config.vae.regulariser == LDM_REGULARISER_VQ;
    double share;

    LdmTensor *x = ldm_pass_input(pass, call->batch->x);
    LdmTensor *moments = ldm_vae_encoder_forward(pass, model->encoder, x);
    ldm_pass_drop(pass, x);
    LdmTensor *z = rescale(call, (vq ? quantise : sample)(call, moments, &share));
    LdmTensor *h = ldm_vae_decoder_features(pass, model->decoder, z);
    LdmTensor *y = ldm_vae_decoder_picture(pass, model->decoder, ldm_pass_keep(pass, h), z);
    ldm_pass_drop(pass, z);
    if (y->data != NULL)
        terms->reconstruction = reconstruct(call, y);
    if (call->batch->adversarial)
        oppose(call, h, y);
    if (y->data != NULL)
        scale_gradient(&call->d_y, call->batch->scale);
    ldm_pass_drop(pass, h);
    ldm_pass_seed(pass, y, &call->d_y);
    ldm_pass_drop(pass, y);
    ldm_pass_backward(pass);
    terms->loss = terms->reconstruction + share + terms->adaptive * terms->generator +
                  loss->task.weights.matching * terms->matching;
}

/* ---- planning ---- */

/* Shapes without numbers. */
static LdmTensor shape_of(size_t n, size_t h, size_t w, size_t c)
{
    return (LdmTensor){.dtype = LDM_F32, .rank = 4, .shape = {n, h, w, c}};
}

typedef struct {
    LdmTensor x, noise, d_moments, d_logits;
    size_t bytes, judge_bytes;
} Plan;

/* Planned and computed alike. */
static void prepare_pass(LdmPass *pass, const LdmAutoencoderTask *task)
{
    ldm_pass_record(pass);
    ldm_pass_set_bf16(pass, task->bf16);
    ldm_pass_set_checkpoints(pass, task->checkpointing);
}

/* What passes over latents made smaller to `cells`, or 0, take. */
static bool plan_pass(const LdmAutoencoderTask *task, size_t cells, Plan *plan, GError **error)
{
    g_autoptr(LdmPass) pass = ldm_pass_new_plan();
    g_autoptr(LdmPass) judge_pass = ldm_pass_new_plan();

    prepare_pass(pass, task);
    prepare_pass(judge_pass, task);
    if (task->discriminator != NULL && cells == 0) {
        LdmTensor *x = ldm_pass_input(judge_pass, &plan->x);
        plan->d_logits = *ldm_discriminator_forward(judge_pass, task->discriminator, x);
        ldm_pass_reset(judge_pass);
    }
    LdmAutoencoderLoss loss = {.task = *task,
                               .pass = pass,
                               .judge = judge_pass,
                               .d_y = &plan->x,
                               .small = &plan->x,
                               .d_moments = &plan->d_moments,
                               .d_logits = &plan->d_logits};
    const LdmAutoencoderBatch batch = {.x = &plan->x,
                                       .noise = &plan->noise,
                                       .adversarial = task->discriminator != NULL,
                                       .cells = cells};
    run(&(Call){.loss = &loss, .batch = &batch});
    plan->bytes = MAX(plan->bytes, ldm_pass_peak(pass));
    plan->judge_bytes = MAX(plan->judge_bytes, ldm_pass_peak(judge_pass));
    return ldm_pass_end(pass, error);
}

static bool plan(const LdmAutoencoderTask *task, Plan *plan, GError **error)
{
    const LdmVaeConfig *vae = &task->model->config.vae;
    size_t f = ldm_vae_factor(vae), h = task->H / f, w = task->W / f;

    plan->x = shape_of(task->N, task->H, task->W, 3);
    plan->noise = shape_of(task->N, h, w, (size_t)vae->latent_channels);
    plan->d_moments = shape_of(task->N, h, w, ldm_vae_moments(vae));
    if (!plan_pass(task, 0, plan, error))
        return false;
    for (size_t n = ldm_autoencoder_loss_cells(task); task->rescales && n < h; n++)
        if (!plan_pass(task, n, plan, error))
            return false;
    return true;
}

size_t ldm_autoencoder_loss_cells(const LdmAutoencoderTask *task)
{
    size_t f = ldm_vae_factor(&task->model->config.vae), cells = MIN(task->H, task->W) / f;
    size_t judged = task->discriminator != NULL
                        ? (ldm_discriminator_least(task->discriminator) + f - 1) / f
                        : 1;

    return MAX((cells + 3) / 4, judged);
}

bool ldm_autoencoder_loss_measure(const LdmAutoencoderTask *task, size_t *bytes, GError **error)
{
    Plan p = {0};

    if (!plan(task, &p, error))
        return false;
    *bytes =
        p.bytes + p.judge_bytes + ldm_pyramid_bytes(task->N, task->H, task->W, 3) +
        (task->weights.texture > 0.0 ? ldm_texture_bytes(task->N, task->H, task->W, 3) : 0) +
        ((task->rescales ? 3 : 2) * ldm_tensor_count(&p.x) + 3 * ldm_tensor_count(&p.d_moments)) *
            sizeof(float);
    return true;
}

static LdmTensor *array_like(const LdmTensor *shape, GError **error)
{
    const size_t *s = shape->shape;

    return ldm_tensor_new_nhwc(s[0], s[1], s[2], s[3], error);
}

LdmAutoencoderLoss *ldm_autoencoder_loss_new(const LdmAutoencoderTask *task,
                                             GCancellable *cancellable, GError **error)
{
    g_autoptr(LdmAutoencoderLoss) loss = g_new0(LdmAutoencoderLoss, 1);
    Plan p = {0};

    loss->task = *task;
    if (!plan(task, &p, error) ||
        (loss->pass = ldm_pass_new_compute(p.bytes, cancellable, error)) == NULL ||
        (loss->d_y = array_like(&p.x, error)) == NULL ||
        (task->rescales && (loss->small = array_like(&p.x, error)) == NULL) ||
        (loss->d_moments = array_like(&p.d_moments, error)) == NULL ||
        (loss->pyramid = ldm_pyramid_new(task->N, task->H, task->W, 3, error)) == NULL ||
        (task->weights.texture > 0.0 &&
         (loss->texture = ldm_texture_new(task->N, task->H, task->W, 3, error)) == NULL))
        return NULL;
    prepare_pass(loss->pass, task);
    if (task->discriminator == NULL)
        return g_steal_pointer(&loss);
    loss->judge = ldm_pass_new_compute(p.judge_bytes, cancellable, error);
    if (loss->judge == NULL || (loss->d_logits = array_like(&p.d_logits, error)) == NULL)
        return NULL;
    prepare_pass(loss->judge, task);
    return g_steal_pointer(&loss);
}

void ldm_autoencoder_loss_free(LdmAutoencoderLoss *loss)
{
    if (loss == NULL)
        return;
    ldm_pass_free(loss->pass);
    ldm_pass_free(loss->judge);
    ldm_pyramid_free(loss->pyramid);
    ldm_texture_free(loss->texture);
    ldm_tensor_free(loss->d_y);
    ldm_tensor_free(loss->small);
    ldm_tensor_free(loss->d_moments);
    ldm_tensor_free(loss->d_logits);
    g_free(loss);
}

bool ldm_autoencoder_loss_backward(LdmAutoencoderLoss *loss, const LdmAutoencoderBatch *batch,
                                   LdmAutoencoderTerms *terms, GError **error)
{
    Call call = {.loss = loss, .batch = batch};
    const LdmAutoencoderTerms *t = &call.terms;

    run(&call);
    bool done = ldm_pass_end(loss->pass, error);
    ldm_pass_reset(loss->pass);
    terms->loss += batch->scale * t->loss;
    terms->reconstruction += batch->scale * t->reconstruction;
    terms->regulariser += batch->scale * t->regulariser;
    terms->generator += batch->scale * t->generator;
    terms->adaptive += batch->scale * t->adaptive;
    terms->discriminator += batch->scale * t->discriminator;
    terms->perplexity += batch->scale * t->perplexity;
    terms->matching += batch->scale * t->matching;
    return done;
}
