/* Marks that lie apart: how they are grouped; that the runs are those of each group alone; what the
 * monitor and the plan see. */
#include "ldm.h"
#include "made-array.h"
#include "pipeline/areas.h"
#include "prepare/prepare.h"

#include <string.h>

#define STEPS  4
#define WIDTH  1200 /* more than the 512 that are worked on at once */
#define HEIGHT 160

static LdmModel *model;

static void mark(LdmTensor *mask, LdmRect rect, float value)
{
    for (int y = rect.y; y < rect.y + rect.height; y++)
        for (int x = rect.x; x < rect.x + rect.width; x++)
            ldm_tensor_f32(mask)[(size_t)y * mask->shape[2] + (size_t)x] = value;
}

static const LdmRect left = {100, 60, 40, 33}, right = {1003, 20, 50, 24};

/* ---- groups ---- */

static const LdmPrepareOptions small_model = {.f = 8, .native = 64, .max_side = 256};

static size_t groups(const LdmRect *marks, size_t count, LdmRect *areas, size_t most)
{
    g_autoptr(LdmTensor) mask = array(HEIGHT, WIDTH, 1, 0.0f);

    for (size_t i = 0; i < count; i++)
        mark(mask, marks[i], 0.5f);
    return ldm_mask_areas(&small_model, mask, areas, most);
}

/* In whole cells of 8 pixels. */
static void test_bounds(void)
{
    const LdmRect marks[] = {left, right};
    LdmRect areas[4];

    g_assert_cmpuint(groups(marks, 2, areas, 4), ==, 2);
    bool first = areas[0].x < areas[1].x;
    const LdmRect *a = &areas[first ? 0 : 1], *b = &areas[first ? 1 : 0];
    g_assert_cmpint(a->x, ==, 96);
    g_assert_cmpint(a->y, ==, 56);
    g_assert_cmpint(a->x + a->width, ==, 144);
    g_assert_cmpint(a->y + a->height, ==, 96);
    g_assert_cmpint(b->x, ==, 1000);
    g_assert_cmpint(b->x + b->width, ==, 1056);
    g_assert_cmpint(b->y, ==, 16);
    g_assert_cmpint(b->y + b->height, ==, 48);
}

/* A ring, a comb and a diagonal are one; what the context of one shows belongs to it. */
static void test_joined(void)
{
    const LdmRect ring[] = {{8, 8, 80, 8}, {8, 16, 8, 60}, {80, 16, 8, 60}, {8, 76, 80, 8}};
    const LdmRect comb[] = {{8, 8, 4, 90}, {40, 8, 4, 90}, {72, 8, 4, 90}, {8, 98, 68, 4}};
    const LdmRect diagonal[] = {{0, 0, 8, 8}, {8, 8, 8, 8}, {16, 16, 8, 8}};
    const LdmRect near[] = {{100, 60, 40, 30}, {156, 60, 40, 30}};
    LdmRect areas[4];

    g_assert_cmpuint(groups(ring, G_N_ELEMENTS(ring), areas, 4), ==, 1);
    g_assert_cmpint(areas[0].height, ==, 80);
    g_assert_cmpuint(groups(comb, G_N_ELEMENTS(comb), areas, 4), ==, 1);
    g_assert_cmpuint(groups(diagonal, G_N_ELEMENTS(diagonal), areas, 4), ==, 1);
    g_assert_cmpuint(groups(near, G_N_ELEMENTS(near), areas, 4), ==, 1);
    g_assert_cmpint(areas[0].x, ==, 96);
    g_assert_cmpint(areas[0].x + areas[0].width, ==, 200);
}

/* No window holds another's marks, however many there are. */
static void test_apart(void)
{
    LdmRect marks[5], areas[8];

    for (int i = 0; i < 5; i++)
        marks[i] = (LdmRect){20 + 250 * i, 70, 10, 10};
    size_t count = groups(marks, 5, areas, 8);
    g_assert_cmpuint(count, ==, 5);
    for (size_t i = 0; i < count; i++) {
        LdmPrepared p = {0};
        ldm_prepare_window(&small_model, WIDTH, HEIGHT, &areas[i], &p);
        for (size_t j = 0; j < count; j++)
            g_assert_true(j == i || areas[j].x >= p.window.x + p.window.width ||
                          areas[j].x + areas[j].width <= p.window.x);
    }
    g_assert_cmpuint(groups(marks, 5, areas, 4), ==, 0); /* more than are wanted */
    g_assert_cmpuint(groups(marks, 0, areas, 4), ==, 0);
}

/* More specks than can be told apart, and marks that are no numbers. */
static void test_specks(void)
{
    g_autoptr(LdmTensor) mask = array(800, 800, 1, 0.0f);
    LdmRect areas[128];

    for (int i = 0; i < 50 * 50; i++)
        mark(mask, (LdmRect){i % 50 * 16, i / 50 * 16, 1, 1}, i % 2 == 0 ? 1.0f : NAN);
    g_assert_cmpuint(ldm_mask_areas(&small_model, mask, areas, 128), ==, 0);
    mark(mask, (LdmRect){0, 0, 800, 800}, NAN);
    g_assert_cmpuint(ldm_mask_areas(&small_model, mask, areas, 128), ==, 0);
}

/* ---- running ---- */

static LdmRequest *request_for(LdmTask task, const LdmRect *marks, size_t count)
{
    LdmRequest *request = ldm_request_new(task);

    g_free(request->prompt);
    request->prompt = g_strdup("wood");
    request->steps = STEPS;
    request->seed = 3;
    request->strength = 0.75;
    request->picture = array(HEIGHT, WIDTH, 4, 1.0f);
    for (size_t i = 0; i < ldm_tensor_count(request->picture); i++)
        ldm_tensor_f32(request->picture)[i] = i % 4 == 3 ? 1.0f : (float)(i % 97) / 96.0f;
    request->mask = array(HEIGHT, WIDTH, 1, 0.0f);
    for (size_t i = 0; i < count; i++)
        mark(request->mask, marks[i], 1.0f);
    return request;
}

static LdmResult *run(const LdmRequest *request, const LdmMonitor *monitor)
{
    g_autoptr(GError) error = NULL;
    LdmResult *result = ldm_generate(model, request, monitor, &error);

    g_assert_no_error(error);
    return result;
}

/* `alone` lies in `whole`, bit for bit. */
static void assert_holds(const LdmResult *whole, const LdmResult *alone)
{
    const LdmRect *w = &whole->window, *a = &alone->window;

    g_assert_cmpint(a->x, >=, w->x);
    g_assert_cmpint(a->x + a->width, <=, w->x + w->width);
    for (int y = 0; y < a->height; y++) {
        size_t at = (size_t)(a->y - w->y + y) * (size_t)w->width + (size_t)(a->x - w->x);
        size_t from = (size_t)y * (size_t)a->width, n = (size_t)a->width;
        g_assert_cmpmem(ldm_tensor_f32(whole->pixels) + at * 4, n * 4 * sizeof(float),
                        ldm_tensor_f32(alone->pixels) + from * 4, n * 4 * sizeof(float));
        g_assert_cmpmem(ldm_tensor_f32(whole->alpha) + at, n * sizeof(float),
                        ldm_tensor_f32(alone->alpha) + from, n * sizeof(float));
    }
}

/* Each group is what it would be by itself, with the seed that is its turn's. */
static void test_by_hand(gconstpointer data)
{
    const LdmTask task = GPOINTER_TO_INT(data);
    const LdmRect marks[] = {left, right};
    g_autoptr(LdmRequest) request = request_for(task, marks, 2);
    LdmAreas areas;

    g_assert_true(ldm_areas_split(model, request, &areas));
    g_autoptr(LdmResult) whole = run(request, NULL);
    g_assert_cmpfloat(whole->scale, ==, 1.0);
    g_assert_cmpint(whole->seed, ==, 3);
    int evaluations = 0;
    for (size_t i = 0; i < 2; i++) {
        const LdmRect *one = areas.marked[i].x < 500 ? &left : &right;
        g_autoptr(LdmRequest) alone = request_for(task, one, 1);
        alone->seed = 3 + (int)i;
        g_autoptr(LdmResult) result = run(alone, NULL);
        assert_holds(whole, result);
        evaluations += result->evaluations;
    }
    g_assert_cmpint(whole->evaluations, ==, evaluations);
    g_assert_cmpint(whole->steps, ==, 2 * 3);
    g_assert_cmpint(whole->planned_steps, ==, 2 * 3);
    g_assert_cmpint(whole->skipped, ==, 0);

    g_autoptr(GError) error = NULL;
    g_autoptr(LdmTensor) picture = ldm_result_composite(whole, request, &error);
    size_t changed = 0;
    for (size_t i = 0; i < HEIGHT * WIDTH; i++) {
        bool same = memcmp(ldm_tensor_f32(picture) + i * 4,
                           ldm_tensor_f32(request->picture) + i * 4, 4 * sizeof(float)) == 0;
        g_assert_true(same || ldm_tensor_f32(request->mask)[i] > 0.0f);
        changed += !same;
    }
    g_assert_cmpuint(changed, >, (size_t)(left.width * left.height));
}

/* What fits into one window, or fills it, and what is learnt from, takes one run. */
static void test_one_run(void)
{
    const LdmRect near[] = {left, {400, 60, 20, 20}}, wide[] = {{40, 10, 700, 130}, right};
    const LdmRect marks[] = {left, right};
    g_autoptr(LdmRequest) fits = request_for(LDM_TASK_INPAINT, near, 2);
    g_autoptr(LdmRequest) fills = request_for(LDM_TASK_INPAINT, wide, 2);
    g_autoptr(LdmRequest) learns = request_for(LDM_TASK_INPAINT, marks, 2);
    g_autoptr(LdmRequest) empty = request_for(LDM_TASK_INPAINT, NULL, 0);
    g_autoptr(GError) error = NULL;
    LdmAreas areas;

    g_assert_false(ldm_areas_split(model, fits, &areas));
    g_assert_false(ldm_areas_split(model, fills, &areas));
    g_assert_true(ldm_areas_split(model, learns, &areas));
    learns->learn = 2;
    g_assert_false(ldm_areas_split(model, learns, &areas));
    g_assert_false(ldm_areas_split(model, empty, &areas));
    g_assert_null(ldm_generate(model, empty, NULL, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
}

/* ---- watching ---- */

typedef struct {
    double fraction;
    GCancellable *finish, *cancellable; /* cancelled after the first group's steps */
} Watch;

static void on_progress(const LdmProgress *progress, gpointer data)
{
    Watch *watch = data;

    g_assert_cmpfloat(progress->fraction, >=, watch->fraction);
    g_assert_cmpfloat(progress->fraction, <=, 1.0);
    watch->fraction = progress->fraction;
    g_assert_true(progress->steps == 0 || progress->steps == 2 * STEPS);
    g_assert_cmpint(progress->step, <=, progress->steps);
}

static void on_preview(const LdmPreview *preview, gpointer data)
{
    const Watch *watch = data;

    if (preview->step == STEPS)
        g_cancellable_cancel(watch->finish);
    if (preview->step == STEPS + 1)
        g_cancellable_cancel(watch->cancellable);
}

static void test_watched(void)
{
    const LdmRect marks[] = {left, right};
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_INPAINT, marks, 2);
    g_autoptr(GCancellable) finish = g_cancellable_new(), cancellable = g_cancellable_new();
    g_autoptr(GError) error = NULL;
    Watch watch = {.finish = finish, .cancellable = cancellable};
    LdmMonitor monitor = {.progress = on_progress, .progress_data = &watch};

    request->strength = 1.0;
    g_autoptr(LdmResult) result = run(request, &monitor);
    g_assert_cmpfloat(watch.fraction, ==, 1.0);

    /* finished with the first: the other one stays as it is */
    monitor = (LdmMonitor){.preview = on_preview, .preview_data = &watch, .finish = finish};
    g_autoptr(LdmResult) half = run(request, &monitor);
    g_assert_cmpint(half->steps, ==, STEPS);
    g_assert_cmpint(half->planned_steps, ==, 2 * STEPS);
    g_assert_cmpint(half->skipped, ==, 1);
    size_t kept = 0, made = 0;
    for (size_t i = 0; i < ldm_tensor_count(half->alpha); i++) {
        kept += ldm_tensor_f32(result->alpha)[i] > 0.0f && ldm_tensor_f32(half->alpha)[i] == 0.0f;
        made += ldm_tensor_f32(half->alpha)[i] > 0.0f;
    }
    g_assert_cmpuint(kept + made, ==,
                     (size_t)(left.width * left.height + right.width * right.height));
    g_assert_cmpuint(MIN(kept, made), ==,
                     (size_t)MIN(left.width * left.height, right.width * right.height));

    monitor.finish = NULL;
    monitor.cancellable = cancellable;
    g_assert_null(ldm_generate(model, request, &monitor, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_CANCELLED);
}

static void test_plan(void)
{
    const LdmRect marks[] = {left, right};
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_INPAINT, marks, 2);
    g_autoptr(GError) error = NULL;
    LdmPlan whole, one;

    g_assert_true(ldm_plan(model, request, &whole, &error));
    g_autoptr(LdmRequest) alone = request_for(LDM_TASK_INPAINT, marks, 1);
    g_assert_true(ldm_plan(model, alone, &one, &error));
    g_assert_cmpfloat(whole.flops[LDM_STAGE_DENOISE], >, 1.5 * one.flops[LDM_STAGE_DENOISE]);
    g_assert_cmpuint(whole.work_bytes, >, one.work_bytes);
    g_assert_cmpuint(whole.peak_bytes, >, one.peak_bytes);
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;

    g_test_init(&argc, &argv, NULL);
    model = ldm_model_load(NULL, &error);
    g_assert_no_error(error);
    g_test_add_func("/areas/bounds", test_bounds);
    g_test_add_func("/areas/joined", test_joined);
    g_test_add_func("/areas/apart", test_apart);
    g_test_add_func("/areas/specks", test_specks);
    g_test_add_data_func("/areas/by-hand/inpaint", GINT_TO_POINTER(LDM_TASK_INPAINT), test_by_hand);
    g_test_add_data_func("/areas/by-hand/img2img", GINT_TO_POINTER(LDM_TASK_IMG2IMG), test_by_hand);
    g_test_add_func("/areas/one-run", test_one_run);
    g_test_add_func("/areas/watched", test_watched);
    g_test_add_func("/areas/plan", test_plan);
    return g_test_run();
}
