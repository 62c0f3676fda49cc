/* Pictures that are laid out small: the two runs of refine are a generated picture, enlarged, and
 * img2img; smaller pictures take one run; the monitor and the plan see a whole. */
#include "finish/finish.h"
#include "ldm.h"
#include "made-array.h"

#include <string.h>

#define STEPS 4 /* of which a strength of 0.5 takes two */

static LdmModel *model;

/* The model's native side is 128. */
static LdmRequest *request_for(LdmTask task, int width, int height)
{
    LdmRequest *request = ldm_request_new(task);

    g_free(request->prompt);
    request->prompt = g_strdup("a red apple");
    request->steps = STEPS;
    request->seed = 3;
    request->width = width;
    request->height = height;
    return request;
}

static LdmResult *run(const LdmRequest *request)
{
    g_autoptr(GError) error = NULL;
    LdmResult *result = ldm_generate(model, request, NULL, &error);

    g_assert_no_error(error);
    return result;
}

static void assert_same(const LdmResult *a, const LdmResult *b)
{
    g_assert_true(ldm_tensor_same_shape(a->pixels, b->pixels));
    g_assert_cmpmem(a->pixels->data, ldm_tensor_count(a->pixels) * sizeof(float), b->pixels->data,
                    ldm_tensor_count(b->pixels) * sizeof(float));
}

/* 276 x 180: about the native number of pixels in the same proportions is 160 x 104. The second
 * side is no whole number of cells. */
static void test_by_hand(void)
{
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_GENERATE, 276, 180);
    g_autoptr(LdmRequest) small = request_for(LDM_TASK_GENERATE, 160, 104);
    g_autoptr(LdmRequest) anew = request_for(LDM_TASK_IMG2IMG, 0, 0);
    g_autoptr(GError) error = NULL;

    request->refine = anew->strength = 0.5;
    g_autoptr(LdmResult) result = run(request), layout = run(small);
    anew->picture = ldm_enlarge(g_steal_pointer(&layout->pixels), 180, 276, NULL, &error);
    g_assert_no_error(error);
    anew->refine = 0.5; /* works at the picture's own size, however large */
    g_autoptr(LdmResult) second = run(anew);
    assert_same(result, second);
    g_assert_null(result->alpha);
    g_assert_cmpint(result->seed, ==, 3);
    g_assert_cmpint(result->evaluations, ==, layout->evaluations + second->evaluations);
    g_assert_cmpint(result->steps, ==, STEPS + STEPS / 2);
    g_assert_cmpint(result->planned_steps, ==, STEPS + STEPS / 2);
    g_assert_cmpfloat(result->scale, ==, 1.0);
}

/* Too small to be laid out apart; a start latent is for what is made at once. */
static void test_one_run(void)
{
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_GENERATE, 176, 176);
    g_autoptr(LdmResult) plain = run(request);

    request->refine = 0.5;
    g_autoptr(LdmResult) same = run(request);
    assert_same(same, plain);
    g_assert_cmpint(same->steps, ==, STEPS);
    request->width = request->height = 192;
    request->latent = array(24, 24, 32, 1.0f);
    g_autoptr(GError) error = NULL;
    g_assert_null(ldm_generate(model, request, NULL, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    request->refine = 0.0;
    g_autoptr(LdmResult) given = run(request);
    g_assert_cmpint(given->steps, ==, STEPS);
}

/* So little strength that no step is made: the layout, enlarged. */
static void test_no_step(void)
{
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_GENERATE, 256, 256);

    request->refine = 0.1;
    g_autoptr(LdmResult) result = run(request);
    g_assert_cmpint(result->steps, ==, STEPS);
    g_assert_null(result->alpha);
    for (size_t i = 0; i < ldm_tensor_count(result->pixels); i++)
        g_assert_true(ldm_tensor_f32(result->pixels)[i] >= 0.0f &&
                      ldm_tensor_f32(result->pixels)[i] <= 1.0f);
}

/* ---- watching ---- */

typedef struct {
    double fraction;
    int step, steps, previews;
    GCancellable *cancellable; /* cancelled in the second run */
    GCancellable *finish;      /* cancelled after the second step */
} Watch;

static void on_progress(const LdmProgress *progress, gpointer data)
{
    Watch *watch = data;

    g_assert_cmpfloat(progress->fraction, >=, watch->fraction);
    g_assert_cmpfloat(progress->fraction, <=, 1.0);
    watch->fraction = progress->fraction;
    if (progress->steps == 0)
        return;
    g_assert_cmpint(progress->steps, ==, STEPS + STEPS / 2);
    g_assert_cmpint(progress->step, >=, watch->step);
    watch->step = progress->step;
    if (progress->step > STEPS && watch->cancellable != NULL)
        g_cancellable_cancel(watch->cancellable);
}

static void on_preview(const LdmPreview *preview, gpointer data)
{
    Watch *watch = data;

    g_assert_cmpint(preview->step, ==, ++watch->previews);
    g_assert_cmpint(preview->steps, ==, STEPS + STEPS / 2);
}

static void on_early_preview(const LdmPreview *preview, gpointer data)
{
    const Watch *watch = data;

    if (preview->step == 2)
        g_cancellable_cancel(watch->finish);
}

static void test_watched(void)
{
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_GENERATE, 256, 256);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(GError) error = NULL;
    Watch watch = {0};
    LdmMonitor monitor = {.progress = on_progress,
                          .progress_data = &watch,
                          .preview = on_preview,
                          .preview_data = &watch};

    request->refine = 0.5;
    g_autoptr(LdmResult) result = ldm_generate(model, request, &monitor, &error);
    g_assert_no_error(error);
    g_assert_cmpfloat(watch.fraction, ==, 1.0);
    g_assert_cmpint(watch.previews, ==, STEPS + STEPS / 2);
    watch = (Watch){.cancellable = cancellable};
    monitor.cancellable = cancellable;
    g_autoptr(LdmResult) none = ldm_generate(model, request, &monitor, &error);
    g_assert_null(none);
    g_assert_error(error, LDM_ERROR, LDM_ERROR_CANCELLED);
}

/* Finished early in the first run, the picture has its size all the same, by one step more. */
static void test_finished(void)
{
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_GENERATE, 256, 256);
    g_autoptr(GCancellable) finish = g_cancellable_new();
    g_autoptr(GError) error = NULL;
    Watch watch = {.finish = finish};
    const LdmMonitor monitor = {
        .preview = on_early_preview, .preview_data = &watch, .finish = finish};

    request->refine = 0.5;
    g_autoptr(LdmResult) result = ldm_generate(model, request, &monitor, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(result->pixels->shape[2], ==, 256);
    g_assert_cmpint(result->steps, ==, 2 + 1);
    g_assert_cmpint(result->planned_steps, ==, STEPS + STEPS / 2);
}

/* ---- planning ---- */

static LdmPlan plan_of(const LdmRequest *request)
{
    g_autoptr(GError) error = NULL;
    LdmPlan plan;

    g_assert_true(ldm_plan(model, request, &plan, &error));
    return plan;
}

static void test_plan(void)
{
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_GENERATE, 256, 256);
    LdmPlan at_once = plan_of(request), both, small;

    request->refine = 0.5;
    both = plan_of(request);
    g_assert_cmpint(both.latent_width, ==, 32);
    request->width = request->height = 128;
    small = plan_of(request);
    g_assert_cmpfloat(both.flops[LDM_STAGE_DENOISE], >, small.flops[LDM_STAGE_DENOISE]);
    g_assert_cmpfloat(both.flops[LDM_STAGE_DENOISE], <, at_once.flops[LDM_STAGE_DENOISE]);
    g_assert_cmpfloat(both.flops[LDM_STAGE_DECODE], >, at_once.flops[LDM_STAGE_DECODE]);
    g_assert_cmpuint(both.work_bytes, >, at_once.work_bytes);
}

static void test_refused(void)
{
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_GENERATE, 256, 256);
    g_autoptr(GError) error = NULL;

    request->refine = 1.5;
    g_assert_null(ldm_generate(model, request, NULL, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, "refine"));
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;

    g_test_init(&argc, &argv, NULL);
    model = ldm_model_load(NULL, &error);
    g_assert_no_error(error);
    g_test_add_func("/refine/by-hand", test_by_hand);
    g_test_add_func("/refine/one-run", test_one_run);
    g_test_add_func("/refine/no-step", test_no_step);
    g_test_add_func("/refine/watched", test_watched);
    g_test_add_func("/refine/finished", test_finished);
    g_test_add_func("/refine/plan", test_plan);
    g_test_add_func("/refine/refused", test_refused);
    return g_test_run();
}
