/* Configuration files that are damaged, hostile, or of models that are not supported: each is
 * refused with a message that names the key and what it holds. */
#include "made-model.h"
#include "weights/json.h"
#include "weights/source.h"
#include "weights/yaml-file.h"

static char *folder; /* a good diffusers folder, one file of which is bad at a time */
static char *single; /* a good single file; its .yaml is bad */

static void refused(const char *path, int code, const char *words, const char *what)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmSource) source = ldm_source_open(path, &error);
    if (source != NULL || error->domain != LDM_ERROR || error->code != code ||
        strstr(error->message, words) == NULL)
        g_error("%s: %s", what, error != NULL ? error->message : "was accepted");
    g_assert_true(g_utf8_validate(error->message, -1, NULL));
    g_assert_cmpuint(strlen(error->message), <, 1000);
}

#define BAD LDM_ERROR_FORMAT
#define NOT LDM_ERROR_UNSUPPORTED

static const struct {
    const char *part, *key, *value; /* JSON; NULL: left out */
    int code;
    const char *words; /* NULL: the key */
} values[] = {
    {"unet", "act_fn", "\"mish\"", NOT},
    {"unet", "act_fn", "[]", NOT},
    {"unet", "attention_head_dim", "\"8\"", BAD},
    {"unet", "attention_head_dim", "7", NOT},
    {"unet", "attention_head_dim", "[8,8,8]", NOT},
    {"unet", "attention_head_dim", "[8,\"8\"]", BAD},
    {"unet", "attention_head_dim", "0", NOT},
    {"unet", "num_attention_heads", "-1", NOT, "heads"},
    {"unet", "block_out_channels", "[]", NOT},
    {"unet", "block_out_channels", "[32,64,64]", NOT, "down_block_types"},
    {"unet", "block_out_channels", "[32,32,32,32,32,32,32,32,32]", NOT},
    {"unet", "block_out_channels", "[32,1e10]", BAD},
    {"unet", "block_out_channels", "[32,64.5]", BAD},
    {"unet", "block_out_channels", "[32,[64]]", BAD},
    {"unet", "block_out_channels", "\"32\"", NOT},
    {"unet", "block_out_channels", "[32,-64]", NOT},
    {"unet", "class_embed_type", "\"timestep\"", NOT},
    {"unet", "addition_embed_type", "\"text_time\"", NOT},
    {"unet", "conv_in_kernel", "5", NOT},
    {"unet", "cross_attention_dim", "[32,64]", NOT},
    {"unet", "down_block_types", "[\"CrossAttnDownBlock2D\",\"AttnDownBlock2D\"]", NOT},
    {"unet", "down_block_types", "[\"CrossAttnDownBlock2D\"]", NOT},
    {"unet", "down_block_types", "[\"CrossAttnDownBlock2D\",7]", NOT},
    {"unet", "up_block_types", "[\"CrossAttnUpBlock2D\",\"UpBlock2D\"]", NOT},
    {"unet", "up_block_types", "\"UpBlock2D\"", NOT},
    {"unet", "up_block_types", NULL, NOT},
    {"unet", "mid_block_type", "\"UNetMidBlock2DSimpleCrossAttn\"", NOT},
    {"unet", "mid_block_type", "null", NOT, "mid_block_type is null"},
    {"unet", "only_cross_attention", "true", NOT},
    {"unet", "only_cross_attention", "[true]", NOT},
    {"unet", "only_cross_attention", "[true,1]", NOT},
    {"unet", "time_cond_proj_dim", "256", NOT},
    {"unet", "flip_sin_to_cos", "false", NOT},
    {"unet", "freq_shift", "1", NOT},
    {"unet", "layers_per_block", "[1,2]", NOT},
    {"unet", "layers_per_block", "1e300", BAD},
    {"unet", "layers_per_block", "1000000", NOT},
    {"unet", "norm_eps", "\"1e-5\"", BAD},
    {"unet", "transformer_layers_per_block", "[[1],[1]]", BAD},
    {"unet", "use_linear_projection", "1", BAD},
    {"unet", "_class_name", "\"UNet2DModel\"", NOT},
    {"unet", "in_channels", "8", NOT},
    {"vae", "latent_channels", "16", NOT, "in_channels is 4"},
    {"vae", "latents_mean", "[0,0,0,0]", NOT},
    {"vae", "_class_name", "\"AutoencoderTiny\"", NOT},
    {"vae", "down_block_types", "[\"SkipDownBlock2D\",\"DownEncoderBlock2D\"]", NOT},
    {"vae", "down_block_types", "[\"AttnDownEncoderBlock2D\",\"DownEncoderBlock2D\"]", NOT,
     "up_block_types"},
    {"vae", "scaling_factor", "0", NOT},
    {"vae", "use_quant_conv", "\"yes\"", BAD},
    {"vq", "num_vq_embeddings", "0", NOT, "num_vq_embeddings is 0"},
    {"vq", "num_vq_embeddings", "-8", NOT},
    {"vq", "num_vq_embeddings", "2000000000", NOT},
    {"vq", "num_vq_embeddings", "1e300", BAD},
    {"vq", "num_vq_embeddings", "\"8\"", BAD},
    {"vq", "vq_embed_dim", "0", NOT, "vq_embed_dim is 0"},
    {"vq", "vq_embed_dim", "65", NOT},
    {"vq", "vq_embed_dim", "3", NOT, "in_channels is 4"},
    {"vq", "latent_channels", "0", NOT, "latent_channels is 0"},
    {"vq", "norm_type", "\"spatial\"", NOT},
    {"text_encoder", "hidden_act", "\"relu\"", NOT},
    {"text_encoder", "hidden_act", "5", BAD},
    {"text_encoder", "hidden_size", "64", NOT},
    {"text_encoder", "vocab_size", "2000000000", NOT, "vocab_size is 2000000000"},
    {"text_encoder", "vocab_size", "100", NOT, "bos_token_id is 512"},
    {"text_encoder", "num_hidden_layers", "0", NOT},
    {"text_encoder", "model_type", "\"t5\"", NOT},
    {"scheduler", "_class_name", "\"FlowMatchEulerDiscreteScheduler\"", NOT},
    {"scheduler", "beta_schedule", "\"sigmoid\"", NOT},
    {"scheduler", "prediction_type", "\"flow_prediction\"", NOT},
    {"scheduler", "timestep_spacing", "\"random\"", NOT},
    {"scheduler", "trained_betas", "[0.1]", NOT},
    {"scheduler", "clip_sample", "true", NOT},
    {"scheduler", "num_train_timesteps", "0", NOT},
    {"scheduler", "beta_end", "2", NOT},
    {"scheduler", "set_alpha_to_one", "\"false\"", BAD},
};

static const char vq_json[] =
    "{\"_class_name\":\"VQModel\",\"block_out_channels\":[32,64],\"latent_channels\":4,"
    "\"layers_per_block\":1,\"num_vq_embeddings\":16,\"sample_size\":16,"
    "\"down_block_types\":[\"DownEncoderBlock2D\",\"DownEncoderBlock2D\"],"
    "\"up_block_types\":[\"UpDecoderBlock2D\",\"UpDecoderBlock2D\"]}";

static const char *file_of(const char *part, const char **text)
{
    bool scheduler = strcmp(part, "scheduler") == 0;
    *text = scheduler                   ? made_schedule_json
            : strcmp(part, "unet") == 0 ? made_unet_json
            : strcmp(part, "vae") == 0  ? made_vae_json
            : strcmp(part, "vq") == 0   ? vq_json
                                        : made_text_json;
    return scheduler ? "scheduler_config.json" : "config.json";
}

static void test_values(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(values); i++) {
        const char *text, *name = file_of(values[i].part, &text);
        GError *error = NULL;
        JsonObject *json = ldm_json_parse(text, strlen(text), name, &error);
        g_assert_no_error(error);
        if (values[i].value != NULL)
            json_object_set_member(json, values[i].key, json_from_string(values[i].value, &error));
        else
            json_object_remove_member(json, values[i].key);
        g_assert_no_error(error);
        JsonNode *root = json_node_init_object(json_node_alloc(), json);
        g_autofree char *changed = json_to_string(root, FALSE);
        g_autofree char *what = g_strjoin(" ", values[i].key, values[i].value, NULL);
        json_node_unref(root);
        json_object_unref(json);
        const char *sub = strcmp(values[i].part, "vq") == 0 ? "vae" : values[i].part;
        made_text(folder, sub, name, changed);
        refused(folder, values[i].code, values[i].words != NULL ? values[i].words : values[i].key,
                what);
        made_text(folder, sub, name, text);
    }
    made_text(folder, "vae", "config.json", made_vae_json);
}

/* Weights without a codebook, and with a posterior, for a configuration that says otherwise. */
static void test_codebook(void)
{
    g_autoptr(GError) error = NULL;
    made_text(folder, "vae", "config.json", vq_json);
    g_assert_null(ldm_model_load(folder, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_SHAPE);
    g_assert_nonnull(strstr(error->message, "conv_out"));
    made_text(folder, "vae", "config.json", made_vae_json);
}

static void test_json(void)
{
    static const char *const texts[] = {
        "",
        " ",
        "{",
        "}",
        "[]",
        "null",
        "\"a\"",
        "{\"a\":1}}",
        "{\"a\":1,}",
        "{\"a\"}",
        "{a:1}",
        "{\"a\":'b'}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":01}",
        "{\"a\":-01}",
        "{\"a\":+1}",
        "{\"a\":.}",
        "{\"a\":0x10}",
        "{\"a\":Infinity}",
        "{\"a\":tru}",
        "{\"a\":nul}",
        "{\"a\":\"\t\"}",
        "{\"a\":\"\\u0000\"}",
        "{\"a\":\"\\",
        "{\"a\":1,\"a\":2}",
        "{\"a\":{\"b\":1,\"b\":1}}",
        "{\"a\":1}//",
        "/**/{}",
        "{\"\\u0061\":1,\"a\":2}",
        "\xef\xbb\xbf{}",
        "{\"a\":\"\xc0\x80\"}",
        "{\"a\":\"\xed\xa0\x80\"}",
        "var a = {}",
        "{\"a\":--1}",
        "{\"a\":1e}",
        "{\"a\":e1}",
        "{\"a\":[}",
        "{\"a\":[1,]}",
        "{,}",
        "{\"a\":,}",
        "{\"a\"::1}",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = NULL;
        JsonObject *json = ldm_json_parse(texts[i], strlen(texts[i]), "x.json", &error);
        if (json != NULL)
            g_error("“%s” was accepted", texts[i]);
        g_assert_error(error, LDM_ERROR, LDM_ERROR_FORMAT);
        g_assert_nonnull(strstr(error->message, "x.json"));
    }
}

/* Files that Python wrote have words for numbers that JSON has not: they are as good as absent.
 * Headers of weights stay strict (test_json). */
static void test_json_python(void)
{
    static const struct {
        const char *text;
        int nulls; /* -1: refused */
    } cases[] = {
        {"{\"a\":-Infinity}", 1},
        {"{\"a\":[Infinity, NaN,-Infinity ],\"b\":NaN}", 4},
        {"{\"a\":\"NaN\",\"Infinity\":\"\\\"NaN\"}", 0},
        {"{\"a\":-NaN}", -1},
        {"{\"a\":--Infinity}", -1},
        {"{\"a\":1Infinity}", -1},
        {"{\"a\":Infinity1}", -1},
        {"{\"a\":NaNNaN}", -1},
        {"{\"a\":nan}", -1},
        {"{\"a\":Inf}", -1},
        {"{NaN:1}", -1},
        {"{\"a\":NaN", -1},
        {"{\"a\":\"NaN", -1},
    };
    g_autofree char *path = g_build_filename(folder, "python.json", NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        made_text(folder, "", "python.json", cases[i].text);
        g_autoptr(JsonObject) json = ldm_json_load(path, LDM_CONFIG_BYTES, &error);
        if ((json != NULL) != (cases[i].nulls >= 0))
            g_error("%s: %s", cases[i].text, error != NULL ? error->message : "was accepted");
        if (json == NULL)
            continue;
        g_autoptr(JsonNode) node = json_node_init_object(json_node_alloc(), json);
        g_autofree char *read = json_to_string(node, FALSE);
        g_auto(GStrv) pieces = g_strsplit(read, "null", -1);
        g_assert_cmpint((int)g_strv_length(pieces) - 1, ==, cases[i].nulls);
    }
    g_remove(path);

    g_autoptr(GError) error = NULL;
    made_text(folder, "scheduler", "scheduler_config.json",
              "{\"_class_name\":\"DPMSolverMultistepScheduler\",\"beta_start\":0.00085,"
              "\"beta_end\":0.012,\"lambda_min_clipped\":-Infinity}");
    g_autoptr(LdmSource) source = ldm_source_open(folder, &error);
    g_assert_no_error(error);
    g_assert_cmpfloat(source->config.schedule.beta_end, ==, 0.012);
    made_text(folder, "scheduler", "scheduler_config.json", made_schedule_json);
}

/* Every prefix and every flipped bit of a real configuration: an error or an object. */
static void test_json_mutations(void)
{
    size_t length = strlen(made_text_json);
    g_autofree char *text = g_strdup(made_text_json);
    for (size_t n = 0; n < length; n++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(ldm_json_parse(text, n, "x.json", &error));
        g_assert_nonnull(error);
    }
    for (size_t i = 0; i < 8 * length; i++) {
        g_autoptr(GError) error = NULL;
        text[i / 8] ^= (char)(1 << (i % 8));
        JsonObject *json = ldm_json_parse(text, length, "x.json", &error);
        g_assert_true((json == NULL) == (error != NULL));
        if (json != NULL)
            json_object_unref(json);
        text[i / 8] ^= (char)(1 << (i % 8));
    }
}

static void test_json_limits(void)
{
    g_autoptr(GString) deep = g_string_new("{\"a\":");
    g_autoptr(GString) fine = g_string_new("{\"a\":");
    for (int i = 0; i < 1000000; i++)
        g_string_append_c(deep, '[');
    for (int i = 0; i < LDM_JSON_DEPTH - 1; i++)
        g_string_append_c(fine, '[');
    for (int i = 0; i < LDM_JSON_DEPTH - 1; i++)
        g_string_append_c(fine, ']');
    g_string_append_c(fine, '}');
    g_autoptr(GError) error = NULL;
    g_autoptr(GError) none = NULL;
    g_assert_null(ldm_json_parse(deep->str, deep->len, "x.json", &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_UNSUPPORTED);
    g_autoptr(JsonObject) json = ldm_json_parse(fine->str, fine->len, "x.json", &none);
    g_assert_no_error(none);

    g_autofree char *long_text = g_strnfill(LDM_CONFIG_BYTES + 1, ' ');
    made_text(folder, "unet", "config.json", long_text);
    refused(folder, NOT, "too long", "a long file");
    made_text(folder, "unet", "config.json", made_unet_json);
}

/* Name k of many to which g_str_hash, 33 h + c, gives one hash: each bit of k says whether "BA" or
 * "Ab" is put down, which add the same. */
static void add_equal(GString *name, guint k, const char *first)
{
    for (int bit = 0; bit < 17; bit++)
        g_string_append(name, k >> bit & 1 ? first : "Ab");
}

/* Name k of many whose hashes differ, and begin at one place of a table of 65536 nevertheless: 11 h
 * is a number of steps of that table's prime. Its characters are what is left of h in base 33. */
static void add_aligned(GString *name, guint k)
{
    guint hash = k * 65521u * 0xBA2E8BA3u; /* 1 / 11 */
    guint beginning = 5381, characters[7];
    g_assert_cmpuint(11u * 0xBA2E8BA3u, ==, 1);
    for (int i = 0; i < 7; i++)
        beginning = beginning * 33 + '0';
    hash -= beginning;
    for (int i = 0; i < 7; i++, hash /= 33)
        characters[6 - i] = '0' + hash % 33;
    for (int i = 0; i < 7; i++)
        g_string_append_c(name, (char)characters[i]);
}

/* Names that make hash tables slow are refused, as many as it takes, and no others. */
static void test_json_collisions(void)
{
    static const struct {
        const char *kind;
        guint n;
        bool good;
    } cases[] = {
        {"plain", 100000, true}, {"equal", 60, true},       {"equal", 100000, false},
        {"escaped", 65, false},  {"aligned", 60000, false},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GString) json = g_string_new("{\"a\":{\"twice\":[]},\"b\":{\"twice\":[]}");
        for (guint k = 0; k < cases[i].n; k++) {
            g_string_append(json, k % 2 == 0 ? ",\"" : ",\n\"");
            if (cases[i].kind[0] == 'a')
                add_aligned(json, k);
            else if (cases[i].kind[0] == 'p')
                g_string_append_printf(json, "blocks.%u.%u.weight", k % 100, k / 100);
            else
                add_equal(json, k, cases[i].good || cases[i].n > 65 ? "BA" : "\\u0042A");
            g_string_append(json, k % 2 == 0 ? "\":1" : "\" :1");
        }
        g_string_append_c(json, '}');
        g_autoptr(JsonObject) object = ldm_json_parse(json->str, json->len, "x.json", &error);
        if ((object != NULL) != cases[i].good)
            g_error("%s: %s", cases[i].kind, error != NULL ? error->message : "was accepted");
        if (!cases[i].good)
            g_assert_error(error, LDM_ERROR, LDM_ERROR_UNSUPPORTED);
    }
}

static const struct {
    const char *text;
    int code;
    const char *words;
} yamls[] = {
    {"a: b: c", BAD, "line 1"},
    {"a: [1", BAD, "with.yaml"},
    {"\tmodel: 1", BAD, "with.yaml"},
    {"model: &a [*b]", BAD, "with.yaml"},
    {"model: \"open", BAD, "with.yaml"},
    {"\xfa: 1", BAD, "with.yaml"},
    {"model: {params: {linear_start: x}}", BAD, "linear_start"},
    {"model: {params: {linear_start: [1]}}", BAD, "linear_start"},
    {"model: {params: {linear_start: .nan}}", BAD, "linear_start"},
    {"model: {params: {linear_start: 1e999}}", BAD, "linear_start"},
    {"model: {params: {linear_start: 0.1 0.2}}", BAD, "linear_start"},
    {"model: {params: {linear_start: 0.01, linear_start: 0.02}}", BAD, "linear_start"},
    {"model: {params: {linear_start: -1}}", NOT, "beta_start"},
    {"model: {params: {linear_end: 1}}", NOT, "beta_end"},
    {"model: {params: {timesteps: 0}}", NOT, "num_train_timesteps"},
    {"model: {params: {timesteps: 10.5}}", BAD, "timesteps"},
    {"model: {params: {timesteps: 1e12}}", BAD, "timesteps"},
    {"model: {params: {parameterization: flow}}", NOT, "parameterization is flow"},
    {"model: {params: {parameterization: [v]}}", NOT, "parameterization"},
    {"model: {params: {beta_schedule: sqrt}}", NOT, "beta_schedule is sqrt"},
    {"model: {params: {conditioning_key: adm}}", NOT, "conditioning_key is adm"},
    {"model: {params: {scale_factor: 0}}", NOT, "scaling_factor"},
    {"model: {params: {image_size: -3}}", NOT, "sample_size"},
    {"model: {params: {unet_config: {params: {num_heads: 7}}}}", NOT, "number of heads"},
    {"model: {params: {unet_config: {params: {num_head_channels: 7}}}}", NOT,
     "num_head_channels 7"},
    {"model: {params: {unet_config: {params: {transformer_depth: 2}}}}", BAD,
     "transformer_depth is 2"},
    {"model: {params: {unet_config: {params: {use_scale_shift_norm: True}}}}", NOT, "scale_shift"},
    {"model: {params: {unet_config: {params: {num_classes: 1000}}}}", NOT, "num_classes is 1000"},
    {"model: {params: {first_stage_config: {target: ldm.VQModelInterface}}}", NOT, "VQModel"},
    {"model: {params: {first_stage_config: {params: {embed_dim: 3}}}}", NOT, "embed_dim 3"},
    {"model: {params: {cond_stage_config: {target: ldm.modules.ClassEmbedder}}}", NOT, "ClassEmb"},
    {"model: {params: {cond_stage_config: {params: {layer: pooled}}}}", NOT, "layer is pooled"},
    {"model: {params: {cond_stage_config: {params: {max_length: 76}}}}", NOT, "max_length 76"},
};

static void write_yaml(const char *text)
{
    g_autofree char *where = g_path_get_dirname(single);
    made_text(where, "", "with.yaml", text);
}

static void test_yaml(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(yamls); i++) {
        write_yaml(yamls[i].text);
        refused(single, yamls[i].code, yamls[i].words, yamls[i].text);
    }
    g_autofree char *long_text = g_strnfill(LDM_YAML_BYTES + 1, '#');
    write_yaml(long_text);
    refused(single, NOT, "too long", "a long .yaml");
    g_autofree char *deep = g_strnfill(LDM_YAML_BYTES, '[');
    write_yaml(deep);
    refused(single, NOT, "nested too deeply", "a deep .yaml");
}

/* Files that make parsers slow: whatever comes of them, it comes soon. */
static void test_yaml_slow(void)
{
    static const char *const parts[] = {
        "- ",  "? ",   "a: &a\n", "- &a *a\n", "[],", "'",  "!!a ", "\n ",
        "&a ", "{}: ", "a:\n- ",  "\"\\",      "][",  "# ", "%"};
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        g_autoptr(GString) text = g_string_new(NULL);
        while (text->len + strlen(parts[i]) <= LDM_YAML_BYTES)
            g_string_append(text, parts[i]);
        write_yaml(text->str);
        gint64 start = g_get_monotonic_time();
        g_autoptr(LdmSource) source = ldm_source_open(single, NULL);
        if (g_get_monotonic_time() - start > 10 * G_USEC_PER_SEC)
            g_error("“%s” over and over is slow", parts[i]);
    }
}

/* What says nothing of the keys we read changes nothing; circles and bombs do no harm. */
static void test_yaml_harmless(void)
{
    static const char *const texts[] = {
        "# nothing",
        "a: 1",
        "[]",
        "model:",
        "model: 7",
        "model: {params: null}",
        "model: {params: {linear_start: ~, timesteps: null, scale_factor: }}",
        "model: &m\n  params: &p\n    unet_config: *m\n    x: *p\n",
        "--- {a: 1}\n--- {b: 2}\n",
        "a: &a [1,1]\nb: &b [*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c]\n"
        "e: &e [*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e]\ng: [*f,*f,*f,*f]\n",
        "? [complex, key]\n: 1\nmodel: {params: {timesteps: 1000}}\n",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = NULL;
        write_yaml(texts[i]);
        g_autoptr(LdmSource) source = ldm_source_open(single, &error);
        if (source == NULL)
            g_error("%s: %s", texts[i], error->message);
        g_assert_cmpint(source->config.schedule.train_steps, ==, 1000);
        g_assert_cmpfloat(source->config.vae.scale_factor, ==, 0.18215);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_autofree char *top = g_dir_make_tmp("pentimento-bad-XXXXXX", NULL);
    LdmModelConfig small = made_config(false, MADE_WORDS), standard = made_config(true, 49408);
    MadeModel *model = made_model_new(&small), *other = made_model_new(&standard);
    folder = g_build_filename(top, "folder", NULL);
    single = g_build_filename(top, "with.safetensors", NULL);
    made_folder(model, folder);
    made_file_write(made_single(other), single, 0);
    made_model_free(model);
    made_model_free(other);
    g_test_add_func("/config-bad/values", test_values);
    g_test_add_func("/config-bad/codebook", test_codebook);
    g_test_add_func("/config-bad/json", test_json);
    g_test_add_func("/config-bad/json-python", test_json_python);
    g_test_add_func("/config-bad/json-mutations", test_json_mutations);
    g_test_add_func("/config-bad/json-limits", test_json_limits);
    g_test_add_func("/config-bad/json-collisions", test_json_collisions);
    g_test_add_func("/config-bad/yaml", test_yaml);
    g_test_add_func("/config-bad/yaml-slow", test_yaml_slow);
    g_test_add_func("/config-bad/yaml-harmless", test_yaml_harmless);
    int result = g_test_run();
    made_remove(top);
    g_free(folder);
    g_free(single);
    return result;
}
