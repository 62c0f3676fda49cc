/* What E and D share: one forward over the whole picture, or one per tile, with progress that runs
 * on from tile to tile. */
#include "layers/tiled.h"

#include "tensor/tiles.h"

typedef struct {
    const LdmTiled *tiled;
    double flops_before; /* of the tiles already done */
    double flops_now;
} Run;

static void progress(double flops, void *data)
{
    Run *run = data;
    run->flops_now = flops;
    if (run->tiled->progress != NULL)
        run->tiled->progress(run->flops_before + flops, run->tiled->progress_data);
}

static LdmTensor *run_tile(const LdmTensor *x, void *data, GError **error)
{
    Run *run = data;
    const LdmTiled *tiled = run->tiled;
    LdmTensor *y = ldm_network_run(tiled->forward, tiled->network, x, progress, run,
                                   tiled->cancellable, error);
    run->flops_before += run->flops_now;
    return y;
}

static LdmTiling tiling(const LdmTiled *tiled, Run *run)
{
    return (LdmTiling){.tile = tiled->tile > 0 ? tiled->tile : SIZE_MAX,
                       .overlap = tiled->tile / 4,
                       .in = tiled->in,
                       .out = tiled->out,
                       .run = run_tile,
                       .data = run};
}

LdmTensor *ldm_tiled_run(const LdmTiled *tiled, const LdmTensor *x, GError **error)
{
    Run run = {.tiled = tiled};
    LdmTiling tiles = tiling(tiled, &run);
    return tiled->tile == 0 ? run_tile(x, &run, error)
                            : ldm_tiles_run(&tiles, x, tiled->channels_out, error);
}

bool ldm_tiled_measure(const LdmTiled *tiled, size_t h, size_t w, size_t *bytes, double *flops,
                       GError **error)
{
    Run run = {.tiled = tiled};
    LdmTiling tiles = tiling(tiled, &run);
    size_t th = ldm_tiles_size(&tiles, h), tw = ldm_tiles_size(&tiles, w);
    size_t in2 = tiled->in * tiled->in, out2 = tiled->out * tiled->out, C = tiled->channels_out;
    const LdmTensor x = {.dtype = LDM_F32,
                         .rank = 4,
                         .shape = {1, th * tiled->in, tw * tiled->in, tiled->channels_in}};
    if (!ldm_network_measure(tiled->forward, tiled->network, &x, bytes, flops, error))
        return false;
    size_t count = ldm_tiles_count(&tiles, h) * ldm_tiles_count(&tiles, w);
    if (count > 1) /* the tile and its result, sums and shares */
        *bytes += (th * tw * (in2 * tiled->channels_in + out2 * C) + h * w * out2 * (C + 1)) *
                  sizeof(float);
    *flops *= (double)count;
    return true;
}
