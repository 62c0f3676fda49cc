#pragma once

#include "task.h"
#include "worker-client.h"

/* One picture that was made. */
typedef struct {
    int seed;
    GVariant *options; /* a{sv}: how it was made */
    PentimentoReply reply;
} PentimentoMade;

/* What came of one call: variations of a picture, which differ in their seeds alone, in the order
 * they were made. */
typedef struct {
    int count; /* made */
    PentimentoMade made[PENTIMENTO_MAX_VARIATIONS];
} PentimentoSeries;

void pentimento_series_clear(PentimentoSeries *series);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(PentimentoSeries, pentimento_series_clear)

/* Has the worker do a task's job as often as the call asks for pictures, in GIMP's progress bar;
 * where the call is live, also in a window of its own with previews, in which it can be cancelled,
 * or ended early with what is there. `job` lacks the options, which are the call's. False where no
 * picture came of it; a failure after the first one is told, and what was made is kept. */
bool pentimento_task_work(const PentimentoTask *task, const PentimentoCall *call,
                          const PentimentoJob *job, PentimentoSeries *series, GError **error);
