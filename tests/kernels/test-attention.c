/* Attention against the formula in double precision. */
#include "twin.h"

static double rounded(const LdmAttention *a, float x)
{
    return a->bf16 && a->d <= 272 ? twin_bf16(x) : x; /* wide heads stay in f32 */
}

static void twin_row(const LdmAttention *a, size_t n, size_t head, size_t query, double *weights,
                     double *y)
{
    size_t kv = a->Nkv == 1 ? 0 : n, keys = a->causal ? MIN(query + 1, a->Tk) : a->Tk;
    const float *q = a->q + (n * a->Tq + query) * a->q_stride + head * a->d;
    const float *k = a->k + kv * a->Tk * a->k_stride + head * a->d;
    const float *v = a->v + kv * a->Tk * a->v_stride + head * a->d;
    double max = -INFINITY, sum = 0;
    for (size_t j = 0; j < keys; j++) {
        weights[j] = 0;
        for (size_t i = 0; i < a->d; i++)
            weights[j] += rounded(a, q[i]) * rounded(a, k[j * a->k_stride + i]) * a->scale;
        max = MAX(max, weights[j]);
    }
    for (size_t j = 0; j < keys; j++)
        sum += weights[j] = exp(weights[j] - max);
    for (size_t i = 0; i < a->d; i++) {
        y[i] = 0;
        for (size_t j = 0; j < keys; j++)
            y[i] += weights[j] / sum * rounded(a, v[j * a->v_stride + i]);
    }
}

/* Sizes, scale and causal come filled in. `joined`: q, k, v lie in one array, as after one common
 * projection. */
static void check(LdmAttention a, bool joined)
{
    size_t width = a.heads * a.d, outputs = a.N * a.Tq * width;
    a.split = true;
    a.q_stride = joined ? 3 * width : width;
    a.k_stride = joined ? 3 * width : width + 5;
    a.v_stride = joined ? 3 * width : width + 2;
    TwinArray q = twin_random(a.N * a.Tq * a.q_stride);
    TwinArray k = twin_random(a.Nkv * a.Tk * a.k_stride);
    TwinArray v = twin_random(a.Nkv * a.Tk * a.v_stride);
    TwinArray y = twin_array(outputs), scratch = twin_scratch(ldm_attention_scratch(&a));
    a.q = q.data;
    a.k = joined ? q.data + width : k.data;
    a.v = joined ? q.data + 2 * width : v.data;
    a.y = y.data;
    a.scratch = scratch.data;
    g_autofree double *expected = g_new(double, outputs), *weights = g_new(double, a.Tk);
    for (size_t i = 0; i < outputs; i += a.d) {
        size_t head = i / a.d % a.heads, query = i / width % a.Tq, n = i / width / a.Tq;
        twin_row(&a, n, head, query, weights, expected + i);
    }
    g_assert_true(ldm_attention(&a, NULL));
    /* A score of size s has an error of about s * 2^-23, which the exponential passes on. */
    double scores = a.scale * sqrt((double)a.d);
    /* Rounding the weights errs by 2^-9 of each at most, and so by that of the largest value. */
    double weights_round = a.bf16 && ldm_kernels_have_bf16() ? 0x1p-9 : 0;
    twin_compare(y.data, expected, outputs,
                 2e-6 + 2e-7 * scores + weights_round + twin_split() * (1 + scores), "attention");
    twin_free(q);
    twin_free(k);
    twin_free(v);
    twin_free(y);
    twin_free(scratch);
}

static void test_shapes(void)
{
    check((LdmAttention){.N = 1, .Nkv = 1, .Tq = 1, .Tk = 1, .heads = 1, .d = 1, .scale = 1},
          false);
    check((LdmAttention){.N = 2, .Nkv = 2, .Tq = 3, .Tk = 3, .heads = 2, .d = 5, .scale = 2}, true);
    check((LdmAttention){.N = 2, .Nkv = 1, .Tq = 37, .Tk = 77, .heads = 3, .d = 40, .scale = 0.3f},
          false);
    check((LdmAttention){.N = 2, .Nkv = 2, .Tq = 131, .Tk = 19, .heads = 1, .d = 64, .scale = 5},
          false);
    check((LdmAttention){.N = 1, .Nkv = 1, .Tq = 257, .Tk = 257, .heads = 2, .d = 8, .scale = 1},
          true);
}

/* Several blocks of keys, scores that grow from block to block so that earlier parts shrink. */
static void test_key_blocks(void)
{
    check((LdmAttention){.N = 1, .Nkv = 1, .Tq = 5, .Tk = 1301, .heads = 2, .d = 7, .scale = 9},
          false);
    check((LdmAttention){.N = 1, .Nkv = 1, .Tq = 130, .Tk = 1024, .heads = 1, .d = 16, .scale = 20},
          false);
}

static void test_causal(void)
{
    LdmAttention a = {.N = 2, .Nkv = 2, .Tq = 77, .Tk = 77, .heads = 2, .d = 9, .scale = 0.4f};
    a.causal = true;
    check(a, true);
    a.N = a.Nkv = 1;
    a.Tq = a.Tk = 700;
    a.d = 3;
    check(a, true);
    a.Tk = 5;
    check(a, false);
}

/* Rounded to bf16: odd sizes, several blocks, causal. */
static void test_bf16(void)
{
    LdmAttention a = {.N = 2, .Nkv = 1, .Tq = 37, .Tk = 77, .heads = 3, .d = 41, .scale = 0.3f};
    a.bf16 = true;
    check(a, false);
    a.Tk = 1301;
    a.d = 40;
    check(a, false);
    a.N = 1;
    a.Tq = a.Tk = 131;
    a.causal = true;
    check(a, true);
}

/* ---- the way back ---- */

/* Sums, and what they would be if no term cancelled another. */
typedef struct {
    double *sum, *size;
    float *got;
} Gradient;

static Gradient gradient_new(size_t n)
{
    return (Gradient){g_new0(double, n), g_new0(double, n), g_new0(float, n)};
}

static void gradient_add(Gradient *g, size_t at, double term)
{
    g->sum[at] += term;
    g->size[at] += fabs(term);
}

/* Weights that are rounded to bf16 before they are multiplied err by 2^-8 of each term at most;
 * those of a query that sees one key are differences of equal numbers near 1. */
static void gradient_check(Gradient *g, const LdmAttention *a, size_t n, const char *what)
{
    double share = 2e-5 + (a->bf16 && ldm_kernels_have_bf16() ? 0x1p-8 : 0);
    for (size_t i = 0; i < n; i++)
        if (!(fabs(g->got[i] - g->sum[i]) <= share * g->size[i] + 5e-6))
            g_error("%s: [%zu] is %.9g, expected %.9g (terms %.3g)", what, i, g->got[i], g->sum[i],
                    g->size[i]);
    g_free(g->sum);
    g_free(g->size);
    g_free(g->got);
}

typedef struct {
    Gradient q, k, v;
} Gradients;

/* One query's part: P = exp(scale q k - logsumexp), dS = P (dy v - dy y) scale. */
static void twin_row_back(const LdmAttention *a, const float *dy, size_t n, size_t head,
                          size_t query, Gradients *g)
{
    size_t C = a->heads * a->d, kv = a->Nkv == 1 ? 0 : n;
    size_t keys = a->causal ? MIN(query + 1, a->Tk) : a->Tk;
    size_t at_q = (n * a->Tq + query) * C + head * a->d;
    double delta = 0, lse = a->logsumexp[(n * a->heads + head) * a->Tq + query];
    for (size_t i = 0; i < a->d; i++)
        delta += rounded(a, dy[at_q + i]) * a->y[at_q + i];
    for (size_t j = 0; j < keys; j++) {
        size_t at = (kv * a->Tk + j) * C + head * a->d;
        double score = 0, dp = 0;
        for (size_t i = 0; i < a->d; i++) {
            score += rounded(a, a->q[at_q + i]) * rounded(a, a->k[at + i]);
            dp += rounded(a, dy[at_q + i]) * rounded(a, a->v[at + i]);
        }
        double p = exp(score * a->scale - lse), ds = p * (dp - delta) * a->scale;
        for (size_t i = 0; i < a->d; i++) {
            gradient_add(&g->q, at_q + i, ds * rounded(a, a->k[at + i]));
            gradient_add(&g->k, at + i, ds * rounded(a, a->q[at_q + i]));
            gradient_add(&g->v, at + i, p * rounded(a, dy[at_q + i]));
        }
    }
}

static void check_back(LdmAttention a)
{
    size_t C = a.heads * a.d, queries = a.N * a.Tq * C, keys = a.Nkv * a.Tk * C;
    TwinArray q = twin_random(queries), k = twin_random(keys), v = twin_random(keys);
    TwinArray y = twin_array(queries), dy = twin_random(queries);
    TwinArray sums = twin_array(a.N * a.heads * a.Tq);
    a.q_stride = a.k_stride = a.v_stride = C;
    a.q = q.data;
    a.k = k.data;
    a.v = v.data;
    a.y = y.data;
    a.logsumexp = sums.data;
    TwinArray scratch = twin_scratch(ldm_attention_scratch(&a));
    a.scratch = scratch.data;
    g_assert_true(ldm_attention(&a, NULL));
    twin_free(scratch);
    Gradients g = {gradient_new(queries), gradient_new(keys), gradient_new(keys)};
    for (size_t i = 0; i < a.N * a.heads * a.Tq; i++)
        twin_row_back(&a, dy.data, i / a.Tq / a.heads, i / a.Tq % a.heads, i % a.Tq, &g);
    scratch = twin_scratch(ldm_attention_backward_scratch(&a));
    const LdmAttentionBackward back = {.attention = &a,
                                       .dy = dy.data,
                                       .dq = g.q.got,
                                       .dk = g.k.got,
                                       .dv = g.v.got,
                                       .add_q = true,
                                       .scratch = scratch.data};
    g_assert_true(ldm_attention_backward(&back, NULL));
    twin_free(scratch);
    gradient_check(&g.q, &a, queries, "dq");
    gradient_check(&g.k, &a, keys, "dk");
    gradient_check(&g.v, &a, keys, "dv");
    twin_free(q);
    twin_free(k);
    twin_free(v);
    twin_free(y);
    twin_free(dy);
    twin_free(sums);
}

/* Odd sizes, several blocks of keys and queries, shared keys, causal; heads too wide for bf16. */
static void test_back(void)
{
    for (int bf16 = 0; bf16 < 2; bf16++) {
        LdmAttention a = {.N = 2, .Nkv = 1, .Tq = 37, .Tk = 77, .heads = 3, .d = 41, .scale = 0.3f};
        a.bf16 = bf16 == 1;
        check_back(a);
        a.Tq = 131;
        a.Tk = 521;
        a.d = 40;
        check_back(a);
        a.N = 1;
        a.Tq = a.Tk = 267;
        a.causal = true;
        check_back(a);
        a.d = 290;
        check_back(a);
    }
}

/* Huge scores saturate without NaN; a NaN in one query or value comes out, and only there. */
static void test_nan(void)
{
    enum { T = 9, D = 4 };
    TwinArray x = twin_random(3 * T * D), y = twin_array(T * D);
    LdmAttention a = {.N = 1, .Nkv = 1, .Tq = T, .Tk = T, .heads = 1, .d = D, .scale = 1e4f};
    a.q_stride = a.k_stride = a.v_stride = D;
    a.q = x.data;
    a.k = x.data + T * D;
    a.v = x.data + 2 * T * D;
    a.y = y.data;
    TwinArray scratch = twin_scratch(ldm_attention_scratch(&a));
    a.scratch = scratch.data;
    g_assert_true(ldm_attention(&a, NULL));
    for (size_t i = 0; i < T * D; i++)
        g_assert_true(isfinite(y.data[i]));
    x.data[4 * D + 1] = NAN;
    g_assert_true(ldm_attention(&a, NULL));
    for (size_t i = 0; i < T * D; i++)
        g_assert_cmpint(isnan(y.data[i]) != 0, ==, i / D == 4);
    g_autoptr(GCancellable) cancelled = twin_cancelled();
    g_assert_false(ldm_attention(&a, cancelled));
    twin_free(scratch);
    twin_free(x);
    twin_free(y);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/attention/shapes", test_shapes);
    g_test_add_func("/attention/key-blocks", test_key_blocks);
    g_test_add_func("/attention/causal", test_causal);
    g_test_add_func("/attention/bf16", test_bf16);
    g_test_add_func("/attention/back", test_back);
    g_test_add_func("/attention/nan", test_nan);
    return g_test_run();
}
