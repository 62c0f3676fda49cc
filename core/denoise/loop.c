/* denoise: the one loop, from z_t to z_0'. In come the first latent, times, conditioning and the
 * mask; out goes the latent for D. Network, guidance, sampler and mask are each a few lines in
 * files of their own; this one is the order in which they are called. */
#include "denoise/loop.h"

#include "base/checked.h"
#include "base/error.h"
#include "denoise/guidance.h"
#include "denoise/mask.h"
#include "denoise/sampler.h"
#include "tensor/tensor.h"

#include <string.h>

/* What is done in a step, and its work. */
typedef struct {
    size_t branches; /* N: 2 where guided, else 1 */
    LdmFeatures features;
    double flops;
} Turn;

/* What a run keeps from step to step. */
typedef struct {
    const LdmDenoise *job;
    LdmTensor *z; /* [1, h, w, z] the state */
    size_t cells, channels;
    LdmRect window;           /* of cells that the network sees */
    int first, K;             /* steps first .. K - 1 are run */
    int k;                    /* at work */
    bool ended;               /* by a callback, before K */
    int *start;               /* [cells] first step of each cell */
    Turn *turns;              /* [K] */
    LdmTensor *input;         /* [1, rows, columns of the window, in_channels] */
    LdmTensor *pair;          /* [2, tokens, width] both contexts; NULL without guidance */
    LdmTensor *x0, *eps;      /* [1, h, w, z] prediction */
    LdmTensor *noise, *drawn; /* [1, h, w, z] of the step: NHWC, and NCHW as it was drawn */
    LdmStepper *stepper;
    LdmPass *pass;
    double flops, flops_before; /* of the whole run; of the steps that are done */
} Loop;

static bool is_guided(const LdmDenoise *job)
{
    const LdmConditioning *conditioning = job->conditioning;

    return job->guidance != 1.0 && conditioning->context != NULL && conditioning->negative != NULL;
}

/* ---- the network on a pass ---- */

/* Step k. */
static LdmTensor *forward(LdmPass *pass, const Loop *loop, int k)
{
    const LdmDenoise *job = loop->job;
    const LdmTensor *tokens =
        loop->turns[k].branches == 2 ? loop->pair : job->conditioning->context;
    LdmTensor *x = ldm_pass_input(pass, loop->input);
    LdmTensor *context = tokens != NULL ? ldm_pass_constant(pass, tokens) : NULL;
    ldm_pass_set_features(pass, loop->turns[k].features);
    ldm_pass_set_merge(pass, job->merge);
    LdmTensor *out = job->network(pass, job->network_data, x, &job->times->timesteps[k], context);

    ldm_pass_drop(pass, x);
    ldm_pass_drop(pass, context);
    return out;
}

static void pass_progress(double flops_done, void *data)
{
    const Loop *loop = data;
    const LdmLoopHooks *hooks = &loop->job->hooks;
    double done = loop->flops_before + flops_done;

    hooks->progress(loop->k - loop->first + 1, loop->K - loop->first,
                    loop->flops > 0.0 ? MIN(done / loop->flops, 1.0) : 0.0, hooks->data);
}

static bool is_guided_at(const LdmDenoise *job, int k)
{
    const LdmTimes *times = job->times;
    double at = (double)(k - times->start) / (times->steps - times->start);

    return is_guided(job) && at >= job->guidance_start && at < job->guidance_end;
}

/* Steps that follow one in which features were computed, before they are again: none in the first
 * three steps, which decide most and show no way to go on yet; then 1, 2, 3 ... */
static int steps_foretold(int computed, int reuse)
{
    return computed < 3 ? 0 : MIN(computed - 2, reuse - 1);
}

/* Lays down what is done in each step. Where a branch more begins, nothing is known of it. */
static void lay_turns(Loop *loop)
{
    int reuse = loop->job->reuse, computed = 0, foretold = 0;

    loop->turns = g_new0(Turn, loop->K);
    for (int k = loop->first; k < loop->K; k++) {
        Turn *turn = &loop->turns[k];
        turn->branches = is_guided_at(loop->job, k) ? 2 : 1;
        if (reuse <= 1)
            continue;
        if (k > loop->first && turn->branches > turn[-1].branches)
            computed = foretold = 0;
        bool compute = foretold == steps_foretold(computed, reuse);
        turn->features = compute ? LDM_FEATURES_REMEMBER : LDM_FEATURES_FORECAST;
        foretold = compute ? 0 : foretold + 1;
        computed += compute;
    }
}

#define KINDS (2 * (LDM_FEATURES_FORECAST + 1))

/* Plans the run, step by step. Steps of a kind cost the same from the second one on: the first
 * may have to make what the pass then stores. */
static bool measure_turns(Loop *loop, size_t *bytes, GError **error)
{
    g_autoptr(LdmPass) pass = ldm_pass_new_plan();
    ldm_pass_set_bf16(pass, loop->job->bf16);
    ldm_pass_set_q8(pass, loop->job->q8);
    const Turn *latest[KINDS] = {NULL};
    int seen[KINDS] = {0};

    for (int k = loop->first; k < loop->K; k++) {
        Turn *turn = &loop->turns[k];
        size_t kind = 2 * turn->features + turn->branches - 1;
        if (seen[kind]++ < 2) {
            forward(pass, loop, k);
            turn->flops = ldm_pass_flops(pass);
            if (!ldm_pass_end(pass, error))
                return false;
            ldm_pass_reset(pass);
        } else {
            turn->flops = latest[kind]->flops;
        }
        latest[kind] = turn;
        loop->flops += turn->flops;
    }
    *bytes = ldm_pass_peak(pass);
    return true;
}

/* ---- preparation ---- */

static bool check_shape(const LdmTensor *tensor, const char *what, const LdmTensor *z,
                        size_t channels, GError **error)
{
    size_t expected[4] = {1, z->shape[1], z->shape[2], channels};

    if (tensor->rank == 4 && memcmp(tensor->shape, expected, sizeof expected) == 0)
        return true;
    g_autofree char *found = ldm_shape_string(tensor->rank, tensor->shape);
    g_autofree char *wanted = ldm_shape_string(4, expected);
    ldm_set_error(error, SHAPE, _("the %s has shape %s, the latent needs %s"), what, found, wanted);
    return false;
}

static bool check_job(const LdmDenoise *job, const LdmTensor *z, GError **error)
{
    const LdmConditioning *conditioning = job->conditioning;
    const LdmTensor *concat = conditioning->concat;
    size_t channels = z->shape[3];

    if (concat != NULL && !check_shape(concat, "concat", z, concat->shape[3], error))
        return false;
    if (job->cells != NULL && (!check_shape(job->cells, "mask", z, 1, error) ||
                               !check_shape(job->latents->z0, "latent z0", z, channels, error) ||
                               !check_shape(job->latents->noise, "noise", z, channels, error)))
        return false;
    if (is_guided(job) && !ldm_tensor_same_shape(conditioning->context, conditioning->negative)) {
        ldm_set_error(error, SHAPE, _("prompt and negative prompt differ in shape"));
        return false;
    }
    return true;
}

static LdmRect window_of(const LdmDenoise *job, const LdmTensor *z)
{
    if (job->cells != NULL && job->window.width > 0)
        return job->window;
    return (LdmRect){0, 0, (int)z->shape[2], (int)z->shape[1]};
}

static LdmTensor input_shape(const LdmDenoise *job, const LdmTensor *z)
{
    const LdmTensor *concat = job->conditioning->concat;
    LdmRect window = window_of(job, z);
    LdmTensor shape = *z;

    shape.shape[1] = (size_t)window.height;
    shape.shape[2] = (size_t)window.width;
    shape.shape[3] += concat != NULL ? concat->shape[3] : 0;
    shape.data = NULL;
    return shape;
}

/* Unconditional first, as the reference has it. */
static bool pair_contexts(Loop *loop, GError **error)
{
    const LdmConditioning *conditioning = loop->job->conditioning;

    if (!is_guided(loop->job))
        return true;
    size_t n = ldm_tensor_count(conditioning->context);
    const size_t *shape = conditioning->context->shape;
    loop->pair = ldm_tensor_new(LDM_F32, 3, (size_t[]){2, shape[1], shape[2]}, error);
    if (loop->pair == NULL)
        return false;
    memcpy(ldm_tensor_f32(loop->pair), conditioning->negative->data, n * sizeof(float));
    memcpy(ldm_tensor_f32(loop->pair) + n, conditioning->context->data, n * sizeof(float));
    return true;
}

/* The cell of the latent at which a row of the window begins. */
static size_t row_cell(const Loop *loop, int row)
{
    return (size_t)(loop->window.y + row) * loop->z->shape[2] + (size_t)loop->window.x;
}

/* Puts the window's part of `from` into the input's channels `at` and on. */
static void fill_input(Loop *loop, const LdmTensor *from, size_t at)
{
    size_t width = loop->input->shape[3], n = from->shape[3];
    float *to = ldm_tensor_f32(loop->input) + at;

    for (int y = 0; y < loop->window.height; y++) {
        const float *row = ldm_tensor_f32(from) + row_cell(loop, y) * n;
        for (int x = 0; x < loop->window.width; x++, to += width)
            memcpy(to, row + (size_t)x * n, n * sizeof(float));
    }
}

static bool loop_buffers(Loop *loop, GError **error)
{
    const LdmDenoise *job = loop->job;
    LdmTensor input = input_shape(job, loop->z);
    const size_t *shape = loop->z->shape;

    loop->input = ldm_tensor_new(LDM_F32, 4, input.shape, error);
    loop->x0 = loop->input != NULL ? ldm_tensor_new(LDM_F32, 4, shape, error) : NULL;
    loop->eps = loop->x0 != NULL ? ldm_tensor_new(LDM_F32, 4, shape, error) : NULL;
    if (loop->eps == NULL || !pair_contexts(loop, error))
        return false;
    loop->stepper = ldm_stepper_new(job->sampler, job->eta, loop->cells * loop->channels, error);
    if (loop->stepper == NULL)
        return false;
    if (loop->stepper->wants_noise) {
        if (job->rng == NULL) {
            ldm_set_error(error, INVALID, _("this sampler draws noise and was given no seed"));
            return false;
        }
        loop->noise = ldm_tensor_new(LDM_F32, 4, shape, error);
        loop->drawn = loop->noise != NULL ? ldm_tensor_new(LDM_F32, 4, shape, error) : NULL;
        if (loop->drawn == NULL)
            return false;
    }
    /* the channels behind z_t stay the same through the run */
    if (job->conditioning->concat != NULL)
        fill_input(loop, job->conditioning->concat, loop->channels);
    if (job->cells != NULL) /* where the network does not look, the picture stays what it is */
        memcpy(loop->x0->data, job->latents->z0->data, ldm_tensor_count(loop->x0) * sizeof(float));
    return true;
}

static bool loop_pass(Loop *loop, GError **error)
{
    const LdmDenoise *job = loop->job;
    size_t bytes;

    lay_turns(loop);
    if (!measure_turns(loop, &bytes, error))
        return false;
    loop->pass = ldm_pass_new_compute(bytes, job->cancellable, error);
    if (loop->pass == NULL)
        return false;
    ldm_pass_set_bf16(loop->pass, job->bf16);
    ldm_pass_set_q8(loop->pass, job->q8);
    if (job->hooks.progress != NULL)
        ldm_pass_set_progress(loop->pass, pass_progress, loop);
    return true;
}

static void loop_clear(Loop *loop)
{
    ldm_aligned_free(loop->start);
    g_free(loop->turns);
    ldm_tensor_free(loop->input);
    ldm_tensor_free(loop->pair);
    ldm_tensor_free(loop->x0);
    ldm_tensor_free(loop->eps);
    ldm_tensor_free(loop->noise);
    ldm_tensor_free(loop->drawn);
    ldm_stepper_free(loop->stepper);
    ldm_pass_free(loop->pass);
}

/* ---- one step ---- */

/* 1: cells of z that have not started by step `done` get the level of step `k`'s beginning. */
static void hold_cells(Loop *loop, LdmTensor *z, int done, int k)
{
    const LdmDenoise *job = loop->job;

    if (job->cells == NULL)
        return;
    LdmMask mask = {.start = loop->start,
                    .count = loop->cells,
                    .channels = loop->channels,
                    .z0 = ldm_tensor_f32(job->latents->z0),
                    .noise = ldm_tensor_f32(job->latents->noise)};
    ldm_mask_hold(&mask, done, job->times->alpha_bar[k], k == loop->K, ldm_tensor_f32(z));
}

/* 2 to 5: x0 and eps of the state. */
static bool predict(Loop *loop, GError **error)
{
    const LdmDenoise *job = loop->job;
    size_t row = (size_t)loop->window.width * loop->channels;
    size_t n = (size_t)loop->window.height * row, branches = loop->turns[loop->k].branches;

    fill_input(loop, loop->z, 0);
    LdmTensor *out = forward(loop->pass, loop, loop->k);
    if (!ldm_pass_end(loop->pass, error))
        return false;
    if (ldm_tensor_count(out) != branches * n) {
        g_autofree char *found = ldm_shape_string(out->rank, out->shape);
        ldm_set_error(error, SHAPE, _("the network gives %s for a latent of %zu channels"), found,
                      loop->channels);
        return false;
    }
    float *o = ldm_tensor_f32(out);
    if (branches == 2) {
        ldm_guide(o, o, o + n, n, job->guidance);
        if (job->guidance_rescale > 0.0)
            ldm_guide_rescale(o, o + n, n, job->guidance_rescale);
    }
    for (int y = 0; y < loop->window.height; y++) {
        size_t at = row_cell(loop, y) * loop->channels;
        ldm_predict_x0(job->prediction, job->times->alpha_bar[loop->k],
                       ldm_tensor_f32(loop->z) + at, o + (size_t)y * row, row,
                       ldm_tensor_f32(loop->x0) + at, ldm_tensor_f32(loop->eps) + at);
    }
    ldm_pass_reset(loop->pass);
    loop->flops_before += loop->turns[loop->k].flops;
    return true;
}

/* 6: every step draws for the whole latent, so that a mask does not shift the noise. */
static void advance(Loop *loop)
{
    const LdmTimes *times = loop->job->times;
    int k = loop->k;

    if (loop->noise != NULL) {
        const size_t *shape = loop->z->shape;
        ldm_rng_normal(loop->job->rng, ldm_tensor_f32(loop->drawn), ldm_tensor_count(loop->drawn));
        ldm_nchw_to_nhwc(ldm_tensor_f32(loop->drawn), ldm_tensor_f32(loop->noise), 1, shape[3],
                         shape[1], shape[2]);
    }
    LdmStep step = {.k = k,
                    .last = k == loop->K - 1,
                    .a_before = k > 0 ? times->alpha_bar[k - 1] : 0.0,
                    .a = times->alpha_bar[k],
                    .a_next = times->alpha_next[k],
                    .cells = loop->cells,
                    .channels = loop->channels,
                    .start = loop->start,
                    .x0 = ldm_tensor_f32(loop->x0),
                    .eps = ldm_tensor_f32(loop->eps),
                    .noise = loop->noise != NULL ? ldm_tensor_f32(loop->noise) : NULL,
                    .z = ldm_tensor_f32(loop->z)};
    loop->stepper->step(loop->stepper, &step);
}

/* 7: x0 is the sampler's no more, the next step makes its own. */
static void tell_step(Loop *loop, int step, int steps)
{
    const LdmLoopHooks *hooks = &loop->job->hooks;

    if (hooks->stepped == NULL)
        return;
    hold_cells(loop, loop->x0, loop->k, loop->K);
    if (hooks->stepped(step, steps, loop->z, loop->x0, hooks->data) || step == steps)
        return;
    loop->ended = true;
    memcpy(loop->z->data, loop->x0->data, ldm_tensor_count(loop->z) * sizeof(float));
}

static bool loop_step(Loop *loop, GError **error)
{
    int step = loop->k - loop->first + 1, steps = loop->K - loop->first;

    if (ldm_cancelled(loop->job->cancellable, error) || !predict(loop, error))
        return false;
    advance(loop);
    hold_cells(loop, loop->z, loop->k, loop->k + 1);
    g_autofree char *stage = g_strdup_printf("denoise, step %d of %d", step, steps);
    if (!ldm_tensor_check_finite(loop->z, stage, error))
        return false;
    tell_step(loop, step, steps);
    return true;
}

/* Cells that the network does not see never start. */
static void hold_outside(Loop *loop)
{
    const LdmRect *window = &loop->window;
    size_t w = loop->z->shape[2];

    for (size_t i = 0; i < loop->cells; i++) {
        int x = (int)(i % w) - window->x, y = (int)(i / w) - window->y;
        if (x < 0 || x >= window->width || y < 0 || y >= window->height)
            loop->start[i] = loop->K;
    }
}

static bool loop_run(Loop *loop, int *evaluations, GError **error)
{
    const LdmTensor *cells = loop->job->cells;
    int begin = loop->job->times->start;

    loop->start = ldm_aligned_alloc(loop->cells, sizeof(int), _("the mask"), error);
    if (loop->start == NULL)
        return false;
    loop->first = ldm_mask_starts(cells != NULL ? ldm_tensor_f32(cells) : NULL, loop->cells,
                                  loop->K, loop->job->strength, begin, loop->start);
    hold_outside(loop);
    hold_cells(loop, loop->z, begin, loop->first);
    if (loop->first == loop->K)
        return true;
    if (!loop_buffers(loop, error) || !loop_pass(loop, error))
        return false;
    for (loop->k = loop->first; loop->k < loop->K && !loop->ended; loop->k++) {
        if (!loop_step(loop, error))
            return false;
        *evaluations += (int)loop->turns[loop->k].branches;
    }
    return true;
}

bool ldm_denoise(const LdmDenoise *job, LdmTensor *z, int *evaluations, GError **error)
{
    Loop loop = {.job = job,
                 .z = z,
                 .K = job->times->steps,
                 .channels = z->shape[3],
                 .window = window_of(job, z),
                 .cells = z->shape[1] * z->shape[2]};
    int count = 0;

    bool done = check_job(job, z, error) && loop_run(&loop, &count, error);
    if (evaluations != NULL)
        *evaluations = count;
    loop_clear(&loop);
    return done;
}

/* ---- planning ---- */

bool ldm_denoise_measure(const LdmDenoise *job, const LdmTensor *z, size_t *bytes, double *flops,
                         GError **error)
{
    LdmTensor input = input_shape(job, z), pair = {0};
    Loop loop = {.job = job, .input = &input, .first = job->times->start, .K = job->times->steps};

    *bytes = 0;
    *flops = 0.0;
    if (!check_job(job, z, error))
        return false;
    if (loop.first == loop.K)
        return true;
    if (is_guided(job)) {
        pair = *job->conditioning->context;
        pair.shape[0] = 2;
        loop.pair = &pair;
    }
    lay_turns(&loop);
    bool done = measure_turns(&loop, bytes, error);
    g_free(loop.turns);
    /* input; x0, eps, noise, drawn, history: at most five latents; both contexts */
    *bytes += sizeof(float) * (ldm_tensor_count(&input) + 5 * ldm_tensor_count(z) +
                               (loop.pair != NULL ? ldm_tensor_count(&pair) : 0));
    *flops = loop.flops;
    return done;
}
