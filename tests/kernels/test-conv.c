/* Convolutions against seven loops in double precision. */
#include "twin.h"

static double twin_pixel(const LdmConv *c, const float *w, size_t n, ptrdiff_t y, ptrdiff_t x,
                         size_t o)
{
    double sum = 0;
    ptrdiff_t H = (ptrdiff_t) c->H * c->upsample, W = (ptrdiff_t) c->W * c->upsample;
    for (size_t kh = 0; kh < c->KH; kh++)
        for (size_t kw = 0; kw < c->KW; kw++) {
            ptrdiff_t iy = y * c->stride + (ptrdiff_t) kh - c->pad_top;
            ptrdiff_t ix = x * c->stride + (ptrdiff_t) kw - c->pad_left;
            if (iy < 0 || iy >= H || ix < 0 || ix >= W)
                continue;
            size_t from = (n * c->H + iy / c->upsample) * c->W + ix / c->upsample;
            for (size_t i = 0; i < c->Cin; i++)
                sum += (double) c->x[from * c->Cin + i] *
                       w[((o * c->Cin + i) * c->KH + kh) * c->KW + kw];
        }
    return sum;
}

/* Geometry comes filled in; everything else is made here. residual: 0 none, 1 own, 2 in place. */
static void check(LdmConv conv, LdmDtype dtype, bool bias, int residual)
{
    size_t Ho, Wo;
    ldm_conv_output(&conv, &Ho, &Wo);
    size_t outputs = conv.N * Ho * Wo * conv.Cout;
    TwinArray x = twin_random(conv.N * conv.H * conv.W * conv.Cin);
    TwinArray y = twin_random(outputs), r = twin_random(outputs);
    conv.w.dtype = dtype;
    TwinArray scratch = twin_scratch(ldm_conv_scratch(&conv));
    TwinWeights w = twin_weights(conv.Cout * conv.Cin * conv.KH * conv.KW, dtype);
    TwinWeights b = twin_weights(conv.Cout, dtype);
    conv.x = x.data;
    conv.y = y.data;
    conv.w = w.weights;
    conv.bias = bias ? b.weights : (LdmWeights){0};
    conv.residual = residual == 0 ? NULL : residual == 1 ? r.data : y.data;
    conv.scratch = scratch.data;
    g_autofree double *expected = g_new(double, outputs);
    for (size_t i = 0; i < outputs; i++) {
        size_t o = i % conv.Cout, px = i / conv.Cout % Wo, py = i / conv.Cout / Wo % Ho;
        expected[i] = twin_pixel(&conv, w.values, i / (Ho * Wo * conv.Cout), (ptrdiff_t) py,
                                 (ptrdiff_t) px, o);
        expected[i] += (bias ? b.values[o] : 0) + (residual == 0 ? 0 : conv.residual[i]);
    }
    g_assert_true(ldm_conv(&conv, NULL));
    twin_compare(y.data, expected, outputs, 2e-6, "conv");
    twin_free(x);
    twin_free(y);
    twin_free(r);
    twin_free(scratch);
    twin_weights_free(w);
    twin_weights_free(b);
}

/* N H W Cin Cout KH KW stride, top left bottom right, upsample */
static const LdmConv cases[] = {
    {1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1},   {2, 3, 5, 7, 11, 1, 1, 1, 0, 0, 0, 0, 1},
    {2, 5, 7, 3, 5, 3, 3, 1, 1, 1, 1, 1, 1},   {1, 1, 1, 2, 3, 3, 3, 1, 1, 1, 1, 1, 1},
    {1, 2, 1, 4, 2, 3, 3, 1, 1, 1, 1, 1, 2},   {2, 6, 4, 5, 3, 3, 3, 2, 1, 1, 1, 1, 1},
    {1, 7, 5, 3, 4, 3, 3, 2, 0, 0, 1, 1, 1},   {1, 8, 8, 3, 4, 3, 3, 2, 0, 0, 1, 1, 1},
    {2, 3, 4, 6, 5, 3, 3, 1, 1, 1, 1, 1, 2},   {1, 4, 4, 3, 2, 1, 1, 2, 0, 0, 0, 0, 1},
    {1, 5, 6, 2, 3, 5, 3, 1, 4, 0, 1, 3, 1},   {1, 9, 9, 3, 8, 4, 4, 4, 0, 0, 0, 0, 1},
    {2, 13, 11, 37, 70, 3, 3, 1, 1, 1, 1, 1, 1}, {1, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1},
    {1, 3, 5, 4, 6, 1, 1, 1, 0, 0, 0, 0, 2},   {1, 40, 40, 1, 2, 33, 33, 7, 0, 0, 0, 0, 1},
    {2, 4, 4, 200, 34, 3, 3, 1, 1, 1, 1, 1, 1},
};

static void test_shapes(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        for (int k = 0; k < 3; k++) {
            check(cases[i], (LdmDtype) k, (i + k) % 2 == 0, (int) (i + k) % 3);
            check(cases[i], (LdmDtype) k, true, (int) (i + 2 * k + 1) % 3);
        }
}

/* Weights in several blocks; pixels in several blocks. */
static void test_blocks(void)
{
    check((LdmConv){1, 2, 3, 500, 1010, 3, 3, 1, 1, 1, 1, 1, 1}, LDM_F16, true, 2);
    check((LdmConv){2, 43, 41, 140, 3, 3, 3, 1, 1, 1, 1, 1, 1}, LDM_F32, true, 2);
}

static void test_output_size(void)
{
    LdmConv conv = {1, 8, 5, 1, 1, 3, 3, 2, 0, 0, 1, 1, 1};
    size_t Ho, Wo;
    ldm_conv_output(&conv, &Ho, &Wo);
    g_assert_cmpuint(Ho, ==, 4);
    g_assert_cmpuint(Wo, ==, 2);
    conv.KW = 9;
    ldm_conv_output(&conv, &Ho, &Wo);
    g_assert_cmpuint(Wo, ==, 0);
}

/* A NaN reaches the outputs that see it, and only those: padding never multiplies with old memory. */
static void test_nan(void)
{
    enum { H = 6, C = 4 };
    TwinArray x = twin_random(H * H * C), y = twin_array(H * H * C);
    TwinWeights w = twin_weights(C * C * 9, LDM_F32);
    LdmConv conv = {1, H, H, C, C, 3, 3, 1, 1, 1, 1, 1, 1};
    conv.w = w.weights;
    TwinArray scratch = twin_scratch(ldm_conv_scratch(&conv));
    conv.x = x.data;
    conv.y = y.data;
    conv.scratch = scratch.data;
    x.data[(1 * H + 1) * C] = NAN;
    g_assert_true(ldm_conv(&conv, NULL));
    for (size_t i = 0; i < H * H; i++)
        g_assert_cmpint(isnan(y.data[i * C]) != 0, ==, i / H <= 2 && i % H <= 2);
    g_autoptr(GCancellable) cancelled = twin_cancelled();
    g_assert_false(ldm_conv(&conv, cancelled));
    twin_free(scratch);
    twin_free(x);
    twin_free(y);
    twin_weights_free(w);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/conv/shapes", test_shapes);
    g_test_add_func("/conv/blocks", test_blocks);
    g_test_add_func("/conv/output-size", test_output_size);
    g_test_add_func("/conv/nan", test_nan);
    return g_test_run();
}
