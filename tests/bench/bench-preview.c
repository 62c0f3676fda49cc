/* What a preview costs beside the decoder it stands for, and how near it comes: CPU time of D,
 * of a tiny decoder and of the linear map, and their distance from D's picture at a preview's size.
 * bench-preview sd: the SD shape, TAESD's own shape, random weights. bench-preview MODEL TINY
 * LIST.tsv N: latents of N pictures of a list. Prints a Markdown table. */
#include "base/rng.h"
#include "decode/decode.h"
#include "decode/rgb-map.h"
#include "decode/tiny-decoder.h"
#include "layers/resample.h"
#include "pipeline/model.h"
#include "pipeline/preview-map.h"
#include "sd15.h"
#include "tensor/tensor.h"
#include "train/augment.h"
#include "train/dataset.h"
#include "train/initial.h"
#include "weights/tiny.h"

#include <gdk-pixbuf/gdk-pixbuf.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { FULL, TINY, MAP, KINDS };

typedef struct {
    double seconds[KINDS], psnr[KINDS]; /* sums */
} Score;

typedef struct {
    const LdmVaeDecoder *full;
    const LdmVaeConfig *config;
    const LdmTinyDecoder *tiny;
    LdmTensor *map;
} Bench;

static void need(bool ok, const GError *error)
{
    if (ok)
        return;
    fprintf(stderr, "bench-preview: %s\n", error->message);
    exit(1);
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec * 1e-6;
}

static LdmTensor *forward(LdmPass *pass, const void *tiny, LdmTensor *z)
{
    return ldm_tiny_decoder_forward(pass, tiny, z);
}

/* The picture, 0..1. */
static LdmTensor *decode(const Bench *bench, int kind, const LdmTensor *z)
{
    g_autoptr(GError) error = NULL;
    const LdmDecode job = {.decoder = bench->full, .config = bench->config};
    LdmTensor *y = kind == FULL ? ldm_decode_latent(&job, z, &error)
                   : kind == TINY
                       ? ldm_network_run(forward, bench->tiny, z, NULL, NULL, NULL, &error)
                       : ldm_rgb_map_apply(bench->map, z, &error);
    need(y != NULL, error);
    for (size_t i = 0; kind == FULL && i < ldm_tensor_count(y); i++)
        ldm_tensor_f32(y)[i] = (ldm_tensor_f32(y)[i] + 1.0f) / 2.0f;
    return y;
}

/* In [side, side], clamped. */
static LdmTensor *shown(const LdmTensor *y, size_t side)
{
    g_autoptr(GError) error = NULL;
    LdmResample filter = side <= y->shape[1] ? LDM_RESAMPLE_BOX : LDM_RESAMPLE_BILINEAR;
    LdmTensor *out = ldm_tensor_resample(filter, y, side, side, NULL, &error);
    need(out != NULL, error);
    for (size_t i = 0; i < ldm_tensor_count(out); i++)
        ldm_tensor_f32(out)[i] = CLAMP(ldm_tensor_f32(out)[i], 0.0f, 1.0f);
    return out;
}

static double psnr(const LdmTensor *a, const LdmTensor *b)
{
    double squares = 0.0;
    for (size_t i = 0; i < ldm_tensor_count(a); i++)
        squares += pow((double)ldm_tensor_f32(a)[i] - ldm_tensor_f32(b)[i], 2.0);
    return -10.0 * log10(squares / (double)ldm_tensor_count(a));
}

static void measure(const Bench *bench, const LdmTensor *z, size_t side, Score *score)
{
    g_autoptr(LdmTensor) exact = NULL;
    for (int kind = 0; kind < KINDS; kind++) {
        if (kind == MAP && bench->map == NULL)
            continue;
        double begun = cpu_seconds();
        g_autoptr(LdmTensor) y = decode(bench, kind, z);
        score->seconds[kind] += cpu_seconds() - begun;
        LdmTensor *small = shown(y, side);
        if (kind > FULL)
            score->psnr[kind] += psnr(small, exact);
        else
            exact = small;
        if (kind > FULL)
            ldm_tensor_free(small);
    }
}

static void print(const Bench *bench, const Score *score, double n, bool trained)
{
    static const char *const names[] = {"D", "tiny decoder", "linear map"};
    printf("| | CPU s | of D | PSNR dB |\n|---|--:|--:|--:|\n");
    for (int kind = 0; kind < KINDS; kind++) {
        if (kind == MAP && bench->map == NULL)
            continue;
        printf("| %s | %.4f | %.4f | ", names[kind], score->seconds[kind] / n,
               score->seconds[kind] / score->seconds[FULL]);
        if (trained && kind != FULL)
            printf("%.1f ", score->psnr[kind] / n);
        printf("|\n");
    }
}

/* ---- the SD shape ---- */

static void run_sd(void)
{
    const LdmTinyConfig tiny = {.latent_channels = 4,
                                .channels = 64,
                                .levels = 4,
                                .blocks = {3, 3, 3, 1},
                                .scale_factor = 1.0};
    LdmParams *params = ldm_params_new();
    GError *error = NULL;
    Bench bench = {.config = &sd15_vae};
    Score score = {0};
    LdmRng rng;
    bench.full = ldm_vae_decoder_new(&sd15_vae, params);
    LdmParams *tiny_params = ldm_params_new();
    bench.tiny = ldm_tiny_decoder_new(&tiny, tiny_params);
    need(ldm_params_draw(params, LDM_INITIAL_LAYERS, "vae", 1, &error) != NULL, error);
    need(ldm_params_draw(tiny_params, LDM_INITIAL_LAYERS, "tiny", 1, &error) != NULL, error);
    LdmTensor *z = ldm_tensor_new_nhwc(1, 64, 64, 4, &error);
    ldm_rng_seed(&rng, 1);
    ldm_rng_normal(&rng, ldm_tensor_f32(z), ldm_tensor_count(z));
    for (int i = 0; i < 2; i++)
        measure(&bench, z, 256, &score);
    print(&bench, &score, 2.0, false);
}

/* ---- a model and pictures ---- */

static LdmTensor *read_picture(const char *path)
{
    GError *error = NULL;
    g_autoptr(GdkPixbuf) pixbuf = gdk_pixbuf_new_from_file(path, &error);
    need(pixbuf != NULL, error);
    size_t h = (size_t)gdk_pixbuf_get_height(pixbuf), w = (size_t)gdk_pixbuf_get_width(pixbuf);
    size_t n = (size_t)gdk_pixbuf_get_n_channels(pixbuf);
    size_t stride = (size_t)gdk_pixbuf_get_rowstride(pixbuf);
    const guint8 *pixels = gdk_pixbuf_read_pixels(pixbuf);
    LdmTensor *picture = ldm_tensor_new_nhwc(1, h, w, 4, NULL);
    for (size_t i = 0; i < h * w * 4; i++) {
        size_t c = i % 4, at = i / 4 / w * stride + i / 4 % w * n + c;
        ldm_tensor_f32(picture)[i] = c < n ? pixels[at] / 255.0f : 1.0f;
    }
    return picture;
}

static void run_model(char **argv)
{
    GError *error = NULL;
    LdmModel *model = ldm_model_load(argv[1], &error);
    need(model != NULL, error);
    LdmTinySource *source = ldm_tiny_source_open(argv[2], &error);
    need(source != NULL, error);
    LdmDataset *dataset = ldm_dataset_open(argv[3], &error);
    need(dataset != NULL, error);
    size_t n = MIN((size_t)atoi(argv[4]), ldm_dataset_length(dataset));
    size_t step = ldm_dataset_length(dataset) / n, side = (size_t)model->info.native_size;
    const LdmAugment augment = {.side = side};
    LdmParams *params = ldm_params_new();
    Bench bench = {.full = model->decoder, .config = &model->config.vae};
    Score score = {0};
    bench.tiny = ldm_tiny_decoder_new(&source->config, params);
    need(ldm_part_bind(&source->part, params, &error), error);
    bench.map = ldm_preview_map_make(model, NULL, &error);
    need(bench.map != NULL, error);
    for (size_t i = 0; i < n; i++) {
        g_autoptr(LdmTensor) picture = read_picture(ldm_dataset_at(dataset, i * step)->path);
        g_autoptr(LdmTensor) x = ldm_augment_picture(&augment, i, 0, picture, &error);
        need(x != NULL, error);
        g_autoptr(LdmTensor) z = ldm_encode(model, x, -1, NULL, &error);
        need(z != NULL, error);
        measure(&bench, z, MIN(side, LDM_PREVIEW_SIDE), &score);
    }
    print(&bench, &score, (double)n, true);
}

int main(int argc, char **argv)
{
    if (argc == 2 && g_str_equal(argv[1], "sd")) {
        run_sd();
        return 0;
    }
    if (argc != 5 || atoi(argv[4]) < 1) {
        fprintf(stderr, "bench-preview sd | MODEL TINY LIST.tsv N\n");
        return 2;
    }
    run_model(argv);
    return 0;
}
