/* The line with the default model: same seed same bytes, any size, strength 0, outside the mask
 * nothing, cancelling, progress, faults of memory; and the single stages' checks. */
#include "base/checked.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "diffuse/latents.h"
#include "ldm.h"
#include "kernels/kernels.h"
#include "made-model.h"
#include "made-array.h"
#include "pipeline/model.h"

#include <math.h>
#include <string.h>

static LdmModel *model;

/* Two steps of whatever task; pictures are a slope with alpha 1. */
static LdmRequest *request_for(LdmTask task, int width, int height)
{
    LdmRequest *request = ldm_request_new(task);
    g_free(request->prompt);
    request->prompt = g_strdup("a red apple");
    request->steps = 2;
    request->seed = 3;
    if (task == LDM_TASK_GENERATE) {
        request->width = width;
        request->height = height;
        return request;
    }
    request->picture = array((size_t)height, (size_t)width, 4, 1.0f);
    for (size_t i = 0; i < ldm_tensor_count(request->picture); i++)
        if (i % 4 != 3)
            ldm_tensor_f32(request->picture)[i] =
                (float)(i / 4 % (size_t)width) / (float)width * (float)(i % 4 + 1) / 3.0f;
    return request;
}

static LdmResult *run(const LdmRequest *request)
{
    g_autoptr(GError) error = NULL;
    LdmResult *result = ldm_generate(model, request, NULL, &error);
    g_assert_no_error(error);
    for (size_t i = 0; i < ldm_tensor_count(result->pixels); i++) {
        float v = ldm_tensor_f32(result->pixels)[i];
        g_assert_true(v >= 0.0f && v <= 1.0f);
    }
    return result;
}

static void test_same_bytes(void)
{
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_GENERATE, 64, 48);
    request->sampler = LDM_SAMPLER_EULER_A;
    g_autoptr(LdmResult) a = run(request), b = run(request);
    size_t bytes = ldm_tensor_count(a->pixels) * sizeof(float);
    g_assert_cmpint(a->seed, ==, 3);
    g_assert_cmpint(a->evaluations, ==, 4);
    g_assert_cmpmem(a->pixels->data, bytes, b->pixels->data, bytes);
    request->seed = 4;
    g_autoptr(LdmResult) other = run(request);
    g_assert_true(memcmp(a->pixels->data, other->pixels->data, bytes) != 0);
    request->seed = -1;
    g_autoptr(LdmResult) fresh = run(request);
    g_assert_cmpint(fresh->seed, >=, 0);
}

static double difference(const LdmResult *a, const LdmResult *b)
{
    double worst = 0.0;
    for (size_t i = 0; i < ldm_tensor_count(a->pixels); i++)
        worst = MAX(worst, fabs(ldm_tensor_f32(a->pixels)[i] - ldm_tensor_f32(b->pixels)[i]));
    return worst;
}

static double planned(const LdmRequest *request)
{
    g_autoptr(GError) error = NULL;
    LdmPlan plan;
    g_assert_true(ldm_plan(model, request, &plan, &error));
    return plan.flops[LDM_STAGE_DENOISE];
}

/* Approximations: none by default; each saves work, and departs from the exact picture. */
static void test_approximations(void)
{
    size_t side = (size_t)ldm_model_info(model)->native_size, at = side / 2 - 4;
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_INPAINT, (int)side, (int)side);
    request->mask = array(side, side, 1, 0.0f);
    request->steps = 4;
    for (size_t i = 0; i < 8; i++)
        for (size_t j = 0; j < 8; j++)
            ldm_tensor_f32(request->mask)[(at + i) * side + at + j] = 1.0f;
    g_autoptr(LdmResult) exact = run(request);
    double flops = planned(request);
    request->surroundings = 1000; /* as far as there are any */
    g_autoptr(LdmResult) all = run(request);
    g_assert_cmpfloat(difference(all, exact), ==, 0.0);
    g_assert_cmpfloat(planned(request), ==, flops);
    for (int kind = 0; kind < 3; kind++) {
        request->reuse = kind == 0 ? 2 : 1;
        request->guidance_end = kind == 1 ? 0.5 : 1.0;
        request->surroundings = kind == 2 ? 1 : 0;
        g_autoptr(LdmResult) saved = run(request);
        g_assert_cmpfloat(planned(request), <, 0.8 * flops);
        g_assert_cmpfloat(difference(saved, exact), >, 0.0);
        g_assert_cmpint(saved->evaluations, ==, kind == 1 ? 6 : 8);
    }
}

/* bf16: near the exact picture where the processor has it, else a sentence and no picture. */
static void test_bf16(void)
{
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_IMG2IMG, 48, 40);
    g_autoptr(LdmResult) exact = run(request);
    request->precision = LDM_PRECISION_BF16;
    if (ldm_kernels_have_bf16()) {
        g_autoptr(LdmResult) rounded = run(request);
        g_test_message("bf16: %.3f apart", difference(rounded, exact));
        g_assert_cmpfloat(difference(rounded, exact), >, 0.0);
        g_assert_cmpfloat(difference(rounded, exact), <, 0.25);
        return;
    }
    g_autoptr(GError) error = NULL;
    g_assert_null(ldm_generate(model, request, NULL, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_UNSUPPORTED);
}

static bool has_copies(void)
{
    for (size_t i = 0; i < ldm_params_length(model->unet_params); i++)
        if (ldm_params_at(model->unet_params, i)->q8.bytes != NULL)
            return true;
    return false;
}

static void cancel_at_denoise(const LdmProgress *progress, gpointer data)
{
    if (progress->stage == LDM_STAGE_DENOISE)
        g_cancellable_cancel(data);
}

/* q8: near the exact picture on any processor; the copies go with the stage, cancelled or not, and
 * the exact picture is what it was. */
static void test_q8(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_IMG2IMG, 48, 40);
    g_autoptr(LdmResult) exact = run(request);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    const LdmMonitor monitor = {cancellable, cancel_at_denoise, cancellable};
    request->precision = LDM_PRECISION_Q8;
    g_autoptr(LdmResult) rounded = run(request);
    g_test_message("q8: %.3f apart", difference(rounded, exact));
    g_assert_cmpfloat(difference(rounded, exact), >, 0.0);
    g_assert_cmpfloat(difference(rounded, exact), <, 0.25);
    g_assert_false(has_copies());
    request->steps = 1000; /* progress is told every 50 ms only */
    g_assert_null(ldm_generate(model, request, &monitor, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_CANCELLED);
    g_assert_false(has_copies());
    request->steps = 2;
    request->precision = LDM_PRECISION_EXACT;
    g_autoptr(LdmResult) again = run(request);
    g_assert_cmpfloat(difference(again, exact), ==, 0.0);
}

static void test_threads(void)
{
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_IMG2IMG, 50, 40);
    ldm_set_threads(1);
    g_autoptr(LdmResult) one = run(request);
    ldm_set_threads(2);
    g_autoptr(LdmResult) two = run(request);
    for (size_t i = 0; i < ldm_tensor_count(one->pixels); i++)
        g_assert_cmpfloat_with_epsilon(ldm_tensor_f32(one->pixels)[i],
                                       ldm_tensor_f32(two->pixels)[i], 1.0 / 255.0);
}

static void test_sizes(void)
{
    const int sizes[][2] = {{1, 1}, {7, 1}, {3, 200}, {65, 33}, {20000, 50}};
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        int w = sizes[i][0], h = sizes[i][1];
        g_autoptr(LdmRequest) request = request_for(LDM_TASK_IMG2IMG, w, h);
        g_autoptr(LdmResult) result = run(request);
        g_assert_cmpint(result->window.width, ==, w);
        g_assert_cmpint(result->window.height, ==, h);
        g_assert_cmpuint(result->pixels->shape[1], ==, h);
        g_assert_cmpuint(result->pixels->shape[2], ==, w);
        g_assert_true((result->scale < 1.0) == (MAX(w, h) > ldm_model_info(model)->max_side));
        if (w > 1000)
            continue;
        g_autoptr(LdmRequest) blank = request_for(LDM_TASK_GENERATE, w, h);
        blank->steps = 1;
        g_autoptr(LdmResult) made = run(blank);
        g_assert_cmpuint(made->pixels->shape[1], ==, h);
        g_assert_cmpuint(made->pixels->shape[2], ==, w);
        g_assert_null(made->alpha);
    }
}

/* Strength 0, or too little for one step: the input, bit for bit, and no evaluation. */
static void test_strength_zero(void)
{
    const LdmTask tasks[] = {LDM_TASK_IMG2IMG, LDM_TASK_INPAINT};
    for (int i = 0; i < 2; i++) {
        g_autoptr(LdmRequest) request = request_for(tasks[i], 70, 30);
        g_autoptr(GError) error = NULL;
        request->mask = array(30, 70, 1, 1.0f);
        request->strength = i == 0 ? 0.0 : 0.49;
        g_autoptr(LdmResult) result = run(request);
        g_autoptr(LdmTensor) out = ldm_result_composite(result, request, &error);
        g_assert_cmpint(result->evaluations, ==, 0);
        g_assert_cmpmem(out->data, 70 * 30 * 16, request->picture->data, 70 * 30 * 16);
    }
}

static void test_outside(void)
{
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_INPAINT, 150, 90);
    g_autoptr(GError) error = NULL;
    float *in = ldm_tensor_f32(request->picture);
    in[3] = NAN;
    in[4 * 77] = 1e30f;
    request->mask = array(90, 150, 1, 0.0f);
    for (size_t y = 40; y < 60; y++)
        for (size_t x = 101; x < 113; x++)
            ldm_tensor_f32(request->mask)[y * 150 + x] = x < 104 ? 0.2f : 1.0f;
    g_autoptr(LdmResult) result = run(request);
    g_autoptr(LdmTensor) out = ldm_result_composite(result, request, &error);
    g_assert_cmpfloat(result->scale, ==, 1.0);
    size_t changed = 0;
    for (size_t i = 0; i < 150 * 90; i++) {
        bool same = memcmp(ldm_tensor_f32(out) + i * 4, in + i * 4, 16) == 0;
        if (ldm_tensor_f32(request->mask)[i] == 0.0f)
            g_assert_true(same);
        changed += !same;
    }
    g_assert_cmpuint(changed, >, 150);
}

/* A start latent that is what the seed would have drawn changes nothing. */
static void test_latent(void)
{
    const LdmModelInfo *info = ldm_model_info(model);
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_GENERATE, 32, 32);
    g_autoptr(GError) error = NULL;
    LdmRng rng;
    g_autoptr(LdmResult) a = run(request);
    ldm_rng_seed(&rng, 3);
    size_t cells = 32 / (size_t)info->downsampling;
    request->latent = ldm_noise_new(&rng, cells, cells, (size_t)info->latent_channels, &error);
    request->seed = 99;
    g_autoptr(LdmResult) b = run(request);
    g_assert_cmpmem(a->pixels->data, 32 * 32 * 16, b->pixels->data, 32 * 32 * 16);
    ldm_tensor_f32(request->latent)[5] = NAN;
    g_assert_null(ldm_generate(model, request, NULL, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_NONFINITE);
}

typedef struct {
    LdmProgress last;
    int calls, cancel_at_step;
    bool ordered;
    GCancellable *cancellable;
} Watch;

static void watch(const LdmProgress *progress, gpointer data)
{
    Watch *w = data;
    w->ordered = w->ordered && progress->fraction >= w->last.fraction &&
                 progress->fraction <= 1.0 && progress->stage >= w->last.stage;
    w->last = *progress;
    w->calls++;
    if (w->cancel_at_step > 0 && progress->step >= w->cancel_at_step)
        g_cancellable_cancel(w->cancellable);
}

static void test_progress(void)
{
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_IMG2IMG, 96, 96);
    g_autoptr(GError) error = NULL;
    Watch w = {.ordered = true};
    LdmMonitor monitor = {NULL, watch, &w};
    request->steps = 8;
    g_autoptr(LdmResult) result = ldm_generate(model, request, &monitor, &error);
    g_assert_no_error(error);
    g_assert_true(w.ordered);
    g_assert_cmpint(w.calls, >, 2);
    g_assert_cmpfloat(w.last.fraction, ==, 1.0);
    g_assert_cmpfloat(w.last.seconds_left, ==, 0.0);
    g_assert_cmpfloat(result->seconds[LDM_STAGE_DENOISE], >, 0.0);
}

static void test_cancel(void)
{
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_GENERATE, 128, 128);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(GError) error = NULL;
    Watch w = {.ordered = true, .cancel_at_step = 2, .cancellable = cancellable};
    LdmMonitor monitor = {cancellable, watch, &w};
    request->steps = 500;
    g_assert_null(ldm_generate(model, request, &monitor, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_CANCELLED);
    g_assert_cmpint(w.last.step, <, 50);
    g_clear_error(&error);
    g_assert_null(ldm_generate(model, request, &monitor, &error)); /* before it begins */
    g_assert_error(error, LDM_ERROR, LDM_ERROR_CANCELLED);
}

/* Every allocation fails once: always the error, never a crash, and the model still works. */
static void test_no_memory(void)
{
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_INPAINT, 16, 16);
    bool done = false;
    int n = 0;
    request->steps = 1;
    request->mask = array(16, 16, 1, 0.0f);
    ldm_tensor_f32(request->mask)[40] = 0.75f;
    for (; !done && n < 1000; n++) {
        g_autoptr(GError) error = NULL;
        ldm_alloc_fail_after(n, false);
        g_autoptr(LdmResult) result = ldm_generate(model, request, NULL, &error);
        ldm_alloc_fail_after(-1, false);
        done = result != NULL;
        if (!done)
            g_assert_error(error, LDM_ERROR, LDM_ERROR_MEMORY);
    }
    g_test_message("%d allocations", n - 1);
    g_assert_true(done);
    g_assert_cmpint(n, >, 20);
}

/* Grey 0.5 everywhere at strength 1 is img2img at strength 0.5, bit for bit. */
static void test_soft_mask(void)
{
    g_autoptr(LdmRequest) soft = request_for(LDM_TASK_IMG2IMG, 40, 36);
    g_autoptr(LdmRequest) half = request_for(LDM_TASK_IMG2IMG, 40, 36);
    soft->mask = array(36, 40, 1, 0.5f);
    soft->strength = 1.0;
    half->strength = 0.5;
    soft->steps = half->steps = 4;
    g_autoptr(LdmResult) a = run(soft), b = run(half);
    g_assert_cmpint(a->evaluations, ==, b->evaluations);
    g_assert_cmpmem(a->pixels->data, 40 * 36 * 16, b->pixels->data, 40 * 36 * 16);
}

/* A model without concat channels, f = 2, 4-channel latent; the longest work side is its own. */
static void test_other_model(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *folder = g_dir_make_tmp("pentimento-XXXXXX", NULL);
    LdmModelConfig config = made_config(false, MADE_WORDS);
    MadeModel *made = made_model_new(&config);
    made_folder(made, folder);
    made_text(folder, "", "model_index.json", "{\"_class_name\":\"X\",\"_max_side\":48}");
    made_model_free(made);
    g_autoptr(LdmModel) other = ldm_model_load(folder, &error);
    g_assert_no_error(error);
    g_assert_cmpint(ldm_model_info(other)->max_side, ==, 48);
    g_assert_false(ldm_model_info(other)->concat_inpainting);
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_INPAINT, 61, 45);
    request->mask = array(45, 61, 1, 0.0f);
    for (size_t i = 0; i < 300; i++)
        ldm_tensor_f32(request->mask)[20 * 61 + i] = 0.9f;
    g_autoptr(LdmResult) result = ldm_generate(other, request, NULL, &error);
    g_assert_no_error(error);
    g_autoptr(LdmTensor) out = ldm_result_composite(result, request, &error);
    g_assert_cmpfloat(result->scale, ==, 48.0 / 61.0);
    for (size_t i = 0; i < 61 * 45; i++)
        if (ldm_tensor_f32(request->mask)[i] == 0.0f)
            g_assert_cmpmem(ldm_tensor_f32(out) + i * 4, 16,
                            ldm_tensor_f32(request->picture) + i * 4, 16);
    made_remove(folder);
}

/* ---- the single stages ---- */

static void refused(LdmTensor *result, GError **error, int code)
{
    g_assert_null(result);
    g_assert_error(*error, LDM_ERROR, code);
    g_clear_error(error);
}

static void test_stages_refuse(void)
{
    g_autoptr(GError) error = NULL;
    size_t z = (size_t)ldm_model_info(model)->latent_channels;
    g_autoptr(LdmTensor) picture = array(30, 32, 3, 0.0f), latent = array(8, 8, z, 0.0f);
    g_autoptr(LdmTensor) concat = array(8, 7, z + 1, 0.0f), wide = array(8, 8, z + 1, 0.0f);
    g_autoptr(LdmTensor) c = ldm_condition(model, "a red apple", NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(c->shape[1], ==, 40);
    refused(ldm_encode(model, picture, -1, NULL, &error), &error, LDM_ERROR_SHAPE);
    refused(ldm_encode(model, latent, -1, NULL, &error), &error, LDM_ERROR_SHAPE);
    refused(ldm_decode(model, picture, NULL, &error), &error, LDM_ERROR_SHAPE);
    refused(ldm_condition(model, "\xff", NULL, &error), &error, LDM_ERROR_INVALID);
    refused(ldm_predict(model, latent, 1.0, c, NULL, NULL, &error), &error, LDM_ERROR_SHAPE);
    refused(ldm_predict(model, latent, 1.0, c, concat, NULL, &error), &error, LDM_ERROR_SHAPE);
    refused(ldm_predict(model, latent, 1.0, NULL, wide, NULL, &error), &error, LDM_ERROR_SHAPE);
    refused(ldm_predict(model, latent, 1e3, c, wide, NULL, &error), &error, LDM_ERROR_INVALID);
    refused(ldm_predict(model, latent, NAN, c, wide, NULL, &error), &error, LDM_ERROR_INVALID);
    g_autoptr(LdmTensor) eps = ldm_predict(model, latent, 500.5, c, wide, NULL, &error);
    g_assert_no_error(error);
    g_assert_true(ldm_tensor_same_shape(eps, latent));
}

/* A batch is its pictures one by one; a sample differs from the mean and repeats by its seed. */
static void test_stages_batch(void)
{
    g_autoptr(GError) error = NULL;
    const size_t shape[4] = {2, 16, 24, 3};
    g_autoptr(LdmTensor) batch = ldm_tensor_new(LDM_F32, 4, shape, &error);
    g_autoptr(LdmTensor) second = array(16, 24, 3, 0.0f);
    for (size_t i = 0; i < 16 * 24 * 3; i++)
        ldm_tensor_f32(batch)[16 * 24 * 3 + i] = ldm_tensor_f32(second)[i] = sinf((float)i);
    g_autoptr(LdmTensor) z = ldm_encode(model, batch, -1, NULL, &error);
    g_autoptr(LdmTensor) one = ldm_encode(model, second, -1, NULL, &error);
    g_assert_no_error(error);
    size_t bytes = ldm_tensor_count(one) * sizeof(float);
    g_assert_cmpmem(ldm_tensor_f32(z) + ldm_tensor_count(one), bytes, one->data, bytes);
    g_autoptr(LdmTensor) a = ldm_encode(model, second, 5, NULL, &error);
    g_autoptr(LdmTensor) b = ldm_encode(model, second, 5, NULL, &error);
    g_assert_cmpmem(a->data, bytes, b->data, bytes);
    g_assert_true(memcmp(a->data, one->data, bytes) != 0);
    g_autoptr(LdmTensor) x = ldm_decode(model, z, NULL, &error);
    g_assert_no_error(error);
    g_assert_true(ldm_tensor_same_shape(x, batch));
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_test_init(&argc, &argv, NULL);
    model = ldm_model_load(NULL, &error);
    g_assert_no_error(error);
    g_test_add_func("/generate/same-bytes", test_same_bytes);
    g_test_add_func("/generate/approximations", test_approximations);
    g_test_add_func("/generate/bf16", test_bf16);
    g_test_add_func("/generate/q8", test_q8);
    g_test_add_func("/generate/threads", test_threads);
    g_test_add_func("/generate/sizes", test_sizes);
    g_test_add_func("/generate/strength-zero", test_strength_zero);
    g_test_add_func("/generate/outside", test_outside);
    g_test_add_func("/generate/latent", test_latent);
    g_test_add_func("/generate/progress", test_progress);
    g_test_add_func("/generate/cancel", test_cancel);
    g_test_add_func("/generate/no-memory", test_no_memory);
    g_test_add_func("/generate/soft-mask", test_soft_mask);
    g_test_add_func("/generate/other-model", test_other_model);
    g_test_add_func("/stages/refuse", test_stages_refuse);
    g_test_add_func("/stages/batch", test_stages_batch);
    int status = g_test_run();
    ldm_model_unref(model);
    return status;
}
