/* The two runs of a picture that is laid out small. In: a request for a picture larger than the
 * model was trained at. Out: one result; the monitor sees one run. */
#include "pipeline/refine.h"

#include "finish/finish.h"
#include "pipeline/plan.h"
#include "pipeline/progress.h"
#include "tensor/tensor.h"

#include <math.h>

#define LARGER 2.0 /* times the native picture's pixels */

/* ---- splitting ---- */

/* `side` pixels reduced, in whole cells. */
static int reduced(size_t side, double scale, size_t f)
{
    double cells = round((double)side * scale / (double)f);

    return (int)(MAX(cells, 1.0) * (double)f);
}

bool ldm_refine_split(const LdmModel *model, const LdmRequest *request, LdmRefine *refine)
{
    size_t width, height, f = (size_t)model->info.downsampling;
    double native = (double)model->info.native_size;

    ldm_line_size(model, request, &width, &height);
    double scale = native / sqrt((double)width * (double)height);
    if (request->task != LDM_TASK_GENERATE || !(request->refine > 0.0) || request->latent != NULL ||
        scale * scale * LARGER >= 1.0)
        return false;
    refine->layout = refine->anew = *request;
    refine->layout.width = reduced(width, scale, f);
    refine->layout.height = reduced(height, scale, f);
    refine->picture = (LdmTensor){LDM_F32, 4, {1, height, width, 4}, NULL};
    refine->anew.task = LDM_TASK_IMG2IMG;
    refine->anew.strength = request->refine;
    refine->anew.picture = &refine->picture;
    refine->anew.mask = NULL;
    return true;
}

/* ---- planning ---- */

/* Of the layout and of what is made anew. */
static bool plan_both(const LdmRefine *refine, LdmModel *model, LdmPlan plans[2], GError **error)
{
    return ldm_line_plan_alone(model, &refine->layout, &plans[0], error) &&
           ldm_line_plan_alone(model, &refine->anew, &plans[1], error);
}

static LdmPlan sum_up(const LdmRefine *refine, const LdmPlan plans[2])
{
    uint64_t picture = ldm_tensor_count(&refine->picture) * sizeof(float);
    LdmPlan sum = plans[1];

    sum.work_bytes = MAX(plans[0].work_bytes, plans[1].work_bytes + picture);
    sum.peak_bytes = MAX(plans[0].peak_bytes, plans[1].peak_bytes + picture);
    for (int i = 0; i < LDM_N_STAGES; i++)
        sum.flops[i] += plans[0].flops[i];
    return sum;
}

bool ldm_refine_plan(const LdmRefine *refine, LdmModel *model, LdmPlan *plan, GError **error)
{
    LdmPlan plans[2];

    if (!plan_both(refine, model, plans, error))
        return false;
    *plan = sum_up(refine, plans);
    return true;
}

/* ---- watching ---- */

/* One run of the two, as the monitor sees it. */
typedef struct {
    const LdmMonitor *whole;
    double before, share; /* of the whole: what is done already, what this run is */
    int steps_before, steps;
    gint64 begun; /* microseconds, monotonic: the first run */
} Part;

static void part_progress(const LdmProgress *own, gpointer data)
{
    const Part *part = data;
    double elapsed = (double)(g_get_monotonic_time() - part->begun) * 1e-6;
    LdmProgress progress = *own;

    progress.fraction = part->before + part->share * own->fraction;
    if (own->steps > 0) {
        progress.step += part->steps_before;
        progress.steps = part->steps;
    }
    if (own->seconds_left >= 0.0 && progress.fraction > 0.0)
        progress.seconds_left = elapsed * (1.0 - progress.fraction) / progress.fraction;
    part->whole->progress(&progress, part->whole->progress_data);
}

static void part_preview(const LdmPreview *own, gpointer data)
{
    const Part *part = data;
    LdmPreview preview = *own;

    preview.step += part->steps_before;
    preview.steps = part->steps;
    part->whole->preview(&preview, part->whole->preview_data);
}

static LdmResult *run_part(Part *part, LdmModel *model, const LdmRequest *request, GError **error)
{
    LdmMonitor monitor = {0};

    if (part->whole == NULL)
        return ldm_line_run(model, request, NULL, error);
    monitor = *part->whole;
    monitor.progress = monitor.progress != NULL ? part_progress : NULL;
    monitor.preview = monitor.preview != NULL ? part_preview : NULL;
    monitor.progress_data = monitor.preview_data = part;
    return ldm_line_run(model, request, &monitor, error);
}

/* ---- running ---- */

static double flops_of(const LdmPlan *plan)
{
    double sum = 0.0;

    for (int i = 0; i < LDM_N_STAGES; i++)
        sum += plan->flops[i];
    return sum;
}

/* What the first run has made, at the picture's size, into the second one's request. */
static bool enlarge(LdmRefine *refine, LdmResult *layout, const LdmMonitor *monitor, GError **error)
{
    const size_t *shape = refine->picture.shape;

    refine->anew.seed = layout->seed;
    refine->anew.picture = ldm_enlarge(g_steal_pointer(&layout->pixels), shape[1], shape[2],
                                       ldm_monitor_cancellable(monitor), error);
    return refine->anew.picture != NULL;
}

/* The second result tells of both runs. */
static void add_first(LdmResult *result, const LdmResult *layout)
{
    g_clear_pointer(&result->alpha, ldm_tensor_free); /* nothing of the layout is to be kept */
    result->evaluations += layout->evaluations;
    result->steps += layout->steps;
    result->planned_steps += layout->planned_steps;
    for (int i = 0; i < LDM_N_STAGES; i++)
        result->seconds[i] += layout->seconds[i];
}

LdmResult *ldm_refine_run(LdmRefine *refine, LdmModel *model, const LdmMonitor *monitor,
                          GError **error)
{
    int steps = refine->layout.steps;
    int more = steps - ldm_start_step(steps, refine->anew.strength);
    Part part = {.whole = monitor, .steps = steps + more, .begun = g_get_monotonic_time()};
    LdmPlan plans[2];

    if (!plan_both(refine, model, plans, error) ||
        !ldm_plan_fits(sum_up(refine, plans).work_bytes, plans[0].free_bytes, error))
        return NULL;
    part.share = flops_of(&plans[0]) / (flops_of(&plans[0]) + flops_of(&plans[1]));
    g_autoptr(LdmResult) layout = run_part(&part, model, &refine->layout, error);
    if (layout == NULL || !enlarge(refine, layout, monitor, error))
        return NULL;
    part.before = part.share;
    part.share = 1.0 - part.before;
    part.steps_before = steps;
    LdmResult *result = run_part(&part, model, &refine->anew, error);
    g_clear_pointer(&refine->anew.picture, ldm_tensor_free);
    if (result != NULL)
        add_first(result, layout);
    return result;
}
