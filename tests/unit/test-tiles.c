/* Tiles: whatever the sizes, every pixel is covered and shares add up to one; the decoder's tiles
 * look like the whole. */
#include "decode/decode.h"
#include "encode/encode.h"
#include "ldm.h"
#include "pipeline/model.h"
#include "tensor/tiles.h"

#include <math.h>

static LdmTensor *noise(size_t h, size_t w, size_t c)
{
    g_autoptr(GError) error = NULL;
    LdmTensor *t = ldm_tensor_new_nhwc(1, h, w, c, &error);
    g_assert_no_error(error);
    for (size_t i = 0; i < ldm_tensor_count(t); i++)
        ldm_tensor_f32(t)[i] = (float)g_test_rand_double_range(-1.0, 1.0);
    return t;
}

/* Enlarges by `out` / `in`, cell by cell: what tiles give must be what the whole gives. */
static LdmTensor *repeat(const LdmTensor *tile, void *data, GError **error)
{
    const LdmTiling *t = data;
    size_t H = tile->shape[1] / t->in * t->out, W = tile->shape[2] / t->in * t->out;
    LdmTensor *big = ldm_tensor_new_nhwc(1, H, W, 1, error);
    for (size_t i = 0; i < H * W; i++)
        ldm_tensor_f32(big)[i] = ldm_tensor_f32(
            tile)[(i / W / t->out * t->in * tile->shape[2] + i % W / t->out * t->in) * 2];
    return big;
}

static void test_identity(void)
{
    for (int k = 0; k < 60; k++) {
        size_t tile = (size_t)g_test_rand_int_range(4, 12);
        LdmTiling t = {.tile = tile,
                       .overlap = tile / 4,
                       .in = 1 + (size_t)k % 2,
                       .out = 1 + (size_t)k % 3,
                       .run = repeat,
                       .data = &t};
        size_t h = (size_t)g_test_rand_int_range(1, 40), w = (size_t)g_test_rand_int_range(1, 40);
        g_autoptr(GError) error = NULL;
        g_autoptr(LdmTensor) x = noise(h * t.in, w * t.in, 2);
        g_autoptr(LdmTensor) whole = repeat(x, &t, &error);
        g_autoptr(LdmTensor) tiled = ldm_tiles_run(&t, x, 1, &error);
        g_assert_no_error(error);
        g_assert_true(ldm_tensor_same_shape(whole, tiled));
        for (size_t i = 0; i < ldm_tensor_count(whole); i++)
            g_assert_cmpfloat_with_epsilon(ldm_tensor_f32(whole)[i], ldm_tensor_f32(tiled)[i],
                                           1e-5);
    }
}

static double rms(const LdmTensor *a, const LdmTensor *b)
{
    double sum = 0.0;
    g_assert_true(ldm_tensor_same_shape(a, b));
    for (size_t i = 0; i < ldm_tensor_count(a); i++)
        sum += pow(ldm_tensor_f32(a)[i] - ldm_tensor_f32(b)[i], 2.0);
    return sqrt(sum / (double)ldm_tensor_count(a));
}

/* A smooth picture through E and D, whole and in tiles of 16 cells. */
static void test_autoencoder(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmModel) model = ldm_model_load(NULL, &error);
    g_assert_no_error(error);
    g_autoptr(LdmTensor) x = noise(96, 120, 3);
    for (size_t i = 0; i < 96 * 120 * 3; i++)
        ldm_tensor_f32(x)[i] = 0.7f * sinf(0.002f * (float)(i % 360) * (float)(i % 3 + 1)) *
                               cosf(0.05f * (float)(i / 360));
    LdmEncode e = {.encoder = model->encoder, .config = &model->config.vae};
    LdmDecode d = {.decoder = model->decoder, .config = &model->config.vae};
    g_autoptr(LdmTensor) z = ldm_encode_picture(&e, x, NULL, &error);
    g_autoptr(LdmTensor) whole = ldm_decode_latent(&d, z, &error);
    e.tile = d.tile = 16;
    g_autoptr(LdmTensor) z_tiled = ldm_encode_picture(&e, x, NULL, &error);
    g_autoptr(LdmTensor) tiled = ldm_decode_latent(&d, z, &error);
    g_assert_no_error(error);
    g_test_message("latent off by %.3f, picture by %.3f", rms(z, z_tiled), rms(whole, tiled));
    g_assert_cmpfloat(rms(z, z_tiled), <, 0.25);
    g_assert_cmpfloat(rms(whole, tiled), <, 0.1);
    g_assert_cmpfloat(rms(whole, tiled), >, 0.0);
    size_t bytes_tiled, bytes_whole;
    double flops;
    g_assert_true(ldm_decode_measure(&d, 128, 128, &bytes_tiled, &flops, &error));
    d.tile = 0;
    g_assert_true(ldm_decode_measure(&d, 128, 128, &bytes_whole, &flops, &error));
    g_assert_cmpuint(bytes_tiled, <, bytes_whole / 4);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tiles/identity", test_identity);
    g_test_add_func("/tiles/autoencoder", test_autoencoder);
    return g_test_run();
}
