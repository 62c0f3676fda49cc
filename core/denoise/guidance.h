/* Classifier-free guidance and what the network's output means. Private to denoise/. */
#pragma once

#include "ldm.h"

/* out = o_u + g (o_c - o_u), arXiv 2207.12598, on the raw output; out may be either input. */
void ldm_guide(float *out, const float *o_u, const float *o_c, size_t n, double g);

/* out = phi out std(o_c) / std(out) + (1 - phi) out, arXiv 2305.08891, equations 15 and 16, on what
 * ldm_guide made: guidance widens what comes out, which a model that has learnt to begin with pure
 * noise shows as too much contrast. 0 <= phi <= 1. */
void ldm_guide_rescale(float *out, const float *o_c, size_t n, double phi);

/* x0 and eps from raw output o at level a = alpha_bar, n values:
 *
 *     epsilon   x0 = (z - sqrt(1-a) o) / sqrt(a)     eps = o
 *     v         x0 = sqrt(a) z - sqrt(1-a) o         eps = sqrt(a) o + sqrt(1-a) z
 *     sample    x0 = o                               eps = (z - sqrt(a) o) / sqrt(1-a)
 *
 * x0 may be the array of o. */
void ldm_predict_x0(LdmPrediction prediction, double alpha_bar, const float *z, const float *o,
                    size_t n, float *x0, float *eps);
