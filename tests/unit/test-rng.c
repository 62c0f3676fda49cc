/* Random numbers against those of PyTorch 2.13 (CPU): torch.manual_seed(S); torch.randn(n). */
#include "base/rng.h"

#include <glib.h>
#include <math.h>
#include <string.h>

static void assert_near(const float *got, const float *expected, size_t n)
{
    for (size_t i = 0; i < n; i++)
        g_assert_cmpfloat_with_epsilon(got[i], expected[i], 1e-6);
}

static void test_short(void)
{
    static const float expected[] = {1.5409960746765137f, -0.293428897857666f, -2.1787893772125244f,
                                     0.5684312582015991f};
    LdmRng rng;
    float x[4];
    ldm_rng_seed(&rng, 0);
    ldm_rng_normal(&rng, x, 4);
    assert_near(x, expected, 4);
}

static void test_block(void)
{
    static const float expected[] = {
        -1.1258398294448853f, -1.152360200881958f,  -0.2505785822868347f,  -0.4338788092136383f,
        0.8487103581428528f,  0.6920091509819031f,  -0.31601276993751526f, -2.1152193546295166f,
        0.32227492332458496f, -1.2633347511291504f, 0.34998318552970886f,  0.30813392996788025f,
        0.11984150856733322f, 1.237657904624939f,   1.1167771816253662f,   -0.2472781538963318f};
    LdmRng rng;
    float x[16];
    ldm_rng_seed(&rng, 0);
    ldm_rng_normal(&rng, x, 16);
    assert_near(x, expected, 16);
}

/* 17: the last 16 are drawn again. */
static void test_uneven(void)
{
    static const float expected[] = {
        -1.1258398294448853f, -1.6959311962127686f, 0.5666506290435791f,  0.7935083508491516f,
        0.5988394618034363f,  -1.5550950765609741f, -0.3413603901863098f, 1.85300612449646f,
        0.46809640526771545f, -0.5854975581169128f, -0.1733967512845993f, 0.18347793817520142f,
        1.3893661499023438f,  1.586334228515625f,   0.946298360824585f,   -0.843676745891571f,
        0.9318265914916992f};
    static const float end[] = {1.4641953706741333f, 0.12641814351081848f, -0.5861721038818359f};
    LdmRng rng;
    float x[1000];
    ldm_rng_seed(&rng, 0);
    ldm_rng_normal(&rng, x, 17);
    assert_near(x, expected, 17);
    ldm_rng_seed(&rng, 0);
    ldm_rng_normal(&rng, x, 1000);
    assert_near(x + 997, end, 3);
}

/* A latent of 4 x 64 x 64. */
static void test_latent(void)
{
    static const float middle[] = {-1.5910369157791138f, 1.009871482849121f};
    static const float end[] = {-1.3664697408676147f, -1.0782079696655273f};
    enum { N = 4 * 64 * 64 };
    g_autofree float *x = g_new(float, N);
    LdmRng rng;
    ldm_rng_seed(&rng, 0);
    ldm_rng_normal(&rng, x, N);
    assert_near(x + 8000, middle, 2);
    assert_near(x + N - 2, end, 2);
    double sum = 0, squares = 0;
    for (int i = 0; i < N; i++) {
        sum += x[i];
        squares += (double)x[i] * x[i];
    }
    g_assert_cmpfloat_with_epsilon(sum, -124.11269989912398, 1e-3);
    g_assert_cmpfloat_with_epsilon(squares, 16522.110311606775, 1e-2);
}

/* A seed of more than 32 bits; the second value of a pair waits for the next short call, past a
 * long one. */
static void test_sequence(void)
{
    static const float three[] = {0.1737041175365448f, -1.079520344734192f, -1.5308916568756104f};
    static const float two[] = {-0.865201473236084f, 2.193051815032959f};
    static const float twenty_begin[] = {0.9686615467071533f, -2.1945290565490723f};
    static const float twenty_end[] = {1.1531862020492554f, -1.1478922367095947f};
    static const float one[] = {0.6539293527603149f};
    LdmRng rng;
    float x[20];
    ldm_rng_seed(&rng, 123456789012345);
    ldm_rng_normal(&rng, x, 3);
    assert_near(x, three, 3);
    ldm_rng_normal(&rng, x, 2);
    assert_near(x, two, 2);
    ldm_rng_normal(&rng, x, 20);
    assert_near(x, twenty_begin, 2);
    assert_near(x + 18, twenty_end, 2);
    ldm_rng_normal(&rng, x, 1);
    assert_near(x, one, 1);
}

static void test_new_seed(void)
{
    int64_t a = ldm_seed_new(), b = ldm_seed_new();
    g_assert_cmpint(a, >=, 0);
    g_assert_cmpint(a, <, INT64_C(1) << 53);
    g_assert_cmpint(a, !=, b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/rng/short", test_short);
    g_test_add_func("/rng/block", test_block);
    g_test_add_func("/rng/uneven", test_uneven);
    g_test_add_func("/rng/latent", test_latent);
    g_test_add_func("/rng/sequence", test_sequence);
    g_test_add_func("/rng/new-seed", test_new_seed);
    return g_test_run();
}
