/* The pixels of a layer, as the layer is seen or as it is. */
#pragma once

#include <gegl.h>
#include <libgimp/gimp.h>
#include <stdbool.h>

typedef struct {
    GeglBuffer *buffer;
    GeglBuffer *mask;   /* hides parts of it; NULL: nothing does */
    int x, y;           /* where the layer's first pixel lies in the buffer */
    GimpImage *scratch; /* that the buffer belongs to; NULL: the layer's own */
} PentimentoSource;

/* filtered: with the layer's filters, which are not merged into its pixels; masked: with what its
 * layer mask hides being clear. */
typedef struct {
    bool filtered, masked;
} PentimentoSight;

/* Errors: a layer that is gone, filters that cannot be merged; *source is clear then. */
bool pentimento_source_open(PentimentoSource *source, GimpDrawable *layer, PentimentoSight sight,
                            GError **error);
void pentimento_source_clear(PentimentoSource *source);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(PentimentoSource, pentimento_source_clear)

/* The rectangle, in the layer's own coordinates, as R'G'B' on the sRGB curve and straight alpha,
 * [height, width, 4]; clear beyond the layer. */
void pentimento_source_read(const PentimentoSource *source, const GeglRectangle *rectangle,
                            float *out);
