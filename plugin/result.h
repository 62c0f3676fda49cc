#pragma once

#include "live.h"

/* A layer of one picture, its corner at (x, y) of the image, with the settings it was made with;
 * not in the image yet. */
GimpLayer *pentimento_result_layer(const PentimentoTask *task, GimpImage *image,
                                   const PentimentoMade *made, int x, int y, GError **error);

/* Puts the layers of a series, [count], into the image in one undo step: parent and position as
 * gimp_image_insert_layer has them; several come into a group (indexed images have none), and the
 * first one shows. Returns the group, or else the first layer. What is selected stays so, for the
 * user may be painting on it, and the next run starts from it and not from this result; where no
 * layer or channel is, the new layer becomes selected. */
GimpLayer *pentimento_result_insert(const PentimentoTask *task, GimpImage *image,
                                    GimpLayer *const *layers, int count, GimpLayer *parent,
                                    int position);

/* Gives up layers that are not in an image, [count]. */
void pentimento_result_drop(GimpLayer *const *layers, int count);

/* Says what the user should know of a result in `image`: the worker's notes, and that an indexed
 * image's palette limits the colours. */
void pentimento_result_notes(GimpImage *image, const PentimentoReply *reply);
