/* Third stage of the line: picture x [1, H, W, 3] -> E -> moments -> latent z0 [1, h, w, z] =
 * scale * mean (or a sample), whole or in overlapping tiles. */
#include "encode/encode.h"

#include "layers/tiled.h"
#include "tensor/tensor.h"

static LdmTensor *forward(LdmPass *pass, const void *encoder, LdmTensor *x)
{
    return ldm_vae_encoder_forward(pass, encoder, x);
}

static LdmTiled tiled(const LdmEncode *job)
{
    return (LdmTiled){.forward = forward,
                      .network = job->encoder,
                      .tile = job->tile,
                      .in = ldm_vae_factor(job->config),
                      .out = 1,
                      .channels_in = (size_t)job->config->in_channels,
                      .channels_out = ldm_vae_moments(job->config),
                      .progress = job->progress,
                      .progress_data = job->progress_data,
                      .cancellable = job->cancellable};
}

LdmTensor *ldm_encode_picture(const LdmEncode *job, const LdmTensor *x, const LdmTensor *noise,
                              GError **error)
{
    LdmTiled encoder = tiled(job);
    g_autoptr(LdmTensor) moments = ldm_tiled_run(&encoder, x, error);
    if (moments == NULL)
        return NULL;
    g_autoptr(LdmTensor) z = ldm_latent_from_moments(moments, noise, job->config, error);
    if (z == NULL || !ldm_tensor_check_finite(z, "encode", error))
        return NULL;
    return g_steal_pointer(&z);
}

bool ldm_encode_measure(const LdmEncode *job, size_t H, size_t W, size_t *bytes, double *flops,
                        GError **error)
{
    LdmTiled encoder = tiled(job);
    size_t h = H / encoder.in, w = W / encoder.in;
    if (!ldm_tiled_measure(&encoder, h, w, bytes, flops, error))
        return false;
    *bytes += h * w * encoder.channels_out * sizeof(float); /* the moments */
    return true;
}
