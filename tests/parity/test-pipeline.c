/* The whole line with small networks against diffusers: same seed, same prompt, same picture.
 * Arrays: tests/reference/make_pipeline.py. */
#include "ldm.h"

#include "fixture.h"

#include <math.h>

static LdmModel *model;

/* The first three channels of `found`: max|a - b| <= 1e-4 max|b|. */
static void compare(const LdmTensor *found, const char *name)
{
    g_autoptr(LdmTensor) expected = fixture_array("pipeline", "%s", name);
    double most = 0.0, scale = 0.0;
    size_t C = found->shape[3];
    g_assert_cmpuint(ldm_tensor_count(found) / C, ==, ldm_tensor_count(expected) / 3);
    for (size_t i = 0, n = ldm_tensor_count(expected); i < n; i++) {
        double b = ldm_tensor_f32(expected)[i];
        most = fmax(most, fabs(ldm_tensor_f32(found)[i / 3 * C + i % 3] - b));
        scale = fmax(scale, fabs(b));
    }
    g_test_message("%s: %.2e of %.2f", name, most, scale);
    g_assert_cmpfloat(most, <=, 1e-4 * scale);
}

static LdmRequest *request_for(LdmTask task, const char *prompt, int steps)
{
    LdmRequest *request = ldm_request_new(task);
    g_free(request->prompt);
    request->prompt = g_strdup(prompt);
    request->steps = steps;
    request->sampler = LDM_SAMPLER_DDIM;
    request->guidance = 4.0;
    request->seed = 7;
    if (task != LDM_TASK_GENERATE)
        request->picture = fixture_array("pipeline", "picture");
    return request;
}

static void run(const LdmRequest *request, const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmResult) result = ldm_generate(model, request, NULL, &error);
    g_assert_no_error(error);
    g_autoptr(LdmTensor) picture = ldm_result_composite(result, request, &error);
    g_assert_no_error(error);
    compare(picture, name);
}

static void test_generate(void)
{
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_GENERATE, "a red apple", 6);
    run(request, "generate-ddim");
    request->sampler = LDM_SAMPLER_DPMPP_2M;
    run(request, "generate-dpmpp-2m");
}

static void test_decode(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmTensor) latent = fixture_array("pipeline", "generate-latent");
    g_autoptr(LdmTensor) picture = ldm_decode(model, latent, NULL, &error);
    g_assert_no_error(error);
    for (size_t i = 0; i < ldm_tensor_count(picture); i++)
        ldm_tensor_f32(picture)[i] = CLAMP(ldm_tensor_f32(picture)[i] * 0.5f + 0.5f, 0.0f, 1.0f);
    compare(picture, "generate-ddim");
}

static void test_img2img(void)
{
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_IMG2IMG, "a yellow sun", 8);
    request->strength = 0.6;
    run(request, "img2img");
}

/* Concat channels, a soft mask as strength per cell, colour match, blend. */
static void test_inpaint(void)
{
    g_autoptr(LdmRequest) request = request_for(LDM_TASK_INPAINT, "a yellow sun", 8);
    request->mask = fixture_array("pipeline", "mask");
    run(request, "inpaint");
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_test_init(&argc, &argv, NULL);
    g_autofree char *folder =
        g_build_filename(g_getenv("PENTIMENTO_FIXTURES"), "networks", "inpaint", NULL);
    model = ldm_model_load(folder, &error);
    g_assert_no_error(error);
    g_test_add_func("/pipeline/generate", test_generate);
    g_test_add_func("/pipeline/decode", test_decode);
    g_test_add_func("/pipeline/img2img", test_img2img);
    g_test_add_func("/pipeline/inpaint", test_inpaint);
    int status = g_test_run();
    ldm_model_unref(model);
    return status;
}
