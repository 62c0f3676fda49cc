/* Between the runs of a whole and its monitor. In: one run's progress and previews. Out: the
 * whole's. */
#include "pipeline/parts.h"

#include "pipeline/generate.h"

double ldm_parts_flops(const LdmPlan *plan)
{
    double sum = 0.0;

    for (int i = 0; i < LDM_N_STAGES; i++)
        sum += plan->flops[i];
    return sum;
}

LdmParts ldm_parts_begin(const LdmMonitor *monitor, double flops, int steps)
{
    return (LdmParts){
        .monitor = monitor, .flops = flops, .steps = steps, .begun = g_get_monotonic_time()};
}

static void on_progress(const LdmProgress *own, gpointer data)
{
    const LdmParts *parts = data;
    double elapsed = (double)(g_get_monotonic_time() - parts->begun) * 1e-6;
    LdmProgress progress = *own;

    progress.fraction = (parts->done + parts->own * own->fraction) / parts->flops;
    if (own->steps > 0) {
        progress.step += parts->steps_done;
        progress.steps = parts->steps;
    }
    if (own->seconds_left >= 0.0 && progress.fraction > 0.0)
        progress.seconds_left = elapsed * (1.0 - progress.fraction) / progress.fraction;
    parts->monitor->progress(&progress, parts->monitor->progress_data);
}

static void on_preview(const LdmPreview *own, gpointer data)
{
    const LdmParts *parts = data;
    LdmPreview preview = *own;

    preview.step += parts->steps_done;
    preview.steps = parts->steps;
    parts->monitor->preview(&preview, parts->monitor->preview_data);
}

static LdmResult *watch_run(LdmParts *parts, LdmModel *model, const LdmRequest *request,
                            const LdmRect *area, GError **error)
{
    LdmMonitor monitor = {0};

    if (parts->monitor == NULL)
        return ldm_line_run(model, request, area, NULL, error);
    monitor = *parts->monitor;
    monitor.progress = monitor.progress != NULL ? on_progress : NULL;
    monitor.preview = monitor.preview != NULL ? on_preview : NULL;
    monitor.progress_data = monitor.preview_data = parts;
    return ldm_line_run(model, request, area, &monitor, error);
}

LdmResult *ldm_parts_run(LdmParts *parts, LdmModel *model, const LdmRequest *request,
                         const LdmRect *area, double flops, int steps, GError **error)
{
    parts->own = flops;
    LdmResult *result = watch_run(parts, model, request, area, error);
    parts->done += flops;
    parts->steps_done += steps;
    return result;
}

void ldm_parts_add(LdmResult *result, const LdmResult *other)
{
    result->evaluations += other->evaluations;
    result->steps += other->steps;
    result->planned_steps += other->planned_steps;
    for (int i = 0; i < LDM_N_STAGES; i++)
        result->seconds[i] += other->seconds[i];
}
