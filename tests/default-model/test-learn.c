/* Learning from the picture before a hole in it is filled, with the default model: over several
 * textures that no model has seen, made here, the fill is nearer to what was in the hole, by the
 * patches' sliced Wasserstein distance, than the same model's own fill from the same noise. The
 * hole is overwritten before anything sees the picture: it is held out by construction. */
#include "ldm.h"
#include "metrics.h"
#include "tensor/tensor.h"

#include <math.h>
#include <string.h>

#define LEARN 150 /* steps: a part of what a person would take; bricks need more to win always */
#define SEEDS 3
#define STEPS 10

/* ---- textures ---- */

/* 0..1, of a pixel of the whole plane */
static double chance(int x, int y)
{
    uint32_t n = (uint32_t)x * 374761393u + (uint32_t)y * 668265263u;

    n = (n ^ n >> 13) * 1274126177u;
    return (double)(n ^ n >> 16) / 4294967296.0;
}

static void mix(float *rgb, double t, const double *a, const double *b)
{
    for (int c = 0; c < 3; c++)
        rgb[c] = (float)CLAMP(a[c] + t * (b[c] - a[c]), 0.0, 1.0);
}

static void bricks(int x, int y, float *rgb)
{
    static const double dark[] = {0.5, 0.18, 0.14}, light[] = {0.8, 0.4, 0.3};
    static const double mortar[] = {0.72, 0.7, 0.66}, dust[] = {0.8, 0.78, 0.74};
    int row = y / 8, along = x + row % 2 * 8;

    if (y % 8 == 0 || along % 16 == 0)
        mix(rgb, chance(x, y), mortar, dust);
    else
        mix(rgb, 0.8 * chance(along / 16, row) + 0.2 * chance(x, y), dark, light);
}

static void stripes(int x, int y, float *rgb)
{
    static const double yellow[] = {0.9, 0.8, 0.2}, green[] = {0.1, 0.35, 0.25};

    mix(rgb, 0.5 + 0.5 * sin(2.0 * G_PI * (x + 0.5 * y) / 9.0), yellow, green);
}

static void dots(int x, int y, float *rgb)
{
    static const double ground[] = {0.85, 0.85, 0.95}, red[] = {0.75, 0.1, 0.2};
    int u = x % 10 - 5, v = y % 10 - 5;

    mix(rgb, u * u + v * v < 10, ground, red);
}

static void weave(int x, int y, float *rgb)
{
    static const double dark[] = {0.3, 0.2, 0.12}, light[] = {0.9, 0.8, 0.6};
    bool warp = (x / 6 + y / 6) % 2 == 0;

    mix(rgb, fabs(sin(G_PI * (warp ? x : y) / 6.0)) * (0.8 + 0.2 * chance(x, y)), dark, light);
}

static const struct {
    const char *name;
    void (*draw)(int x, int y, float *rgb);
} textures[] = {{"bricks", bricks}, {"stripes", stripes}, {"dots", dots}, {"weave", weave}};

/* ---- filling ---- */

static LdmModel *model;

static LdmTensor *texture(size_t i, size_t side, size_t channels)
{
    LdmTensor *picture = ldm_tensor_new_nhwc(1, side, side, channels, NULL);

    for (size_t k = 0; k < side * side; k++) {
        float rgba[4] = {0, 0, 0, 1};
        textures[i].draw((int)(k % side), (int)(k / side), rgba);
        memcpy(ldm_tensor_f32(picture) + k * channels, rgba, channels * sizeof(float));
    }
    return picture;
}

/* The picture without what is in its hole. */
static LdmRequest *request_of(size_t i, size_t side, const LdmRect *hole)
{
    LdmRequest *request = ldm_request_new(LDM_TASK_INPAINT);

    request->picture = texture(i, side, 4);
    request->mask = ldm_tensor_new_nhwc(1, side, side, 1, NULL);
    for (int y = hole->y; y < hole->y + hole->height; y++) {
        for (int x = hole->x; x < hole->x + hole->width; x++) {
            size_t k = (size_t)y * side + (size_t)x;
            ldm_tensor_f32(request->mask)[k] = 1.0f;
            memset(ldm_tensor_f32(request->picture) + 4 * k, 0, 3 * sizeof(float));
        }
    }
    request->guidance = 1.0;
    request->steps = STEPS;
    return request;
}

static double distance_of(LdmRequest *request, const LdmTensor *truth, const LdmRect *hole)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmResult) result = ldm_generate(model, request, NULL, &error);
    g_assert_no_error(error);
    g_autoptr(LdmTensor) whole = ldm_result_composite(result, request, &error);
    g_autoptr(LdmTensor) rgb = ldm_tensor_new_nhwc(1, whole->shape[1], whole->shape[2], 3, &error);
    g_assert_no_error(error);
    for (size_t i = 0; i < ldm_tensor_count(rgb); i++)
        ldm_tensor_f32(rgb)[i] = ldm_tensor_f32(whole)[i / 3 * 4 + i % 3];
    return metric_patch_distance(rgb, truth, hole);
}

static void test_learnt_wins(void)
{
    size_t native = (size_t)ldm_model_info(model)->native_size, side = native * 3 / 2;
    const LdmRect hole = {(int)native / 2, (int)native / 2, (int)native / 2, (int)native / 2};
    int won = 0, pairs = 0;
    double plain_sum = 0.0, learnt_sum = 0.0;

    for (size_t i = 0; i < G_N_ELEMENTS(textures); i++) {
        g_autoptr(LdmTensor) truth = texture(i, side, 3);
        g_autoptr(LdmRequest) request = request_of(i, side, &hole);
        for (int seed = 1; seed <= SEEDS; seed++, pairs++) {
            request->seed = seed;
            request->learn = 0;
            double plain = distance_of(request, truth, &hole);
            request->learn = LEARN;
            double learnt = distance_of(request, truth, &hole);
            g_test_message("%s, seed %d: %.4f, learnt %.4f", textures[i].name, seed, plain, learnt);
            won += learnt < plain;
            plain_sum += plain;
            learnt_sum += learnt;
        }
    }
    g_test_message("won %d of %d; mean %.4f, learnt %.4f", won, pairs, plain_sum / pairs,
                   learnt_sum / pairs);
    /* Instruction sets round differently, which a pair near a tie may show; by chance 10 of 12 are
     * 79 in 4096, and the mean does not fall with them. */
    g_assert_cmpint(won, >=, pairs - 2);
    g_assert_cmpfloat(learnt_sum, <, 0.9 * plain_sum);
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;

    g_test_init(&argc, &argv, G_TEST_OPTION_ISOLATE_DIRS, NULL);
    model = ldm_model_load(NULL, &error);
    g_assert_no_error(error);
    g_test_add_func("/learn/wins", test_learnt_wins);
    int status = g_test_run();
    ldm_model_unref(model);
    return status;
}
