/* Quantisation between encoder and decoder: latents in, entries of the codebook out. Distances are
 * taken as sum (z - e)^2, not by way of |e|^2 - 2 ze, which cancels where many entries are near. A
 * task holds some cells against one tile of the codebook after the other, so that no matrix of all
 * distances exists. */
#include "layers/quantise.h"

#include "base/parallel.h"
#include "layers/backward.h"
#include "tensor/tensor.h"

#include <math.h>
#include <string.h>

#define CELLS   64  /* of a task */
#define ENTRIES 128 /* of a tile */

void ldm_quantise_init(LdmQuantise *layer, LdmScope scope, size_t entries, size_t width)
{
    layer->entries = entries;
    layer->width = width;
    layer->codebook = ldm_scope_add(&scope, "embedding.weight", 2, (size_t[]){entries, width});
}

typedef struct {
    const LdmQuantise *layer;
    const float *z;
    float *e;
    int32_t *codes;
    size_t cells;
} Job;

static void read_entry(const LdmQuantise *layer, size_t entry, float *out)
{
    const uint8_t *data = layer->codebook->data;
    LdmDtype dtype = layer->codebook->dtype;

    data += entry * layer->width * ldm_dtype_size(dtype);
    ldm_convert_to_f32(data, dtype, out, layer->width);
}

/* Entries first .. first + n as tile [width, ENTRIES]. */
static void read_tile(const LdmQuantise *layer, size_t first, size_t n, float *tile)
{
    float entry[LDM_CODE_WIDTH];

    for (size_t k = 0; k < n; k++) {
        read_entry(layer, first + k, entry);
        for (size_t c = 0; c < layer->width; c++)
            tile[c * ENTRIES + k] = entry[c];
    }
}

static void measure(const float *z, size_t width, const float *tile, float *distances)
{
    memset(distances, 0, ENTRIES * sizeof *distances);
    for (size_t c = 0; c < width; c++)
        for (size_t k = 0; k < ENTRIES; k++) {
            float step = z[c] - tile[c * ENTRIES + k];
            distances[k] += step * step;
        }
}

static void find_nearest(size_t index, int thread, void *data)
{
    const Job *job = data;
    const LdmQuantise *layer = job->layer;
    size_t width = layer->width, first = index * CELLS, n = MIN(CELLS, job->cells - first);
    float tile[LDM_CODE_WIDTH * ENTRIES] = {0}, distances[ENTRIES], least[CELLS];
    const float *z = job->z + first * width;
    int32_t *codes = job->codes + first;

    for (size_t i = 0; i < n; i++) {
        least[i] = INFINITY;
        codes[i] = 0;
    }
    for (size_t from = 0; from < layer->entries; from += ENTRIES) {
        size_t entries = MIN(ENTRIES, layer->entries - from);
        read_tile(layer, from, entries, tile);
        for (size_t i = 0; i < n; i++) {
            measure(z + i * width, width, tile, distances);
            for (size_t k = 0; k < entries; k++)
                if (distances[k] < least[i]) {
                    least[i] = distances[k];
                    codes[i] = (int32_t)(from + k);
                }
        }
    }
    for (size_t i = 0; i < n; i++)
        read_entry(layer, (size_t)codes[i], job->e + (first + i) * width);
}

/* Every row of de is added to its entry's. */
static void quantise_backward(LdmPass *pass, const LdmOp *op)
{
    const LdmQuantise *layer = op->layer;
    const LdmTensor *de = ldm_tape_output(pass, op);
    const int32_t *codes = op->aside->data;
    float *gradient = ldm_param_gradient(layer->codebook);
    size_t width = layer->width, n = ldm_tensor_count(de);

    for (size_t i = 0; gradient != NULL && ldm_tape_computes(pass) && i < n; i++)
        gradient[(size_t)codes[i / width] * width + i % width] += ((const float *)de->data)[i];
}

LdmTensor *ldm_quantise_forward(LdmPass *pass, const LdmQuantise *layer, LdmTensor *z,
                                LdmTensor **codes)
{
    size_t cells = ldm_tensor_count(z) / layer->width;
    LdmTensor *e = ldm_pass_like(pass, z, layer->width);
    LdmTensor *found = ldm_pass_scratch(pass, cells * sizeof(int32_t));
    Job job = {.layer = layer, .z = z->data, .e = e->data, .codes = found->data, .cells = cells};

    if (ldm_pass_op(pass,
                    &(LdmOp){.name = "quantise",
                             .layer = layer,
                             .parameter = layer->codebook,
                             .inputs = {z},
                             .n_inputs = 1,
                             .output = e,
                             .flops = 3.0 * (double)ldm_tensor_count(z) * (double)layer->entries,
                             .backward = quantise_backward,
                             .aside = found}))
        ldm_pass_check(pass, ldm_parallel_for((cells + CELLS - 1) / CELLS, find_nearest, &job,
                                              ldm_pass_cancellable(pass)));
    if (codes != NULL)
        *codes = found;
    else
        ldm_pass_drop(pass, found);
    ldm_pass_drop(pass, z);
    return e;
}

static void straight_through_backward(LdmPass *pass, const LdmOp *op)
{
    ldm_tape_hand_on(pass, op, op->inputs[0]);
}

LdmTensor *ldm_straight_through_forward(LdmPass *pass, LdmTensor *z, LdmTensor *e)
{
    LdmTensor *y = ldm_pass_over(pass, e);

    if (ldm_pass_op(pass, &(LdmOp){.name = "straight-through",
                                   .inputs = {z, e},
                                   .n_inputs = 2,
                                   .output = y,
                                   .backward = straight_through_backward})) {
        memmove(y->data, e->data, ldm_tensor_count(e) * sizeof(float));
        ldm_pass_check(pass, true);
    }
    ldm_pass_drop(pass, z);
    ldm_pass_drop(pass, e);
    return y;
}
