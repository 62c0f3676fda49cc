/* Times training steps of a model's UNet (forward, backward, AdamW), one a line on standard input,
 * so that a driver can alternate with another engine:
 *     bench-train MODEL BATCH SIDE TOKENS [bf16]
 * Answers "seconds, peak resident kB so far, loss, processor seconds" to each; the first line is
 * the loading. Inputs are torch's numbers of seed 1: both engines' losses must agree. */
#include "base/rng.h"
#include "denoise/unet.h"
#include "layers/tape.h"
#include "tensor/tensor.h"
#include "train/optimiser.h"
#include "weights/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

typedef struct {
    LdmUnet *unet;
    LdmParams *params;
    LdmOptimiser *optimiser;
    LdmTensor *x, *context, *target, *d_y;
    double *timesteps;
    LdmPass *pass;
    bool bf16;
} Bench;

static long peak_kilobytes(void)
{
    g_autofree char *status = NULL;
    if (!g_file_get_contents("/proc/self/status", &status, NULL, NULL))
        return 0;
    const char *line = strstr(status, "VmHWM:");
    return line != NULL ? atol(line + 6) : 0;
}

/* Of all threads, in the system as well: what a step costs whatever else the machine does. */
static double processor_seconds(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1e-6;
}

static LdmTensor *noise(LdmRng *rng, size_t n, size_t h, size_t w, size_t c)
{
    LdmTensor *tensor = ldm_tensor_new_nhwc(n, h, w, c, NULL);
    ldm_rng_normal(rng, ldm_tensor_f32(tensor), ldm_tensor_count(tensor));
    return tensor;
}

/* The mean of (y - target)^2 and its gradient. */
static double square_error(const Bench *bench, const LdmTensor *y)
{
    size_t n = ldm_tensor_count(y);
    const float *a = ldm_tensor_f32(y), *b = ldm_tensor_f32(bench->target);
    float *d = ldm_tensor_f32(bench->d_y);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double distance = (double)a[i] - b[i];
        sum += distance * distance;
        d[i] = (float)(2 * distance / (double)n);
    }
    return sum / (double)n;
}

static double there_and_back(const Bench *bench, LdmPass *pass)
{
    double loss = 0;
    LdmTensor *x = ldm_pass_input(pass, bench->x), *context = ldm_pass_input(pass, bench->context);
    LdmTensor *y = ldm_unet_forward(pass, bench->unet, x, bench->timesteps, context);
    ldm_pass_drop(pass, x);
    ldm_pass_drop(pass, context);
    if (y->data != NULL)
        loss = square_error(bench, y);
    ldm_pass_seed(pass, y, bench->d_y);
    ldm_pass_drop(pass, y);
    ldm_pass_backward(pass);
    return loss;
}

static bool prepare(Bench *bench, LdmSource *source, const size_t size[3], GError **error)
{
    const LdmUnetConfig *config = &source->config.unet;
    LdmOptimiserOptions options = ldm_optimiser_defaults();
    size_t N = size[0], side = size[1], out = (size_t)config->out_channels;
    LdmRng rng;

    options.clip = options.outlier = 0;
    options.warm_up = 0;
    bench->params = ldm_params_new();
    bench->unet = ldm_unet_new(config, bench->params);
    bench->optimiser = ldm_optimiser_new(&options, error);
    if (!ldm_source_bind(source, LDM_PART_UNET, bench->params, error) || bench->optimiser == NULL ||
        !ldm_optimiser_add(bench->optimiser, "unet", bench->params, error))
        return false;
    ldm_rng_seed(&rng, 1);
    bench->x = noise(&rng, N, side, side, (size_t)config->in_channels);
    bench->context = noise(&rng, N, 1, size[2], (size_t)config->context_width);
    bench->context->rank = 3;
    bench->context->shape[1] = size[2];
    bench->context->shape[2] = (size_t)config->context_width;
    bench->target = noise(&rng, N, side, side, out);
    bench->d_y = ldm_tensor_new_nhwc(N, side, side, out, error);
    bench->timesteps = g_new(double, N);
    for (size_t i = 0; i < N; i++)
        bench->timesteps[i] = (double)(i * 999 / N);
    g_autoptr(LdmPass) plan = ldm_pass_new_plan();
    ldm_pass_record(plan);
    ldm_pass_set_bf16(plan, bench->bf16);
    Bench planned = *bench;
    LdmTensor d_y = *bench->d_y;
    d_y.data = NULL;
    planned.d_y = &d_y;
    there_and_back(&planned, plan);
    bench->pass = ldm_pass_new_compute(ldm_pass_peak(plan), NULL, error);
    if (bench->pass == NULL || !ldm_pass_end(plan, error))
        return false;
    ldm_pass_record(bench->pass);
    ldm_pass_set_bf16(bench->pass, bench->bf16);
    return true;
}

static bool step(Bench *bench, double *loss, GError **error)
{
    LdmStep taken;
    *loss = there_and_back(bench, bench->pass);
    bool done = ldm_pass_end(bench->pass, error) &&
                ldm_optimiser_step(bench->optimiser, *loss, &taken, error);
    ldm_pass_reset(bench->pass);
    return done;
}

static void answer(gint64 start, double spent, double loss)
{
    printf("%.6f %ld %.9g %.6f\n", (double)(g_get_monotonic_time() - start) * 1e-6,
           peak_kilobytes(), loss, processor_seconds() - spent);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc != 5 && (argc != 6 || strcmp(argv[5], "bf16") != 0)) {
        fputs("bench-train MODEL BATCH SIDE TOKENS [bf16]\n", stderr);
        return 2;
    }
    g_autoptr(GError) error = NULL;
    gint64 start = g_get_monotonic_time();
    const size_t size[3] = {strtoul(argv[2], NULL, 10), strtoul(argv[3], NULL, 10),
                            strtoul(argv[4], NULL, 10)};
    Bench bench = {.bf16 = argc == 6};
    LdmSource *source = ldm_source_open(argv[1], &error);
    char line[64];
    double loss = 0;
    bool good = source != NULL && prepare(&bench, source, size, &error);
    if (good)
        answer(start, 0, 0);
    while (good && fgets(line, sizeof line, stdin) != NULL) {
        start = g_get_monotonic_time();
        double spent = processor_seconds();
        good = step(&bench, &loss, &error);
        if (good)
            answer(start, spent, loss);
    }
    if (!good)
        fprintf(stderr, "%s\n", error->message);
    return good ? 0 : 1; /* the system takes all memory back */
}
