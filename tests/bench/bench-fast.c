/* What the declared approximations save and what they cost: the denoise loop of one model, exact
 * and with each of them, on the same noise. Prints a Markdown table: processor time of the loop,
 * planned work, and the distance from the exact result, as latent and as picture (averages over
 * the seeds; for inpainting over the hole, the middle quarter of each side). */
#include "condition/condition.h"
#include "diffuse/latents.h"
#include "diffuse/schedule.h"
#include "pipeline/plan.h"
#include "prepare/prepare.h"
#include "tensor/tensor.h"
#include "weights/coarse.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* Options as they are typed; none: exact, the first of its kind. */
typedef struct {
    const char *options;
    bool inpaint, more;
} Variant;

static const Variant variants[] = {
    {""},
    {"", .more = true},
    {"--guidance-interval 0:0.8"},
    {"--guidance-interval 0:0.7"},
    {"--guidance-interval 0.1:0.7"},
    {"--reuse 2"},
    {"--reuse 3"},
    {"--reuse 5"},
    {"--merge 0.5"},
    {"--precision bf16"},
    {"--precision bf16 --reuse 2"},
    {"--precision bf16 --reuse 3"},
    {"--precision bf16 --reuse 5"},
    {"--precision q8"},
    {"--precision q8 --reuse 2"},
    {"--precision q8 --reuse 3"},
    {"--precision q8 --reuse 5"},
    {"--quality near"},
    {"--quality good"},
    {"--quality draft --precision q8"},
    {"--quality draft --merge 0"},
    {"--quality draft"},
    {"", .inpaint = true},
    {"--surroundings 4", .inpaint = true},
    {"--surroundings 2", .inpaint = true},
    {"--precision bf16", .inpaint = true},
    {"--precision q8", .inpaint = true},
    {"--quality near", .inpaint = true},
    {"--quality good", .inpaint = true},
    {"--quality draft", .inpaint = true},
    {"--quality draft --surroundings 0", .inpaint = true},
};

typedef struct {
    double seconds, flops, distance, psnr; /* sums over the seeds */
} Score;

typedef struct {
    LdmModel *model;
    size_t side, f; /* of the latent in cells; pixels a cell */
    int steps, more;
    const char *only; /* or NULL */
    LdmTensor *prompt, *nothing;
    LdmTensor *exact, *exact_picture; /* of the seed at work */
} Bench;

static void need(bool ok, const GError *error)
{
    if (ok)
        return;
    fprintf(stderr, "bench-fast: %s\n", error->message);
    exit(1);
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec * 1e-6;
}

/* The hole: the middle quarter of each side. */
static bool is_hole(const Bench *bench, size_t x, size_t y)
{
    size_t lo = bench->side * 3 / 8, hi = bench->side * 5 / 8;
    return x >= lo && x < hi && y >= lo && y < hi;
}

static LdmTensor *hole_cells(const Bench *bench)
{
    LdmTensor *cells = ldm_tensor_new_nhwc(1, bench->side, bench->side, 1, NULL);
    for (size_t i = 0; i < bench->side * bench->side; i++)
        ldm_tensor_f32(cells)[i] = is_hole(bench, i % bench->side, i / bench->side);
    return cells;
}

/* What an inpainting model sees beside the latent. */
static LdmTensor *concat(const Bench *bench, const LdmTensor *cells)
{
    g_autoptr(GError) error = NULL;
    size_t pixels = bench->side * bench->f;
    g_autoptr(LdmTensor) masked = ldm_tensor_new_nhwc(1, pixels, pixels, 3, NULL);
    if (cells != NULL) {
        g_autofree float *mask = g_new(float, pixels *pixels);
        for (size_t i = 0; i < pixels * pixels; i++)
            mask[i] = is_hole(bench, i % pixels / bench->f, i / pixels / bench->f);
        memcpy(masked->data, bench->exact_picture->data, pixels * pixels * 3 * sizeof(float));
        need(ldm_hide(bench->model->info.hole, ldm_tensor_f32(masked), mask, pixels, pixels, NULL,
                      &error),
             error);
    }
    g_autoptr(LdmTensor) latent = ldm_encode(bench->model, masked, -1, NULL, &error);
    need(latent != NULL, error);
    LdmTensor *channels = ldm_condition_concat(cells, latent, &error);
    need(channels != NULL, error);
    return channels;
}

/* No window is narrower than half of what the model was trained at. */
static bool is_possible(const Bench *bench, const Variant *variant)
{
    if (bench->only != NULL &&
        (variant->inpaint ||
         !(*variant->options == '\0' || strstr(variant->options, bench->only) != NULL)))
        return false;
    if (variant->more)
        return bench->more > 0;
    return !variant->inpaint || 2 * bench->side * bench->f > (size_t)bench->model->info.native_size;
}

static bool is_exact(const Variant *variant)
{
    return *variant->options == '\0' && !variant->more;
}

static void set(LdmRequest *request, const char *name, GVariant *value)
{
    g_autoptr(GError) error = NULL;
    need(ldm_request_set(request, name, value, &error), error);
}

static void set_number(LdmRequest *request, const char *name, const char *text)
{
    set(request, name, g_variant_new_double(g_ascii_strtod(text, NULL)));
}

static LdmRequest *request_of(const Bench *bench, const Variant *variant)
{
    LdmRequest *request = ldm_request_new(variant->inpaint ? LDM_TASK_INPAINT : LDM_TASK_GENERATE);
    g_auto(GStrv) words = g_strsplit(variant->options, " ", -1);
    request->steps = variant->more ? bench->more : bench->steps;
    for (char **word = words; *word != NULL; word += 2) {
        const char *name = word[0] + strlen("--"), *value = word[1];
        if (g_str_equal(name, "guidance-interval")) {
            set_number(request, "guidance-start", value);
            set_number(request, "guidance-end", strchr(value, ':') + 1);
        } else if (g_ascii_isdigit(*value)) {
            set_number(request, name, value);
        } else {
            set(request, name, g_variant_new_string(value));
        }
    }
    return request;
}

/* The window that the line would lay around the hole of a picture of this size. */
static LdmRect window_of(const Bench *bench, const LdmRequest *request)
{
    int pixels = (int)(bench->side * bench->f), f = (int)bench->f, side = (int)bench->side;
    LdmPrepareOptions options = {.f = bench->f, .native = (size_t)bench->model->info.native_size};
    LdmPrepared geometry = {
        .window = {0, 0, pixels, pixels}, .scale = 1.0, .H = (size_t)pixels, .W = (size_t)pixels};
    LdmRect marked = {side * 3 / 8 * f, side * 3 / 8 * f, (side * 5 / 8 - side * 3 / 8) * f,
                      (side * 5 / 8 - side * 3 / 8) * f};
    if (request->surroundings == 0)
        return (LdmRect){0};
    return ldm_prepare_cells(&options, &geometry, &marked, (size_t)request->surroundings,
                             (size_t)1 << (bench->model->config.unet.levels - 1));
}

static LdmTensor *denoise(const Bench *bench, const Variant *variant, int seed, Score *score)
{
    LdmModel *model = bench->model;
    g_autoptr(LdmRequest) request = request_of(bench, variant);
    g_autoptr(LdmTensor) cells = variant->inpaint ? hole_cells(bench) : NULL;
    g_autoptr(LdmTensor) channels = model->info.concat_inpainting ? concat(bench, cells) : NULL;
    LdmConditioning conditioning = {bench->prompt, bench->nothing, channels};
    g_auto(LdmTimes) times = {0};
    g_auto(LdmLatents) latents = {0};
    g_autoptr(GError) error = NULL;
    LdmRng rng;
    ldm_rng_seed(&rng, (uint64_t)(seed + (variant->inpaint ? 1000 : 0)));
    need(ldm_times_init(&times, &model->config.schedule, request->sampler, request->schedule,
                        request->steps, 1.0, &error),
         error);
    latents.noise =
        ldm_noise_new(&rng, bench->side, bench->side, (size_t)model->info.latent_channels, &error);
    latents.z0 = variant->inpaint ? ldm_tensor_copy(bench->exact, &error) : NULL;
    need(ldm_latents_start(&latents, &times, true, &error), error);
    LdmDenoise job = ldm_line_denoise(model, request, &times, &conditioning, &latents);
    job.rng = &rng;
    job.cells = cells;
    job.window = window_of(bench, request);
    size_t bytes;
    double flops, begin;
    need(ldm_denoise_measure(&job, latents.zt, &bytes, &flops, &error), error);
    begin = cpu_seconds();
    need(ldm_coarse_make(model->unet_params, job.q8, NULL, NULL, NULL, &error), error);
    need(ldm_denoise(&job, latents.zt, NULL, &error), error);
    score->seconds += cpu_seconds() - begin;
    ldm_params_drop_copies(model->unet_params);
    score->flops += flops;
    return g_steal_pointer(&latents.zt);
}

/* ||a - b|| / ||b||, over all or over the hole. */
static double latent_distance(const Bench *bench, const LdmTensor *a, const LdmTensor *b, bool hole)
{
    double difference = 0, length = 0;
    size_t z = a->shape[3];
    for (size_t i = 0; i < ldm_tensor_count(a); i++) {
        size_t cell = i / z;
        if (hole && !is_hole(bench, cell % bench->side, cell / bench->side))
            continue;
        double va = ldm_tensor_f32(a)[i], vb = ldm_tensor_f32(b)[i];
        difference += (va - vb) * (va - vb);
        length += vb * vb;
    }
    return sqrt(difference / length);
}

static double unit(float value)
{
    return CLAMP(value * 0.5 + 0.5, 0.0, 1.0);
}

/* Of pictures in [-1, 1], over all or over the hole. */
static double psnr(const Bench *bench, const LdmTensor *a, const LdmTensor *b, bool hole)
{
    double sum = 0;
    size_t n = 0, pixels = bench->side * bench->f;
    for (size_t i = 0; i < ldm_tensor_count(a); i++) {
        size_t pixel = i / 3;
        if (hole && !is_hole(bench, pixel % pixels / bench->f, pixel / pixels / bench->f))
            continue;
        double d = unit(ldm_tensor_f32(a)[i]) - unit(ldm_tensor_f32(b)[i]);
        sum += d * d;
        n++;
    }
    return -10 * log10(MAX(sum / (double)n, 1e-12));
}

static void run_seed(Bench *bench, int seed, Score *scores)
{
    g_autoptr(LdmTensor) painted = NULL, painted_picture = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(variants); i++) {
        const Variant *variant = &variants[i];
        g_autoptr(GError) error = NULL;
        if (!is_possible(bench, variant))
            continue;
        LdmTensor *z = denoise(bench, variant, seed, &scores[i]);
        LdmTensor *picture = ldm_decode(bench->model, z, NULL, &error);
        need(picture != NULL, error);
        LdmTensor **exact = variant->inpaint ? &painted : &bench->exact;
        LdmTensor **exact_picture = variant->inpaint ? &painted_picture : &bench->exact_picture;
        if (*exact == NULL) { /* the first of its kind */
            *exact = z;
            *exact_picture = picture;
            continue;
        }
        scores[i].distance += latent_distance(bench, z, *exact, variant->inpaint);
        scores[i].psnr += psnr(bench, picture, *exact_picture, variant->inpaint);
        ldm_tensor_free(z);
        ldm_tensor_free(picture);
    }
    g_clear_pointer(&bench->exact, ldm_tensor_free);
    g_clear_pointer(&bench->exact_picture, ldm_tensor_free);
}

/* It departs from the exact result, and no other of its kind takes less time and comes nearer. */
static bool is_on_front(const Bench *bench, const Score *scores, size_t i)
{
    for (size_t j = 0; j < G_N_ELEMENTS(variants); j++)
        if (j != i && is_possible(bench, &variants[j]) && !variants[j].more &&
            variants[j].inpaint == variants[i].inpaint && scores[j].seconds <= scores[i].seconds &&
            scores[j].distance <= scores[i].distance)
            return false;
    return !variants[i].more && scores[i].distance > 0;
}

static void print(const Bench *bench, const Score *scores, int seeds)
{
    const Score *exact = scores;
    printf("| | CPU s | of exact | planned GFLOP | of exact | latent distance | PSNR dB | front |\n"
           "|---|--:|--:|--:|--:|--:|--:|---|\n");
    for (size_t i = 0; i < G_N_ELEMENTS(variants); i++) {
        const Variant *variant = &variants[i];
        const Score *s = &scores[i];
        if (!is_possible(bench, variant))
            continue;
        bool reference = is_exact(variant);
        exact = reference ? s : exact;
        printf("| %s", variant->inpaint ? "inpaint, " : "");
        if (*variant->options != '\0')
            printf("`%s`", variant->options);
        else
            printf("exact%s", variant->more ? ", more steps" : "");
        printf(" | %.2f | %.2f | %.1f | %.2f | ", s->seconds / seeds, s->seconds / exact->seconds,
               s->flops * 1e-9 / seeds, s->flops / exact->flops);
        if (reference)
            printf("| | |\n");
        else
            printf("%.3f | %.1f | %s |\n", s->distance / seeds, s->psnr / seeds,
                   is_on_front(bench, scores, i) ? "yes" : "");
    }
}

/* MODEL "" is the default one; MORE: how far this many exact steps are away, for comparison (0: not
 * wanted); OPTIONS: of new pictures, only this variant beside the exact one. */
int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    Score scores[G_N_ELEMENTS(variants)] = {0};
    if (argc < 5) {
        fprintf(stderr, "bench-fast MODEL PIXELS STEPS SEEDS [MORE [OPTIONS]]\n");
        return 2;
    }
    g_autoptr(LdmModel) model = ldm_model_load(argv[1], &error);
    need(model != NULL, error);
    Bench bench = {.model = model, .f = (size_t)model->info.downsampling, .steps = atoi(argv[3])};
    bench.side = (size_t)atoi(argv[2]) / bench.f;
    bench.prompt = ldm_condition(model, "a red apple on a wooden table", NULL, &error);
    need(bench.prompt != NULL, error);
    bench.nothing = ldm_condition(model, "", NULL, &error);
    need(bench.nothing != NULL, error);
    bench.more = argc > 5 ? atoi(argv[5]) : 0;
    bench.only = argc > 6 ? argv[6] : NULL;
    int seeds = atoi(argv[4]);
    for (int seed = 1; seed <= seeds; seed++)
        run_seed(&bench, seed, scores);
    print(&bench, scores, seeds);
    ldm_tensor_free(bench.prompt);
    ldm_tensor_free(bench.nothing);
    return 0;
}
