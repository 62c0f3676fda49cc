/* Where the time of one network goes: seconds per kind of operation and shape, of the Stable
 * Diffusion 1.5 shape with random f16 weights in memory, as of the steps of a run but the first,
 * whose memory is new. Seconds are the clock's, of every layer the least of some passes.
 *     bench-layers unet|encoder|decoder SIDE [FILE]
 * SIDE counts latent cells, or pixels for the encoder; FILE takes the result as raw floats, so that
 * two builds can be compared. */
#include "base/checked.h"
#include "base/rng.h"
#include "decode/vae-decoder.h"
#include "denoise/unet.h"
#include "encode/vae-encoder.h"
#include "tensor/tensor.h"

#include "sd15.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    LdmParams *params;
    LdmUnet *unet;
    LdmVaeEncoder *encoder;
    LdmVaeDecoder *decoder;
    LdmTensor *x, *context;
} Bench;

typedef struct {
    double seconds, flops;
    int calls;
} Row;

#define PASSES 9

static GPtrArray *names; /* of the layers, in order: operation and shape */
static GArray *layers;   /* Row of each */
static GHashTable *rows; /* name -> Row */
static size_t layer;     /* the next */
static double before;

static double now(void)
{
    return (double)g_get_monotonic_time() * 1e-6;
}

static void count(const LdmOp *op, void *data)
{
    double seconds = now() - before;
    if (layer == layers->len) {
        const LdmTensor *y = op->output, *x = op->n_inputs > 0 ? op->inputs[0] : y;
        size_t in = x->shape[x->rank - 1], out = y->shape[y->rank - 1];
        g_ptr_array_add(names, g_strdup_printf("%s %zu, %zu -> %zu", op->name,
                                               ldm_tensor_count(y) / out, in, out));
        Row row = {.seconds = seconds, .flops = op->flops};
        g_array_append_val(layers, row);
    }
    Row *row = &g_array_index(layers, Row, layer++);
    row->seconds = MIN(row->seconds, seconds);
    before = now();
}

/* Layers of one name together. */
static void add_up(void)
{
    for (size_t i = 0; i < layers->len; i++) {
        const Row *one = &g_array_index(layers, Row, i);
        Row *row = g_hash_table_lookup(rows, names->pdata[i]);
        if (row == NULL)
            g_hash_table_insert(rows, names->pdata[i], row = g_new0(Row, 1));
        row->seconds += one->seconds;
        row->flops += one->flops;
        row->calls++;
    }
}

static LdmTensor *noise(int rank, const size_t *shape)
{
    LdmTensor *tensor = ldm_tensor_new(LDM_F32, rank, shape, NULL);
    LdmRng rng;
    ldm_rng_seed(&rng, 1);
    ldm_rng_normal(&rng, ldm_tensor_f32(tensor), ldm_tensor_count(tensor));
    return tensor;
}

/* Matrices that keep the size of what goes through them, about; vectors about 1. */
static void fill(LdmParams *params)
{
    uint32_t state = 1;
    for (size_t i = 0; i < ldm_params_length(params); i++) {
        LdmParam *param = ldm_params_at(params, i);
        size_t n = 1, fan_in = 1;
        for (int k = 0; k < param->rank; k++) {
            n *= param->shape[k];
            fan_in *= k > 0 ? param->shape[k] : 1;
        }
        /* f16 between 1/2 and 1 of a power of two that falls with the inputs */
        int exponent = param->rank > 1 ? 14 - (g_bit_storage(fan_in) - 1) / 2 : 13;
        uint16_t *half = ldm_aligned_alloc(n, sizeof *half, "benchmark", NULL);
        if (half == NULL)
            exit(1);
        for (size_t k = 0; k < n; k++) {
            state = state * 1664525u + 1013904223u;
            half[k] = (uint16_t)((state >> 16 & 0x83ff) | (uint32_t)exponent << 10);
        }
        param->dtype = LDM_F16;
        param->data = half;
    }
}

static LdmTensor *forward(LdmPass *pass, const void *data)
{
    const Bench *bench = data;
    LdmTensor *x = ldm_pass_input(pass, bench->x), *y;
    if (bench->unet != NULL) {
        LdmTensor *context = ldm_pass_input(pass, bench->context);
        y = ldm_unet_forward(pass, bench->unet, x, &(double){500}, context);
        ldm_pass_drop(pass, context);
    } else if (bench->encoder != NULL) {
        y = ldm_vae_encoder_forward(pass, bench->encoder, x);
    } else {
        y = ldm_vae_decoder_forward(pass, bench->decoder, x);
    }
    ldm_pass_drop(pass, x);
    return y;
}

static int by_seconds(const void *a, const void *b, void *data)
{
    const Row *left = g_hash_table_lookup(rows, a), *right = g_hash_table_lookup(rows, b);
    return left->seconds < right->seconds ? 1 : -1;
}

static void print(void)
{
    g_autoptr(GList) order = g_list_sort_with_data(g_hash_table_get_keys(rows), by_seconds, NULL);
    double seconds = 0, flops = 0;
    for (GList *name = order; name != NULL; name = name->next) {
        const Row *row = g_hash_table_lookup(rows, name->data);
        seconds += row->seconds;
        flops += row->flops;
    }
    printf("| operation, rows, channels | calls | s | %% | GFLOP/s |\n|---|--:|--:|--:|--:|\n");
    for (GList *name = order; name != NULL; name = name->next) {
        const Row *row = g_hash_table_lookup(rows, name->data);
        printf("| %-36s | %3d | %7.4f | %4.1f | %5.0f |\n", (char *)name->data, row->calls,
               row->seconds, 100 * row->seconds / seconds, row->flops / row->seconds * 1e-9);
    }
    printf("| all | | %.4f | 100 | %.0f |\n", seconds, flops / seconds * 1e-9);
}

static bool run(Bench *bench, const char *path, GError **error)
{
    size_t bytes;
    double flops;
    if (!ldm_forward_measure(forward, bench, &bytes, &flops, error))
        return false;
    g_autoptr(LdmPass) pass = ldm_pass_new_compute(bytes, NULL, error);
    if (pass == NULL)
        return false;
    printf("%.0f GFLOP in %.1f MB of working memory.\n\n", flops * 1e-9, (double)bytes * 1e-6);
    const LdmTensor *y = forward(pass, bench);
    ldm_pass_set_watch(pass, count, NULL);
    for (int i = 0; i < PASSES; i++) {
        ldm_pass_reset(pass);
        layer = 0;
        before = now();
        y = forward(pass, bench);
    }
    if (!ldm_pass_end(pass, error))
        return false;
    add_up();
    print();
    return path == NULL ||
           g_file_set_contents(path, y->data, (gssize)(ldm_tensor_count(y) * sizeof(float)), error);
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    Bench bench = {.params = ldm_params_new()};
    const char *network = argc > 1 ? argv[1] : "unet";
    size_t side = argc > 2 ? strtoul(argv[2], NULL, 10) : 64, channels = 4;
    if (strcmp(network, "unet") == 0)
        bench.unet = ldm_unet_new(&sd15_unet, bench.params);
    else if (strcmp(network, "decoder") == 0)
        bench.decoder = ldm_vae_decoder_new(&sd15_vae, bench.params);
    else {
        bench.encoder = ldm_vae_encoder_new(&sd15_vae, bench.params);
        channels = 3;
    }
    fill(bench.params);
    bench.x = noise(4, (size_t[]){1, side, side, channels});
    bench.context = noise(3, (size_t[]){1, 77, 768});
    names = g_ptr_array_new_with_free_func(g_free);
    layers = g_array_new(FALSE, FALSE, sizeof(Row));
    rows = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, g_free);
    if (!run(&bench, argc > 3 ? argv[3] : NULL, &error)) {
        fprintf(stderr, "%s\n", error->message);
        return 1;
    }
    return 0;
}
