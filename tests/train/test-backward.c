/* Every layer's backward against central differences. The loss is sum r y with fixed numbers r,
 * summed in double; y is f32, so a step of 0.02 and Richardson's extrapolation balance rounding and
 * curvature. Derivatives are taken along vectors v of signs: g v is of the size of |g|, and must be
 * right within 1e-3 of it. */
#include "layers/attention-block.h"
#include "layers/elementwise.h"
#include "layers/embedding.h"
#include "layers/detail.h"
#include "layers/haar.h"
#include "layers/leaky-relu.h"
#include "layers/posterior.h"
#include "layers/resize.h"
#include "layers/resblock.h"
#include "layers/tape.h"
#include "layers/time-embedding.h"
#include "layers/transformer.h"
#include "tensor/tensor.h"

#include <math.h>
#include <string.h>

#define INPUTS 3

typedef struct Case Case;
typedef LdmTensor *Forward(LdmPass *pass, const Case *c, LdmTensor **x);
struct Case {
    const void *layer;
    LdmParams *params; /* or NULL */
    Forward *forward;
    LdmTensor *x[INPUTS]; /* NULL: none */
    int kind;
};

static double noise(GRand *rand)
{
    return g_rand_double_range(rand, -1, 1);
}

static size_t param_count(const LdmParam *param)
{
    size_t n = 1;
    for (int i = 0; i < param->rank; i++)
        n *= param->shape[i];
    return n;
}

/* Random parameters, of a size that keeps results near 1. */
static void fill_params(LdmParams *params, GRand *rand)
{
    g_autoptr(GError) error = NULL;
    for (size_t i = 0; i < ldm_params_length(params); i++) {
        LdmParam *param = ldm_params_at(params, i);
        size_t n = param_count(param);
        double scale = param->rank > 1 ? sqrt(3.0 * (double)param->shape[0] / (double)n) : 1;
        float *data = g_new(float, n);
        for (size_t k = 0; k < n; k++)
            data[k] = (float)(scale * noise(rand));
        param->data = data;
        param->trained = true;
    }
    ldm_params_make_gradients(params, &error);
    g_assert_no_error(error);
}

static void free_params(LdmParams *params)
{
    for (size_t i = 0; i < ldm_params_length(params); i++)
        g_free((void *)ldm_params_at(params, i)->data);
    ldm_params_free(params);
}

static LdmTensor *array(GRand *rand, int rank, const size_t *shape)
{
    LdmTensor *x = ldm_tensor_new(LDM_F32, rank, shape, NULL);
    for (size_t i = 0; i < ldm_tensor_count(x); i++)
        ldm_tensor_f32(x)[i] = (float)noise(rand);
    return x;
}

#define ARRAY(rand, ...) \
    array(rand, sizeof((size_t[]){__VA_ARGS__}) / sizeof(size_t), (size_t[]){__VA_ARGS__})

static double weight(size_t i)
{
    uint32_t v = (uint32_t)(i + 1) * 2654435761u;
    v = (v ^ (v >> 15)) * 2246822519u;
    return (double)(v ^ (v >> 13)) / 2147483648.0 - 1;
}

static double sign(size_t i, int k)
{
    return weight(i * 7 + (size_t)k) < 0 ? -1 : 1;
}

/* Runs forward on a pass; handles stay with x. */
static LdmTensor *forward(LdmPass *pass, const Case *c, LdmTensor **x)
{
    for (int i = 0; i < INPUTS; i++) {
        x[i] = c->x[i] != NULL ? ldm_pass_input(pass, c->x[i]) : NULL;
        if (x[i] != NULL)
            ldm_pass_want_gradient(pass, x[i]);
    }
    return c->forward(pass, c, x);
}

static LdmTensor *forward_only(LdmPass *pass, const void *data)
{
    LdmTensor *x[INPUTS];
    return forward(pass, data, x);
}

/* What some roundings to f32 on the way to y do to the loss of the last call. */
static double loss_rounding;

static double loss(const Case *c)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmTensor) y = ldm_forward_run(forward_only, c, NULL, NULL, NULL, &error);
    g_assert_no_error(error);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < ldm_tensor_count(y); i++) {
        double term = weight(i) * ldm_tensor_f32(y)[i];
        sum += term;
        squares += term * term;
    }
    loss_rounding = 0x1p-21 * sqrt(squares);
    return sum;
}

static void step(LdmPass *pass, const Case *c, LdmTensor **x)
{
    LdmTensor *y = forward(pass, c, x);
    g_autoptr(LdmTensor) d = ldm_tensor_new(LDM_F32, y->rank, y->shape, NULL);
    for (size_t i = 0; i < ldm_tensor_count(d); i++)
        ldm_tensor_f32(d)[i] = (float)weight(i);
    ldm_pass_seed(pass, y, d);
    ldm_pass_drop(pass, y);
    ldm_pass_backward(pass);
}

static LdmPass *run(const Case *c, LdmTensor **x)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmPass) plan = ldm_pass_new_plan();
    ldm_pass_record(plan);
    step(plan, c, x);
    LdmPass *pass = ldm_pass_new_compute(ldm_pass_peak(plan), NULL, &error);
    g_assert_no_error(error);
    ldm_pass_record(pass);
    step(pass, c, x);
    g_assert_cmpuint(ldm_pass_peak(pass), ==, ldm_pass_peak(plan));
    ldm_pass_end(pass, &error);
    g_assert_no_error(error);
    return pass;
}

/* The loss where `values` have moved by t along direction k. */
static double loss_at(const Case *c, float *values, size_t n, int k, double t)
{
    g_autofree float *before = g_memdup2(values, n * sizeof *values);
    for (size_t i = 0; i < n; i++)
        values[i] = (float)(values[i] + t * sign(i, k));
    double result = loss(c);
    memcpy(values, before, n * sizeof *values);
    return result;
}

static double difference(const Case *c, float *values, size_t n, int k, double t)
{
    return (loss_at(c, values, n, k, t) - loss_at(c, values, n, k, -t)) / (2 * t);
}

/* Long directions bend more: the step shrinks with the number of values moved. A gradient too small
 * to be told from rounding (that of keys' biases is zero) is held to what rounding leaves. */
static double check_array(const Case *c, float *values, const float *gradient, size_t n,
                          const char *what)
{
    double length = 0, worst = 0, t = 0.02 / sqrt(1 + (double)n / 256);
    for (size_t i = 0; i < n; i++)
        length += (double)gradient[i] * gradient[i];
    length = sqrt(length);
    for (int k = 0; k < 3; k++) {
        double numeric =
            (4 * difference(c, values, n, k, t) - difference(c, values, n, k, 2 * t)) / 3;
        double analytic = 0;
        for (size_t i = 0; i < n; i++)
            analytic += gradient[i] * sign(i, k);
        double error = fabs(numeric - analytic) / (length + 1e3 * loss_rounding / t);
        worst = isfinite(error) ? fmax(worst, error) : INFINITY;
    }
    if (worst > 1e-3)
        g_test_message("%s: error %.2e of length %.3g", what, worst, length);
    g_assert_cmpfloat(worst, <=, 1e-3);
    return worst;
}

/* Checks, and frees the case's arrays and parameters. */
static void check(Case *c)
{
    LdmTensor *x[INPUTS];
    g_autoptr(LdmPass) pass = run(c, x);
    double worst = 0;
    for (int i = 0; i < INPUTS; i++) {
        const LdmTensor *d = x[i] != NULL ? ldm_pass_gradient(pass, x[i]) : NULL;
        if (x[i] == NULL)
            continue;
        g_assert_nonnull(d);
        g_assert_true(ldm_tensor_same_shape(d, c->x[i]));
        worst = fmax(worst, check_array(c, c->x[i]->data, d->data, ldm_tensor_count(d), "input"));
    }
    for (size_t i = 0; c->params != NULL && i < ldm_params_length(c->params); i++) {
        const LdmParam *param = ldm_params_at(c->params, i);
        worst = fmax(worst, check_array(c, (float *)param->data, param->gradient,
                                        param_count(param), param->name));
    }
    g_test_message("worst error %.2e", worst);
    for (int i = 0; i < INPUTS; i++)
        ldm_tensor_free(c->x[i]);
    if (c->params != NULL)
        free_params(c->params);
}

/* ---- the layers ---- */

static LdmTensor *linear(LdmPass *pass, const Case *c, LdmTensor **x)
{
    LdmTensor *residual = x[1] != NULL ? ldm_pass_keep(pass, x[1]) : NULL;
    return ldm_linear_forward(pass, c->layer, ldm_pass_keep(pass, x[0]), residual);
}

static void test_linear(void)
{
    /* rows, in, out; the last: more than one band of dY's transpose */
    const size_t sizes[][3] = {{1, 5, 3}, {3, 40, 33}, {37, 18, 70}, {300, 3, 8192}};
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++)
        for (int residual = 0; residual < 2; residual++) {
            g_autoptr(GRand) rand = g_rand_new_with_seed(1);
            LdmParams *params = ldm_params_new();
            LdmLinear layer;
            size_t rows = sizes[i][0], in = sizes[i][1], out = sizes[i][2];
            ldm_linear_init(&layer, ldm_scope_root(params), in, out, residual == 0);
            fill_params(params, rand);
            check(&(Case){.layer = &layer,
                          .params = params,
                          .forward = linear,
                          .x = {ARRAY(rand, rows, in), residual ? ARRAY(rand, rows, out) : NULL}});
        }
}

/* y = W x + x: one array is input and residual. */
static LdmTensor *twice(LdmPass *pass, const Case *c, LdmTensor **x)
{
    LdmTensor *h =
        ldm_linear_forward(pass, c->layer, ldm_pass_keep(pass, x[0]), ldm_pass_keep(pass, x[0]));
    LdmTensor *y = ldm_concat_forward(pass, ldm_pass_keep(pass, h), h);
    return ldm_concat_forward(pass, y, ldm_pass_keep(pass, x[0]));
}

static void test_twice(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(2);
    LdmParams *params = ldm_params_new();
    LdmLinear layer;
    ldm_linear_init(&layer, ldm_scope_root(params), 6, 6, true);
    fill_params(params, rand);
    check(
        &(Case){.layer = &layer, .params = params, .forward = twice, .x = {ARRAY(rand, 2, 3, 6)}});
}

static LdmTensor *conv(LdmPass *pass, const Case *c, LdmTensor **x)
{
    LdmTensor *residual = x[1] != NULL ? ldm_pass_keep(pass, x[1]) : NULL;
    return ldm_conv2d_forward(pass, c->layer, ldm_pass_keep(pass, x[0]), residual);
}

static void conv_case(const LdmConv2d *shape, size_t N, size_t H, size_t W, bool residual)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(3);
    LdmParams *params = ldm_params_new();
    LdmConv2d layer;
    ldm_conv2d_init(&layer, ldm_scope_root(params), shape->in, shape->out, shape->kernel);
    layer.stride = shape->stride;
    layer.before = shape->before;
    layer.upsample = shape->upsample;
    fill_params(params, rand);
    check(&(Case){.layer = &layer,
                  .params = params,
                  .forward = conv,
                  .x = {ARRAY(rand, N, H, W, shape->in),
                        residual ? ARRAY(rand, N, H, W, shape->out) : NULL}});
}

static void test_conv(void)
{
    const LdmConv2d plain = {
        .in = 5, .out = 7, .kernel = 3, .stride = 1, .before = 1, .upsample = 1};
    LdmConv2d shape = plain;
    conv_case(&shape, 2, 5, 4, false);
    conv_case(&shape, 2, 5, 4, true);
    conv_case(&shape, 1, 1, 1, false);
    shape.in = 36; /* Winograd where it pays; several panels, a tap across two of them */
    shape.out = 48;
    conv_case(&shape, 1, 13, 12, true);
    shape = plain;
    shape.kernel = 1;
    shape.before = 0;
    conv_case(&shape, 2, 3, 3, false);
}

static void test_conv_stride(void)
{
    LdmConv2d shape = {.in = 4, .out = 6, .kernel = 3, .stride = 2, .upsample = 1};
    for (int before = 0; before < 2; before++)
        for (size_t size = 2; size < 8; size++) {
            shape.before = before;
            conv_case(&shape, 2, size, 9 - size, false);
        }
}

static void test_conv_upsample(void)
{
    LdmConv2d shape = {.in = 4, .out = 6, .kernel = 3, .stride = 1, .before = 1, .upsample = 2};
    conv_case(&shape, 2, 3, 4, false);
    conv_case(&shape, 1, 1, 1, false);
}

/* To a size that is not twice x's. */
static LdmTensor *conv_to(LdmPass *pass, const Case *c, LdmTensor **x)
{
    return ldm_conv2d_forward_to(pass, c->layer, ldm_pass_keep(pass, x[0]), 5, 8);
}

static void test_conv_to(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(4);
    LdmParams *params = ldm_params_new();
    LdmConv2d layer;
    ldm_conv2d_init_upsample(&layer, ldm_scope_root(params), 5);
    fill_params(params, rand);
    check(&(Case){
        .layer = &layer, .params = params, .forward = conv_to, .x = {ARRAY(rand, 2, 3, 4, 5)}});
}

static LdmTensor *norm(LdmPass *pass, const Case *c, LdmTensor **x)
{
    LdmTensor *h = ldm_pass_keep(pass, x[0]);
    return c->kind < 2 ? ldm_group_norm_forward(pass, c->layer, h, c->kind == 1)
                       : ldm_layer_norm_forward(pass, c->layer, h);
}

static void test_norm(void)
{
    const size_t sizes[][2] = {
        {8, 4}, {12, 3}, {40, 40}, {160, 5}, {300, 2}}; /* channels, groups */
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++)
        for (int kind = 0; kind < 3; kind++) {
            g_autoptr(GRand) rand = g_rand_new_with_seed(5);
            LdmParams *params = ldm_params_new();
            LdmNorm layer;
            ldm_group_norm_init(&layer, ldm_scope_root(params), sizes[i][0], sizes[i][1], 1e-5);
            fill_params(params, rand);
            check(&(Case){.layer = &layer,
                          .params = params,
                          .forward = norm,
                          .kind = kind,
                          .x = {ARRAY(rand, 2, 5, 7, sizes[i][0])}});
        }
}

static LdmTensor *elementwise(LdmPass *pass, const Case *c, LdmTensor **x)
{
    LdmTensor *h = ldm_pass_keep(pass, x[0]);
    if (c->kind <= LDM_ACT_QUICK_GELU)
        return ldm_activation_forward(pass, c->kind, h);
    if (x[1] == NULL)
        return ldm_geglu_forward(pass, h);
    return ldm_add_rows_forward(pass, h, ldm_pass_keep(pass, x[1]));
}

static void test_elementwise(void)
{
    for (int kind = 0; kind < 5; kind++) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(6);
        Case c = {.forward = elementwise, .kind = kind, .x = {ARRAY(rand, 3, 5, 38)}};
        for (size_t i = 0; i < 38; i++) /* far from zero, too */
            ldm_tensor_f32(c.x[0])[i] *= 6;
        ldm_tensor_f32(c.x[0])[0] = 0;
        if (kind == 4)
            c.x[1] = ARRAY(rand, 3, 38);
        check(&c);
    }
}

static LdmTensor *leaky_relu(LdmPass *pass, const Case *c, LdmTensor **x)
{
    return ldm_leaky_relu_forward(pass, ldm_pass_keep(pass, x[0]), 0.2f);
}

/* No step of the differences may cross the bend at zero. */
static void test_leaky_relu(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(11);
    Case c = {.forward = leaky_relu, .x = {ARRAY(rand, 2, 3, 5, 7)}};
    for (size_t i = 0; i < ldm_tensor_count(c.x[0]); i++) {
        float *v = ldm_tensor_f32(c.x[0]) + i;
        *v += *v > 0 ? 0.2f : -0.2f;
    }
    check(&c);
}

static LdmTensor *haar(LdmPass *pass, const Case *c, LdmTensor **x)
{
    LdmTensor *h = ldm_pass_keep(pass, x[0]);
    return c->kind == 0 ? ldm_haar_split_forward(pass, h) : ldm_haar_join_forward(pass, h);
}

static LdmTensor *haar_and_back(LdmPass *pass, const void *data)
{
    LdmTensor *x = ldm_pass_input(pass, data);
    return ldm_haar_join_forward(pass, ldm_haar_split_forward(pass, x));
}

/* Both directions, that they undo each other, and one block worked out by hand. */
static void test_haar(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GRand) rand = g_rand_new_with_seed(12);
    Case split = {.forward = haar, .kind = 0, .x = {ARRAY(rand, 2, 4, 6, 3)}};
    Case join = {.forward = haar, .kind = 1, .x = {ARRAY(rand, 2, 3, 5, 8)}};
    g_autoptr(LdmTensor) x = ldm_tensor_copy(split.x[0], NULL);
    const float four[] = {1, 2, 5, 9}, expected[] = {8.5f, -2.5f, -5.5f, 1.5f};
    float bands[4];
    const LdmTensor block = {
        .dtype = LDM_F32, .rank = 4, .shape = {1, 2, 2, 1}, .data = (void *)four};

    g_autoptr(LdmTensor) y = ldm_forward_run(haar_and_back, x, NULL, NULL, NULL, &error);
    g_assert_no_error(error);
    for (size_t i = 0; i < ldm_tensor_count(x); i++)
        g_assert_cmpfloat_with_epsilon(ldm_tensor_f32(y)[i], ldm_tensor_f32(x)[i], 1e-6);
    ldm_haar_split(&block, bands);
    for (int i = 0; i < 4; i++)
        g_assert_cmpfloat(bands[i], ==, expected[i]);
    check(&split);
    check(&join);
}

static LdmTensor *detail(LdmPass *pass, const Case *c, LdmTensor **x)
{
    return ldm_detail_forward(pass, ldm_pass_keep(pass, x[0]), 3.0f);
}

static LdmTensor *detail_of(LdmPass *pass, const void *data)
{
    return ldm_detail_forward(pass, ldm_pass_input(pass, data), 2.0f);
}

/* One block worked out by hand, the gradient by differences. */
static void test_detail(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GRand) rand = g_rand_new_with_seed(24);
    Case c = {.forward = detail, .x = {ARRAY(rand, 2, 4, 6, 3)}};
    const float four[] = {1, 2, 5, 9}, expected[] = {1, -6.5f, 2, -4.5f, 5, 1.5f, 9, 9.5f};
    const LdmTensor block = {
        .dtype = LDM_F32, .rank = 4, .shape = {1, 2, 2, 1}, .data = (void *)four};

    g_autoptr(LdmTensor) y = ldm_forward_run(detail_of, &block, NULL, NULL, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(y->shape[3], ==, 2);
    g_assert_cmpmem(y->data, ldm_tensor_count(y) * sizeof(float), expected, sizeof expected);
    check(&c);
}

/* The noise is drawn: it has no gradient. */
static LdmTensor *resize(LdmPass *pass, const Case *c, LdmTensor **x)
{
    LdmTensor *smaller = ldm_resize_forward(pass, ldm_pass_keep(pass, x[0]), 3, 4);

    return ldm_resize_forward(pass, smaller, 5, 4);
}

static void test_resize(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(23);
    Case c = {.forward = resize, .x = {ARRAY(rand, 2, 5, 7, 3)}};

    check(&c);
}

static LdmTensor *posterior(LdmPass *pass, const Case *c, LdmTensor **x)
{
    return ldm_posterior_forward(pass, ldm_pass_keep(pass, x[0]), ldm_pass_input(pass, c->layer));
}

static void test_posterior(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(12);
    g_autoptr(LdmTensor) noise = ARRAY(rand, 2, 3, 5, 4);
    Case c = {.layer = noise, .forward = posterior, .x = {ARRAY(rand, 2, 3, 5, 8)}};
    ldm_tensor_f32(c.x[0])[4] = 25; /* logvar beyond its limits */
    ldm_tensor_f32(c.x[0])[5] = -35;
    check(&c);
}

/* One array for several: a repetition; a skip beside each of two; one shift for all. */
static LdmTensor *one_for_all(LdmPass *pass, const Case *c, LdmTensor **x)
{
    LdmTensor *h = ldm_repeat_forward(pass, ldm_pass_keep(pass, x[0]), 2);
    h = ldm_concat_forward(pass, h, ldm_pass_keep(pass, x[1]));
    h = ldm_concat_forward(pass, h, ldm_pass_keep(pass, x[1]));
    return ldm_add_rows_forward(pass, h, ldm_pass_keep(pass, x[2]));
}

static void test_one_for_all(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(10);
    check(&(Case){.forward = one_for_all,
                  .x = {ARRAY(rand, 1, 5, 7), ARRAY(rand, 1, 5, 3), ARRAY(rand, 1, 13)}});
}

static LdmTensor *attention(LdmPass *pass, const Case *c, LdmTensor **x)
{
    LdmTensor *context = x[1] != NULL ? ldm_pass_keep(pass, x[1]) : NULL;
    LdmTensor *residual = x[2] != NULL ? ldm_pass_keep(pass, x[2]) : NULL;
    return ldm_multi_head_forward(pass, c->layer, ldm_pass_keep(pass, x[0]), context, residual,
                                  c->kind == 1);
}

typedef struct {
    size_t N, T, width, heads, contexts, tokens, context_width; /* contexts 0: self-attention */
    bool causal;
} AttentionShape;

static void test_attention(void)
{
    static const AttentionShape shapes[] = {
        {.N = 2, .T = 9, .width = 12, .heads = 3},
        {.N = 2, .T = 9, .width = 12, .heads = 3, .causal = true},
        {.N = 1, .T = 290, .width = 10, .heads = 1, .causal = true}, /* several blocks of each */
        {.N = 1, .T = 70, .width = 80, .heads = 2},                  /* a head beyond one panel */
        {.N = 2, .T = 70, .width = 6, .heads = 2, .contexts = 2, .tokens = 300, .context_width = 5},
        {.N = 3, .T = 5, .width = 6, .heads = 2, .contexts = 1, .tokens = 4, .context_width = 7},
        {.N = 1, .T = 5, .width = 6, .heads = 2, .contexts = 3, .tokens = 4, .context_width = 7},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++) {
        const AttentionShape *s = &shapes[i];
        g_autoptr(GRand) rand = g_rand_new_with_seed(7);
        LdmParams *params = ldm_params_new();
        LdmMultiHead layer;
        LdmMultiHeadSizes sizes = {.width = s->width,
                                   .context_width = s->contexts > 0 ? s->context_width : s->width,
                                   .heads = s->heads,
                                   .bias = true};
        ldm_multi_head_init(&layer, ldm_scope_root(params), &sizes);
        fill_params(params, rand);
        Case c = {.layer = &layer, .params = params, .forward = attention, .kind = s->causal};
        c.x[0] = ARRAY(rand, s->N, s->T, s->width);
        if (s->contexts > 0)
            c.x[1] = ARRAY(rand, s->contexts, s->tokens, s->context_width);
        c.x[2] = ARRAY(rand, s->N, s->T, s->width);
        check(&c);
    }
}

static LdmTensor *embedding(LdmPass *pass, const Case *c, LdmTensor **x)
{
    static const int32_t ids[] = {3, 1, 1, 6, 0, 3};
    return ldm_embedding_forward(pass, c->layer, ids, 2, 3);
}

static LdmTensor *time_embedding(LdmPass *pass, const Case *c, LdmTensor **x)
{
    return ldm_time_embedding_forward(pass, c->layer, (double[]){3, 981}, 2);
}

static void test_embeddings(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(8);
    LdmParams *words = ldm_params_new(), *times = ldm_params_new();
    LdmEmbedding layer;
    LdmTimeEmbedding time;
    ldm_embedding_init(&layer, ldm_scope_root(words), 7, 3, 5);
    ldm_time_embedding_init(&time, ldm_scope_root(times), 8, 12);
    fill_params(words, rand);
    fill_params(times, rand);
    check(&(Case){.layer = &layer, .params = words, .forward = embedding});
    check(&(Case){.layer = &time, .params = times, .forward = time_embedding});
}

static LdmTensor *block(LdmPass *pass, const Case *c, LdmTensor **x)
{
    LdmTensor *h = ldm_pass_keep(pass, x[0]);
    if (c->kind == 0)
        return ldm_resblock_forward(pass, c->layer, h, x[1]);
    if (c->kind == 1)
        return ldm_attention_block_forward(pass, c->layer, h);
    return ldm_transformer_forward(pass, c->layer, h, x[1]);
}

static void test_blocks(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(9);
    LdmParams *params[3] = {ldm_params_new(), ldm_params_new(), ldm_params_new()};
    LdmResblock resblock = {0};
    LdmAttentionBlock attention_block;
    LdmTransformer transformer;
    LdmResblockSizes sizes = {.in = 8, .out = 12, .time_width = 6, .groups = 4, .eps = 1e-5};
    LdmTransformerSizes transformer_sizes = {
        .channels = 8, .heads = 2, .depth = 2, .context_width = 6, .groups = 4};
    ldm_resblock_init(&resblock, ldm_scope_root(params[0]), &sizes);
    ldm_attention_block_init(&attention_block, ldm_scope_root(params[1]), 8, 4, 1e-6);
    ldm_transformer_init(&transformer, ldm_scope_root(params[2]), &transformer_sizes);
    const void *layers[] = {&resblock, &attention_block, &transformer};
    for (int kind = 0; kind < 3; kind++) {
        Case c = {.layer = layers[kind], .params = params[kind], .forward = block, .kind = kind};
        fill_params(params[kind], rand);
        c.x[0] = ARRAY(rand, 2, 4, 3, 8);
        if (kind == 0)
            c.x[1] = ARRAY(rand, 2, 6);
        if (kind == 2)
            c.x[1] = ARRAY(rand, 1, 5, 6);
        check(&c);
    }
    ldm_transformer_clear(&transformer);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/backward/linear", test_linear);
    g_test_add_func("/backward/twice", test_twice);
    g_test_add_func("/backward/conv", test_conv);
    g_test_add_func("/backward/conv-stride", test_conv_stride);
    g_test_add_func("/backward/conv-upsample", test_conv_upsample);
    g_test_add_func("/backward/conv-to", test_conv_to);
    g_test_add_func("/backward/norm", test_norm);
    g_test_add_func("/backward/elementwise", test_elementwise);
    g_test_add_func("/backward/leaky-relu", test_leaky_relu);
    g_test_add_func("/backward/haar", test_haar);
    g_test_add_func("/backward/detail", test_detail);
    g_test_add_func("/backward/resize", test_resize);
    g_test_add_func("/backward/posterior", test_posterior);
    g_test_add_func("/backward/one-for-all", test_one_for_all);
    g_test_add_func("/backward/attention", test_attention);
    g_test_add_func("/backward/embeddings", test_embeddings);
    g_test_add_func("/backward/blocks", test_blocks);
    return g_test_run();
}
