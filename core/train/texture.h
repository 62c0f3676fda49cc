/* How strong the finest detail is, place by place: a distance that asks for texture without asking
 * where every line of it lies.
 *
 * What the latent does not tell of the finest octaves, distances of pixels are least without: a
 * decoder leaves it out, and what it makes is smooth. Here pictures are split into detail of three
 * directions (across, down, both) in two octaves, by an undecimated wavelet (a trous, taps 1 2 1
 * and -1 2 -1 over 4); compared are root mean squares of windows of 8 x 8 places that overlap by
 * half:
 *
 *     T(a, b) = sum over octaves and directions of mean (e(a) - e(b))^2 / e(a),
 *     e = sqrt(mean d^2 + floor^2), floor = 0.004, half a step of 8 bits: less is none.
 *
 * Of what e(b) may be where the latent leaves that open, T is least at e(a)^2 = mean e(b)^2: detail
 * of the right power. The mean of |e(a) - e(b)| would ask for the median, which is less.
 *
 * It is a sum over a picture's own places, needs no network and cannot be played against, as a
 * discriminator can; that what is strong enough also looks right is the others' part. */
#pragma once

#include "ldm.h"

typedef struct LdmTexture LdmTexture;

/* Room for pictures [N, H, W, C]. Where they have no window, T is 0. Errors: MEMORY. */
LdmTexture *ldm_texture_new(size_t N, size_t H, size_t W, size_t C, GError **error);

/* The same room for pictures that are no larger than those it was made for. */
void ldm_texture_reshape(LdmTexture *texture, size_t H, size_t W);
void ldm_texture_free(LdmTexture *texture);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmTexture, ldm_texture_free)

size_t ldm_texture_bytes(size_t N, size_t H, size_t W, size_t C);

/* T(a, b) of [N, H, W, C], mean over pictures; adds scale * dT/da to d. */
double ldm_texture_distance(LdmTexture *texture, const float *a, const float *b, double scale,
                            float *d);
