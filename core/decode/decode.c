/* Sixth stage of the line: latent z [1, h, w, z] / scale + shift -> D -> picture x' [1, H, W, 3],
 * whole or in overlapping tiles. */
#include "decode/decode.h"

#include "layers/tiled.h"
#include "tensor/tensor.h"

static LdmTensor *forward(LdmPass *pass, const void *decoder, LdmTensor *z)
{
    return ldm_vae_decoder_forward(pass, decoder, z);
}

static LdmTiled tiled(const LdmDecode *job)
{
    return (LdmTiled){.forward = forward,
                      .network = job->decoder,
                      .tile = job->tile,
                      .in = 1,
                      .out = ldm_vae_factor(job->config),
                      .channels_in = (size_t)job->config->latent_channels,
                      .channels_out = (size_t)job->config->out_channels,
                      .progress = job->progress,
                      .progress_data = job->progress_data,
                      .cancellable = job->cancellable};
}

LdmTensor *ldm_decode_latent(const LdmDecode *job, const LdmTensor *z, GError **error)
{
    LdmTiled decoder = tiled(job);
    g_autoptr(LdmTensor) scaled = ldm_tensor_copy(z, error);
    if (scaled == NULL)
        return NULL;
    float *values = ldm_tensor_f32(scaled);
    for (size_t i = 0, n = ldm_tensor_count(scaled); i < n; i++)
        values[i] = (float)(values[i] / job->config->scale_factor + job->config->shift_factor);
    g_autoptr(LdmTensor) x = ldm_tiled_run(&decoder, scaled, error);
    if (x == NULL || !ldm_tensor_check_finite(x, "decode", error))
        return NULL;
    return g_steal_pointer(&x);
}

bool ldm_decode_measure(const LdmDecode *job, size_t h, size_t w, size_t *bytes, double *flops,
                        GError **error)
{
    LdmTiled decoder = tiled(job);
    if (!ldm_tiled_measure(&decoder, h, w, bytes, flops, error))
        return false;
    *bytes += h * w * decoder.channels_in * sizeof(float); /* the scaled copy */
    return true;
}
