/* A perceptual distance that needs no network: L1 between the bands of Laplacian pyramids.
 *
 * The reference adds LPIPS, a distance between features of a VGG network trained on ImageNet: half
 * a gigabyte to download, of data that is not free. What such a term is there for, beside the
 * pixels' L1, is that errors of edges and of coarse structure count, which are a small part of all
 * pixels' error. A Laplacian pyramid (Burt and Adelson, 1983) splits a picture into bands of an
 * octave, as the eye's first stage does; the mean of |difference| over each band, summed over bands
 * ("Lap1", arXiv 1707.05776, section 3: 2^2j per band on sums is this mean), weighs all scales
 * alike. It is linear up to the absolute value, exact to differentiate and costs two blurs a band.
 * It does not invent texture: that is the discriminator's part. */
#pragma once

#include "ldm.h"

typedef struct LdmPyramid LdmPyramid;

/* Room for differences of pictures [N, H, W, C]. Errors: MEMORY. */
LdmPyramid *ldm_pyramid_new(size_t N, size_t H, size_t W, size_t C, GError **error);

/* The same room for pictures that are no larger than those it was made for. */
void ldm_pyramid_reshape(LdmPyramid *pyramid, size_t H, size_t W);
void ldm_pyramid_free(LdmPyramid *pyramid);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmPyramid, ldm_pyramid_free)

size_t ldm_pyramid_bytes(size_t N, size_t H, size_t W, size_t C);

/* The distance of a and b, [N, H, W, C], mean over pictures; adds scale * d(distance)/da to d. */
double ldm_pyramid_distance(LdmPyramid *pyramid, const float *a, const float *b, double scale,
                            float *d);
