#pragma once

#include "region.h"
#include "worker-client.h"

/* A layer with the reply's pixels and, where there is one, its blend factor as layer mask; not in
 * the image yet, so that nothing shows until gimp_image_insert_layer puts it there in one step. */
GimpLayer *pentimento_layer_new(GimpImage *image, const char *name, const PentimentoReply *reply,
                                GError **error);

/* Multiplies the layer mask of `source`, where it has one that is applied, into that of a layer
 * that is to lie over it, each at its place in the image: what is cut out by it stays cut out.
 * Beyond `source` nothing is hidden. */
void pentimento_layer_hide_as(GimpLayer *layer, GimpLayer *source);

/* Blends the reply into the layer itself; where the blend factor is 0 every byte stays. `region` is
 * what the job was made from. Begins an undo step, which the caller ends, unless it fails: where
 * memory is short, or the region holds no more. */
bool pentimento_layer_replace(const PentimentoRegion *region, const PentimentoReply *reply,
                              GError **error);
