/* Several windows of one request, after each other. In: a request whose marks lie apart. Out: one
 * result, made of one run for each group. */
#include "pipeline/areas.h"

#include "base/rng.h"
#include "finish/finish.h"
#include "pipeline/parts.h"
#include "pipeline/plan.h"
#include "pipeline/request.h"
#include "tensor/tensor.h"

#include <string.h>

#define MOST_WORK 4 /* times the pixels that the one reduced window is worked on with */

/* ---- splitting ---- */

static size_t pixels(const LdmRect *rect)
{
    return (size_t)rect->width * (size_t)rect->height;
}

static LdmPrepared window_of(const LdmPrepareOptions *options, const LdmRequest *request,
                             const LdmRect *marked)
{
    LdmPrepared p = {0};

    ldm_prepare_window(options, request->picture->shape[2], request->picture->shape[1], marked, &p);
    return p;
}

/* Lays all windows; whether they are worth it beside the one around all. */
static bool lay_windows(const LdmPrepareOptions *options, const LdmRequest *request,
                        const LdmPrepared *whole, LdmAreas *areas)
{
    size_t sum = 0, work = 0;

    for (size_t i = 0; i < areas->count; i++) {
        const LdmPrepared p = window_of(options, request, &areas->marked[i]);
        areas->window = i == 0 ? p.window : ldm_rect_around(&areas->window, &p.window);
        sum += pixels(&p.window);
        work += p.W * p.H;
    }
    return sum <= pixels(&whole->window) / 2 && work <= MOST_WORK * whole->W * whole->H;
}

bool ldm_areas_split(const LdmModel *model, const LdmRequest *request, LdmAreas *areas)
{
    LdmRect all;

    if (request->task == LDM_TASK_GENERATE || request->mask == NULL || request->learn > 0 ||
        request->latent != NULL || !ldm_request_check(request, NULL) ||
        !ldm_mask_bounds(request->mask, &all))
        return false;
    const LdmPrepareOptions options = ldm_line_prepare_options(model, request);
    const LdmPrepared whole = window_of(&options, request, &all);
    if (whole.scale == 1.0)
        return false;
    areas->latent_width = (int)(whole.W / options.f);
    areas->latent_height = (int)(whole.H / options.f);
    areas->count = ldm_mask_areas(&options, request->mask, areas->marked, LDM_AREAS_MAX);
    return areas->count > 1 && lay_windows(&options, request, &whole, areas);
}

/* ---- planning ---- */

/* Each group's plan, and the sum. */
static bool plan_all(const LdmAreas *areas, LdmModel *model, const LdmRequest *request,
                     LdmPlan *plans, LdmPlan *sum, GError **error)
{
    uint64_t held = pixels(&areas->window) * 5 * sizeof(float);

    for (size_t i = 0; i < areas->count; i++)
        if (!ldm_line_plan_alone(model, request, &areas->marked[i], held, &plans[i], error))
            return false;
    *sum = plans[0];
    for (size_t i = 1; i < areas->count; i++) {
        sum->work_bytes = MAX(sum->work_bytes, plans[i].work_bytes);
        sum->peak_bytes = MAX(sum->peak_bytes, plans[i].peak_bytes);
        for (int s = 0; s < LDM_N_STAGES; s++)
            sum->flops[s] += plans[i].flops[s];
    }
    sum->latent_width = areas->latent_width;
    sum->latent_height = areas->latent_height;
    sum->work_bytes += held;
    sum->peak_bytes += held;
    return true;
}

bool ldm_areas_plan(const LdmAreas *areas, LdmModel *model, const LdmRequest *request,
                    LdmPlan *plan, GError **error)
{
    LdmPlan plans[LDM_AREAS_MAX];

    return plan_all(areas, model, request, plans, plan, error);
}

/* ---- running ---- */

static void paste(LdmResult *whole, const LdmResult *part)
{
    const size_t W = (size_t)whole->window.width, w = (size_t)part->window.width;
    const size_t left = (size_t)(part->window.x - whole->window.x);
    const size_t top = (size_t)(part->window.y - whole->window.y);

    for (size_t y = 0; y < (size_t)part->window.height; y++) {
        memcpy(ldm_tensor_f32(whole->pixels) + ((top + y) * W + left) * 4,
               ldm_tensor_f32(part->pixels) + y * w * 4, w * 4 * sizeof(float));
        memcpy(ldm_tensor_f32(whole->alpha) + (top + y) * W + left,
               ldm_tensor_f32(part->alpha) + y * w, w * sizeof(float));
    }
    whole->scale = MIN(whole->scale, part->scale);
    ldm_parts_add(whole, part);
}

/* Nothing changed yet. */
static LdmResult *begin_result(const LdmAreas *areas, const LdmRequest *request, GError **error)
{
    const LdmPrepared all = {.window = areas->window, .scale = 1.0};
    g_autoptr(LdmResult) result = g_new0(LdmResult, 1);

    result->seed = request->seed >= 0 ? request->seed : ldm_seed_new();
    return ldm_finish_unchanged(&all, request, result, error) ? g_steal_pointer(&result) : NULL;
}

static bool finished(const LdmMonitor *monitor)
{
    return monitor != NULL && g_cancellable_is_cancelled(monitor->finish);
}

static bool run_all(const LdmAreas *areas, LdmModel *model, const LdmRequest *request,
                    const LdmPlan *plans, LdmParts *parts, LdmResult *result, GError **error)
{
    const int steps = parts->steps / (int)areas->count;
    LdmRequest own = *request;

    for (size_t i = 0; i < areas->count; i++) {
        if (i > 0 && finished(parts->monitor)) {
            result->planned_steps += steps;
            result->skipped++;
            continue;
        }
        own.seed = (int64_t)(((uint64_t)result->seed + i) & G_MAXINT64);
        g_autoptr(LdmResult) part = ldm_parts_run(parts, model, &own, &areas->marked[i],
                                                  ldm_parts_flops(&plans[i]), steps, error);
        if (part == NULL)
            return false;
        paste(result, part);
    }
    return true;
}

LdmResult *ldm_areas_run(const LdmAreas *areas, LdmModel *model, const LdmRequest *request,
                         const LdmMonitor *monitor, GError **error)
{
    const int steps = request->steps - ldm_start_step(request->steps, request->strength);
    LdmPlan plans[LDM_AREAS_MAX], sum = {0};
    double flops = 0.0;

    if (!plan_all(areas, model, request, plans, &sum, error) ||
        !ldm_plan_fits(sum.work_bytes, sum.free_bytes, error))
        return NULL;
    for (size_t i = 0; i < areas->count; i++)
        flops += ldm_parts_flops(&plans[i]);
    LdmParts parts = ldm_parts_begin(monitor, flops, steps * (int)areas->count);
    g_autoptr(LdmResult) result = begin_result(areas, request, error);
    if (result == NULL || !run_all(areas, model, request, plans, &parts, result, error))
        return NULL;
    return g_steal_pointer(&result);
}
