/* The table of options and ldm_request_set: types, ranges, conversions, choices, prompts. */
#include "kernels/kernels.h"
#include "ldm.h"
#include "pipeline/request.h"

#include <math.h>
#include <string.h>

static bool set(LdmRequest *request, const char *name, GVariant *value)
{
    g_autoptr(GError) error = NULL;
    bool ok = ldm_request_set(request, name, value, &error);
    if (ok)
        g_assert_no_error(error);
    else
        g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    return ok;
}

static void refuse(LdmRequest *request, const char *name, GVariant *value, const char *part)
{
    g_autoptr(GError) error = NULL;
    g_assert_false(ldm_request_set(request, name, value, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, part));
}

static void test_table(void)
{
    const char *const names[] = {"prompt",       "negative-prompt",
                                 "width",        "height",
                                 "refine",       "steps",
                                 "sampler",      "schedule",
                                 "guidance",     "guidance-rescale",
                                 "quality",      "guidance-start",
                                 "guidance-end", "reuse",
                                 "merge",        "surroundings",
                                 "precision",    "strength",
                                 "eta",          "seed",
                                 "learn",        "lora",
                                 "embedding"};
    const LdmOption *options = ldm_options();
    size_t n = 0;
    for (; options[n].name != NULL; n++) {
        g_assert_cmpstr(options[n].name, ==, names[n]);
        const char *const types[] = {"s", "i", "x", "d", "as", NULL};
        g_assert_true(g_strv_contains(types, options[n].type));
        g_assert_cmpuint(strlen(options[n].blurb), >, 10);
        g_assert_cmpuint(options[n].tasks, !=, 0);
    }
    g_assert_cmpuint(n, ==, G_N_ELEMENTS(names));
}

/* The defaults pass their own check. */
static void test_defaults(void)
{
    g_autoptr(LdmRequest) request = ldm_request_new(LDM_TASK_GENERATE);
    g_autoptr(GError) error = NULL;
    g_assert_true(ldm_request_check(request, &error));
    g_assert_no_error(error);
    g_assert_cmpint(request->steps, ==, 20);
    g_assert_cmpint(request->seed, ==, -1);
    g_assert_cmpstr(request->prompt, ==, "");
}

static void test_numbers(void)
{
    g_autoptr(LdmRequest) request = ldm_request_new(LDM_TASK_IMG2IMG);
    g_assert_true(set(request, "steps", g_variant_new_double(7.0)));
    g_assert_cmpint(request->steps, ==, 7);
    g_assert_true(set(request, "steps", g_variant_new_byte(9)));
    g_assert_cmpint(request->steps, ==, 9);
    g_assert_true(set(request, "guidance", g_variant_new_int32(3)));
    g_assert_cmpfloat(request->guidance, ==, 3.0);
    g_assert_true(set(request, "seed", g_variant_new_uint64(G_MAXINT64)));
    g_assert_cmpint(request->seed, ==, G_MAXINT64);
    g_assert_true(set(request, "seed", g_variant_new_int32(-1)));
    refuse(request, "steps", g_variant_new_double(7.5), "from 1 to 1000");
    refuse(request, "steps", g_variant_new_int32(0), "from 1 to 1000");
    refuse(request, "steps", g_variant_new_int64(G_MAXINT64), "from 1 to 1000");
    refuse(request, "steps", g_variant_new_string("7"), "from 1 to 1000");
    refuse(request, "strength", g_variant_new_double(NAN), "from 0 to 1");
    refuse(request, "strength", g_variant_new_double(1.01), "from 0 to 1");
    refuse(request, "guidance", g_variant_new_double(INFINITY), "from 0 to 30");
    refuse(request, "seed", g_variant_new_uint64((guint64)G_MAXINT64 + 1), "2^63-1");
    refuse(request, "seed", g_variant_new_int32(-2), "2^63-1");
    refuse(request, "seed", g_variant_new_double(9223372036854775808.0), "2^63-1");
    g_assert_cmpint(request->steps, ==, 9);
}

static void test_choices(void)
{
    g_autoptr(LdmRequest) request = ldm_request_new(LDM_TASK_GENERATE);
    const char *const nicks[] = {"ddim", "euler", "euler-a", "dpmpp-2m"};
    for (int i = 0; i < 4; i++) {
        g_assert_true(set(request, "sampler", g_variant_new_string(nicks[i])));
        g_assert_cmpint(request->sampler, ==, i);
    }
    g_assert_true(set(request, "schedule", g_variant_new_string("karras")));
    g_assert_cmpint(request->schedule, ==, LDM_SIGMAS_KARRAS);
    refuse(request, "sampler", g_variant_new_string("plms"), "ddim, euler, euler-a, dpmpp-2m");
    refuse(request, "sampler", g_variant_new_int32(1), "text");
    refuse(request, "no-such", g_variant_new_int32(1), "no-such");
    refuse(request, "strength", g_variant_new_double(0.5), "does not apply");
}

/* A place between quality and speed sets what was not set by name, in whichever order. */
static void test_quality(void)
{
    g_autoptr(LdmRequest) request = ldm_request_new(LDM_TASK_INPAINT);
    g_assert_true(set(request, "reuse", g_variant_new_int32(1)));
    g_assert_true(set(request, "quality", g_variant_new_string("draft")));
    g_assert_cmpint(request->quality, ==, LDM_QUALITY_DRAFT);
    g_assert_cmpint(request->reuse, ==, 1);
    g_assert_cmpfloat(request->guidance_end, <, 1.0);
    g_assert_cmpint(request->surroundings, >, 0);
    g_assert_cmpint(request->precision == LDM_PRECISION_BF16, ==, ldm_kernels_have_bf16());
    g_assert_true(set(request, "guidance-end", g_variant_new_double(0.9)));
    g_assert_true(set(request, "quality", g_variant_new_string("good")));
    g_assert_cmpfloat(request->guidance_end, ==, 0.9);
    g_assert_cmpint(request->surroundings, ==, 0);
    refuse(request, "quality", g_variant_new_string("best"), "exact, near, good, draft");

    g_autoptr(LdmRequest) drawn = ldm_request_new(LDM_TASK_GENERATE);
    g_assert_true(set(drawn, "quality", g_variant_new_string("draft")));
    g_assert_cmpint(drawn->surroundings, ==, 0); /* no option of this task */
    g_assert_cmpint(drawn->reuse, >, 1);
    g_assert_true(set(drawn, "quality", g_variant_new_string("exact")));
    g_assert_cmpint(drawn->reuse, ==, 1);
    g_assert_cmpfloat(drawn->guidance_end, ==, 1.0);
    g_assert_cmpint(drawn->precision, ==, LDM_PRECISION_EXACT);
}

static void test_prompts(void)
{
    g_autoptr(LdmRequest) request = ldm_request_new(LDM_TASK_GENERATE);
    g_autoptr(GError) error = NULL;
    g_assert_true(set(request, "prompt", g_variant_new_string("赤い林檎 🍎")));
    g_assert_cmpstr(request->prompt, ==, "赤い林檎 🍎");
    g_autofree char *longest = g_strnfill(LDM_PROMPT_MAX, 'a');
    g_assert_true(set(request, "negative-prompt", g_variant_new_string(longest)));
    g_autofree char *longer = g_strnfill(LDM_PROMPT_MAX + 1, 'a');
    refuse(request, "prompt", g_variant_new_string(longer), "64 KiB");
    g_free(request->prompt);
    request->prompt = g_strdup("\xff\xfe");
    g_assert_false(ldm_request_check(request, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
}

static LdmTensor *array(size_t h, size_t w, size_t c)
{
    g_autoptr(GError) error = NULL;
    const size_t shape[4] = {1, h, w, c};
    LdmTensor *t = ldm_tensor_new(LDM_F32, 4, shape, &error);
    g_assert_no_error(error);
    return t;
}

static void expect(const LdmRequest *request, int code)
{
    g_autoptr(GError) error = NULL;
    g_assert_false(ldm_request_check(request, &error));
    g_assert_error(error, LDM_ERROR, code);
}

static void test_pictures(void)
{
    g_autoptr(LdmRequest) request = ldm_request_new(LDM_TASK_INPAINT);
    g_autoptr(GError) error = NULL;
    expect(request, LDM_ERROR_MISSING);
    request->picture = array(3, 5, 3);
    expect(request, LDM_ERROR_INVALID); /* no alpha channel */
    g_clear_pointer(&request->picture, ldm_tensor_free);
    request->picture = array(3, 5, 4);
    expect(request, LDM_ERROR_MISSING); /* no mask */
    request->mask = array(5, 3, 1);
    expect(request, LDM_ERROR_INVALID);
    g_clear_pointer(&request->mask, ldm_tensor_free);
    request->mask = array(3, 5, 1);
    g_assert_true(ldm_request_check(request, &error));
    request->eta = NAN;
    expect(request, LDM_ERROR_INVALID);
    request->eta = 0.0;
    request->sampler = (LdmSampler)17;
    expect(request, LDM_ERROR_INVALID);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/options/table", test_table);
    g_test_add_func("/options/defaults", test_defaults);
    g_test_add_func("/options/numbers", test_numbers);
    g_test_add_func("/options/choices", test_choices);
    g_test_add_func("/options/quality", test_quality);
    g_test_add_func("/options/prompts", test_prompts);
    g_test_add_func("/options/pictures", test_pictures);
    return g_test_run();
}
