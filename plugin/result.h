#pragma once

#include "task.h"
#include "worker-client.h"

/* The layer name of a result: the task's title and the seed. Free with g_free. */
char *pentimento_result_name(const PentimentoTask *task, int seed);

/* Says what the user should know of a result in `image`: the worker's notes, and that an indexed
 * image's palette limits the colours. */
void pentimento_result_notes(GimpImage *image, const PentimentoReply *reply);
