#pragma once

#include "task.h"
#include "worker-client.h"

/* The layer name of a result: the task's title and the seed. Free with g_free. */
char *pentimento_result_name(const PentimentoTask *task, int seed);

/* Puts a result's layer into the image: parent and position as gimp_image_insert_layer has them.
 * What is selected stays so, for the user may be painting on it, and the next run starts from it
 * and not from this result; where no layer or channel is, the new layer becomes selected. */
void pentimento_result_insert(GimpImage *image, GimpLayer *layer, GimpLayer *parent, int position);

/* Says what the user should know of a result in `image`: the worker's notes, and that an indexed
 * image's palette limits the colours. */
void pentimento_result_notes(GimpImage *image, const PentimentoReply *reply);
