/* diffuse: the noise and the first latent. In come the generator, the picture's latent z0 and the
 * times; out go the noise and z_t, the state in which the loop starts. */
#include "base/error.h"
#include "diffuse/latents.h"
#include "tensor/tensor.h"

LdmTensor *ldm_noise_new(LdmRng *rng, size_t h, size_t w, size_t z, GError **error)
{
    g_autoptr(LdmTensor) drawn = ldm_tensor_new_nhwc(1, h, w, z, error);
    g_autoptr(LdmTensor) noise = drawn != NULL ? ldm_tensor_new_nhwc(1, h, w, z, error) : NULL;

    if (noise == NULL)
        return NULL;
    ldm_rng_normal(rng, ldm_tensor_f32(drawn), ldm_tensor_count(drawn));
    ldm_nchw_to_nhwc(ldm_tensor_f32(drawn), ldm_tensor_f32(noise), 1, z, h, w);
    return g_steal_pointer(&noise);
}

bool ldm_latents_start(LdmLatents *latents, const LdmTimes *times, bool pure_noise, GError **error)
{
    const LdmTensor *z0 = latents->z0, *noise = latents->noise;

    if (z0 != NULL && !ldm_tensor_same_shape(z0, noise)) {
        g_autofree char *found = ldm_shape_string(noise->rank, noise->shape);
        g_autofree char *expected = ldm_shape_string(z0->rank, z0->shape);
        ldm_set_error(error, SHAPE, _("the start noise has shape %s, the picture's latent %s"),
                      found, expected);
        return false;
    }
    LdmTensor *zt = ldm_tensor_copy(z0 != NULL && !pure_noise ? z0 : noise, error);
    if (zt == NULL)
        return false;
    ldm_tensor_free(latents->zt);
    latents->zt = zt;

    float *out = ldm_tensor_f32(zt);
    size_t n = ldm_tensor_count(zt);
    if (pure_noise) {
        for (size_t i = 0; i < n; i++)
            out[i] = (float)(times->noise_scale * out[i]);
    } else if (times->start < times->steps) {
        ldm_add_noise(out, ldm_tensor_f32(z0), ldm_tensor_f32(noise), n,
                      times->alpha_bar[times->start]);
    }
    return true;
}
