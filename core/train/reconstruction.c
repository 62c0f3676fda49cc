/* The reconstruction term of decoders' losses. In: pictures made and pictures wanted. Out: the
 * distance, and its gradient. */
#include "train/reconstruction.h"

#include <math.h>

double ldm_reconstruction(const LdmReconstruction *weights, LdmPyramid *pyramid,
                          LdmTexture *texture, const LdmTensor *y, const LdmTensor *x, float *d)
{
    size_t n = ldm_tensor_count(y);
    const float *a = y->data, *b = x->data;
    double absolute = 0.0, squares = 0.0;

    for (size_t i = 0; i < n; i++) {
        double distance = (double)a[i] - b[i];
        double sign = distance > 0.0 ? 1.0 : distance < 0.0 ? -1.0 : 0.0;
        absolute += fabs(distance);
        squares += distance * distance;
        d[i] = (float)((weights->l1 * sign + weights->l2 * 2.0 * distance) / (double)n);
    }
    double sum = (weights->l1 * absolute + weights->l2 * squares) / (double)n;
    if (weights->perceptual > 0.0)
        sum += weights->perceptual * ldm_pyramid_distance(pyramid, a, b, weights->perceptual, d);
    if (weights->texture > 0.0)
        sum += weights->texture * ldm_texture_distance(texture, a, b, weights->texture, d);
    return sum;
}
