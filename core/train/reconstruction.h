/* How far pictures are from what they should be: the part of the loss that all decoders share. */
#pragma once

#include "train/pyramid.h"

typedef struct {
    double l1, l2, perceptual; /* weights; perceptual: of the pyramid distance */
} LdmReconstruction;

/* l1 |y - x| + l2 |y - x|^2 + perceptual P(y, x), means over all numbers; its gradient by y -> d.
 * y, x and d have the shape that the pyramid was made for. */
double ldm_reconstruction(const LdmReconstruction *weights, LdmPyramid *pyramid, const LdmTensor *y,
                          const LdmTensor *x, float *d);
