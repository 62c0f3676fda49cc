/* CLIP's text model against transformers: quick and exact GELU, a batch, an earlier layer. */
#include "condition/clip-text.h"

#include "networks.h"

typedef struct {
    LdmClipText *text;
    const int32_t *ids;
    size_t n;
} Call;

static LdmTensor *forward(LdmPass *pass, const void *data)
{
    const Call *call = data;
    return ldm_clip_text_forward(pass, call->text, call->ids, call->n);
}

static int32_t *read_ids(const char *model, size_t *count)
{
    g_autoptr(LdmTensor) array = network_array(model, "text-ids");
    *count = ldm_tensor_count(array);
    int32_t *ids = g_new(int32_t, *count);
    for (size_t i = 0; i < *count; i++)
        ids[i] = (int32_t)ldm_tensor_f32(array)[i];
    return ids;
}

static void run_case(const char *model, int skip_last, const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmSource) source = network_source(model);
    g_autoptr(LdmParams) params = ldm_params_new();
    g_autoptr(LdmTensor) expected = network_array(model, "%s", name);
    LdmTextConfig config = source->config.text;
    config.skip_last = skip_last;
    size_t count;
    g_autofree int32_t *ids = read_ids(model, &count);
    Call call = {ldm_clip_text_new(&config, params), ids, count / (size_t)config.tokens};
    network_bind(source, LDM_PART_TEXT, params);
    g_autoptr(LdmTensor) y = ldm_forward_run(forward, &call, NULL, NULL, NULL, &error);
    g_assert_no_error(error);
    assert_close(y, expected, name);

    ids[3] = config.vocab_size; /* another model's tokenizer */
    g_assert_null(ldm_forward_run(forward, &call, NULL, NULL, NULL, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    ldm_clip_text_free(call.text);
}

static void test_model(const void *model)
{
    run_case(model, 0, "text-y");
    run_case(model, 1, "text-penultimate");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(network_models); i++) {
        g_autofree char *name = g_strconcat("/clip/", network_models[i], NULL);
        g_test_add_data_func(name, network_models[i], test_model);
    }
    return g_test_run();
}
