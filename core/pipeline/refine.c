/* The two runs of a picture that is laid out small. In: a request for a picture larger than the
 * model was trained at. Out: one result; the monitor sees one run. */
#include "pipeline/refine.h"

#include "finish/finish.h"
#include "pipeline/parts.h"
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
    if (request->task != LDM_TASK_GENERATE || !(request->refine > 0.0) ||
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

/* What lies in memory beside the second run. */
static uint64_t picture_bytes(const LdmRefine *refine)
{
    return ldm_tensor_count(&refine->picture) * sizeof(float);
}

/* Of the layout and of what is made anew. */
static bool plan_both(const LdmRefine *refine, LdmModel *model, LdmPlan plans[2], GError **error)
{
    return ldm_line_plan_alone(model, &refine->layout, NULL, 0, &plans[0], error) &&
           ldm_line_plan_alone(model, &refine->anew, NULL, picture_bytes(refine), &plans[1], error);
}

static LdmPlan sum_up(const LdmRefine *refine, const LdmPlan plans[2])
{
    uint64_t picture = picture_bytes(refine);
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

/* ---- running ---- */

/* What the first run has made, at the picture's size, into the second one's request. */
static bool enlarge(LdmRefine *refine, LdmResult *layout, const LdmMonitor *monitor, GError **error)
{
    const size_t *shape = refine->picture.shape;

    refine->anew.seed = layout->seed;
    refine->anew.picture = ldm_enlarge(g_steal_pointer(&layout->pixels), shape[1], shape[2],
                                       ldm_monitor_cancellable(monitor), error);
    return refine->anew.picture != NULL;
}

LdmResult *ldm_refine_run(LdmRefine *refine, LdmModel *model, const LdmMonitor *monitor,
                          GError **error)
{
    int steps = refine->layout.steps;
    int more = steps - ldm_start_step(steps, refine->anew.strength);
    LdmPlan plans[2];

    if (!plan_both(refine, model, plans, error) ||
        !ldm_plan_fits(sum_up(refine, plans).work_bytes, plans[0].free_bytes, error))
        return NULL;
    double first = ldm_parts_flops(&plans[0]), second = ldm_parts_flops(&plans[1]);
    LdmParts parts = ldm_parts_begin(monitor, first + second, steps + more);
    g_autoptr(LdmResult) layout =
        ldm_parts_run(&parts, model, &refine->layout, NULL, first, steps, error);
    if (layout == NULL || !enlarge(refine, layout, monitor, error))
        return NULL;
    LdmResult *result = ldm_parts_run(&parts, model, &refine->anew, NULL, second, more, error);
    g_clear_pointer(&refine->anew.picture, ldm_tensor_free);
    if (result == NULL)
        return NULL;
    g_clear_pointer(&result->alpha, ldm_tensor_free); /* nothing of the layout is to be kept */
    ldm_parts_add(result, layout);
    return result;
}
