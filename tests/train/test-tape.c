/* The recording pass itself: what is recorded, kept, accumulated and refused. */
#include "layers/elementwise.h"
#include "layers/linear.h"
#include "layers/tape.h"
#include "tensor/tensor.h"

#include <string.h>

#define WIDTH 40
#define ROWS  70

/* Two linear layers with GELU between them. */
typedef struct {
    LdmParams *params;
    LdmLinear first, second;
    LdmTensor *x;
    float *weights;
    LdmTensor *handle, *middle;
} Net;

static void net_init(Net *net)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    net->params = ldm_params_new();
    LdmScope root = ldm_scope_root(net->params);
    ldm_linear_init(&net->first, ldm_scope(&root, "first"), WIDTH, WIDTH, true);
    ldm_linear_init(&net->second, ldm_scope(&root, "second"), WIDTH, WIDTH, true);
    net->weights = g_new(float, WIDTH *WIDTH);
    for (size_t i = 0; i < WIDTH * WIDTH; i++)
        net->weights[i] = (float)g_rand_double_range(rand, -0.25, 0.25);
    for (size_t i = 0; i < 4; i++)
        ldm_params_at(net->params, i)->data = net->weights;
    net->x = ldm_tensor_new(LDM_F32, 2, (size_t[]){ROWS, WIDTH}, NULL);
    for (size_t i = 0; i < ROWS * WIDTH; i++)
        ldm_tensor_f32(net->x)[i] = (float)g_rand_double_range(rand, -1, 1);
}

static void net_clear(Net *net)
{
    ldm_params_free(net->params);
    ldm_tensor_free(net->x);
    g_free(net->weights);
}

static void train(Net *net, int first, int last)
{
    g_autoptr(GError) error = NULL;
    for (int i = 0; i < 4; i++)
        ldm_params_at(net->params, i)->trained = i >= first && i <= last;
    ldm_params_make_gradients(net->params, &error);
    g_assert_no_error(error);
}

static void step(LdmPass *pass, Net *net, bool want)
{
    net->handle = ldm_pass_input(pass, net->x);
    if (want)
        ldm_pass_want_gradient(pass, net->handle);
    net->middle = ldm_linear_forward(pass, &net->first, ldm_pass_keep(pass, net->handle), NULL);
    LdmTensor *h = ldm_activation_forward(pass, LDM_ACT_GELU, ldm_pass_keep(pass, net->middle));
    LdmTensor *y = ldm_linear_forward(pass, &net->second, h, NULL);
    ldm_pass_seed(pass, y, y);
    ldm_pass_drop(pass, y);
    ldm_pass_backward(pass);
}

static size_t planned(Net *net, bool record, bool want)
{
    g_autoptr(LdmPass) plan = ldm_pass_new_plan();
    if (record)
        ldm_pass_record(plan);
    step(plan, net, want);
    g_assert_true(ldm_pass_end(plan, NULL));
    return ldm_pass_peak(plan);
}

static LdmPass *run(Net *net, bool want, GError **error)
{
    LdmPass *pass = ldm_pass_new_compute(planned(net, true, want), NULL, NULL);
    ldm_pass_record(pass);
    step(pass, net, want);
    ldm_pass_end(pass, error);
    return pass;
}

static double length(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sum;
}

/* Nothing trained, nothing wanted: nothing is kept and there is no gradient. */
static void test_frozen(void)
{
    Net net;
    net_init(&net);
    train(&net, 4, 4);
    size_t n;
    ldm_params_gradients(net.params, &n);
    g_assert_cmpuint(n, ==, 0);
    LdmPass *pass = run(&net, false, NULL);
    g_assert_null(ldm_pass_gradient(pass, net.handle));
    ldm_pass_free(pass);
    size_t trained, frozen = planned(&net, true, false);
    train(&net, 0, 3);
    trained = planned(&net, true, false);
    g_assert_cmpuint(frozen, <, trained);
    net_clear(&net);
}

/* The last layer alone: the first is not gone back through; the input's gradient needs all. */
static void test_partial(void)
{
    Net net;
    net_init(&net);
    train(&net, 2, 3);
    const LdmParam *first = ldm_params_at(net.params, 0), *second = ldm_params_at(net.params, 2);
    LdmPass *pass = run(&net, false, NULL);
    g_assert_null(first->gradient);
    g_assert_cmpfloat(length(second->gradient, WIDTH * WIDTH), >, 0);
    g_assert_null(ldm_pass_gradient(pass, net.handle));
    g_autofree float *alone = g_memdup2(second->gradient, WIDTH * WIDTH * sizeof(float));
    ldm_pass_free(pass);

    train(&net, 0, 3);
    pass = run(&net, true, NULL);
    g_assert_cmpmem(alone, WIDTH * WIDTH * sizeof(float), second->gradient,
                    WIDTH * WIDTH * sizeof(float));
    const LdmTensor *d = ldm_pass_gradient(pass, net.handle);
    g_assert_nonnull(d);
    g_assert_cmpfloat(length(d->data, ROWS * WIDTH), >, 0);
    ldm_pass_free(pass);
    net_clear(&net);
}

/* Steps accumulate until cleared, and the same step has the same bits, also after a reset. */
static void test_accumulate(void)
{
    Net net;
    net_init(&net);
    train(&net, 0, 3);
    size_t n;
    const float *gradient = ldm_params_gradients(net.params, &n); /* of the first parameter first */
    LdmPass *pass = run(&net, false, NULL);
    g_autofree float *once = g_memdup2(gradient, n * sizeof(float));
    ldm_pass_reset(pass);
    step(pass, &net, false);
    g_assert_true(ldm_pass_end(pass, NULL));
    for (size_t i = 0; i < WIDTH * WIDTH; i++)
        g_assert_cmpfloat_with_epsilon(gradient[i], 2 * once[i], 1e-4);
    ldm_params_clear_gradients(net.params);
    g_assert_cmpfloat(length(gradient, n), ==, 0);
    ldm_pass_reset(pass);
    step(pass, &net, false);
    g_assert_cmpmem(gradient, n * sizeof(float), once, n * sizeof(float));
    ldm_pass_free(pass);
    net_clear(&net);
}

/* Frozen weights in half precision: the gradient that passes through is that of their values. */
static void test_half(void)
{
    Net net;
    net_init(&net);
    g_autofree uint16_t *half = g_new(uint16_t, WIDTH *WIDTH);
    ldm_convert_from_f32(net.weights, LDM_F16, half, WIDTH * WIDTH);
    ldm_convert_to_f32(half, LDM_F16, net.weights, WIDTH * WIDTH);
    train(&net, 4, 4);
    LdmPass *pass = run(&net, true, NULL);
    g_autoptr(LdmTensor) expected = ldm_tensor_copy(ldm_pass_gradient(pass, net.handle), NULL);
    ldm_pass_free(pass);
    for (size_t i = 0; i < 4; i++) {
        ldm_params_at(net.params, i)->data = half;
        ldm_params_at(net.params, i)->dtype = LDM_F16;
    }
    pass = run(&net, true, NULL);
    const LdmTensor *d = ldm_pass_gradient(pass, net.handle);
    for (size_t i = 0; i < ROWS * WIDTH; i++)
        g_assert_cmpfloat_with_epsilon(ldm_tensor_f32(d)[i], ldm_tensor_f32(expected)[i], 1e-6);
    ldm_pass_free(pass);
    net_clear(&net);
}

static void test_refused(void)
{
    g_autoptr(GError) error = NULL;
    Net net;
    net_init(&net);
    ldm_params_at(net.params, 1)->trained = true; /* and no memory for it */
    LdmPass *pass = run(&net, false, &error);
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, "first.bias"));
    ldm_pass_free(pass);
    g_clear_error(&error);

    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    train(&net, 0, 3);
    pass = ldm_pass_new_compute(planned(&net, true, false), cancellable, NULL);
    ldm_pass_record(pass);
    g_cancellable_cancel(cancellable);
    step(pass, &net, false);
    g_assert_false(ldm_pass_end(pass, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_CANCELLED);
    ldm_pass_free(pass);
    net_clear(&net);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tape/frozen", test_frozen);
    g_test_add_func("/tape/partial", test_partial);
    g_test_add_func("/tape/accumulate", test_accumulate);
    g_test_add_func("/tape/half", test_half);
    g_test_add_func("/tape/refused", test_refused);
    return g_test_run();
}
