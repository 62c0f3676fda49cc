/* Converting models: what is written loads again and computes what it should, whatever it was made
 * from; 8-bit weights are used where they lie; nothing is half there, and nothing is lost. */
#include "base/checked.h"
#include "made-model.h"
#include "own-folder.h"
#include "pipeline/model.h"
#include "tensor/half.h"
#include "weights/coarse.h"
#include "weights/config-write.h"

#include <fcntl.h>
#include <math.h>
#include <sys/file.h>
#include <unistd.h>

/* Learning from a picture draws its curve: pango's fonts stay for the life of the process. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libfontconfig\n";
}

/* Converts a model and loads the result, `name` in the folder. */
static LdmModel *made_of(LdmModel *model, const char *name, LdmDtype dtype)
{
    GError *error = NULL;
    g_autofree char *to = in_folder(name);
    ldm_convert(model, to, dtype, false, NULL, &error);
    g_assert_no_error(error);
    return made_load(to);
}

static LdmModel *converted(const char *from, const char *name, LdmDtype dtype)
{
    g_autoptr(LdmModel) model = made_load(from);
    return made_of(model, name, dtype);
}

/* Nothing under a hidden name is left. */
static void tidy(void)
{
    const char *name;
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    while ((name = g_dir_read_name(dir)) != NULL)
        g_assert_false(g_str_has_prefix(name, "."));
}

static void refused(LdmModel *model, const char *name, LdmDtype dtype, bool replace,
                    LdmErrorCode code, const char *words)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *to = in_folder(name);
    g_assert_false(ldm_convert(model, to, dtype, replace, NULL, &error));
    g_assert_error(error, LDM_ERROR, (int)code);
    if (strstr(error->message, words) == NULL)
        g_error("“%s” does not say “%s”", error->message, words);
    tidy();
}

/* ---- what models compute ---- */

static LdmTensor *ramp(int rank, const size_t *shape)
{
    GError *error = NULL;
    LdmTensor *t = ldm_tensor_new(LDM_F32, rank, shape, &error);
    g_assert_no_error(error);
    for (size_t i = 0; i < ldm_tensor_count(t); i++)
        ldm_tensor_f32(t)[i] = sinf((float)i * 0.37f);
    return t;
}

static LdmTensor *predict(LdmModel *model)
{
    const LdmModelInfo *info = ldm_model_info(model);
    size_t z = (size_t)info->latent_channels, in = (size_t)info->unet_in_channels;
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmTensor) latent = ramp(4, (size_t[]){1, 8, 8, z});
    g_autoptr(LdmTensor) concat = in > z ? ramp(4, (size_t[]){1, 8, 8, in - z}) : NULL;
    g_autoptr(LdmTensor) context = ldm_condition(model, "a red apple", NULL, &error);
    g_assert_no_error(error);
    LdmTensor *y = ldm_predict(model, latent, 500, context, concat, NULL, &error);
    g_assert_no_error(error);
    return y;
}

static LdmTensor *generate(LdmModel *model, LdmPrecision precision)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmRequest) request = ldm_request_new(LDM_TASK_GENERATE);
    request->precision = precision;
    request->seed = 3;
    request->steps = 2;
    request->width = request->height = 32;
    LdmResult *result = ldm_generate(model, request, NULL, &error);
    g_assert_no_error(error);
    LdmTensor *pixels = g_steal_pointer(&result->pixels);
    ldm_result_free(result);
    return pixels;
}

static double distance(const LdmTensor *a, const LdmTensor *b)
{
    double apart = 0, size = 0;
    g_assert_true(ldm_tensor_same_shape(a, b));
    for (size_t i = 0; i < ldm_tensor_count(a); i++) {
        double x = ldm_tensor_f32(a)[i], d = x - ldm_tensor_f32(b)[i];
        apart += d * d;
        size += x * x;
    }
    return sqrt(apart / size);
}

static void same(LdmTensor *(*of)(LdmModel *model), LdmModel *a, LdmModel *b)
{
    g_autoptr(LdmTensor) x = of(a), y = of(b);
    g_assert_cmpmem(x->data, ldm_tensor_count(x) * 4, y->data, ldm_tensor_count(y) * 4);
}

static LdmTensor *in_q8(LdmModel *model)
{
    return generate(model, LDM_PRECISION_Q8);
}

static LdmTensor *exactly(LdmModel *model)
{
    return generate(model, LDM_PRECISION_EXACT);
}

/* ---- tests ---- */

/* From f16: in 8 bits the very same bits as when they are made for the run, without copies; in
 * exact precision near the original, and what the folder converted back gives. */
static void test_q8(void)
{
    g_autoptr(LdmModel) source = made_load(NULL);
    g_autoptr(LdmModel) q8 = converted(NULL, "q8", LDM_Q8);
    g_autofree char *path = in_folder("q8");
    g_autoptr(LdmModel) wide = converted(path, "wide", LDM_F16);
    g_autoptr(LdmModel) again = converted(path, "again", LDM_Q8);
    g_autofree char *unet = in_folder("q8/unet/diffusion_pytorch_model.safetensors");
    g_assert_false(g_file_test(unet, G_FILE_TEST_EXISTS));
    g_assert_cmpint(ldm_model_info(q8)->dtype, ==, LDM_Q8);
    g_assert_cmpuint(ldm_model_info(q8)->parameters, ==, ldm_model_info(source)->parameters);
    g_assert_cmpuint(ldm_coarse_bytes(q8->unet_params, true), ==, 0);
    g_assert_cmpuint(ldm_coarse_bytes(q8->unet_params, false), >, 0);
    same(in_q8, source, q8);
    same(in_q8, again, q8);
    same(exactly, wide, q8);
    same(predict, wide, q8);
    g_autoptr(LdmTensor) x = predict(source), y = predict(q8);
    g_test_message("8-bit weights, exact products: %.2g apart", distance(x, y));
    g_assert_cmpfloat(distance(x, y), <, 0.02); /* whatever the weights that ship: 0.011 now */
    g_assert_cmpfloat(distance(x, y), >, 0);
    for (size_t i = 0; i < ldm_params_length(q8->unet_params); i++) {
        const LdmParam *param = ldm_params_at(q8->unet_params, i);
        g_assert_true(param->stored == param->coarse);
        g_assert_true((param->data == NULL) == param->stored); /* nothing is left of a run */
    }
}

/* Memory that a run takes, with and without copies. */
static void test_plan(void)
{
    g_autofree char *path = in_folder("q8");
    g_autoptr(LdmModel) q8 = made_load(path), source = made_load(NULL);
    uint64_t peak[4];
    for (int i = 0; i < 4; i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(LdmRequest) request = ldm_request_new(LDM_TASK_GENERATE);
        LdmPlan plan;
        request->precision = i % 2 ? LDM_PRECISION_Q8 : LDM_PRECISION_EXACT;
        g_assert_true(ldm_plan(i / 2 ? q8 : source, request, &plan, &error));
        peak[i] = plan.peak_bytes;
    }
    g_assert_cmpuint(peak[3], <, peak[0]);
    g_assert_cmpuint(peak[2] - peak[0], <, peak[0] / 1000); /* whole cache lines */
    g_assert_cmpuint(peak[1] - peak[3], <, peak[3] / 40);   /* whole pages of small weights */
}

static void test_learn(void)
{
    g_autofree char *path = in_folder("q8");
    g_autoptr(LdmModel) q8 = made_load(path), source = made_load(NULL);
    g_autoptr(GError) error = NULL;
    g_assert_true(ldm_model_check_trainable(source, &error));
    g_assert_false(ldm_model_check_trainable(q8, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_UNSUPPORTED);
    g_clear_error(&error);
    /* what a fill learns comes and goes with copies in f16 */
    g_autoptr(LdmRequest) request = ldm_request_new(LDM_TASK_INPAINT);
    request->picture = ramp(4, (size_t[]){1, 64, 64, 4});
    request->mask = ramp(4, (size_t[]){1, 64, 64, 1});
    for (size_t i = 0; i < 64 * 64; i++)
        ldm_tensor_f32(request->mask)[i] = i / 64 < 24 && i % 64 < 24 ? 1.0f : 0.0f;
    for (size_t i = 0; i < 4 * 64 * 64; i++)
        ldm_tensor_f32(request->picture)[i] = i % 4 == 3 ? 1.0f : 0.5f;
    request->learn = 1;
    request->steps = 1;
    for (int i = 0; i < 2; i++) { /* learning, and finding it learnt */
        LdmResult *result = ldm_generate(q8, request, NULL, &error);
        g_assert_no_error(error);
        ldm_result_free(result);
    }
}

/* A model of f32 weights. */
static void widen(MadeModel *made)
{
    for (int part = 0; part < LDM_N_PARTS; part++)
        for (size_t i = 0; i < ldm_params_length(made->params[part]); i++) {
            LdmParam *param = ldm_params_at(made->params[part], i);
            float *wide = g_new(float, ldm_param_count(param));
            for (size_t k = 0; k < ldm_param_count(param); k++) {
                made->random = made->random * 1664525u + 1013904223u;
                wide[k] = ((float)(made->random >> 8) / 8388608.0f - 1.0f) * 0.1f;
            }
            g_ptr_array_add(made->data, wide);
            param->data = wide;
            param->dtype = LDM_F32;
        }
}

static void write_wide(const MadeModel *made, LdmPart part, const char *path, const char *sub,
                       const char *name)
{
    MadeFile *file = made_file_new();
    for (size_t i = 0; i < ldm_params_length(made->params[part]); i++) {
        const LdmParam *param = ldm_params_at(made->params[part], i);
        made_file_add(file, param->name, "F32", param->rank, param->shape, param->data,
                      ldm_param_bytes(param));
    }
    g_autofree char *to = g_build_filename(path, sub, name, NULL);
    made_file_write(file, to, 0);
}

static void write_all(const MadeModel *made, const char *path)
{
    write_wide(made, LDM_PART_UNET, path, "unet", "diffusion_pytorch_model.safetensors");
    write_wide(made, LDM_PART_VAE, path, "vae", "diffusion_pytorch_model.safetensors");
    write_wide(made, LDM_PART_TEXT, path, "text_encoder", "model.safetensors");
}

/* Every weight is rounded to the nearest; one that f16 cannot hold is refused by name. */
static void test_rounding(void)
{
    LdmModelConfig config = made_config(false, MADE_WORDS);
    MadeModel *made = made_model_new(&config);
    g_autofree char *path = in_folder("f32");
    made_folder(made, path);
    widen(made);
    write_all(made, path);
    g_autoptr(LdmModel) half = converted(path, "f16", LDM_F16);
    g_autoptr(LdmModel) brain = converted(path, "bf16", LDM_BF16);
    const LdmParams *const tables[] = {half->unet_params, half->vae_params, half->text_params};
    const LdmParams *const others[] = {brain->unet_params, brain->vae_params, brain->text_params};
    for (int part = 0; part < LDM_N_PARTS; part++)
        for (size_t i = 0; i < ldm_params_length(made->params[part]); i++) {
            const LdmParam *param = ldm_params_at(made->params[part], i);
            const LdmParam *f16 = ldm_params_find(tables[part], param->name);
            const LdmParam *bf16 = ldm_params_find(others[part], param->name);
            g_assert_cmpint(f16->dtype, ==, LDM_F16);
            g_assert_cmpint(bf16->dtype, ==, LDM_BF16);
            for (size_t k = 0; k < ldm_param_count(param); k++) {
                float x = ((const float *)param->data)[k];
                g_assert_cmpuint(((const uint16_t *)f16->data)[k], ==, ldm_f32_to_f16(x));
                g_assert_cmpuint(((const uint16_t *)bf16->data)[k], ==, ldm_f32_to_bf16(x));
            }
        }
    LdmParam *param =
        ldm_params_find(made->params[LDM_PART_UNET], "mid_block.resnets.0.conv1.weight");
    ((float *)param->data)[17] = 65519.9f; /* still rounds to 65504 */
    write_all(made, path);
    g_autoptr(LdmModel) last = converted(path, "last", LDM_F16);
    ((float *)param->data)[17] = -65520.0f;
    write_all(made, path);
    g_autoptr(LdmModel) beyond = made_load(path);
    refused(beyond, "beyond", LDM_F16, false, LDM_ERROR_NONFINITE, param->name);
    refused(beyond, "beyond", LDM_Q8, false, LDM_ERROR_NONFINITE, param->name);
    g_autoptr(LdmModel) fits = converted(path, "fits", LDM_BF16);
    ((float *)param->data)[17] = NAN;
    write_all(made, path);
    g_autoptr(LdmModel) spoilt = made_load(path);
    refused(spoilt, "spoilt", LDM_Q8, false, LDM_ERROR_NONFINITE, param->name);
    refused(fits, "spoilt", LDM_F32, false, LDM_ERROR_INVALID, "f16");
    made_model_free(made);
}

/* Two objects of the same text. Takes both. */
static void same_json(JsonObject *a, JsonObject *b)
{
    JsonObject *const both[] = {a, b};
    char *text[2];
    for (int i = 0; i < 2; i++) {
        g_autoptr(JsonNode) root = json_node_alloc();
        json_node_take_object(json_node_init_object(root, NULL), both[i]);
        text[i] = json_to_string(root, FALSE);
    }
    g_assert_cmpstr(text[0], ==, text[1]);
    g_free(text[0]);
    g_free(text[1]);
}

static void check_single(const char *path, const char *name)
{
    g_autoptr(LdmModel) single = made_load(path);
    g_autoptr(LdmModel) model = made_of(single, name, LDM_F16);
    const LdmModelConfig *a = &single->config, *b = &model->config;
    LdmTextConfig text = a->text;
    text.layers -= text.skip_last; /* whose weights are not there */
    text.skip_last = 0;
    same_json(ldm_config_write_unet(&a->unet), ldm_config_write_unet(&b->unet));
    same_json(ldm_config_write_vae(&a->vae), ldm_config_write_vae(&b->vae));
    same_json(ldm_config_write_text(&text), ldm_config_write_text(&b->text));
    same_json(ldm_config_write_schedule(&a->schedule), ldm_config_write_schedule(&b->schedule));
    g_assert_cmpstr(ldm_model_info(model)->layout, ==, "diffusers");
    same(predict, single, model);
    same(exactly, single, model);
    if (strcmp(name, "sd1") != 0)
        return;
    g_autoptr(LdmModel) q8 = made_of(single, "sd1-q8", LDM_Q8);
    same(in_q8, single, q8);
}

/* Single files of both families, and with a codebook, become folders that compute the same. */
static void test_single(void)
{
    for (int second = 0; second < 2; second++) {
        LdmModelConfig config = made_config(second, 49408);
        MadeModel *made = made_model_new(&config);
        g_autofree char *name = g_strdup_printf("sd%d", second + 1);
        g_autofree char *path = g_strdup_printf("%s/%s.safetensors", folder, name);
        made_file_write(made_single(made), path, 0);
        check_single(path, name);
        made_model_free(made);
    }
    LdmModelConfig config = made_config(false, 49408);
    config.vae.regulariser = LDM_REGULARISER_VQ;
    config.vae.codebook = 40;
    config.vae.inner_channels = 4;
    MadeModel *made = made_model_new(&config);
    g_autofree char *path = in_folder("vq.safetensors");
    made_file_write(made_single(made), path, 0);
    check_single(path, "vq");
    made_model_free(made);
}

static void has(const char *name, bool there)
{
    g_autofree char *path = in_folder(name);
    g_assert_true(g_file_test(path, G_FILE_TEST_EXISTS) == there);
}

static void target_has(const char *file, bool there)
{
    g_autofree char *name = g_build_filename("target", file, NULL);

    has(name, there);
}

/* What comes along, what does not; what is in the way. */
static void test_folder(void)
{
    LdmModelConfig config = made_config(false, MADE_WORDS);
    MadeModel *made = made_model_new(&config);
    g_autofree char *path = in_folder("source");
    made_folder(made, path);
    made_text(path, "", "LICENSE.txt", "free");
    made_text(path, "", "empty", "");
    made_text(path, "", ".hidden", "no");
    made_text(path, "", "whole-model.ckpt", "no");
    made_text(path, "", "whole-model.safetensors", "no");
    made_text(path, "preview", "diffusion_pytorch_model.safetensors", "as it is");
    made_text(path, "unet", "diffusion_pytorch_model.bin", "no");
    made_text(path, "unet", "diffusion_pytorch_model.bin.index.json", "no");
    made_text(path, "unet", "model.onnx_data", "no");
    made_text(path, "elsewhere", "file", "no");
    g_autoptr(LdmModel) q8 = converted(path, "target", LDM_Q8);
    static const char *const there[] = {"LICENSE.txt",
                                        "empty",
                                        "model_index.json",
                                        "tokenizer/vocab.json",
                                        "tokenizer/merges.txt",
                                        "scheduler/scheduler_config.json",
                                        "preview/diffusion_pytorch_model.safetensors"};
    static const char *const absent[] = {".hidden",
                                         "whole-model.ckpt",
                                         "whole-model.safetensors",
                                         "unet/diffusion_pytorch_model.bin",
                                         "unet/diffusion_pytorch_model.bin.index.json",
                                         "unet/model.onnx_data",
                                         "elsewhere"};
    for (size_t i = 0; i < G_N_ELEMENTS(there); i++)
        target_has(there[i], true);
    for (size_t i = 0; i < G_N_ELEMENTS(absent); i++)
        target_has(absent[i], false);
    g_autoptr(LdmModel) source = made_load(path);
    refused(source, "target", LDM_F16, false, LDM_ERROR_FILE, "already");
    refused(source, "target/unet", LDM_F16, true, LDM_ERROR_FILE, "no model folder");
    refused(source, "target/LICENSE.txt", LDM_F16, true, LDM_ERROR_FILE, "no model folder");
    refused(source, "nowhere/target", LDM_F16, false, LDM_ERROR_FILE, "nowhere");
    made_text(folder, "target", "mine", "left over");
    g_autoptr(GError) error = NULL;
    g_autofree char *target = g_strconcat(folder, "/target/", NULL); /* as shells complete it */
    g_assert_true(ldm_convert(source, target, LDM_F16, true, NULL, &error));
    g_assert_no_error(error);
    has("target/mine", false);
    has("target/unet/diffusion_pytorch_model.safetensors", true);
    has("target/unet/diffusion_pytorch_model.q8.safetensors", false);
    tidy();
    same(in_q8, q8, source); /* whose files were replaced under it */
    /* In its own place, too; not where a single file would go with it. */
    g_assert_true(ldm_convert(source, path, LDM_BF16, true, NULL, &error));
    g_assert_no_error(error);
    g_autofree char *inner = g_build_filename(path, "inner.safetensors", NULL);
    MadeModel *other;
    config = made_config(false, 49408);
    other = made_model_new(&config);
    made_file_write(made_single(other), inner, 0);
    g_autoptr(LdmModel) single = made_load(inner);
    refused(single, "source", LDM_F16, true, LDM_ERROR_FILE, "that is read");
    made_model_free(other);
    made_model_free(made);
}

static void stop(const LdmProgress *progress, gpointer data)
{
    g_assert_cmpfloat(progress->fraction, <=, 1.0);
    if (progress->fraction > 0.0)
        g_cancellable_cancel(data);
}

static void test_cancelled(void)
{
    g_autoptr(LdmModel) model = made_load(NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autofree char *to = in_folder("cancelled");
    LdmMonitor monitor = {
        .cancellable = cancellable, .progress = stop, .progress_data = cancellable};
    g_cancellable_cancel(cancellable);
    g_assert_false(ldm_convert(model, to, LDM_Q8, false, &monitor, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_CANCELLED);
    g_assert_false(g_file_test(to, G_FILE_TEST_EXISTS));
    tidy();
}

/* What a killed process left is taken away; not what another one fills, nor anything else. */
static void test_left(void)
{
    static const char *const kept[] = {".pentimento-filled", ".pentimento-killed-old",
                                       ".pentimento-tokill", "pentimento-killed"};
    g_autoptr(LdmModel) model = made_load(NULL);
    g_autofree char *killed = in_folder(".pentimento-killed");
    g_autofree char *filled = in_folder(kept[0]);

    made_text(killed, "unet", "diffusion_pytorch_model.safetensors", "half");
    for (size_t i = 0; i < G_N_ELEMENTS(kept); i++) {
        g_autofree char *path = in_folder(kept[i]);
        if (i == 2)
            made_text(folder, "", kept[i], "of a file");
        else
            made_text(path, "", "a", "b");
    }
    int lock = open(filled, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g_assert_cmpint(flock(lock, LOCK_EX), ==, 0);
    g_autoptr(LdmModel) made = made_of(model, "after", LDM_F16);
    g_assert_false(g_file_test(killed, G_FILE_TEST_EXISTS));
    for (size_t i = 0; i < G_N_ELEMENTS(kept); i++) {
        g_autofree char *path = in_folder(kept[i]);
        has(kept[i], true);
        made_remove(path);
    }
    close(lock);
    tidy();
}

static void test_sizes(void)
{
    static const LdmDtype dtypes[] = {LDM_F16, LDM_BF16, LDM_Q8};
    static const char *const names[] = {"size-f16", "size-bf16", "size-q8"};
    g_autoptr(LdmModel) model = made_load(NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(dtypes); i++) {
        g_autoptr(GError) error = NULL;
        LdmConversion plan;
        g_autofree char *to = in_folder(names[i]);
        g_assert_true(ldm_convert_plan(model, to, dtypes[i], &plan, &error));
        g_autoptr(LdmModel) made = converted(NULL, names[i], dtypes[i]);
        g_assert_cmpuint(ldm_model_info(made)->weight_bytes, ==, plan.weight_bytes);
        g_assert_cmpuint(plan.bytes, >, plan.weight_bytes);
        g_assert_cmpuint(plan.free_bytes, >, 0);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("pentimento-convert-XXXXXX", NULL);
    g_autofree char *cache = in_folder("cache");
    g_setenv("XDG_CACHE_HOME", cache, TRUE);
    g_test_add_func("/convert-model/q8", test_q8);
    g_test_add_func("/convert-model/plan", test_plan);
    g_test_add_func("/convert-model/learn", test_learn);
    g_test_add_func("/convert-model/rounding", test_rounding);
    g_test_add_func("/convert-model/single", test_single);
    g_test_add_func("/convert-model/folder", test_folder);
    g_test_add_func("/convert-model/cancelled", test_cancelled);
    g_test_add_func("/convert-model/left", test_left);
    g_test_add_func("/convert-model/sizes", test_sizes);
    int result = g_test_run();
    made_remove(folder);
    g_free(folder);
    return result;
}
