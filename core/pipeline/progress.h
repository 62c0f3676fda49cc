/* Progress of one call, from FLOPs: the plan says how many each stage takes, passes say how many
 * are done. */
#pragma once

#include "ldm.h"

typedef struct {
    const LdmMonitor *monitor;    /* or NULL */
    double flops[LDM_N_STAGES];   /* planned */
    double seconds[LDM_N_STAGES]; /* spent in each stage so far */
    double total, before;         /* planned FLOPs: of all stages; of the finished ones */
    LdmProgress last;
    gint64 begun, stage_begun, reported; /* microseconds, monotonic */
    bool working;                        /* between ldm_meter_stage and ldm_meter_end */
} LdmMeter;

/* flops: planned, per stage; a stage of 0 is never entered. */
void ldm_meter_begin(LdmMeter *meter, const LdmMonitor *monitor, const double *flops);

/* The stage before is finished, this one begins. */
void ldm_meter_stage(LdmMeter *meter, LdmStage stage);
void ldm_meter_end(LdmMeter *meter);

/* Share of the current stage that is done, 0 .. 1; step of steps, or 0, 0. Reported to the monitor
 * at most every 50 ms. */
void ldm_meter_at(LdmMeter *meter, double share, int step, int steps);

/* LdmPassProgress: FLOPs done of the current stage; data is the meter. */
void ldm_meter_flops(double flops, void *data);

static inline GCancellable *ldm_monitor_cancellable(const LdmMonitor *monitor)
{
    return monitor == NULL ? NULL : monitor->cancellable;
}
