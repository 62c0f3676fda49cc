#pragma once

#include "task.h"

/* Selection and layer, where they meet, or a layer and what is to lie around it. */
typedef struct {
    GimpImage *image;
    GimpLayer *layer;
    int width, height;      /* of the layer */
    int offset_x, offset_y; /* of the layer in the image */
    bool selected;          /* there is a selection; else the whole layer is meant */
    GeglRectangle frame;    /* the picture worked on: the layer, more than it where it is to be
                               extended, less where it is far larger than the selection; layer
                               coordinates */
    GeglRectangle bounds;   /* selection's bounding box, or the whole frame; layer coordinates */
    bool extends;           /* what lies beyond the layer is to be made, */
    int overlap;            /* going over into its edges by so many pixels */
} PentimentoRegion;

/* Finds what is to be edited. Fails with one sentence that says what to do: not exactly one
 * layer, a group, a floating selection, no selection where the task needs one, a selection beside
 * the layer, layer or image gone. None of that depends on the arguments. */
bool pentimento_region_find(const PentimentoTask *task, GimpDrawable **drawables,
                            GimpProcedureConfig *config, PentimentoRegion *region, GError **error);

/* False and an error that says what to do where the arguments do not suit the region: the frame of
 * an extended layer is more than can be worked on, or larger than GIMP's pictures; locked pixels or
 * those of a text layer are to be replaced. */
bool pentimento_region_check(const PentimentoRegion *region, GimpProcedureConfig *config,
                             GError **error);

/* `there`, with an error that says so where the layer or its image is gone. */
bool pentimento_check_there(bool there, GError **error);

/* `unchanged`, with an error that says what was changed meanwhile, so that nothing is replaced. */
bool pentimento_check_unchanged(bool unchanged, GError **error);

/* True where layer, size, place and selection bounds are still those of `before`. */
bool pentimento_region_same(const PentimentoRegion *before, const PentimentoRegion *now);
