/* Turns "so many FLOPs of this stage are done" into the caller's LdmProgress: a fraction of the
 * whole call that never falls, and the time left at the rate measured so far. */
#include "pipeline/progress.h"

#define REPORT_EVERY 50000  /* microseconds between reports */
#define RATE_AFTER   200000 /* microseconds of work before a rate means anything */

void ldm_meter_begin(LdmMeter *meter, const LdmMonitor *monitor, const double *flops)
{
    *meter = (LdmMeter){.monitor = monitor, .begun = g_get_monotonic_time()};
    for (int i = 0; i < LDM_N_STAGES; i++) {
        meter->flops[i] = flops[i];
        meter->total += flops[i];
    }
    meter->last.seconds_left = -1.0;
}

static void report(LdmMeter *meter, gint64 now)
{
    meter->reported = now;
    if (meter->monitor != NULL && meter->monitor->progress != NULL)
        meter->monitor->progress(&meter->last, meter->monitor->progress_data);
}

/* The running stage's time and FLOPs go to the finished ones. */
static void close_stage(LdmMeter *meter, gint64 now)
{
    LdmStage stage = meter->last.stage;
    if (!meter->working)
        return;
    meter->seconds[stage] += (double)(now - meter->stage_begun) * 1e-6;
    meter->before += meter->flops[stage];
    meter->working = false;
}

void ldm_meter_stage(LdmMeter *meter, LdmStage stage)
{
    gint64 now = g_get_monotonic_time();
    close_stage(meter, now);
    meter->working = true;
    meter->stage_begun = now;
    meter->last.stage = stage;
    meter->last.step = meter->last.steps = 0;
    ldm_meter_at(meter, 0.0, 0, 0);
}

void ldm_meter_end(LdmMeter *meter)
{
    gint64 now = g_get_monotonic_time();
    close_stage(meter, now);
    meter->last.fraction = 1.0;
    meter->last.seconds_left = 0.0;
    meter->last.step = meter->last.steps = 0;
    report(meter, now);
}

void ldm_meter_at(LdmMeter *meter, double share, int step, int steps)
{
    LdmProgress *last = &meter->last;
    gint64 now = g_get_monotonic_time();
    double done = meter->before + CLAMP(share, 0.0, 1.0) * meter->flops[last->stage];
    double fraction = meter->total > 0.0 ? MIN(done / meter->total, 1.0) : 0.0;
    last->fraction = MAX(last->fraction, fraction);
    last->step = step;
    last->steps = steps;
    double elapsed = (double)(now - meter->begun);
    if (elapsed > RATE_AFTER && last->fraction > 0.0)
        last->seconds_left = elapsed * 1e-6 * (1.0 - last->fraction) / last->fraction;
    if (now - meter->reported >= REPORT_EVERY)
        report(meter, now);
}

void ldm_meter_flops(double flops, void *data)
{
    LdmMeter *meter = data;
    double planned = meter->flops[meter->last.stage];
    ldm_meter_at(meter, planned > 0.0 ? flops / planned : 0.0, 0, 0);
}
