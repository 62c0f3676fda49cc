/* The layers one by one: names and shapes of parameters, fused forms against the plain ones, what
 * may be written over and what may not. Values against the reference: tests/parity. */
#include "kernels/kernels.h"
#include "layers/attention-block.h"
#include "layers/conv2d.h"
#include "layers/elementwise.h"
#include "layers/embedding.h"
#include "layers/quantise.h"
#include "layers/resblock.h"
#include "layers/time-embedding.h"
#include "layers/transformer.h"
#include "tensor/half.h"
#include "tensor/tensor.h"
#include "weights/coarse.h"

#include <math.h>

#define ARENA ((size_t)96 << 20)

/* A table with random values behind it, and a pass to compute on. */
typedef struct {
    LdmParams *params;
    LdmScope root;
    GPtrArray *values;
    GRand *random;
    LdmPass *pass;
} Bench;

static void bench_init(Bench *bench)
{
    g_autoptr(GError) error = NULL;
    bench->params = ldm_params_new();
    bench->root = ldm_scope_root(bench->params);
    bench->values = g_ptr_array_new_with_free_func(g_free);
    bench->random = g_rand_new_with_seed(7);
    bench->pass = ldm_pass_new_compute(ARENA, NULL, &error);
    g_assert_no_error(error);
}

static void bench_clear(Bench *bench)
{
    g_autoptr(GError) error = NULL;
    ldm_pass_end(bench->pass, &error);
    g_assert_no_error(error);
    ldm_pass_free(bench->pass);
    g_rand_free(bench->random);
    g_ptr_array_unref(bench->values);
    ldm_params_free(bench->params);
}

static void fill(Bench *bench, float *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        values[i] = (float)g_rand_double_range(bench->random, -1, 1);
}

static void bind(Bench *bench)
{
    for (size_t i = 0; i < ldm_params_length(bench->params); i++) {
        LdmParam *param = ldm_params_at(bench->params, i);
        size_t count = 1;
        for (int k = 0; k < param->rank; k++)
            count *= param->shape[k];
        float *values = g_new(float, count);
        fill(bench, values, count);
        g_ptr_array_add(bench->values, values);
        param->data = values;
    }
}

static LdmTensor *random_nhwc(Bench *bench, size_t n, size_t h, size_t w, size_t c)
{
    LdmTensor *x = ldm_pass_nhwc(bench->pass, n, h, w, c);
    fill(bench, x->data, ldm_tensor_count(x));
    return x;
}

static LdmTensor *duplicate(Bench *bench, const LdmTensor *x)
{
    LdmTensor *y = ldm_pass_tensor(bench->pass, x->rank, x->shape);
    memcpy(y->data, x->data, ldm_tensor_count(x) * sizeof(float));
    return y;
}

static void assert_same(const LdmTensor *a, const LdmTensor *b)
{
    g_assert_true(ldm_tensor_same_shape(a, b));
    for (size_t i = 0; i < ldm_tensor_count(a); i++)
        g_assert_cmpfloat_with_epsilon(ldm_tensor_f32(a)[i], ldm_tensor_f32(b)[i], 2e-5);
}

static void assert_names(const LdmParams *params, const char *expected)
{
    g_autoptr(GString) found = g_string_new(NULL);
    for (size_t i = 0; i < ldm_params_length(params); i++) {
        const LdmParam *param = ldm_params_at(params, i);
        g_autofree char *shape = ldm_shape_string(param->rank, param->shape);
        g_string_append_printf(found, "%s %s\n", param->name, shape);
    }
    g_assert_cmpstr(found->str, ==, expected);
}

/* torch's names, shapes and order: what optimiser states and checkpoints go by. */
static void test_names(void)
{
    g_autoptr(LdmParams) params = ldm_params_new();
    LdmScope root = ldm_scope_root(params), scope = ldm_scope(&root, "down_blocks.%d", 1);
    LdmResblock block;
    LdmResblockSizes sizes = {.in = 4, .out = 8, .time_width = 16, .groups = 2, .eps = 1e-5};
    ldm_resblock_init(&block, ldm_scope(&scope, "resnets.%d", 0), &sizes);
    assert_names(params, "down_blocks.1.resnets.0.norm1.weight [4]\n"
                         "down_blocks.1.resnets.0.norm1.bias [4]\n"
                         "down_blocks.1.resnets.0.conv1.weight [8, 4, 3, 3]\n"
                         "down_blocks.1.resnets.0.conv1.bias [8]\n"
                         "down_blocks.1.resnets.0.time_emb_proj.weight [8, 16]\n"
                         "down_blocks.1.resnets.0.time_emb_proj.bias [8]\n"
                         "down_blocks.1.resnets.0.norm2.weight [8]\n"
                         "down_blocks.1.resnets.0.norm2.bias [8]\n"
                         "down_blocks.1.resnets.0.conv2.weight [8, 8, 3, 3]\n"
                         "down_blocks.1.resnets.0.conv2.bias [8]\n"
                         "down_blocks.1.resnets.0.conv_shortcut.weight [8, 4, 1, 1]\n"
                         "down_blocks.1.resnets.0.conv_shortcut.bias [8]\n");
}

static void test_transformer_names(void)
{
    g_autoptr(LdmParams) params = ldm_params_new();
    LdmTransformer layer;
    LdmTransformerSizes sizes = {
        .channels = 4, .heads = 2, .depth = 1, .context_width = 6, .groups = 2, .only_cross = true};
    ldm_transformer_init(&layer, ldm_scope_root(params), &sizes);
    assert_names(params, "norm.weight [4]\nnorm.bias [4]\n"
                         "proj_in.weight [4, 4, 1, 1]\nproj_in.bias [4]\n"
                         "transformer_blocks.0.norm1.weight [4]\n"
                         "transformer_blocks.0.norm1.bias [4]\n"
                         "transformer_blocks.0.attn1.to_q.weight [4, 4]\n"
                         "transformer_blocks.0.attn1.to_k.weight [4, 6]\n"
                         "transformer_blocks.0.attn1.to_v.weight [4, 6]\n"
                         "transformer_blocks.0.attn1.to_out.0.weight [4, 4]\n"
                         "transformer_blocks.0.attn1.to_out.0.bias [4]\n"
                         "transformer_blocks.0.norm2.weight [4]\n"
                         "transformer_blocks.0.norm2.bias [4]\n"
                         "transformer_blocks.0.attn2.to_q.weight [4, 4]\n"
                         "transformer_blocks.0.attn2.to_k.weight [4, 6]\n"
                         "transformer_blocks.0.attn2.to_v.weight [4, 6]\n"
                         "transformer_blocks.0.attn2.to_out.0.weight [4, 4]\n"
                         "transformer_blocks.0.attn2.to_out.0.bias [4]\n"
                         "transformer_blocks.0.norm3.weight [4]\n"
                         "transformer_blocks.0.norm3.bias [4]\n"
                         "transformer_blocks.0.ff.net.0.proj.weight [32, 4]\n"
                         "transformer_blocks.0.ff.net.0.proj.bias [32]\n"
                         "transformer_blocks.0.ff.net.2.weight [4, 16]\n"
                         "transformer_blocks.0.ff.net.2.bias [4]\n"
                         "proj_out.weight [4, 4, 1, 1]\nproj_out.bias [4]\n");
    ldm_transformer_clear(&layer);
}

typedef LdmTensor *(*Forward)(LdmPass *pass, const void *layer, LdmTensor *x, LdmTensor *residual);

static LdmTensor *linear_forward(LdmPass *pass, const void *layer, LdmTensor *x,
                                 LdmTensor *residual)
{
    return ldm_linear_forward(pass, layer, x, residual);
}

static LdmTensor *conv_forward(LdmPass *pass, const void *layer, LdmTensor *x, LdmTensor *residual)
{
    return ldm_conv2d_forward(pass, layer, x, residual);
}

/* y + residual, in the residual's memory where it is ours alone and beside it where it is not. */
static void test_residual(void)
{
    Bench bench;
    LdmLinear linear;
    LdmConv2d conv;
    bench_init(&bench);
    ldm_linear_init_1x1(&linear, ldm_scope(&bench.root, "linear"), 3, 5);
    ldm_conv2d_init(&conv, ldm_scope(&bench.root, "conv"), 3, 5, 3);
    bind(&bench);
    LdmPass *pass = bench.pass;
    LdmTensor *x = random_nhwc(&bench, 2, 4, 3, 3), *r = random_nhwc(&bench, 2, 4, 3, 5);
    LdmTensor *saved = duplicate(&bench, r);
    for (int i = 0; i < 2; i++) {
        Forward run = i == 0 ? linear_forward : conv_forward;
        const void *layer = i == 0 ? (const void *)&linear : (const void *)&conv;
        LdmTensor *plain = run(pass, layer, ldm_pass_keep(pass, x), NULL);
        for (size_t k = 0; k < ldm_tensor_count(plain); k++)
            ldm_tensor_f32(plain)[k] += ldm_tensor_f32(r)[k];
        LdmTensor *beside = run(pass, layer, ldm_pass_keep(pass, x), ldm_pass_keep(pass, r));
        g_assert_true(beside != r);
        assert_same(beside, plain);
        assert_same(r, saved);
        LdmTensor *own = duplicate(&bench, r);
        LdmTensor *over = run(pass, layer, ldm_pass_keep(pass, x), own);
        g_assert_true(over == own);
        assert_same(over, plain);
    }
    bench_clear(&bench);
}

/* Reading through the nearest neighbour = enlarging first; and one row or column less, where the
 * skip is odd, is the convolution of the picture cut to that size. */
static void test_upsample(void)
{
    Bench bench;
    LdmConv2d conv;
    bench_init(&bench);
    ldm_conv2d_init_upsample(&conv, ldm_scope(&bench.root, "conv"), 5);
    bind(&bench);
    LdmPass *pass = bench.pass;
    LdmConv2d plain = conv;
    plain.upsample = 1;
    LdmTensor *x = random_nhwc(&bench, 2, 3, 4, 5);
    for (size_t H = 5; H <= 6; H++)
        for (size_t W = 7; W <= 8; W++) {
            LdmTensor *large = ldm_pass_nhwc(pass, 2, H, W, 5);
            for (size_t i = 0; i < ldm_tensor_count(large); i++) {
                size_t c = i % 5, w = i / 5 % W, h = i / 5 / W % H, n = i / 5 / W / H;
                ldm_tensor_f32(large)[i] = ldm_tensor_f32(x)[((n * 3 + h / 2) * 4 + w / 2) * 5 + c];
            }
            LdmTensor *expected = ldm_conv2d_forward(pass, &plain, large, NULL);
            LdmTensor *y = ldm_conv2d_forward_to(pass, &conv, ldm_pass_keep(pass, x), H, W);
            g_assert_cmpuint(y->shape[1], ==, H);
            g_assert_cmpuint(y->shape[2], ==, W);
            assert_same(y, expected);
        }
    bench_clear(&bench);
}

/* The UNet's downsampling halves rounding up, the autoencoder's (right and bottom) even sizes. */
static void test_downsample(void)
{
    Bench bench;
    LdmConv2d unet, vae;
    bench_init(&bench);
    ldm_conv2d_init_downsample(&unet, ldm_scope(&bench.root, "unet"), 2, true);
    ldm_conv2d_init_downsample(&vae, ldm_scope(&bench.root, "vae"), 2, false);
    bind(&bench);
    for (size_t size = 1; size <= 6; size++) {
        LdmTensor *y =
            ldm_conv2d_forward(bench.pass, &unet, random_nhwc(&bench, 1, size, 3, 2), NULL);
        g_assert_cmpuint(y->shape[1], ==, (size + 1) / 2);
        g_assert_cmpuint(y->shape[2], ==, 2);
        if (size % 2 != 0)
            continue;
        y = ldm_conv2d_forward(bench.pass, &vae, random_nhwc(&bench, 1, size, 4, 2), NULL);
        g_assert_cmpuint(y->shape[1], ==, size / 2);
        g_assert_cmpuint(y->shape[2], ==, 2);
    }
    bench_clear(&bench);
}

/* Layers that may write over their input give the same where they may not, and leave it alone. */
static void test_in_place(void)
{
    Bench bench;
    LdmNorm group, layer;
    bench_init(&bench);
    ldm_group_norm_init(&group, ldm_scope(&bench.root, "group"), 6, 3, 1e-5);
    ldm_layer_norm_init(&layer, ldm_scope(&bench.root, "layer"), 6, 1e-5);
    bind(&bench);
    LdmPass *pass = bench.pass;
    LdmTensor *x = random_nhwc(&bench, 2, 3, 5, 6), *saved = duplicate(&bench, x);
    LdmTensor *a = ldm_group_norm_forward(pass, &group, ldm_pass_keep(pass, x), true);
    LdmTensor *b = ldm_group_norm_forward(pass, &group, ldm_pass_keep(pass, x), false);
    b = ldm_activation_forward(pass, LDM_ACT_SILU, b); /* SiLU fused and apart */
    assert_same(a, b);
    assert_same(x, saved);
    LdmTensor *own = duplicate(&bench, x);
    LdmTensor *over = ldm_group_norm_forward(pass, &group, own, true);
    g_assert_true(over == own);
    assert_same(over, a);
    a = ldm_layer_norm_forward(pass, &layer, ldm_pass_keep(pass, x));
    assert_same(ldm_layer_norm_forward(pass, &layer, duplicate(&bench, x)), a);
    assert_same(x, saved);
    bench_clear(&bench);
}

/* A norm taken while the convolution reads: the same bits as before it, and x as it was. */
static void test_normed(void)
{
    static const size_t outputs[] = {24, 3};
    Bench bench;
    LdmNorm norm;
    LdmConv2d convs[2];
    bench_init(&bench);
    ldm_group_norm_init(&norm, ldm_scope(&bench.root, "norm"), 20, 4, 1e-5);
    for (size_t i = 0; i < G_N_ELEMENTS(convs); i++)
        ldm_conv2d_init(&convs[i], ldm_scope(&bench.root, "conv.%zu", i), 20, outputs[i], 3);
    bind(&bench);
    LdmPass *pass = bench.pass;
    for (size_t i = 0; i < G_N_ELEMENTS(convs); i++) {
        LdmTensor *x = random_nhwc(&bench, 2, 44, 45, 20), *saved = duplicate(&bench, x);
        LdmTensor *r = random_nhwc(&bench, 2, 44, 45, outputs[i]);
        LdmTensor *h = ldm_group_norm_forward(pass, &norm, ldm_pass_keep(pass, x), true);
        LdmTensor *apart = ldm_conv2d_forward(pass, &convs[i], h, ldm_pass_keep(pass, r));
        LdmTensor *y = ldm_conv2d_normed_forward(pass, &convs[i], &norm, ldm_pass_keep(pass, x), r);
        size_t bytes = ldm_tensor_count(y) * sizeof(float);
        g_assert_cmpmem(y->data, bytes, apart->data, bytes);
        assert_same(x, saved);
        ldm_pass_drop(pass, apart);
        ldm_pass_drop(pass, saved);
        ldm_pass_drop(pass, x);
        ldm_pass_drop(pass, y);
    }
    bench_clear(&bench);
}

/* A norm of what the convolution before it measured: as good as one that reads it all. Who writes
 * over what was measured makes it unknown. */
static void test_measured(void)
{
    enum { SIDE = 257, IN = 16, OUT = 64 };
    Bench bench;
    LdmNorm norm;
    LdmConv2d conv;
    bench_init(&bench);
    ldm_group_norm_init(&norm, ldm_scope(&bench.root, "norm"), OUT, 4, 1e-5);
    ldm_conv2d_init(&conv, ldm_scope(&bench.root, "conv"), IN, OUT, 3);
    bind(&bench);
    LdmPass *pass = bench.pass;
    LdmTensor *x = random_nhwc(&bench, 1, SIDE, SIDE, IN);
    LdmTensor *h = ldm_conv2d_forward(pass, &conv, ldm_pass_keep(pass, x), NULL);
    LdmTensor *read = ldm_group_norm_forward(pass, &norm, duplicate(&bench, h), true);
    h = ldm_group_norm_forward(pass, &norm, h, true);
    for (size_t i = 0; i < ldm_tensor_count(h); i++)
        g_assert_cmpfloat(fabsf(ldm_tensor_f32(h)[i] - ldm_tensor_f32(read)[i]), <=, 1e-6f);
    ldm_pass_drop(pass, read);
    ldm_pass_drop(pass, h);
    h = ldm_conv2d_forward(pass, &conv, ldm_pass_keep(pass, x), NULL);
    h = ldm_activation_forward(pass, LDM_ACT_SILU, h);
    g_assert_null(ldm_pass_take_moments(h));
    ldm_pass_drop(pass, h);
    h = ldm_conv2d_forward(pass, &conv, x, NULL);
    g_autofree double *moments = ldm_pass_take_moments(h);
    g_assert_nonnull(moments);
    bench_clear(&bench);
}

static void test_joining(void)
{
    Bench bench;
    bench_init(&bench);
    LdmPass *pass = bench.pass;
    LdmTensor *a = random_nhwc(&bench, 2, 3, 2, 4), *b = random_nhwc(&bench, 2, 3, 2, 3);
    LdmTensor *y = ldm_concat_forward(pass, ldm_pass_keep(pass, a), ldm_pass_keep(pass, b));
    for (size_t i = 0; i < 12; i++)
        for (size_t c = 0; c < 7; c++)
            g_assert_cmpfloat(ldm_tensor_f32(y)[i * 7 + c], ==,
                              c < 4 ? ldm_tensor_f32(a)[i * 4 + c]
                                    : ldm_tensor_f32(b)[i * 3 + c - 4]);
    LdmTensor *row = ldm_pass_tensor(pass, 2, (size_t[]){2, 4});
    fill(&bench, row->data, 8);
    float *rows = ldm_tensor_f32(row);
    LdmTensor *sum = ldm_add_rows_forward(pass, ldm_pass_keep(pass, a), ldm_pass_keep(pass, row));
    for (size_t i = 0; i < 48; i++)
        g_assert_cmpfloat(ldm_tensor_f32(sum)[i], ==,
                          ldm_tensor_f32(a)[i] + rows[i / 24 * 4 + i % 4]);
    bench_clear(&bench);
}

/* What a skip stands beside, joined in no memory, against the two in one; where the shortcut is
 * multiplied in another way, too. A skip of one picture stands beside all. */
static void test_joined(void)
{
    enum { C = 40, SKIP = 24, OUT = 32, TIME = 8 };
    LdmResblock block = {0};
    LdmResblockSizes sizes = {C + SKIP, OUT, TIME, .groups = 8, .eps = 1e-5};
    Bench bench;
    bench_init(&bench);
    ldm_resblock_init(&block, bench.root, &sizes);
    bind(&bench);
    LdmPass *pass = bench.pass;
    for (size_t skips = 1; skips <= 2; skips++) {
        LdmTensor *x = random_nhwc(&bench, 2, 9, 7, C),
                  *skip = random_nhwc(&bench, skips, 9, 7, SKIP);
        LdmTensor *time = ldm_pass_tensor(pass, 2, (size_t[]){2, TIME});
        fill(&bench, time->data, 2 * TIME);
        LdmTensor *both =
            ldm_concat_forward(pass, ldm_pass_keep(pass, x), ldm_pass_keep(pass, skip));
        LdmTensor *one = ldm_resblock_forward(pass, &block, both, time);
        LdmTensor *saved = duplicate(&bench, x);
        LdmTensor *y = ldm_resblock_joined_forward(pass, &block, ldm_pass_keep(pass, x),
                                                   ldm_pass_keep(pass, skip), time);
        const float *values = ldm_tensor_f32(y), *expected = ldm_tensor_f32(one);
        g_assert_cmpuint(ldm_tensor_count(y), ==, ldm_tensor_count(one));
        for (size_t i = 0; i < ldm_tensor_count(y); i++)
            g_assert_cmpfloat_with_epsilon(values[i], expected[i], 2e-4);
        assert_same(x, saved);
        LdmTensor *const tensors[] = {x, skip, time, one, saved, y};
        for (size_t i = 0; i < G_N_ELEMENTS(tensors); i++)
            ldm_pass_drop(pass, tensors[i]);
    }
    bench_clear(&bench);
}

/* A context of the picture's own tokens is self-attention; a causal token sees no later one. */
static void test_attention(void)
{
    Bench bench;
    LdmMultiHead layer;
    LdmMultiHeadSizes sizes = {.width = 6, .context_width = 6, .heads = 2, .bias = true};
    bench_init(&bench);
    ldm_multi_head_init(&layer, bench.root, &sizes);
    bind(&bench);
    LdmPass *pass = bench.pass;
    LdmTensor *x = random_nhwc(&bench, 2, 3, 3, 6);
    LdmTensor *self =
        ldm_multi_head_forward(pass, &layer, ldm_pass_keep(pass, x), NULL, NULL, false);
    LdmTensor *cross = ldm_multi_head_forward(pass, &layer, ldm_pass_keep(pass, x),
                                              ldm_pass_keep(pass, x), NULL, false);
    assert_same(self, cross);
    LdmTensor *before =
        ldm_multi_head_forward(pass, &layer, ldm_pass_keep(pass, x), NULL, NULL, true);
    ldm_tensor_f32(x)[8 * 6] += 1; /* picture 0, last token */
    LdmTensor *after =
        ldm_multi_head_forward(pass, &layer, ldm_pass_keep(pass, x), NULL, NULL, true);
    for (size_t i = 0; i < 8 * 6; i++)
        g_assert_cmpfloat(ldm_tensor_f32(before)[i], ==, ldm_tensor_f32(after)[i]);
    g_assert_cmpfloat(ldm_tensor_f32(before)[8 * 6], !=, ldm_tensor_f32(after)[8 * 6]);
    bench_clear(&bench);
}

static void test_embedding(void)
{
    Bench bench;
    LdmEmbedding layer;
    uint16_t words[5 * 3], positions[2 * 3];
    bench_init(&bench);
    ldm_embedding_init(&layer, bench.root, 5, 2, 3);
    for (int i = 0; i < 15; i++)
        words[i] = ldm_f32_to_f16((float)i);
    for (int i = 0; i < 6; i++)
        positions[i] = ldm_f32_to_bf16(0.25f * (float)i);
    layer.token->data = words;
    layer.token->dtype = LDM_F16;
    layer.position->data = positions;
    layer.position->dtype = LDM_BF16;
    const int32_t ids[] = {4, 0, 1, 4};
    LdmTensor *y = ldm_embedding_forward(bench.pass, &layer, ids, 2, 2);
    for (size_t i = 0; i < 12; i++)
        g_assert_cmpfloat(ldm_tensor_f32(y)[i], ==,
                          (float)(ids[i / 3] * 3 + (int)(i % 3)) + 0.25f * (float)(i % 6));
    bench_clear(&bench);
}

/* [cos | sin], first frequency 1, and zero where the width is odd: seen through identities. */
static void test_time_embedding(void)
{
    enum { C = 5, W = 5 };
    Bench bench;
    LdmTimeEmbedding layer;
    float identity[W * C] = {0}, zero[W] = {0};
    const double t[] = {0.0, 2.5};
    bench_init(&bench);
    ldm_time_embedding_init(&layer, bench.root, C, W);
    for (int i = 0; i < W; i++)
        identity[i * C + i] = 1;
    layer.linear1.weight->data = layer.linear2.weight->data = identity;
    layer.linear1.bias->data = layer.linear2.bias->data = zero;
    LdmTensor *y = ldm_time_embedding_forward(bench.pass, &layer, t, 2);
    for (int n = 0; n < 2; n++) {
        const double e[C] = {cos(t[n]), cos(t[n] * 0.01), sin(t[n]), sin(t[n] * 0.01), 0};
        for (int c = 0; c < C; c++)
            g_assert_cmpfloat_with_epsilon(ldm_tensor_f32(y)[n * C + c], e[c] / (1 + exp(-e[c])),
                                           1e-6);
    }
    bench_clear(&bench);
}

/* A pass may round its products to bf16: near the exact result where the processor gains by it, and
 * the exact result itself elsewhere. */
static void test_bf16(void)
{
    Bench bench;
    LdmLinear layer;
    bench_init(&bench);
    ldm_linear_init(&layer, bench.root, 96, 64, true);
    bind(&bench);
    LdmTensor *x = random_nhwc(&bench, 1, 5, 8, 96);
    LdmTensor *exact = ldm_linear_forward(bench.pass, &layer, ldm_pass_keep(bench.pass, x), NULL);
    ldm_pass_set_bf16(bench.pass, true);
    LdmTensor *rounded = ldm_linear_forward(bench.pass, &layer, x, NULL);
    const float *a = exact->data, *b = rounded->data;
    double largest = 0, apart = 0;
    for (size_t i = 0, n = ldm_tensor_count(exact); i < n; i++) {
        largest = MAX(largest, fabs(a[i]));
        apart = MAX(apart, fabs((double)a[i] - b[i]));
    }
    g_test_message("bf16: %.2g of the largest apart", apart / largest);
    g_assert_true((apart > 0) == ldm_kernels_have_bf16());
    g_assert_cmpfloat(apart, <, 0.01 * largest);
    ldm_pass_drop(bench.pass, exact);
    ldm_pass_drop(bench.pass, rounded);
    bench_clear(&bench);
}

/* A matrix in 8 bits, with an adapter beside it that stays in f32: near the exact result, and the
 * adapter's share is in it. */
static void test_q8(void)
{
    Bench bench;
    LdmConv2d layer;
    g_autoptr(GError) error = NULL;
    bench_init(&bench);
    ldm_conv2d_init(&layer, bench.root, 96, 64, 3);
    const LdmAdapter adapter = {
        .down = ldm_params_add(bench.params, "adapter", "down", 4, (size_t[]){4, 96, 3, 3}),
        .up = ldm_params_add(bench.params, "adapter", "up", 4, (size_t[]){64, 4, 1, 1}),
        .scale = 1.0};
    bind(&bench);
    LdmTensor *x = random_nhwc(&bench, 1, 9, 8, 96), *y[4];
    layer.weight->coarse = true;
    g_assert_true(ldm_coarse_make(bench.params, true, NULL, NULL, NULL, &error));
    for (int i = 0; i < 4; i++) { /* exact or in 8 bits; without or with the adapter */
        ldm_pass_set_q8(bench.pass, i % 2 == 1);
        layer.weight->adapter = i / 2 == 1 ? &adapter : NULL;
        y[i] = ldm_conv2d_forward(bench.pass, &layer, ldm_pass_keep(bench.pass, x), NULL);
    }
    double largest = 0, apart = 0, share = 0;
    for (size_t i = 0, n = ldm_tensor_count(y[0]); i < n; i++) {
        const float v[4] = {ldm_tensor_f32(y[0])[i], ldm_tensor_f32(y[1])[i],
                            ldm_tensor_f32(y[2])[i], ldm_tensor_f32(y[3])[i]};
        largest = MAX(largest, fabs((double)v[2]));
        apart = MAX(apart, MAX(fabs((double)v[1] - v[0]), fabs((double)v[3] - v[2])));
        share = MAX(share, fabs(((double)v[3] - v[1]) - ((double)v[2] - v[0])));
    }
    g_test_message("q8: %.2g of the largest apart", apart / largest);
    g_assert_cmpfloat(apart, >, 0);
    g_assert_cmpfloat(apart, <, 0.02 * largest);
    g_assert_cmpfloat(share, <, 1e-5 * largest);
    for (int i = 0; i < 4; i++)
        ldm_pass_drop(bench.pass, y[i]);
    ldm_params_drop_copies(bench.params);
    y[0] = ldm_conv2d_forward(bench.pass, &layer, x, NULL);
    ldm_pass_drop(bench.pass, y[0]);
    g_assert_false(ldm_pass_end(bench.pass, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_MISSING);
    ldm_pass_reset(bench.pass);
    bench_clear(&bench);
}

/* The nearest entry by the definition, entries in f16; of equal ones the first. */
static void test_quantise(void)
{
    enum { ENTRIES = 300, WIDTH = 5, CELLS = 130 };
    Bench bench;
    LdmQuantise layer;
    LdmTensor *codes, *same;
    uint16_t entries[ENTRIES * WIDTH];
    bench_init(&bench);
    ldm_quantise_init(&layer, ldm_scope(&bench.root, "quantize"), ENTRIES, WIDTH);
    for (size_t i = 0; i < ENTRIES * WIDTH; i++)
        entries[i] = ldm_f32_to_f16((float)g_rand_double_range(bench.random, -1, 1));
    memcpy(entries + 290 * WIDTH, entries + 3 * WIDTH, WIDTH * sizeof *entries);
    layer.codebook->data = entries;
    layer.codebook->dtype = LDM_F16;
    LdmTensor *z = random_nhwc(&bench, 1, 13, 10, WIDTH);
    for (size_t c = 0; c < WIDTH; c++)
        ldm_tensor_f32(z)[7 * WIDTH + c] = ldm_f16_to_f32(entries[3 * WIDTH + c]);
    LdmTensor *e = ldm_quantise_forward(bench.pass, &layer, ldm_pass_keep(bench.pass, z), &codes);
    for (size_t i = 0; i < CELLS; i++) {
        const float *of_z = ldm_tensor_f32(z) + i * WIDTH;
        size_t found = (size_t)((const int32_t *)codes->data)[i];
        double least = INFINITY, distance = 0;
        for (size_t k = 0; k < ENTRIES; k++) {
            double sum = 0;
            for (size_t c = 0; c < WIDTH; c++) {
                double step = of_z[c] - ldm_f16_to_f32(entries[k * WIDTH + c]);
                sum += step * step;
            }
            least = fmin(least, sum);
            distance = k == found ? sum : distance;
        }
        g_assert_cmpfloat_with_epsilon(distance, least, 1e-6);
        for (size_t c = 0; c < WIDTH; c++)
            g_assert_cmpfloat(ldm_tensor_f32(e)[i * WIDTH + c], ==,
                              ldm_f16_to_f32(entries[found * WIDTH + c]));
    }
    g_assert_cmpint(((const int32_t *)codes->data)[7], ==, 3);
    same = ldm_straight_through_forward(bench.pass, z, ldm_pass_keep(bench.pass, e));
    g_assert_cmpmem(same->data, CELLS * WIDTH * 4, e->data, CELLS * WIDTH * 4);
    bench_clear(&bench);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/layers/names", test_names);
    g_test_add_func("/layers/transformer-names", test_transformer_names);
    g_test_add_func("/layers/residual", test_residual);
    g_test_add_func("/layers/upsample", test_upsample);
    g_test_add_func("/layers/downsample", test_downsample);
    g_test_add_func("/layers/in-place", test_in_place);
    g_test_add_func("/layers/measured", test_measured);
    g_test_add_func("/layers/normed", test_normed);
    g_test_add_func("/layers/joining", test_joining);
    g_test_add_func("/layers/joined", test_joined);
    g_test_add_func("/layers/attention", test_attention);
    g_test_add_func("/layers/bf16", test_bf16);
    g_test_add_func("/layers/q8", test_q8);
    g_test_add_func("/layers/embedding", test_embedding);
    g_test_add_func("/layers/time-embedding", test_time_embedding);
    g_test_add_func("/layers/quantise", test_quantise);
    return g_test_run();
}
