/* The strength of detail: against a plain twin in double, its gradient by differences, and what it
 * does not ask for. */
#include "train/texture.h"

#include <glib.h>
#include <math.h>

enum { N = 2, H = 17, W = 12, C = 3, COUNT = N * H * W * C };

static int mirror(int i, int n)
{
    i = i < 0 ? -1 - i : i > n - 1 ? 2 * n - 1 - i : i;
    return CLAMP(i, 0, n - 1);
}

static double detail(const double *x, int row, int column, int apart, int high_down,
                     int high_across)
{
    static const double taps[2][3] = {{0.25, 0.5, 0.25}, {-0.25, 0.5, -0.25}};
    double sum = 0;

    for (int i = 0; i < 9; i++) {
        int r = mirror(row + (i / 3 - 1) * apart, H), c = mirror(column + (i % 3 - 1) * apart, W);
        sum += taps[high_down][i / 3] * taps[high_across][i % 3] * x[(r * W + c) * C];
    }
    return sum;
}

static double strength(const double *x, int row, int column, int apart, int high_down,
                       int high_across)
{
    double sum = 0;

    for (int i = 0; i < 64; i++)
        sum += pow(detail(x, row + i / 8, column + i % 8, apart, high_down, high_across), 2);
    return sqrt(sum / 64 + 1.6e-5);
}

static double twin(const double *a, const double *b)
{
    double sum = 0;
    int windows = ((H - 8) / 4 + 1) * ((W - 8) / 4 + 1) * C * N;

    for (int band = 0; band < 6; band++)
        for (int i = 0; i < N * C; i++)
            for (int row = 0; row + 8 <= H; row += 4)
                for (int column = 0; column + 8 <= W; column += 4) {
                    int from = i / C * H * W * C + i % C, apart = 1 + band / 3, kind = band % 3;
                    double ea = strength(a + from, row, column, apart, kind != 0, kind != 1);
                    double eb = strength(b + from, row, column, apart, kind != 0, kind != 1);
                    sum += (ea - eb) * (ea - eb) / ea;
                }
    return sum / windows;
}

static void draw(GRand *rand, double width, double *x, float *rounded)
{
    for (int i = 0; i < COUNT; i++) {
        rounded[i] = (float)g_rand_double_range(rand, -width, width);
        x[i] = rounded[i];
    }
}

static void test_twin(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(3);
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmTexture) texture = ldm_texture_new(N, H, W, C, &error);
    double a[COUNT], b[COUNT];
    float fa[COUNT], fb[COUNT], d[COUNT];

    g_assert_no_error(error);
    draw(rand, 0.3, a, fa);
    draw(rand, 0.5, b, fb);
    for (int i = 0; i < COUNT; i++)
        d[i] = 1.0f; /* it adds */
    g_assert_cmpfloat_with_epsilon(ldm_texture_distance(texture, fa, fb, 2.0, d), twin(a, b), 1e-6);
    for (int i = 0; i < COUNT; i += 7) {
        double here = a[i], h = 1e-6;
        a[i] = here + h;
        double above = twin(a, b);
        a[i] = here - h;
        double slope = (above - twin(a, b)) / (2 * h);
        a[i] = here;
        g_assert_cmpfloat_with_epsilon(d[i] - 1.0, 2.0 * slope, 1e-6);
    }
}

/* Where its lines lie is not asked; what is equal, or has no window, is no distance away. */
static void test_nothing(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(4);
    g_autoptr(LdmTexture) texture = ldm_texture_new(N, H, W, C, NULL);
    double a[COUNT];
    float fa[COUNT], negative[COUNT], d[COUNT] = {0};

    draw(rand, 0.3, a, fa);
    for (int i = 0; i < COUNT; i++)
        negative[i] = -fa[i];
    g_assert_cmpfloat(ldm_texture_distance(texture, fa, fa, 1.0, d), ==, 0);
    g_assert_cmpfloat(ldm_texture_distance(texture, fa, negative, 1.0, d), ==, 0);
    ldm_texture_reshape(texture, 7, W);
    draw(rand, 0.3, a, negative);
    g_assert_cmpfloat(ldm_texture_distance(texture, fa, negative, 1.0, d), ==, 0);
    for (int i = 0; i < COUNT; i++)
        g_assert_cmpfloat(d[i], ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/texture/twin", test_twin);
    g_test_add_func("/texture/nothing", test_nothing);
    return g_test_run();
}
