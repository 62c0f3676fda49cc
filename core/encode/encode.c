/* Third stage of the line: picture x [1, H, W, 3] -> E -> moments -> latent z0 [1, h, w, z] =
 * scale * mean (or a sample), whole or in overlapping tiles. */
#include "encode/encode.h"

#include "base/checked.h"
#include "tensor/tiles.h"

typedef struct {
    const LdmEncode *job;
    const LdmTensor *x;
    double flops_before; /* of the tiles already done */
    double flops_now;
} Run;

static LdmTensor *forward(LdmPass *pass, const void *data)
{
    const Run *run = data;
    LdmTensor *x = ldm_pass_input(pass, run->x);
    LdmTensor *moments = ldm_vae_encoder_forward(pass, run->job->encoder, x);
    ldm_pass_drop(pass, x);
    return moments;
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
    run->x = tile;
    LdmTensor *moments = ldm_forward_run(forward, run, progress, run, run->job->cancellable, error);
    run->flops_before += run->flops_now;
    return moments;
}

static LdmTiling tiling(const LdmEncode *job, Run *run)
{
    return (LdmTiling){.tile = job->tile > 0 ? job->tile : SIZE_MAX,
                       .overlap = job->tile / 4,
                       .in = (size_t)1 << (job->config->levels - 1),
                       .out = 1,
                       .run = run_tile,
                       .data = run};
}

LdmTensor *ldm_encode_picture(const LdmEncode *job, const LdmTensor *x, const LdmTensor *noise,
                              GError **error)
{
    Run run = {.job = job};
    LdmTiling tiles = tiling(job, &run);
    g_autoptr(LdmTensor) moments =
        job->tile == 0 ? run_tile(x, &run, error)
                       : ldm_tiles_run(&tiles, x, 2 * (size_t)job->config->latent_channels, error);
    if (moments == NULL)
        return NULL;
    g_autoptr(LdmTensor) z = ldm_latent_from_moments(moments, noise, job->config->scale_factor,
                                                     job->config->shift_factor, error);
    if (z == NULL || !ldm_tensor_check_finite(z, "encode", error))
        return NULL;
    return g_steal_pointer(&z);
}

bool ldm_encode_measure(const LdmEncode *job, size_t H, size_t W, size_t *bytes, double *flops,
                        GError **error)
{
    Run run = {.job = job};
    LdmTiling tiles = tiling(job, &run);
    size_t h = H / tiles.in, w = W / tiles.in, z = (size_t)job->config->latent_channels;
    size_t th = ldm_tiles_size(&tiles, h), tw = ldm_tiles_size(&tiles, w);
    const LdmTensor x = {
        .dtype = LDM_F32, .rank = 4, .shape = {1, th * tiles.in, tw * tiles.in, 3}};
    run.x = &x;
    if (!ldm_forward_measure(forward, &run, bytes, flops, error))
        return false;
    size_t count = ldm_tiles_count(&tiles, h) * ldm_tiles_count(&tiles, w);
    *bytes += th * tw * 2 * z * sizeof(float); /* moments of one pass */
    if (count > 1)                             /* the tile, sums and shares */
        *bytes += ldm_tensor_count(&x) * sizeof(float) + h * w * (2 * z + 1) * sizeof(float);
    *flops *= (double)count;
    return true;
}
