/* How far pictures are from what they should be: the part of the loss that all decoders share. */
#pragma once

#include "train/pyramid.h"
#include "train/texture.h"

typedef struct {
    double l1, l2, perceptual, texture; /* weights; the last two of the distances of pyramid.h and
                                         * texture.h */
} LdmReconstruction;

/* l1 |y - x| + l2 |y - x|^2 + perceptual P(y, x) + texture T(y, x), means over all numbers; its
 * gradient by y -> d. y, x and d have the shape that pyramid and texture, NULL where its weight is
 * 0, were made for. */
double ldm_reconstruction(const LdmReconstruction *weights, LdmPyramid *pyramid,
                          LdmTexture *texture, const LdmTensor *y, const LdmTensor *x, float *d);
