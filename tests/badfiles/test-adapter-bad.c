/* Damaged, foreign and hostile LoRA and textual inversion files: each is refused with an error of
 * the right kind that names file and tensor, and leaves the model as it was. */
#include "made-model.h"
#include "pipeline/adapters.h"

#define LAYER   "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
#define DOWN    "unet." LAYER ".lora_A.weight"
#define UP      "unet." LAYER ".lora_B.weight"
#define OLDER   "unet." LAYER ".lora.down.weight"
#define KOHYA   "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
#define CONV    "unet.conv_in"
#define UNKNOWN LDM_ERROR_UNSUPPORTED

static char *folder, *path; /* the model; the file at hand */
static LdmModel *model;

/* Tensors of a file; the one that the error has to name comes first. `dtype` NULL: F16. */
typedef struct {
    const char *name;
    int rank;
    size_t shape[4];
    const char *dtype;
} Tensor;

typedef struct {
    const char *what;
    int code;
    Tensor tensors[4];
} Bad;

/* The made model's layers: 32 wide at level 0. */
static const Bad loras[] = {
    {"empty", LDM_ERROR_MISSING, {{NULL}}},
    {"no up", LDM_ERROR_MISSING, {{DOWN, 2, {4, 32}}}},
    {"no down", LDM_ERROR_MISSING, {{UP, 2, {32, 4}}}},
    {"alpha alone", LDM_ERROR_MISSING, {{KOHYA ".alpha", 0, {0}}}},
    {"narrow down", LDM_ERROR_SHAPE, {{DOWN, 2, {4, 31}}, {UP, 2, {32, 4}}}},
    {"flat down", LDM_ERROR_SHAPE, {{DOWN, 1, {128}}, {UP, 2, {32, 4}}}},
    {"long down", LDM_ERROR_SHAPE, {{DOWN, 4, {4, 32, 3, 3}}, {UP, 2, {32, 4}}}},
    {"no rank", LDM_ERROR_SHAPE, {{DOWN, 2, {0, 32}}, {UP, 2, {32, 0}}}},
    {"other rank", LDM_ERROR_SHAPE, {{UP, 2, {32, 3}}, {DOWN, 2, {4, 32}}}},
    {"short up", LDM_ERROR_SHAPE, {{UP, 2, {16, 4}}, {DOWN, 2, {4, 32}}}},
    {"1x1 beside 3x3",
     LDM_ERROR_SHAPE,
     {{CONV ".lora_A.weight", 4, {4, 4, 1, 1}}, {CONV ".lora_B.weight", 4, {32, 4, 1, 1}}}},
    {"3x3 up",
     LDM_ERROR_SHAPE,
     {{CONV ".lora_B.weight", 4, {32, 4, 3, 3}}, {CONV ".lora_A.weight", 4, {4, 4, 3, 3}}}},
    {"whole numbers", UNKNOWN, {{DOWN, 2, {4, 32}, "I16"}, {UP, 2, {32, 4}}}},
    {"another network", LDM_ERROR_FORMAT, {{"unet.transformer.to_q.lora_A.weight", 2, {4, 32}}}},
    {"second encoder", LDM_ERROR_FORMAT, {{"lora_te2_x.lora_down.weight", 2, {4, 32}}}},
    {"a norm", LDM_ERROR_FORMAT, {{"unet.conv_norm_out.lora_A.weight", 2, {4, 32}}}},
    {"token embedding",
     LDM_ERROR_FORMAT,
     {{"text_encoder.text_model.embeddings.token_embedding.lora_A.weight", 2, {4, 32}}}},
    {"Hadamard", UNKNOWN, {{KOHYA ".hada_w1_a", 2, {4, 32}}}},
    {"Kronecker", UNKNOWN, {{KOHYA ".lokr_w1", 2, {4, 32}}}},
    {"DoRA", UNKNOWN, {{KOHYA ".dora_scale", 2, {4, 32}}, {DOWN, 2, {4, 32}}}},
    {"Tucker", UNKNOWN, {{KOHYA ".lora_mid.weight", 4, {4, 4, 3, 3}}}},
    {"a bias", UNKNOWN, {{"unet." LAYER ".lora_B.bias", 1, {32}}}},
    {"a model", UNKNOWN, {{LAYER ".weight", 2, {32, 32}}}},
    {"only an ending", LDM_ERROR_FORMAT, {{".lora_A.weight", 2, {4, 32}}}},
    {"twice", LDM_ERROR_FORMAT, {{DOWN, 2, {4, 32}}, {OLDER, 2, {4, 32}}, {UP, 2, {32, 4}}}},
    {"alpha of two",
     LDM_ERROR_FORMAT,
     {{KOHYA ".alpha", 1, {2}}, {DOWN, 2, {4, 32}}, {UP, 2, {32, 4}}}},
};

static const Bad words[] = {
    {"empty", UNKNOWN, {{NULL}}},
    {"two", UNKNOWN, {{"clip_g", 2, {1, 1280}}, {"clip_l", 2, {1, 32}}}},
    {"wide", LDM_ERROR_SHAPE, {{"<cat>", 2, {1, 33}}}},
    {"flat and narrow", LDM_ERROR_SHAPE, {{"<cat>", 1, {31}}}},
    {"deep", LDM_ERROR_SHAPE, {{"<cat>", 3, {1, 1, 32}}}},
    {"scalar", LDM_ERROR_SHAPE, {{"<cat>", 0, {0}}}},
    {"no vector", LDM_ERROR_SHAPE, {{"<cat>", 2, {0, 32}}}},
    {"too many", LDM_ERROR_SHAPE, {{"<cat>", 2, {1001, 32}}}},
    {"whole numbers", UNKNOWN, {{"<cat>", 2, {1, 32}, "I16"}}},
    {"blank", LDM_ERROR_FORMAT, {{"  ", 2, {1, 32}}}},
};

static void write_file(const Bad *bad)
{
    MadeFile *file = made_file_new();
    for (const Tensor *t = bad->tensors; t < bad->tensors + 4 && t->name != NULL; t++) {
        size_t bytes = 2;
        for (int i = 0; i < t->rank; i++)
            bytes *= t->shape[i];
        g_autofree guint8 *data = g_malloc0(bytes + 1);
        made_file_add(file, t->name, t->dtype != NULL ? t->dtype : "F16", t->rank, t->shape, data,
                      bytes);
    }
    made_file_write(file, path, 0);
}

static bool add(bool lora, const char *name, GError **error)
{
    g_autoptr(LdmRequest) request = ldm_request_new(LDM_TASK_GENERATE);
    LdmAdapters *adapters;
    char **list = g_strdupv((char *[]){(char *)name, NULL});
    *(lora ? &request->loras : &request->embeddings) = list;
    bool good = ldm_adapters_add(model, request, &adapters, error);
    ldm_adapters_free(adapters);
    return good;
}

static void refused(bool lora, const Bad *bad)
{
    g_autoptr(GError) error = NULL;
    write_file(bad);
    if (add(lora, path, &error) || error->domain != LDM_ERROR || error->code != bad->code)
        g_error("%s: %s", bad->what, error != NULL ? error->message : "was accepted");
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, path));
    if (bad->code != LDM_ERROR_UNSUPPORTED && bad->tensors[0].name != NULL &&
        bad->tensors[0].name[0] != ' ')
        g_assert_nonnull(strstr(error->message, bad->tensors[0].name));
    for (size_t i = 0; i < ldm_params_length(model->unet_params); i++)
        g_assert_null(ldm_params_at(model->unet_params, i)->adapter);
    g_assert_null(ldm_clip_text_words(model->text)->extra);
}

static void test_loras(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(loras); i++)
        refused(true, &loras[i]);
}

static void test_words(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
        refused(false, &words[i]);
}

/* alpha may be of any dtype that holds numbers; what holds none, or no finite one, is refused. */
static void test_alpha(void)
{
    static const struct {
        const char *dtype;
        size_t bytes;
        guint8 data[8]; /* little endian */
        double alpha;   /* 0: refused */
    } cases[] = {
        {"F16", 2, {0x00, 0x48}, 8.0},
        {"F32", 4, {0, 0, 0, 0x41}, 8.0},
        {"F64", 8, {0, 0, 0, 0, 0, 0, 0x20, 0x40}, 8.0},
        {"I64", 8, {8}, 8.0},
        {"I32", 4, {8}, 8.0},
        {"I16", 2, {0x00, 0x01}, 256.0},
        {"I8", 1, {8}, 8.0},
        {"I8", 1, {0xf8}, -8.0},
        {"I64", 8, {0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, -8.0},
        {"U8", 1, {0xf8}, 248.0},
        {"F64", 8, {0, 0, 0, 0, 0, 0, 0xf0, 0x7f}, 0.0}, /* infinite */
        {"F32", 4, {0, 0, 0xc0, 0x7f}, 0.0},             /* NaN */
        {"BOOL", 1, {1}, 0.0},
        {"C64", 8, {1}, 0.0},
        {"F8_E4M3", 1, {8}, 0.0},
    };
    static const guint16 zeros[128];
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(LdmRequest) request = ldm_request_new(LDM_TASK_GENERATE);
        LdmAdapters *adapters;
        MadeFile *file = made_file_new();
        made_file_add(file, KOHYA ".alpha", cases[i].dtype, 0, NULL, cases[i].data, cases[i].bytes);
        made_file_add(file, DOWN, "F16", 2, (size_t[]){4, 32}, zeros, sizeof zeros);
        made_file_add(file, UP, "F16", 2, (size_t[]){32, 4}, zeros, sizeof zeros);
        made_file_write(file, path, 0);
        request->loras = g_strdupv((char *[]){path, NULL});
        bool good = ldm_adapters_add(model, request, &adapters, &error);
        if (good != (cases[i].alpha != 0.0))
            g_error("%s: %s", cases[i].dtype, good ? "was accepted" : error->message);
        if (good)
            g_assert_cmpfloat(ldm_params_find(model->unet_params, LAYER ".weight")->adapter->scale,
                              ==, cases[i].alpha / 4.0);
        else
            g_assert_nonnull(strstr(error->message, KOHYA ".alpha is not one finite number"));
        ldm_adapters_free(adapters);
    }
}

/* Files of other kinds by their endings: getting them again would not help. */
static void test_other_kinds(void)
{
    static const struct {
        const char *name, *words;
        int code;
    } kinds[] = {
        {"cat.pt", "pickled", UNKNOWN},
        {"cat.bin", "pickled", UNKNOWN},
        {"style.ckpt", "pickled", UNKNOWN},
        {"style.gguf", "GGUF", UNKNOWN},
        {"style.safetensors", "again", LDM_ERROR_FORMAT},
        {"style", "again", LDM_ERROR_FORMAT},
    };
    static const char bytes[] = "PK\3\4 and so on";
    for (size_t i = 0; i < 2 * G_N_ELEMENTS(kinds); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *name = g_build_filename(folder, kinds[i / 2].name, NULL);
        made_write(name, bytes, sizeof bytes);
        g_assert_false(add(i % 2 == 0, name, &error));
        g_assert_error(error, LDM_ERROR, kinds[i / 2].code);
        g_assert_nonnull(strstr(error->message, name));
        g_assert_nonnull(strstr(error->message, kinds[i / 2].words));
    }
}

/* What its bytes show to be safetensors may be called anything. */
static void test_ending(void)
{
    static const Bad good = {"", 0, {{DOWN, 2, {4, 32}}, {UP, 2, {32, 4}}}};
    g_autofree char *other = g_build_filename(folder, "good.pt", NULL);
    g_autoptr(GError) error = NULL;
    write_file(&good);
    g_assert_cmpint(g_rename(path, other), ==, 0);
    g_assert_true(add(true, other, &error));
    g_assert_no_error(error);
}

/* Numbers that are not finite: an embedding's are found when it is read, a LoRA's when the picture
 * has come to nothing; neither is the model's fault. */
static void test_nonfinite_word(void)
{
    guint16 numbers[64] = {0};
    numbers[40] = 0x7e00; /* NaN */
    for (int i = 0; i < 2; i++) {
        g_autoptr(GError) error = NULL;
        MadeFile *file = made_file_new();
        made_file_add(file, "<cat>", "F16", 2, (size_t[]){2, 32}, numbers, sizeof numbers);
        made_file_write(file, path, 0);
        g_assert_false(add(false, path, &error));
        g_assert_error(error, LDM_ERROR, LDM_ERROR_NONFINITE);
        g_assert_nonnull(strstr(error->message, path));
        g_assert_nonnull(strstr(error->message, "<cat>"));
        numbers[40] = 0x7c00; /* infinity */
    }
}

static void assert_nonfinite(const char *weight, const char *says)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmRequest) request = ldm_request_new(LDM_TASK_GENERATE);
    g_autofree char *lora = g_strconcat(path, weight, NULL);
    request->width = request->height = 16;
    request->steps = 1;
    request->loras = g_strdupv((char *[]){lora, NULL});
    g_autoptr(LdmResult) result = ldm_generate(model, request, NULL, &error);
    if (says == NULL) {
        g_assert_no_error(error);
        return;
    }
    g_assert_error(error, LDM_ERROR, LDM_ERROR_NONFINITE);
    if (strstr(error->message, says) == NULL)
        g_error("“%s” does not say “%s”", error->message, says);
    g_assert_null(ldm_generate(model, request, NULL, NULL));
}

static void test_nonfinite_lora(void)
{
    guint16 numbers[128];
    for (int i = 0; i < 3; i++) {
        g_autofree char *cause = g_strconcat(path, ": tensor ", i == 1 ? UP : DOWN, NULL);
        MadeFile *file = made_file_new();
        for (int k = 0; k < 128; k++)
            numbers[k] = 0x3c00; /* 1 */
        numbers[5] = i == 2 ? 0x7e00 : 0x3c00;
        made_file_add(file, DOWN, "F16", 2, (size_t[]){4, 32}, numbers, sizeof numbers);
        numbers[5] = i == 1 ? 0x7c00 : 0x3c00;
        made_file_add(file, UP, "F16", 2, (size_t[]){32, 4}, numbers, sizeof numbers);
        made_file_write(file, path, 0);
        assert_nonfinite(":0", NULL);
        assert_nonfinite(i == 0 ? "" : ":0.5", i == 0 ? NULL : cause);
        if (i == 0)
            assert_nonfinite(":1e38", "less weight");
    }
}

/* Metadata are text from anywhere, too. */
static void test_metadata(void)
{
    static const struct {
        const char *text; /* as it stands inside a JSON string */
        bool good;
    } cases[] = {
        {"{\\\"unet.lora_alpha\\\": 8}", true},
        {"{\\\"unet.lora_alpha\\\": \\\"x\\\", \\\"unet.alpha_pattern\\\": 3}", true},
        {"{\\\"unet.alpha_pattern\\\": {\\\"to_q\\\": {}}}", true},
        {"{\\\"unet.lora_alpha\\\": 1e999}", false},
        {"[1]", false},
        {"{", false},
        {"", false},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        MadeFile *file = made_file_new();
        const guint16 zeros[128] = {0};
        g_string_printf(file->header, "{\"__metadata__\":{\"lora_adapter_metadata\":\"%s\"}",
                        cases[i].text);
        made_file_add(file, DOWN, "F16", 2, (size_t[]){4, 32}, zeros, sizeof zeros);
        made_file_add(file, UP, "F16", 2, (size_t[]){32, 4}, zeros, sizeof zeros);
        made_file_write(file, path, 0);
        if (add(true, path, &error) != cases[i].good)
            g_error("%s: %s", cases[i].text, error != NULL ? error->message : "was accepted");
        g_assert_true(error == NULL || strstr(error->message, path) != NULL);
    }
}

/* A colon may be part of a file's name; what is no number is no weight. */
static void test_weights(void)
{
    static const char *const endings[] = {":", ":x", ":nan", ":inf", ":0.5:", ":0.5x"};
    static const Bad good = {"", 0, {{DOWN, 2, {4, 32}}, {UP, 2, {32, 4}}}};
    write_file(&good);
    for (size_t i = 0; i < G_N_ELEMENTS(endings); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *name = g_strconcat(path, endings[i], NULL);
        g_assert_false(add(true, name, &error));
        g_assert_error(error, LDM_ERROR, LDM_ERROR_FILE);
        g_assert_nonnull(strstr(error->message, name));
    }
    g_autofree char *name = g_strconcat(path, ":-0.5", NULL);
    g_autoptr(GError) error = NULL;
    g_assert_true(add(true, name, &error));
    g_assert_no_error(error);
}

int main(int argc, char **argv)
{
    LdmModelConfig config = made_config(false, MADE_WORDS);
    MadeModel *made = made_model_new(&config);
    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("pentimento-adapter-XXXXXX", NULL);
    path = g_build_filename(folder, "adapter.safetensors", NULL);
    made_folder(made, folder);
    made_model_free(made);
    model = ldm_model_load(folder, NULL);
    g_assert_nonnull(model);
    g_test_add_func("/adapter-bad/lora", test_loras);
    g_test_add_func("/adapter-bad/words", test_words);
    g_test_add_func("/adapter-bad/alpha", test_alpha);
    g_test_add_func("/adapter-bad/other-kinds", test_other_kinds);
    g_test_add_func("/adapter-bad/ending", test_ending);
    g_test_add_func("/adapter-bad/nonfinite-word", test_nonfinite_word);
    g_test_add_func("/adapter-bad/nonfinite-lora", test_nonfinite_lora);
    g_test_add_func("/adapter-bad/metadata", test_metadata);
    g_test_add_func("/adapter-bad/weights", test_weights);
    int status = g_test_run();
    ldm_model_unref(model);
    made_remove(folder);
    g_free(folder);
    g_free(path);
    return status;
}
