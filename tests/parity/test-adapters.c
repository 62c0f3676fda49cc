/* LoRA and textual inversion against diffusers and peft (reference/make_adapters.py): the same
 * adapters under every tool's names, alpha, convolutions; learnt words in prompts; and that a model
 * is as before once they are gone. */
#include "pipeline/adapters.h"
#include "pipeline/model.h"

#include "networks.h"

#include <string.h>

static LdmModel *load(const char *name)
{
    g_autofree char *path = network_folder(name);
    g_autoptr(GError) error = NULL;
    LdmModel *model = ldm_model_load(path, &error);
    g_assert_no_error(error);
    return model;
}

static char *fixture(const char *name)
{
    return g_build_filename(g_getenv("PENTIMENTO_FIXTURES"), "adapters", name, NULL);
}

static LdmTensor *array(const char *name)
{
    g_autofree char *path = fixture(name);
    g_autoptr(GError) error = NULL;
    LdmTensor *tensor = ldm_npy_read(path, &error);
    g_assert_no_error(error);
    return tensor;
}

/* ---- the networks' outputs ---- */

typedef struct {
    const LdmModel *model;
    const LdmTensor *x, *context;
    double timesteps[2];
    int32_t ids[64];
    size_t n;
} Call;

static LdmTensor *text_forward(LdmPass *pass, const void *data)
{
    const Call *call = data;
    return ldm_clip_text_forward(pass, call->model->text, call->ids, call->n);
}

static LdmTensor *unet_forward(LdmPass *pass, const void *data)
{
    const Call *call = data;
    LdmTensor *x = ldm_pass_input(pass, call->x), *context = ldm_pass_input(pass, call->context);
    LdmTensor *y = ldm_unet_forward(pass, call->model->unet, x, call->timesteps, context);
    ldm_pass_drop(pass, x);
    ldm_pass_drop(pass, context);
    return y;
}

static LdmTensor *text_of(const LdmModel *model, const LdmTensor *ids)
{
    Call call = {.model = model, .n = ids->shape[0]};
    g_autoptr(GError) error = NULL;
    g_assert_cmpuint(ldm_tensor_count(ids), <=, G_N_ELEMENTS(call.ids));
    for (size_t i = 0; i < ldm_tensor_count(ids); i++)
        call.ids[i] = (int32_t)ldm_tensor_f32(ids)[i];
    LdmTensor *y = ldm_forward_run(text_forward, &call, NULL, NULL, NULL, &error);
    g_assert_no_error(error);
    return y;
}

static LdmTensor *unet_of(const LdmModel *model, const char *name)
{
    g_autoptr(LdmTensor) x = network_array(name, "unet-even-x");
    g_autoptr(LdmTensor) times = network_array(name, "unet-even-timesteps");
    g_autoptr(LdmTensor) context = network_array(name, "unet-even-context");
    Call call = {.model = model, .x = x, .context = context};
    g_autoptr(GError) error = NULL;
    for (size_t n = 0; n < times->shape[0]; n++)
        call.timesteps[n] = ldm_tensor_f32(times)[n];
    LdmTensor *y = ldm_forward_run(unet_forward, &call, NULL, NULL, NULL, &error);
    g_assert_no_error(error);
    return y;
}

static LdmAdapters *add(LdmModel *model, const char *lora, const char *const *words)
{
    g_autoptr(LdmRequest) request = ldm_request_new(LDM_TASK_GENERATE);
    g_autoptr(GError) error = NULL;
    LdmAdapters *adapters;
    g_autofree char *path = lora != NULL ? fixture(lora) : NULL;
    g_autoptr(GStrvBuilder) list = g_strv_builder_new();
    if (path != NULL)
        request->loras = g_strdupv((char *[]){path, NULL});
    for (size_t i = 0; words != NULL && words[i] != NULL; i++) {
        g_autofree char *word = fixture(words[i]);
        g_strv_builder_add(list, word);
    }
    request->embeddings = g_strv_builder_end(list);
    ldm_adapters_add(model, request, &adapters, &error);
    g_assert_no_error(error);
    g_assert_nonnull(adapters);
    return adapters;
}

static bool same(const LdmTensor *a, const LdmTensor *b)
{
    return memcmp(a->data, b->data, ldm_tensor_count(a) * sizeof(float)) == 0;
}

/* ---- LoRA ---- */

/* The file's names do not matter; afterwards the model is what it was, to the bit. */
static void test_lora(const void *data)
{
    const char *file = data;
    g_autofree char *name = g_strndup(file, 3), *unet_name = g_strconcat(name, "-unet.npy", NULL);
    g_autofree char *text_name = g_strconcat(name, "-text.npy", NULL);
    g_autoptr(LdmModel) model = load(name);
    g_autoptr(LdmTensor) ids = network_array(name, "text-ids");
    g_autoptr(LdmTensor) expected_unet = array(unet_name), expected_text = array(text_name);
    g_autoptr(LdmTensor) plain_unet = unet_of(model, name), plain_text = text_of(model, ids);

    LdmAdapters *adapters = add(model, file, NULL);
    g_autoptr(LdmTensor) unet = unet_of(model, name), text = text_of(model, ids);
    ldm_adapters_free(adapters);
    assert_close(unet, expected_unet, unet_name);
    assert_close(text, expected_text, text_name);
    g_assert_false(same(unet, plain_unet));
    g_autoptr(LdmTensor) unet_after = unet_of(model, name), text_after = text_of(model, ids);
    g_assert_true(same(unet_after, plain_unet));
    g_assert_true(same(text_after, plain_text));
}

/* Half the weight twice is the weight once; weight 0 is nothing at all. */
static void test_weight(void)
{
    g_autoptr(LdmModel) model = load("sd1");
    g_autoptr(LdmTensor) expected = array("sd1-unet.npy"), plain = unet_of(model, "sd1");
    LdmAdapters *first = add(model, "sd1-peft.safetensors:0.5", NULL);
    LdmAdapters *second = add(model, "sd1-kohya.safetensors:0.5", NULL);
    g_autoptr(LdmTensor) both = unet_of(model, "sd1");
    assert_close(both, expected, "two halves");
    ldm_adapters_free(first); /* not the last one that was added */
    ldm_adapters_free(second);
    LdmAdapters *none = add(model, "sd1-peft.safetensors:0", NULL);
    g_autoptr(LdmTensor) unchanged = unet_of(model, "sd1");
    g_assert_true(same(unchanged, plain));
    ldm_adapters_free(none);
}

/* ---- textual inversion ---- */

static void test_words(void)
{
    /* the same as in make_adapters.py */
    static const char *const prompts[] = {"a <red-cat>", "<red-cat>", "oilstyle, an apple",
                                          "the oilstyle <red-cat>!", "a red cat"};
    static const char *const words[] = {"red-cat.safetensors", "oilstyle.safetensors", NULL};
    g_autoptr(LdmModel) model = load("sd1");
    g_autoptr(LdmTensor) ids = array("words-ids.npy"), expected = array("words-y.npy");
    size_t tokens = ids->shape[1];
    LdmAdapters *adapters = add(model, NULL, words);
    g_assert_cmpuint(ids->shape[0], ==, G_N_ELEMENTS(prompts));
    for (size_t k = 0; k < G_N_ELEMENTS(prompts); k++) {
        int32_t found[64];
        g_assert_true(ldm_tokenizer_encode(model->tokenizer, prompts[k], found, NULL, NULL));
        for (size_t i = 0; i < tokens; i++)
            g_assert_cmpint(found[i], ==, (int)ldm_tensor_f32(ids)[k * tokens + i]);
    }
    g_autoptr(LdmTensor) y = text_of(model, ids);
    assert_close(y, expected, "words");
    ldm_adapters_free(adapters);
}

/* Any case; not inside longer words; forgotten with the file. */
static void test_spelling(void)
{
    static const char *const words[] = {"oilstyle.safetensors", NULL};
    g_autoptr(LdmModel) model = load("sd1");
    int32_t one[64], other[64], plain[64], tokens = model->config.text.tokens;
    int32_t learnt = model->config.text.vocab_size;
    g_assert_true(ldm_tokenizer_encode(model->tokenizer, "oilstyle", plain, NULL, NULL));
    LdmAdapters *adapters = add(model, NULL, words);
    g_assert_true(ldm_tokenizer_encode(model->tokenizer, "a OilStyle", one, NULL, NULL));
    g_assert_cmpint(one[2], ==, learnt);
    g_assert_true(ldm_tokenizer_encode(model->tokenizer, "x (oilstyle)", one, NULL, NULL));
    g_assert_true(ldm_tokenizer_encode(model->tokenizer, "oilstyles", other, NULL, NULL));
    for (int i = 0; i < tokens; i++)
        g_assert_cmpint(other[i], <, learnt);
    ldm_adapters_free(adapters);
    g_assert_true(ldm_tokenizer_encode(model->tokenizer, "oilstyle", one, NULL, NULL));
    g_assert_cmpmem(one, (size_t)tokens * 4, plain, (size_t)tokens * 4);
}

int main(int argc, char **argv)
{
    static const char *const files[] = {"sd1-peft.safetensors", "sd1-kohya.safetensors",
                                        "sd2-peft.safetensors", "sd2-kohya.safetensors",
                                        "sd2-older.safetensors"};
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_strconcat("/adapters/", files[i], NULL);
        g_test_add_data_func(path, files[i], test_lora);
    }
    g_test_add_func("/adapters/weight", test_weight);
    g_test_add_func("/adapters/words", test_words);
    g_test_add_func("/adapters/spelling", test_spelling);
    return g_test_run();
}
