#pragma once

#include "layer-source.h"
#include "region.h"

/* False and an error that tells what to do where memory has no room for `bytes` of pixels. */
bool pentimento_pixels_fit(guint64 bytes, GError **error);

/* The frame's pixels as the worker wants them: a sealed memfd of float32 [height, width, 4],
 * R'G'B' on the sRGB curve and straight alpha; beyond the layer they are clear. With the layer's
 * filters, unless it is the layer's own pixels that will `change`. -1 and an error where memory
 * does not suffice. */
int pentimento_pixels_read(const PentimentoRegion *region, bool change, GError **error);

/* The same for a part of any layer, [rectangle->height / factor, rectangle->width / factor, 4]:
 * each pixel is the mean of factor × factor of the layer's. */
int pentimento_rectangle_read(const PentimentoSource *source, const GeglRectangle *rectangle,
                              int factor, GError **error);

/* What is to be made of the frame: a sealed memfd of float32 [height, width], 0..1. The selection;
 * or, where the layer is extended, 1 beyond it, falling to 0 over the overlap within it. */
int pentimento_mask_read(const PentimentoRegion *region, GError **error);
