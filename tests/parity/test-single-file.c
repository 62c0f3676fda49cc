/* Whole models from single files in the layouts of SD 1 and SD 2 against diffusers, whose own
 * converters read the same names. The files are made here from recipes
 * (reference/make_single_files.py): numbers by a hash of line and index. */
#include "made-model.h"
#include "networks.h"
#include "tensor/half.h"

/* Uniform in [-1, 1), 24 bits. */
static float uniform(uint32_t line, uint32_t index)
{
    uint32_t x = index * 0x9E3779B1u + line * 0x85EBCA77u;
    x = (x ^ x >> 16) * 0x7FEB352Du;
    x = (x ^ x >> 15) * 0x846CA68Bu;
    x ^= x >> 16;
    return (float)(x >> 8) * 0x1p-23f - 1;
}

/* "NAME EXPONENT OFFSET 4x3x2" */
static void add_tensor(MadeFile *file, const char *text, uint32_t line)
{
    g_auto(GStrv) fields = g_strsplit(text, " ", 4);
    g_assert_cmpuint(g_strv_length(fields), ==, 4);
    g_auto(GStrv) sides = g_strsplit(fields[3], "x", -1);
    size_t shape[LDM_MAX_RANK], count = 1;
    int rank = (int)g_strv_length(sides);
    for (int i = 0; i < rank; i++) {
        shape[i] = (size_t)g_ascii_strtoull(sides[i], NULL, 10);
        count *= shape[i];
    }
    float scale = ldexpf(1, (int)g_ascii_strtoll(fields[1], NULL, 10));
    float offset = (float)g_ascii_strtoll(fields[2], NULL, 10);
    g_autofree uint16_t *values = g_new(uint16_t, count);
    for (size_t i = 0; i < count; i++)
        values[i] = ldm_f32_to_f16(uniform(line, (uint32_t)i) * scale + offset);
    made_file_add(file, fields[0], "F16", rank, shape, values, count * sizeof *values);
}

static char *fixture(const char *model, const char *file)
{
    return g_build_filename(g_getenv("PENTIMENTO_FIXTURES"), "single-file", model, file, NULL);
}

/* NULL where the model has no such array. */
static LdmTensor *array(const char *model, const char *file)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = fixture(model, file);
    if (!g_file_test(path, G_FILE_TEST_EXISTS))
        return NULL;
    LdmTensor *tensor = ldm_npy_read(path, &error);
    g_assert_no_error(error);
    return tensor;
}

/* FOLDER/model.safetensors and, where the recipe has one, FOLDER/model.yaml. */
static char *make_file(const char *model, const char *folder)
{
    g_autofree char *recipe = fixture(model, "tensors.txt"), *text = NULL;
    g_autofree char *yaml = fixture(model, "config.yaml"), *yaml_text = NULL;
    gsize yaml_bytes;
    g_assert_true(g_file_get_contents(recipe, &text, NULL, NULL));
    g_auto(GStrv) lines = g_strsplit(g_strchomp(text), "\n", -1);
    MadeFile *file = made_file_new();
    for (uint32_t i = 0; lines[i] != NULL; i++)
        add_tensor(file, lines[i], i);
    char *path = g_build_filename(folder, "model.safetensors", NULL);
    made_file_write(file, path, 0);
    if (g_file_get_contents(yaml, &yaml_text, &yaml_bytes, NULL)) {
        g_autofree char *yaml_path = g_build_filename(folder, "model.yaml", NULL);
        made_write(yaml_path, yaml_text, yaml_bytes);
    }
    return path;
}

static void assert_result(LdmTensor *result, const char *model, const char *file, GError *error)
{
    g_autoptr(LdmTensor) expected = array(model, file);
    g_assert_no_error(error);
    assert_close(result, expected, file);
    ldm_tensor_free(result);
}

static void check(LdmModel *model, const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmTensor) context = array(name, "context.npy"), latent = array(name, "latent.npy"),
                         concat = array(name, "concat.npy"), picture = array(name, "picture.npy"),
                         z = array(name, "z.npy");
    assert_result(ldm_condition(model, "a photo of a cat", NULL, &error), name, "context.npy",
                  error);
    assert_result(ldm_predict(model, latent, 501, context, concat, NULL, &error), name, "y.npy",
                  error);
    assert_result(ldm_encode(model, picture, -1, NULL, &error), name, "mean.npy", error);
    assert_result(ldm_decode(model, z, NULL, &error), name, "decoded.npy", error);
}

static void test_model(const void *name)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *folder = g_dir_make_tmp("ldm-XXXXXX", &error);
    g_autofree char *path = make_file(name, folder);
    g_autoptr(LdmModel) model = ldm_model_load(path, &error);
    g_assert_no_error(error);
    const LdmModelInfo *info = ldm_model_info(model);
    bool second = strcmp(name, "sd2") == 0;
    g_assert_cmpstr(info->layout, ==, "single-file");
    g_assert_cmpint(info->prediction, ==, second ? LDM_PREDICTION_V : LDM_PREDICTION_EPSILON);
    g_assert_cmpint(info->unet_in_channels, ==, second ? 9 : 4);
    check(model, name);
    g_clear_pointer(&model, ldm_model_unref);
    g_autofree char *yaml = g_build_filename(folder, "model.yaml", NULL);
    g_remove(yaml);
    g_assert_cmpint(g_remove(path), ==, 0);
    g_assert_cmpint(g_rmdir(folder), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/single-file/sd1", "sd1", test_model);
    g_test_add_data_func("/single-file/sd2", "sd2", test_model);
    return g_test_run();
}
