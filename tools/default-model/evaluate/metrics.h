/* What pictures are measured by. Arrays are f32; pictures [1, H, W, 3], 0..1. */
#pragma once

#include "ldm.h"

/* Peak signal-to-noise ratio in dB of n numbers with peak 1; 99 where they are equal. */
double metric_psnr(const float *a, const float *b, size_t n);

/* Structural similarity (Wang and others, 2004) of the brightness: windows of 11 x 11 by a Gaussian
 * of standard deviation 1.5, all that lie inside; both sides at least 11 pixels. */
double metric_ssim(const LdmTensor *a, const LdmTensor *b);

/* Power of the brightness in the top octave, 1/4 to 1/2 cycles a pixel in any direction, behind a
 * Hann window, which keeps the picture's own border out of it. The ratio of two of them tells
 * whether fine detail was lost (below 1) or made up (above 1). */
double metric_top_octave(const LdmTensor *picture);

/* Kernel inception distance (arXiv 1801.01401) of two sets of features [n, D] and [m, D], n and m
 * at least 2: the unbiased estimate of the squared maximum mean discrepancy with the kernel
 * (x y / |x| |y| + 1)^3. About 0 (also below it) for samples of one distribution. */
double metric_kid(const LdmTensor *a, const LdmTensor *b);

/* The same of `count` pairs of subsets of `size` rows, drawn without replacement, the same at every
 * call: their mean, and in *spread their standard deviation. size: at most the fewer rows. */
double metric_kid_subsets(const LdmTensor *a, const LdmTensor *b, size_t size, size_t count,
                          double *spread);

/* Share of the rows of a [n, D] that have a row of b [m, D] of the same label among their `most`
 * nearest. */
double metric_retrieval(const LdmTensor *a, const size_t *a_labels, const LdmTensor *b,
                        const size_t *b_labels, size_t most);

/* Root mean square difference of a [n] and the nearest of the m rows of b [m, n], m at least 1;
 * bytes as 0..1. n: at most 32768. */
double metric_nearest_bytes(const uint8_t *a, const uint8_t *b, size_t n, size_t m);

/* The value below which a share `share` of n values lies, n at least 1; sorts them. */
double metric_quantile(double *values, size_t n, double share);

/* Row of b [m, D] that is nearest to row `row` of a [n, D]; *distance (may be NULL): 1 - cosine. */
size_t metric_nearest(const LdmTensor *a, size_t row, const LdmTensor *b, double *distance);

/* Sliced Wasserstein distance (arXiv 1710.10196, appendix A) of the 7 x 7 patches inside a
 * rectangle of two pictures: the mean distance of their sorted projections on 128 directions, the
 * same at every call. Looks at the texture and not at where what of it is. */
double metric_patch_distance(const LdmTensor *a, const LdmTensor *b, const LdmRect *inside);
