/* The way back through convolutions against seven loops in double precision. */
#include "twin.h"

typedef struct {
    double *dx, *dw;
} Expected;

static float rounded(const LdmConv *c, float x)
{
    return c->bf16 ? twin_bf16(x) : x;
}

/* Every product of the forward, the other way round. */
static Expected twin_gradients(const LdmConv *c, const float *w, const float *dy)
{
    size_t Ho, Wo, up = (size_t)c->upsample;
    ldm_conv_output(c, &Ho, &Wo);
    Expected e = {g_new0(double, c->N * c->H * c->W * c->Cin),
                  g_new0(double, c->Cout * c->Cin * c->KH * c->KW)};
    for (size_t i = 0; i < c->N * Ho * Wo * c->KH * c->KW; i++) {
        size_t kw = i % c->KW, kh = i / c->KW % c->KH, pixel = i / (c->KW * c->KH);
        size_t x = pixel % Wo * c->stride + kw - c->pad_left; /* -1 becomes huge */
        size_t y = pixel / Wo % Ho * c->stride + kh - c->pad_top, n = pixel / Wo / Ho;
        if (x >= c->W * up || y >= c->H * up)
            continue;
        size_t from = ((n * c->H + y / up) * c->W + x / up) * c->Cin;
        for (size_t o = 0; o < c->Cout; o++)
            for (size_t k = 0; k < c->Cin; k++) {
                size_t at = ((o * c->Cin + k) * c->KH + kh) * c->KW + kw;
                double d = rounded(c, dy[pixel * c->Cout + o]);
                e.dx[from + k] += d * rounded(c, w[at]);
                e.dw[at] += d * rounded(c, c->x[from + k]);
            }
    }
    return e;
}

/* dw adds to what is there; dx does where asked. */
static void check(LdmConv conv, LdmDtype dtype, bool add)
{
    size_t Ho, Wo, inputs = conv.N * conv.H * conv.W * conv.Cin;
    size_t weights = conv.Cout * conv.Cin * conv.KH * conv.KW;
    ldm_conv_output(&conv, &Ho, &Wo);
    TwinArray x = twin_random(inputs), dy = twin_random(conv.N * Ho * Wo * conv.Cout);
    TwinArray dx = add ? twin_random(inputs) : twin_array(inputs), dw = twin_random(weights);
    TwinWeights w = twin_weights(weights, dtype);
    conv.x = x.data;
    conv.w = w.weights;
    Expected expected = twin_gradients(&conv, w.values, dy.data);
    for (size_t i = 0; i < weights; i++)
        expected.dw[i] += dw.data[i];
    for (size_t i = 0; add && i < inputs; i++)
        expected.dx[i] += dx.data[i];
    TwinArray scratch = twin_scratch(ldm_conv_backward_input_scratch(&conv));
    LdmConvBackward back = {&conv, dy.data, dx.data, add, scratch.data};
    g_assert_true(ldm_conv_backward_input(&back, NULL));
    twin_compare(dx.data, expected.dx, inputs, 1e-5, "dx");
    twin_free(scratch);
    scratch = twin_scratch(ldm_conv_backward_weights_scratch(&conv));
    back = (LdmConvBackward){&conv, dy.data, dw.data, false, scratch.data};
    g_assert_true(ldm_conv_backward_weights(&back, NULL));
    twin_compare(dw.data, expected.dw, weights, 1e-5, "dw");
    twin_free(scratch);
    twin_free(x);
    twin_free(dy);
    twin_free(dx);
    twin_free(dw);
    twin_weights_free(w);
    g_free(expected.dx);
    g_free(expected.dw);
}

/* N H W Cin Cout KH KW stride, top left bottom right, upsample */
static const LdmConv cases[] = {
    {1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1},      {2, 3, 5, 7, 11, 1, 1, 1, 0, 0, 0, 0, 1},
    {2, 5, 7, 3, 5, 3, 3, 1, 1, 1, 1, 1, 1},      {2, 6, 4, 5, 3, 3, 3, 2, 1, 1, 1, 1, 1},
    {1, 7, 5, 3, 4, 3, 3, 2, 0, 0, 1, 1, 1},      {2, 3, 4, 6, 5, 3, 3, 1, 1, 1, 1, 1, 2},
    {1, 9, 9, 3, 8, 4, 4, 4, 0, 0, 0, 0, 1},      {3, 9, 11, 20, 37, 3, 3, 2, 1, 1, 1, 1, 1},
    {2, 16, 18, 17, 20, 3, 3, 2, 1, 1, 1, 1, 1},  {3, 15, 12, 24, 16, 3, 3, 2, 0, 0, 1, 1, 1},
    {1, 10, 9, 16, 18, 3, 3, 3, 1, 0, 1, 1, 1},   {2, 8, 9, 4, 5, 3, 3, 2, 2, 2, 2, 2, 1},
    {1, 2, 400, 150, 70, 1, 1, 1, 0, 0, 0, 0, 1},
};

/* dW by Winograd: whole and broken tiles, broken panels of channels, enlarged. */
static const LdmConv winograd_cases[] = {
    {1, 17, 19, 40, 33, 3, 3, 1, 1, 1, 1, 1, 1},
    {16, 4, 4, 32, 16, 3, 3, 1, 1, 1, 1, 1, 1},
    {3, 11, 9, 70, 50, 3, 3, 1, 1, 1, 1, 1, 1},
    {2, 7, 8, 17, 29, 3, 3, 1, 1, 1, 1, 1, 2},
};

static void test_shapes(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        check(cases[i], (LdmDtype)(i % 3), i % 2 == 0);
}

static void test_winograd(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(winograd_cases); i++)
        check(winograd_cases[i], (LdmDtype)(i % 3), i % 2 == 0);
}

/* Rounded to bf16, where the processor gains by it: exactly the rounded numbers' products. Shapes
 * that nothing would send through Winograd; the last three have more pixels, channels and columns
 * than a block, and odd numbers of each. */
static void test_bf16(void)
{
    static const LdmConv few[] = {
        {1, 37, 11, 70, 50, 1, 1, 1, 0, 0, 0, 0, 1},
        {1, 1, 521, 129, 530, 1, 1, 1, 0, 0, 0, 0, 1},
        {1, 3, 2801, 33, 20, 1, 1, 1, 0, 0, 0, 0, 1},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases) + G_N_ELEMENTS(few); i++) {
        LdmConv conv = i < G_N_ELEMENTS(cases) ? cases[i] : few[i - G_N_ELEMENTS(cases)];
        if (MIN(conv.Cin, conv.Cout) >= 16 && conv.KH == 3)
            continue;
        conv.bf16 = conv.bf16_taps = true;
        check(conv, (LdmDtype)(i % 3), i % 2 == 0);
    }
}

/* More tiles than a band and more channels than a block of dU hold; more pixels than a band of
 * products and more channels than a task. */
static void test_blocks(void)
{
    check((LdmConv){1, 3, 2800, 33, 20, 1, 1, 1, 0, 0, 0, 0, 1}, LDM_F32, false);
    check((LdmConv){1, 1, 300, 20, 530, 1, 1, 1, 0, 0, 0, 0, 1}, LDM_F32, false);
    check((LdmConv){1, 110, 150, 17, 16, 3, 3, 1, 1, 1, 1, 1, 1}, LDM_F16, true);
    check((LdmConv){16, 3, 2, 330, 560, 3, 3, 1, 1, 1, 1, 1, 1}, LDM_F32, false);
}

/* The number of threads changes who computes, not what: the same bits. */
static void check_threads(LdmConv conv)
{
    size_t weights = conv.Cout * conv.Cin * conv.KH * conv.KW;
    TwinArray x = twin_random(conv.N * conv.H * conv.W * conv.Cin);
    TwinArray dy = twin_random(conv.N * conv.H * conv.W * conv.Cout);
    g_autofree float *first = g_new0(float, weights);
    conv.x = x.data;
    for (int threads = 1; threads <= 4; threads++) {
        ldm_set_threads(threads);
        g_autofree float *dw = g_new0(float, weights);
        TwinArray scratch = twin_scratch(ldm_conv_backward_weights_scratch(&conv));
        LdmConvBackward back = {&conv, dy.data, threads == 1 ? first : dw, false, scratch.data};
        g_assert_true(ldm_conv_backward_weights(&back, NULL));
        if (threads > 1)
            g_assert_cmpmem(dw, weights * 4, first, weights * 4);
        twin_free(scratch);
    }
    ldm_set_threads(0);
    twin_free(x);
    twin_free(dy);
}

static void test_threads(void)
{
    check_threads((LdmConv){2, 18, 13, 40, 70, 3, 3, 1, 1, 1, 1, 1, 1});
    check_threads((LdmConv){1, 1, 520, 40, 170, 1, 1, 1, 0, 0, 0, 0, 1});
    LdmConv rounding = {1, 1, 521, 40, 170, 1, 1, 1, 0, 0, 0, 0, 1};
    rounding.bf16 = true;
    check_threads(rounding);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/conv-backward/shapes", test_shapes);
    g_test_add_func("/conv-backward/winograd", test_winograd);
    g_test_add_func("/conv-backward/bf16", test_bf16);
    g_test_add_func("/conv-backward/blocks", test_blocks);
    g_test_add_func("/conv-backward/threads", test_threads);
    return g_test_run();
}
