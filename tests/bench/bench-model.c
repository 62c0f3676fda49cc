/* Times the stages of a model, one order a line on standard input, so that a driver can alternate
 * between engines:
 *     bench-model MODEL
 *     predict 64     one epsilon_theta, 64 x 64 latent     encode 512     E of 512 x 512 pixels
 *     text           one prompt                             decode 64      D of a 64 x 64 latent
 * Answers one line each: seconds, peak resident kB so far. The first line out is the loading. */
#include "base/rng.h"
#include "tensor/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long peak_kilobytes(void)
{
    g_autofree char *status = NULL;
    if (!g_file_get_contents("/proc/self/status", &status, NULL, NULL))
        return 0;
    const char *line = strstr(status, "VmHWM:");
    return line != NULL ? atol(line + 6) : 0;
}

static LdmTensor *noise(size_t h, size_t w, size_t c)
{
    LdmTensor *tensor = ldm_tensor_new_nhwc(1, h, w, c, NULL);
    LdmRng rng;
    ldm_rng_seed(&rng, 1);
    ldm_rng_normal(&rng, ldm_tensor_f32(tensor), ldm_tensor_count(tensor));
    return tensor;
}

static LdmTensor *work(LdmModel *model, const char *stage, size_t size, GError **error)
{
    const LdmModelInfo *info = ldm_model_info(model);
    if (strcmp(stage, "text") == 0)
        return ldm_condition(model, "a photograph of an astronaut riding a horse", NULL, error);
    if (strcmp(stage, "encode") == 0) {
        g_autoptr(LdmTensor) picture = noise(size, size, 3);
        return ldm_encode(model, picture, -1, NULL, error);
    }
    g_autoptr(LdmTensor) latent = noise(size, size, info->latent_channels);
    if (strcmp(stage, "decode") == 0)
        return ldm_decode(model, latent, NULL, error);
    g_autoptr(LdmTensor) context =
        ldm_tensor_new(LDM_F32, 3, (size_t[]){1, info->tokens, info->context_width}, error);
    LdmRng rng;
    ldm_rng_seed(&rng, 2);
    ldm_rng_normal(&rng, ldm_tensor_f32(context), ldm_tensor_count(context));
    g_autoptr(LdmTensor) concat =
        info->concat_inpainting ? noise(size, size, info->unet_in_channels - info->latent_channels)
                                : NULL;
    return ldm_predict(model, latent, 500, context, concat, NULL, error);
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    ldm_keep_memory(true); /* as in the steps of a run; OpenVINO does so always */
    gint64 start = g_get_monotonic_time();
    g_autoptr(LdmModel) model = ldm_model_load(argc > 1 ? argv[1] : NULL, &error);
    if (model == NULL) {
        fprintf(stderr, "%s\n", error->message);
        return 1;
    }
    printf("%.6f %ld\n", (g_get_monotonic_time() - start) * 1e-6, peak_kilobytes());
    fflush(stdout);
    char line[64], stage[16];
    while (fgets(line, sizeof line, stdin) != NULL) {
        unsigned long size = 0;
        if (sscanf(line, "%15s %lu", stage, &size) < 1)
            continue;
        start = g_get_monotonic_time();
        g_autoptr(LdmTensor) result = work(model, stage, size, &error);
        if (result == NULL) {
            fprintf(stderr, "%s\n", error->message);
            return 1;
        }
        printf("%.6f %ld\n", (g_get_monotonic_time() - start) * 1e-6, peak_kilobytes());
        fflush(stdout);
    }
    return 0;
}
