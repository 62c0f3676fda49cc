/* finish: colour match, blend factor, alpha, and the composite that touches nothing outside. */
#include "base/parallel.h"
#include "finish/finish.h"
#include "made-array.h"

#include <math.h>
#include <string.h>

/* A work image of 32 x 32 cells of 4 pixels, marked from column `left` on. */
static LdmPrepared prepared(size_t left)
{
    LdmPrepared p = {
        .window = {0, 0, 32, 32}, .scale = 1.0, .H = 32, .W = 32, .inner_h = 32, .inner_w = 32};
    p.image = array(32, 32, 3, 0.0f);
    p.mask = array(32, 32, 1, 0.0f);
    p.cells = array(8, 8, 1, 1.0f);
    for (size_t i = 0; i < 32 * 32 * 3; i++)
        ldm_tensor_f32(p.image)[i] = (float)g_test_rand_double_range(-0.8, 0.8);
    for (size_t i = 0; i < 32 * 32; i++)
        ldm_tensor_f32(p.mask)[i] = i % 32 >= left ? 1.0f : 0.0f;
    return p;
}

static LdmTensor *copy(const LdmTensor *t)
{
    g_autoptr(GError) error = NULL;
    LdmTensor *c = ldm_tensor_copy(t, &error);
    g_assert_no_error(error);
    return c;
}

/* No difference outside the mask: every bit stays. */
static void test_match_identity(void)
{
    g_auto(LdmPrepared) p = prepared(13);
    g_autoptr(LdmTensor) decoded = copy(p.image);
    g_autoptr(GError) error = NULL;
    for (size_t i = 0; i < 32 * 32; i++)
        if (ldm_tensor_f32(p.mask)[i] > 0.0f)
            ldm_tensor_f32(decoded)[i * 3] = 0.9f;
    g_autoptr(LdmTensor) before = copy(decoded);
    g_assert_true(ldm_match_colour(decoded, &p, 4, NULL, &error));
    g_assert_cmpmem(decoded->data, 32 * 32 * 12, before->data, 32 * 32 * 12);
}

/* Lines are the threads' to share out; a cancel stops them. */
static void test_match_threads(void)
{
    g_auto(LdmPrepared) p = prepared(13);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(LdmTensor) alone = array(32, 32, 3, 0.3f), together = copy(alone);
    g_autoptr(GError) error = NULL;
    ldm_set_threads(1);
    g_assert_true(ldm_match_colour(alone, &p, 4, NULL, &error));
    ldm_set_threads(3);
    g_assert_true(ldm_match_colour(together, &p, 4, NULL, &error));
    g_assert_cmpmem(alone->data, 32 * 32 * 12, together->data, 32 * 32 * 12);
    g_cancellable_cancel(cancellable);
    g_assert_false(ldm_match_colour(together, &p, 4, cancellable, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_CANCELLED);
    ldm_set_threads(0);
}

/* Everything marked: nothing to compare with, nothing changes. */
static void test_match_empty(void)
{
    g_auto(LdmPrepared) p = prepared(0);
    g_autoptr(LdmTensor) decoded = array(32, 32, 3, 0.3f);
    g_autoptr(GError) error = NULL;
    g_assert_true(ldm_match_colour(decoded, &p, 4, NULL, &error));
    for (size_t i = 0; i < ldm_tensor_count(decoded); i++)
        g_assert_cmpfloat(ldm_tensor_f32(decoded)[i], ==, 0.3f);
}

/* A constant shift is taken out at the border, fades inwards and never grows. */
static void test_match_shift(void)
{
    g_auto(LdmPrepared) p = prepared(12);
    g_autoptr(LdmTensor) decoded = copy(p.image);
    g_autoptr(GError) error = NULL;
    for (size_t i = 0; i < ldm_tensor_count(decoded); i++)
        ldm_tensor_f32(decoded)[i] += 0.05f;
    g_assert_true(ldm_match_colour(decoded, &p, 4, NULL, &error));
    for (size_t y = 0; y < 32; y++)
        for (size_t x = 0; x < 32; x++) {
            size_t i = (y * 32 + x) * 3;
            float left = ldm_tensor_f32(decoded)[i] - ldm_tensor_f32(p.image)[i];
            g_assert_cmpfloat(left, >=, -1e-4f);
            g_assert_cmpfloat(left, <=, 0.05f + 1e-4f);
            if (x < 12)
                g_assert_cmpfloat(left, <, 1e-4f);
            if (x == 12)
                g_assert_cmpfloat(left, <, 0.01f);
            if (x > 25)
                g_assert_cmpfloat_with_epsilon(left, 0.05f, 1e-4f);
        }
}

/* A picture that differs in substance moves by no more than the cap. */
static void test_match_cap(void)
{
    g_auto(LdmPrepared) p = prepared(12);
    g_autoptr(LdmTensor) decoded = array(32, 32, 3, 50.0f);
    g_autoptr(GError) error = NULL;
    g_assert_true(ldm_match_colour(decoded, &p, 4, NULL, &error));
    for (size_t i = 0; i < ldm_tensor_count(decoded); i++)
        g_assert_cmpfloat(fabsf(ldm_tensor_f32(decoded)[i] - 50.0f), <=, 0.2f + 1e-4f);
}

static LdmRequest *request_for(LdmTask task, const LdmPrepared *p)
{
    LdmRequest *request = ldm_request_new(task);
    if (task == LDM_TASK_GENERATE)
        return request;
    request->picture = array(32, 32, 4, 0.5f);
    request->mask = copy(p->mask);
    for (size_t i = 0; i < 32 * 32; i++) /* alpha 0, 0.25, 0.5, 0.75 by rows */
        ldm_tensor_f32(request->picture)[i * 4 + 3] = (float)(i / 32 % 4) * 0.25f;
    return request;
}

static LdmResult *finish(LdmTask task, LdmRequest *request, const LdmPrepared *p)
{
    g_autoptr(LdmTensor) decoded = copy(p->image);
    g_autoptr(GError) error = NULL;
    LdmResult *result = g_new0(LdmResult, 1);
    ldm_tensor_f32(decoded)[0] = 7.0f; /* to be clamped */
    g_assert_true(ldm_finish(decoded, p, request, result, NULL, &error));
    g_assert_no_error(error);
    return result;
}

static void test_alpha(void)
{
    g_auto(LdmPrepared) p = prepared(16);
    g_autoptr(LdmRequest) inpaint = request_for(LDM_TASK_INPAINT, &p);
    ldm_tensor_f32(inpaint->mask)[20] = 0.2f;
    ldm_tensor_f32(inpaint->mask)[21] = 0.5f;
    ldm_tensor_f32(inpaint->mask)[22] = NAN;
    g_autoptr(LdmResult) result = finish(LDM_TASK_INPAINT, inpaint, &p);
    const float *alpha = ldm_tensor_f32(result->alpha);
    g_assert_cmpfloat(alpha[3], ==, 0.0f);
    g_assert_cmpfloat(alpha[20], ==, 0.4f);
    g_assert_cmpfloat(alpha[21], ==, 1.0f);
    g_assert_cmpfloat(alpha[22], ==, 0.0f);
    g_assert_cmpfloat(alpha[23], ==, 1.0f);
    g_autoptr(LdmRequest) keep = request_for(LDM_TASK_IMG2IMG, &p);
    g_autoptr(LdmResult) kept = finish(LDM_TASK_IMG2IMG, keep, &p);
    for (size_t i = 0; i < 32 * 32; i++) {
        g_assert_cmpfloat(ldm_tensor_f32(result->pixels)[i * 4 + 3], ==, 1.0f);
        g_assert_cmpfloat(ldm_tensor_f32(kept->pixels)[i * 4 + 3], ==,
                          ldm_tensor_f32(keep->picture)[i * 4 + 3]);
        for (size_t c = 0; c < 3; c++)
            g_assert_true(ldm_tensor_f32(kept->pixels)[i * 4 + c] >= 0.0f &&
                          ldm_tensor_f32(kept->pixels)[i * 4 + c] <= 1.0f);
    }
}

/* Outside the mask: the same bits, even of NaN and of values no screen shows. */
static void test_composite(void)
{
    g_auto(LdmPrepared) p = prepared(16);
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_INPAINT, &p);
    g_autoptr(GError) error = NULL;
    float *in = ldm_tensor_f32(request->picture);
    in[0] = NAN;
    in[5] = -3e38f;
    in[18 * 4] = NAN; /* inside: replaced */
    ldm_tensor_f32(request->mask)[17] = 0.25f;
    g_autoptr(LdmResult) result = finish(LDM_TASK_INPAINT, request, &p);
    g_autoptr(LdmTensor) out = ldm_result_composite(result, request, &error);
    g_assert_no_error(error);
    for (size_t i = 0; i < 32 * 32; i++) {
        const float *made = ldm_tensor_f32(result->pixels) + i * 4;
        const float *got = ldm_tensor_f32(out) + i * 4;
        if (i % 32 < 16)
            g_assert_cmpmem(got, 16, in + i * 4, 16);
        else if (i != 17)
            g_assert_cmpmem(got, 16, made, 16);
    }
    const float *half = ldm_tensor_f32(out) + 17 * 4; /* over a clear pixel: its own colour */
    g_assert_cmpfloat_with_epsilon(half[0], ldm_tensor_f32(result->pixels)[17 * 4], 1e-6f);
    g_assert_cmpfloat_with_epsilon(half[3], 0.5f, 1e-6f);
}

static void test_unchanged(void)
{
    g_auto(LdmPrepared) p = prepared(16);
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_IMG2IMG, &p);
    g_autoptr(LdmResult) result = g_new0(LdmResult, 1);
    g_autoptr(GError) error = NULL;
    g_assert_true(ldm_finish_unchanged(&p, request, result, &error));
    g_autoptr(LdmTensor) out = ldm_result_composite(result, request, &error);
    g_assert_no_error(error);
    g_assert_cmpmem(out->data, 32 * 32 * 16, request->picture->data, 32 * 32 * 16);
    g_assert_cmpmem(result->pixels->data, 32 * 32 * 16, request->picture->data, 32 * 32 * 16);
}

/* Reduced: pixels come back at the window's own size; NaN out of the decoder is an error. */
static void test_reduced(void)
{
    g_auto(LdmPrepared) p = prepared(16);
    g_autoptr(LdmRequest) request = ldm_request_new(LDM_TASK_IMG2IMG);
    g_autoptr(GError) error = NULL;
    request->picture = array(70, 90, 4, 1.0f);
    p.window = (LdmRect){10, 20, 75, 50};
    p.scale = 0.4;
    p.inner_w = 30;
    p.inner_h = 20;
    g_autoptr(LdmResult) result = finish(LDM_TASK_IMG2IMG, request, &p);
    g_assert_cmpuint(result->pixels->shape[1], ==, 50);
    g_assert_cmpuint(result->pixels->shape[2], ==, 75);
    g_assert_cmpfloat(result->scale, ==, 0.4);
    g_assert_cmpint(result->window.x, ==, 10);
    g_autoptr(LdmTensor) bad = array(32, 32, 3, 0.0f);
    ldm_tensor_f32(bad)[77] = NAN;
    g_autoptr(LdmResult) none = g_new0(LdmResult, 1);
    g_assert_false(ldm_finish(bad, &p, request, none, NULL, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_NONFINITE);
    g_assert_nonnull(strstr(error->message, "decode"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/finish/match-identity", test_match_identity);
    g_test_add_func("/finish/match-threads", test_match_threads);
    g_test_add_func("/finish/match-empty", test_match_empty);
    g_test_add_func("/finish/match-shift", test_match_shift);
    g_test_add_func("/finish/match-cap", test_match_cap);
    g_test_add_func("/finish/alpha", test_alpha);
    g_test_add_func("/finish/composite", test_composite);
    g_test_add_func("/finish/unchanged", test_unchanged);
    g_test_add_func("/finish/reduced", test_reduced);
    return g_test_run();
}
