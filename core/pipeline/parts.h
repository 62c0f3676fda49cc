/* Several runs of the line that are one to the caller: its monitor sees a fraction, steps and a
 * time left of the whole. */
#pragma once

#include "ldm.h"

typedef struct {
    const LdmMonitor *monitor; /* of the whole, or NULL */
    double flops, done, own;   /* planned: of all runs, of those before, of the one at work */
    int steps, steps_done;     /* likewise */
    gint64 begun;              /* microseconds, monotonic */
} LdmParts;

/* flops: the sum over the runs, in their order; steps: of all of them. */
LdmParts ldm_parts_begin(const LdmMonitor *monitor, double flops, int steps);

/* The next run; `flops` and `steps` as planned for it. Errors: those of ldm_line_run. */
LdmResult *ldm_parts_run(LdmParts *parts, LdmModel *model, const LdmRequest *request,
                         const LdmRect *area, double flops, int steps, GError **error);

/* `result` tells of the work of `other`, too: evaluations, steps, seconds. */
void ldm_parts_add(LdmResult *result, const LdmResult *other);

/* All stages' FLOPs. */
double ldm_parts_flops(const LdmPlan *plan);
