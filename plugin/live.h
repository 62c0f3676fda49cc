#pragma once

#include "task.h"
#include "worker-client.h"

/* Has the worker do a task's job, in GIMP's progress bar; where `live`, also in a window of its own
 * with previews, in which it can be cancelled, or ended early with what is there. */
bool pentimento_task_work(const PentimentoTask *task, bool live, const PentimentoJob *job,
                          PentimentoReply *reply, GError **error);
