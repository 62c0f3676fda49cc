/* The first latent: noise from the reference's generator, and q(z_t | z_0) at the start step. */
#pragma once

#include "base/rng.h"
#include "pipeline/types.h"

/* [1, h, w, z] of unit variance: the next h * w * z values of `rng` in NCHW order, as
 * torch.randn(1, z, h, w, generator=...) draws them, laid out as NHWC. The first use of a freshly
 * seeded generator; the sampler's own noise follows from the same one. Errors: MEMORY. */
LdmTensor *ldm_noise_new(LdmRng *rng, size_t h, size_t w, size_t z, GError **error);

/* Fills latents->zt, the state in which the loop starts, from latents->noise and latents->z0:
 *
 *     pure_noise              noise_scale * noise    text to image; inpainting at strength 1
 *     start < steps           add_noise(z0, noise, alpha_bar[start])    img2img, inpainting
 *     start == steps          z0                     strength too small for a single step
 *
 * The reference starts inpainting at strength 1 from pure noise, so that nothing of the old content
 * remains in the hole, and img2img at strength 1 from add_noise; the caller says which. z0 may be
 * NULL with pure_noise. Errors: SHAPE (z0 and noise differ), MEMORY. */
bool ldm_latents_start(LdmLatents *latents, const LdmTimes *times, bool pure_noise, GError **error);
