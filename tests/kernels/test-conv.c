/* Convolutions against seven loops in double precision. */
#include "twin.h"

/* Those asked for here all round. */
static float rounded(const LdmConv *c, float x)
{
    return c->bf16_taps ? twin_bf16(x) : x;
}

static double twin_pixel(const LdmConv *c, const float *w, size_t n, ptrdiff_t y, ptrdiff_t x,
                         size_t o)
{
    double sum = 0;
    ptrdiff_t H = (ptrdiff_t)c->H * c->upsample, W = (ptrdiff_t)c->W * c->upsample;
    for (size_t kh = 0; kh < c->KH; kh++)
        for (size_t kw = 0; kw < c->KW; kw++) {
            ptrdiff_t iy = y * c->stride + (ptrdiff_t)kh - c->pad_top;
            ptrdiff_t ix = x * c->stride + (ptrdiff_t)kw - c->pad_left;
            if (iy < 0 || iy >= H || ix < 0 || ix >= W)
                continue;
            size_t from = (n * c->H + iy / c->upsample) * c->W + ix / c->upsample;
            for (size_t i = 0; i < c->Cin; i++)
                sum += (double)rounded(c, c->x[from * c->Cin + i]) *
                       rounded(c, w[((o * c->Cin + i) * c->KH + kh) * c->KW + kw]);
        }
    return sum;
}

/* Relative L2. */
static double relative_error(const float *got, const double *expected, size_t n)
{
    double error = 0, all = 0;
    for (size_t i = 0; i < n; i++) {
        error += (got[i] - expected[i]) * (got[i] - expected[i]);
        all += expected[i] * expected[i];
    }
    return all > 0 ? sqrt(error / all) : 0;
}

/* What a convolution reads where it reads through a norm. */
static float *normed(const LdmConv *c)
{
    size_t n = c->N * c->H * c->W * c->Cin;
    float *y = g_new(float, n);
    for (size_t i = 0; i < n; i++) {
        const float *factor = c->affine + i / (n / c->N) * 2 * c->Cin + i % c->Cin;
        double u = (double)c->x[i] * factor[0] + factor[c->Cin];
        y[i] = (float)(u / (1 + exp(-u)));
    }
    return y;
}

/* Geometry comes filled in; everything else is made here. residual: 0 none, 1 own, 2 in place. */
static void check(LdmConv conv, LdmDtype dtype, bool bias, int residual)
{
    size_t Ho, Wo;
    ldm_conv_output(&conv, &Ho, &Wo);
    size_t outputs = conv.N * Ho * Wo * conv.Cout;
    TwinArray x = twin_random(conv.N * conv.H * conv.W * conv.Cin);
    TwinArray y = twin_random(outputs), r = twin_random(outputs);
    TwinArray affine = twin_random(conv.N * 2 * conv.Cin);
    conv.w.dtype = dtype;
    conv.split = true;
    TwinArray scratch = twin_scratch(ldm_conv_scratch(&conv));
    TwinWeights w = twin_weights(conv.Cout * conv.Cin * conv.KH * conv.KW, dtype);
    TwinWeights b = twin_weights(conv.Cout, dtype);
    conv.x = x.data;
    conv.y = y.data;
    conv.w = w.weights;
    conv.bias = bias ? b.weights : (LdmWeights){0};
    conv.residual = residual == 0 ? NULL : residual == 1 ? r.data : y.data;
    conv.scratch = scratch.data;
    conv.affine = affine.data;
    LdmConv seen = conv;
    g_autofree float *through = conv.normed ? normed(&conv) : NULL;
    if (conv.normed)
        seen.x = through;
    g_autofree double *expected = g_new(double, outputs);
    for (size_t i = 0; i < outputs; i++) {
        size_t o = i % conv.Cout, px = i / conv.Cout % Wo, py = i / conv.Cout / Wo % Ho;
        expected[i] =
            twin_pixel(&seen, w.values, i / (Ho * Wo * conv.Cout), (ptrdiff_t)py, (ptrdiff_t)px, o);
        expected[i] += (bias ? b.values[o] : 0) + (residual == 0 ? 0 : conv.residual[i]);
    }
    g_assert_true(ldm_conv(&conv, NULL));
    /* Winograd's transforms (3x3, stride 1) cost a digit against the direct sum, those of the large
     * tiles that large pictures have twice as much. */
    double tolerance = conv.KH == 3 && conv.KW == 3 && conv.stride == 1 ? 1e-5 : 4e-6;
    if (tolerance == 1e-5 && conv.N * Ho * Wo >= 3600)
        tolerance = 2e-5;
    twin_compare(y.data, expected, outputs, tolerance + twin_split(), "conv");
    g_assert_cmpfloat(relative_error(y.data, expected, outputs), <=, 1e-5);
    twin_free(x);
    twin_free(y);
    twin_free(r);
    twin_free(affine);
    twin_free(scratch);
    twin_weights_free(w);
    twin_weights_free(b);
}

/* N H W Cin Cout KH KW stride, top left bottom right, upsample */
static const LdmConv cases[] = {
    {1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1},
    {2, 3, 5, 7, 11, 1, 1, 1, 0, 0, 0, 0, 1},
    {2, 5, 7, 3, 5, 3, 3, 1, 1, 1, 1, 1, 1},
    {1, 1, 1, 2, 3, 3, 3, 1, 1, 1, 1, 1, 1},
    {1, 2, 1, 4, 2, 3, 3, 1, 1, 1, 1, 1, 2},
    {2, 6, 4, 5, 3, 3, 3, 2, 1, 1, 1, 1, 1},
    {1, 7, 5, 3, 4, 3, 3, 2, 0, 0, 1, 1, 1},
    {1, 8, 8, 3, 4, 3, 3, 2, 0, 0, 1, 1, 1},
    {2, 3, 4, 6, 5, 3, 3, 1, 1, 1, 1, 1, 2},
    {1, 4, 4, 3, 2, 1, 1, 2, 0, 0, 0, 0, 1},
    {1, 5, 6, 2, 3, 5, 3, 1, 4, 0, 1, 3, 1},
    {1, 9, 9, 3, 8, 4, 4, 4, 0, 0, 0, 0, 1},
    {2, 13, 11, 37, 70, 3, 3, 1, 1, 1, 1, 1, 1},
    {1, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1},
    {1, 3, 5, 4, 6, 1, 1, 1, 0, 0, 0, 0, 2},
    {1, 40, 40, 1, 2, 33, 33, 7, 0, 0, 0, 0, 1},
    {2, 4, 4, 200, 34, 3, 3, 1, 1, 1, 1, 1, 1},
    /* to few outputs: their number, channels that are no vector, a width that is no group */
    {1, 5, 9, 16, 1, 3, 3, 1, 1, 1, 1, 1, 1},
    {2, 4, 7, 37, 2, 3, 3, 1, 1, 1, 1, 1, 1},
    {2, 6, 10, 130, 3, 3, 3, 1, 1, 1, 1, 1, 1},
    {1, 1, 1, 33, 3, 3, 3, 1, 1, 1, 1, 1, 1},
    {3, 9, 8, 64, 4, 3, 3, 1, 1, 1, 1, 1, 1},
    {1, 3, 2, 17, 4, 3, 3, 1, 1, 1, 1, 1, 1},
};

/* By Winograd: odd sides, several blocks of channels, enlarged, strided, few output channels, and
 * so many that two panels go at a time where threads are few. */
static const LdmConv winograd_cases[] = {
    {1, 17, 19, 40, 33, 3, 3, 1, 1, 1, 1, 1, 1},
    {2, 9, 9, 200, 70, 3, 3, 1, 1, 1, 1, 1, 1},
    {1, 9, 10, 32, 50, 3, 3, 1, 1, 1, 1, 1, 2},
    {1, 16, 150, 17, 16, 3, 3, 1, 1, 1, 1, 1, 1},
    {9, 4, 5, 20, 33, 3, 3, 1, 1, 1, 1, 1, 1},
    {5, 3, 4, 17, 18, 3, 3, 1, 1, 1, 1, 1, 2},
    {1, 23, 22, 32, 50, 3, 3, 1, 1, 1, 1, 1, 2},
    {2, 13, 11, 170, 33, 3, 3, 1, 1, 1, 1, 1, 2},
    {1, 7, 5, 200, 70, 3, 3, 1, 1, 1, 1, 1, 2},
    {1, 42, 39, 40, 33, 3, 3, 2, 0, 0, 1, 1, 1},
    {2, 33, 34, 170, 33, 3, 3, 2, 1, 1, 1, 1, 1},
    {3, 24, 33, 17, 50, 3, 3, 2, 0, 1, 2, 0, 1},
    {1, 4, 7, 40, 70, 3, 3, 1, 1, 1, 1, 1, 1},
    {2, 3, 4, 170, 33, 3, 3, 1, 1, 1, 1, 1, 1},
    {1, 9, 10, 140, 530, 3, 3, 1, 1, 1, 1, 1, 1},
    {1, 9, 5, 20, 530, 3, 3, 1, 1, 1, 1, 1, 2},
    /* four tiles of 2x2 outputs or few more, whose weights are transformed in registers; sixteen */
    {1, 4, 4, 40, 33, 3, 3, 1, 1, 1, 1, 1, 1},
    {1, 2, 10, 33, 16, 3, 3, 1, 1, 1, 1, 1, 1},
    {1, 11, 2, 50, 70, 3, 3, 1, 1, 1, 1, 1, 1},
    {1, 2, 13, 16, 48, 3, 3, 1, 1, 1, 1, 1, 1},
    {1, 8, 8, 150, 530, 3, 3, 1, 1, 1, 1, 1, 1},
};

/* The same with so many tiles that the transformed weights are kept: odd sides, the end of a
 * picture within a stretch, more channels than one sum, more panels than a stretch takes at a
 * time, enlarged, strided. */
static const LdmConv large_cases[] = {
    {1, 45, 39, 40, 33, 3, 3, 1, 1, 1, 1, 1, 1},
    {2, 30, 31, 330, 20, 3, 3, 1, 1, 1, 1, 1, 1},
    {1, 43, 44, 17, 150, 3, 3, 1, 1, 1, 1, 1, 1},
    {1, 43, 41, 32, 50, 3, 3, 1, 1, 1, 1, 1, 2},
    {3, 21, 23, 330, 17, 3, 3, 1, 1, 1, 1, 1, 2},
    {1, 90, 83, 40, 33, 3, 3, 2, 0, 0, 1, 1, 1},
    {2, 61, 59, 330, 17, 3, 3, 2, 1, 1, 1, 1, 1},
    {1, 82, 84, 17, 210, 3, 3, 2, 0, 0, 1, 1, 1},
    /* 6x6 outputs a tile: the last row and column of pixels alone in theirs, one off, none */
    {1, 61, 67, 40, 33, 3, 3, 1, 1, 1, 1, 1, 1},
    {2, 47, 46, 17, 150, 3, 3, 1, 1, 1, 1, 1, 1},
    {1, 60, 66, 330, 20, 3, 3, 1, 1, 1, 1, 1, 1},
    {1, 61, 62, 17, 210, 3, 3, 1, 1, 1, 1, 1, 1},
    {1, 43, 44, 17, 290, 3, 3, 1, 1, 1, 1, 1, 1},
};

static void test_shapes(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        for (int k = 0; k < 3; k++) {
            check(cases[i], (LdmDtype)k, (i + k) % 2 == 0, (int)(i + k) % 3);
            check(cases[i], (LdmDtype)k, true, (int)(i + 2 * k + 1) % 3);
        }
}

/* Rounded to bf16, where the processor gains by it: exactly the rounded numbers' products, of
 * shapes that nothing would send through Winograd. Odd channels, several blocks of them, pixels
 * apart. */
static void test_bf16(void)
{
    static const LdmConv more[] = {
        {2, 21, 23, 151, 70, 3, 3, 3, 1, 1, 1, 1, 1},
        {2, 9, 40, 130, 5, 3, 3, 1, 1, 1, 1, 1, 2},
        {1, 11, 10, 37, 150, 5, 4, 1, 2, 2, 2, 1, 1},
        {3, 8, 8, 2048, 36, 3, 3, 3, 0, 0, 1, 1, 1},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases) + G_N_ELEMENTS(more); i++) {
        LdmConv conv = i < G_N_ELEMENTS(cases) ? cases[i] : more[i - G_N_ELEMENTS(cases)];
        if ((MIN(conv.Cin, conv.Cout) >= 16 && conv.KH == 3 && conv.stride < 3) ||
            conv.N * conv.H * conv.W == 1)
            continue; /* nor are a product's few rows rounded */
        conv.bf16 = conv.bf16_taps = true;
        check(conv, (LdmDtype)(i % 3), i % 2 == 0, (int)(i % 3));
    }
}

static void test_winograd(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(winograd_cases); i++)
        for (int k = 0; k < 3; k++)
            check(winograd_cases[i], (LdmDtype)k, k > 0, k);
}

static void test_large(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(large_cases); i++)
        check(large_cases[i], (LdmDtype)(i % 3), i > 0, (int)(i % 3));
}

/* Through a norm: those ways that read so, over pictures whose edges are zeros after the norm. */
static void test_normed(void)
{
    size_t done = 0, many = G_N_ELEMENTS(large_cases);
    for (size_t i = 0; i < many + G_N_ELEMENTS(cases); i++) {
        LdmConv conv = i < many ? large_cases[i] : cases[i - many];
        conv.normed = true;
        if (!ldm_conv_reads_normed(&conv))
            continue;
        check(conv, (LdmDtype)(i % 3), i > 0, (int)(i % 3));
        done++;
    }
    g_assert_cmpuint(done, ==, 8 + 6);
}

static void convolve(LdmConv conv, float *y)
{
    TwinArray scratch = twin_scratch(ldm_conv_scratch(&conv));
    conv.y = y;
    conv.scratch = scratch.data;
    g_assert_true(ldm_conv(&conv, NULL));
    twin_free(scratch);
}

/* Transformed weights that do not fit in memory at once give the same bits as those that do. */
static void test_parts(void)
{
    enum { CIN = 720, COUT = 340, HALF = 192 }; /* whole panels */
    LdmConv conv = {100, 2, 2, CIN, COUT, 3, 3, 1, 1, 1, 1, 1, 2};
    size_t pixels = conv.N * 16;
    TwinArray x = twin_random(conv.N * 4 * CIN), y = twin_array(pixels * COUT);
    TwinWeights w = twin_weights(COUT * CIN * 9, LDM_F32);
    conv.x = x.data;
    conv.w = w.weights;
    convolve(conv, y.data);
    for (size_t first = 0; first < COUT; first += HALF) {
        conv.Cout = MIN(HALF, COUT - first);
        conv.w.data = w.values + first * CIN * 9;
        TwinArray part = twin_array(pixels * conv.Cout);
        convolve(conv, part.data);
        for (size_t i = 0; i < pixels; i++)
            g_assert_cmpmem(y.data + i * COUT + first, conv.Cout * 4, part.data + i * conv.Cout,
                            conv.Cout * 4);
        twin_free(part);
    }
    twin_free(x);
    twin_free(y);
    twin_weights_free(w);
}

/* What goes past the caches, being much, is the same, bit for bit, as what stays in them, being a
 * picture of it; with edges that are no whole tiles, and a residual that it replaces. */
static void test_past(void)
{
    enum { MANY = 5, SIDE = 129, CIN = 16, COUT = 64, OUT = SIDE * SIDE * COUT };
    LdmConv conv = {MANY, SIDE, SIDE, CIN, COUT, 3, 3, 1, 1, 1, 1, 1, 1};
    TwinArray x = twin_random((size_t)MANY * SIDE * SIDE * CIN), r = twin_random(MANY * OUT);
    TwinWeights w = twin_weights(COUT * CIN * 9, LDM_F16);
    float *much = g_aligned_alloc(MANY, OUT * sizeof(float), 64);
    conv.w = w.weights;
    memcpy(much, r.data, MANY * OUT * sizeof(float));
    conv.x = x.data;
    conv.residual = much;
    convolve(conv, much);
    conv.N = 1;
    for (size_t i = 0; i < MANY; i++) {
        conv.x = x.data + i * SIDE * SIDE * CIN;
        conv.residual = r.data + i * OUT;
        convolve(conv, r.data + i * OUT);
    }
    g_assert_cmpmem(much, MANY * OUT * sizeof(float), r.data, MANY * OUT * sizeof(float));
    g_aligned_free(much);
    twin_free(x);
    twin_free(r);
    twin_weights_free(w);
}

/* Means and sums of squares about them, by two passes in double. */
static void check_moments(const float *y, size_t pixels, size_t C, const double *moments)
{
    for (size_t c = 0; c < C; c++) {
        double mean = 0, m2 = 0;
        for (size_t i = 0; i < pixels; i++)
            mean += y[i * C + c] / (double)pixels;
        for (size_t i = 0; i < pixels; i++)
            m2 += (y[i * C + c] - mean) * (y[i * C + c] - mean);
        double spread = sqrt(m2 / (double)pixels);
        g_assert_cmpfloat(fabs(moments[c] - mean), <=, 1e-6 * (fabs(mean) + spread));
        g_assert_cmpfloat(fabs(moments[C + c] - m2), <=, 1e-5 * m2);
    }
}

/* With the moments of what is written: the same picture, whatever the number of threads. The
 * residual's mean is far from 0. */
static void check_measured(LdmConv conv)
{
    enum { COUT = 50 };
    size_t Ho, Wo;
    conv.Cout = COUT;
    ldm_conv_output(&conv, &Ho, &Wo);
    size_t outputs = Ho * Wo * COUT;
    TwinArray x = twin_random(conv.H * conv.W * conv.Cin), r = twin_random(outputs);
    TwinArray plain = twin_array(outputs), y = twin_array(outputs);
    TwinWeights w = twin_weights(COUT * conv.Cin * 9, LDM_F16), b = twin_weights(COUT, LDM_F16);
    double first[LDM_MOMENTS(COUT)], moments[LDM_MOMENTS(COUT)];
    for (size_t i = 0; i < outputs; i++)
        r.data[i] += (float)(i % COUT);
    conv.x = x.data;
    conv.w = w.weights;
    conv.bias = b.weights;
    conv.residual = r.data;
    g_assert_true(ldm_conv_measures(&conv));
    convolve(conv, plain.data);
    conv.measured = true;
    for (int threads = 1; threads <= 3; threads++) {
        ldm_set_threads(threads);
        conv.moments = threads == 1 ? first : moments;
        convolve(conv, y.data);
        g_assert_cmpmem(y.data, outputs * sizeof(float), plain.data, outputs * sizeof(float));
        g_assert_cmpmem(conv.moments, sizeof first, first, sizeof first);
    }
    ldm_set_threads(0);
    check_moments(y.data, Ho * Wo, COUT, first);
    twin_free(x);
    twin_free(r);
    twin_free(plain);
    twin_free(y);
    twin_weights_free(w);
    twin_weights_free(b);
}

static void test_measured(void)
{
    check_measured((LdmConv){1, 297, 290, 16, 0, 3, 3, 1, 1, 1, 1, 1, 1});
    check_measured((LdmConv){1, 4, 22001, 16, 0, 3, 3, 1, 1, 1, 1, 1, 1});
    check_measured((LdmConv){1, 147, 147, 16, 0, 3, 3, 1, 1, 1, 1, 1, 2});
    check_measured((LdmConv){1, 591, 593, 16, 0, 3, 3, 2, 0, 0, 1, 1, 1});
    /* who norms what is not much finds it in a cache; of two pictures nobody tells */
    g_assert_false(ldm_conv_measures(&(LdmConv){1, 200, 200, 16, 50, 3, 3, 1, 1, 1, 1, 1, 1}));
    g_assert_false(ldm_conv_measures(&(LdmConv){2, 297, 290, 16, 50, 3, 3, 1, 1, 1, 1, 1, 1}));
    g_assert_false(ldm_conv_measures(&(LdmConv){1, 2000, 2000, 16, 3, 3, 3, 1, 1, 1, 1, 1, 1}));
    g_assert_false(ldm_conv_measures(&(LdmConv){1, 297, 290, 16, 50, 1, 1, 1, 0, 0, 0, 0, 1}));
}

/* More channels, pixels, tiles than one block holds, in every way there is to convolve; blocks that
 * end in the middle of a picture. */
static void test_blocks(void)
{
    check((LdmConv){1, 2, 3, 500, 1010, 3, 3, 1, 1, 1, 1, 1, 1}, LDM_F16, true, 2);
    check((LdmConv){2, 43, 41, 140, 3, 3, 3, 1, 1, 1, 1, 1, 1}, LDM_F32, true, 2);
    check((LdmConv){1, 130, 141, 17, 16, 3, 3, 1, 1, 1, 1, 1, 1}, LDM_F16, true, 1);
    check((LdmConv){3, 11, 13, 300, 50, 3, 3, 1, 1, 1, 1, 1, 1}, LDM_BF16, true, 2);
    check((LdmConv){3, 9, 8, 140, 36, 3, 3, 1, 1, 1, 1, 1, 2}, LDM_F16, false, 1);
    check((LdmConv){2, 290, 301, 25, 3, 3, 3, 2, 0, 0, 1, 1, 1}, LDM_F16, true, 0);
    check((LdmConv){5, 7, 9, 600, 5, 3, 3, 2, 1, 1, 1, 1, 1}, LDM_F32, true, 2);
    check((LdmConv){1, 4, 4, 1024, 140, 3, 3, 1, 1, 1, 1, 1, 1}, LDM_F16, true, 0);
    check((LdmConv){1, 16, 16, 1024, 20, 3, 3, 1, 1, 1, 1, 1, 1}, LDM_F16, true, 0);
}

/* The number of threads changes who computes, not what: the same bits. */
static void check_threads(LdmConv conv)
{
    size_t Ho, Wo;
    ldm_conv_output(&conv, &Ho, &Wo);
    size_t outputs = conv.N * Ho * Wo * conv.Cout;
    TwinArray x = twin_random(conv.N * conv.H * conv.W * conv.Cin), first = {0};
    TwinWeights w = twin_weights(conv.Cout * conv.Cin * 9, LDM_F16);
    conv.w = w.weights;
    conv.x = x.data;
    for (int threads = 1; threads <= 4; threads++) {
        ldm_set_threads(threads);
        TwinArray y = twin_array(outputs);
        convolve(conv, y.data);
        if (threads > 1) {
            g_assert_cmpmem(y.data, outputs * 4, first.data, outputs * 4);
            twin_free(y);
        } else {
            first = y;
        }
    }
    ldm_set_threads(0);
    twin_free(first);
    twin_free(x);
    twin_weights_free(w);
}

static void test_threads(void)
{
    check_threads((LdmConv){1, 5, 5, 70, 150, 3, 3, 1, 1, 1, 1, 1, 1});
    check_threads((LdmConv){2, 4, 4, 140, 150, 3, 3, 1, 1, 1, 1, 1, 1});
    check_threads((LdmConv){1, 47, 46, 33, 40, 3, 3, 1, 1, 1, 1, 1, 1});
    check_threads((LdmConv){2, 33, 22, 130, 70, 3, 3, 1, 1, 1, 1, 1, 1});
    check_threads((LdmConv){1, 9, 7, 70, 150, 3, 3, 1, 1, 1, 1, 1, 2});
    check_threads((LdmConv){1, 19, 22, 130, 70, 3, 3, 1, 1, 1, 1, 1, 2});
    check_threads((LdmConv){1, 41, 42, 33, 40, 3, 3, 1, 1, 1, 1, 1, 2});
    check_threads((LdmConv){1, 35, 43, 130, 70, 3, 3, 2, 0, 0, 1, 1, 1});
    check_threads((LdmConv){2, 60, 61, 33, 40, 3, 3, 2, 1, 1, 1, 1, 1});
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
    g_assert_cmpuint(ldm_conv_scratch(&conv), ==, 0);
    g_assert_true(ldm_conv(&conv, NULL));
}

/* A NaN reaches the outputs that see it, and only those: padding never multiplies with old
 * memory. */
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
    g_test_add_func("/conv/bf16", test_bf16);
    g_test_add_func("/conv/winograd", test_winograd);
    g_test_add_func("/conv/large", test_large);
    g_test_add_func("/conv/past", test_past);
    g_test_add_func("/conv/measured", test_measured);
    g_test_add_func("/conv/normed", test_normed);
    g_test_add_func("/conv/parts", test_parts);
    g_test_add_func("/conv/blocks", test_blocks);
    g_test_add_func("/conv/threads", test_threads);
    g_test_add_func("/conv/output-size", test_output_size);
    g_test_add_func("/conv/nan", test_nan);
    return g_test_run();
}
