/* Sixth stage of the line: latent z [1, h, w, z] / scale + shift -> D -> picture x' [1, H, W, 3],
 * whole or in overlapping tiles. */
#include "decode/decode.h"

#include "base/checked.h"
#include "tensor/tiles.h"

typedef struct {
    const LdmDecode *job;
    const LdmTensor *z;
    double flops_before; /* of the tiles already done */
    double flops_now;
} Run;

static LdmTensor *forward(LdmPass *pass, const void *data)
{
    const Run *run = data;
    LdmTensor *z = ldm_pass_input(pass, run->z);
    LdmTensor *x = ldm_vae_decoder_forward(pass, run->job->decoder, z);
    ldm_pass_drop(pass, z);
    return x;
}

static void progress(double flops, void *data)
{
    Run *run = data;
    run->flops_now = flops;
    if (run->job->progress != NULL)
        run->job->progress(run->flops_before + flops, run->job->progress_data);
}

static LdmTensor *run_tile(const LdmTensor *tile, void *data, GError **error)
{
    Run *run = data;
    run->z = tile;
    LdmTensor *x = ldm_forward_run(forward, run, progress, run, run->job->cancellable, error);
    run->flops_before += run->flops_now;
    return x;
}

static LdmTiling tiling(const LdmDecode *job, Run *run)
{
    return (LdmTiling){.tile = job->tile > 0 ? job->tile : SIZE_MAX,
                       .overlap = job->tile / 4,
                       .in = 1,
                       .out = (size_t)1 << (job->config->levels - 1),
                       .run = run_tile,
                       .data = run};
}

LdmTensor *ldm_decode_latent(const LdmDecode *job, const LdmTensor *z, GError **error)
{
    Run run = {.job = job};
    LdmTiling tiles = tiling(job, &run);
    g_autoptr(LdmTensor) scaled = ldm_tensor_copy(z, error);
    if (scaled == NULL)
        return NULL;
    float *values = ldm_tensor_f32(scaled);
    for (size_t i = 0, n = ldm_tensor_count(scaled); i < n; i++)
        values[i] = (float)(values[i] / job->config->scale_factor + job->config->shift_factor);
    g_autoptr(LdmTensor) x =
        job->tile == 0 ? run_tile(scaled, &run, error)
                       : ldm_tiles_run(&tiles, scaled, (size_t)job->config->out_channels, error);
    if (x == NULL || !ldm_tensor_check_finite(x, "decode", error))
        return NULL;
    return g_steal_pointer(&x);
}

bool ldm_decode_measure(const LdmDecode *job, size_t h, size_t w, size_t *bytes, double *flops,
                        GError **error)
{
    Run run = {.job = job};
    LdmTiling tiles = tiling(job, &run);
    size_t z = (size_t)job->config->latent_channels, C = (size_t)job->config->out_channels;
    size_t th = ldm_tiles_size(&tiles, h), tw = ldm_tiles_size(&tiles, w);
    const LdmTensor tile = {.dtype = LDM_F32, .rank = 4, .shape = {1, th, tw, z}};
    run.z = &tile;
    if (!ldm_forward_measure(forward, &run, bytes, flops, error))
        return false;
    size_t count = ldm_tiles_count(&tiles, h) * ldm_tiles_count(&tiles, w);
    size_t f2 = tiles.out * tiles.out;
    *bytes += h * w * z * sizeof(float);
    if (count > 1) /* the tile and its result, sums and shares */
        *bytes +=
            (ldm_tensor_count(&tile) + th * tw * f2 * C + h * w * f2 * (C + 1)) * sizeof(float);
    *flops *= (double)count;
    return true;
}
