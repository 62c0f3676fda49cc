/* safetensors files that are good: every dtype, odd ranks, empty arrays, several files as one. */
#include "made-model.h"
#include "weights/safetensors.h"

static char *folder;

static void test_kinds(void)
{
    static const struct {
        const char *type;
        int element;
        bool weights;
    } types[] = {
        {"F32", 4, true},  {"F16", 2, true},   {"BF16", 2, true},     {"F64", 8, false},
        {"I64", 8, false}, {"I32", 4, false},  {"I16", 2, false},     {"I8", 1, false},
        {"U8", 1, false},  {"BOOL", 1, false}, {"F8_E4M3", 1, false},
    };
    static const size_t shape[] = {1, 2, 1, 1, 3, 1};
    guint8 data[48];
    g_autofree char *path = g_build_filename(folder, "kinds.safetensors", NULL);
    MadeFile *file = made_file_new();
    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        memset(data, (int)i + 1, sizeof data);
        made_file_add(file, types[i].type, types[i].type, 6, shape, data,
                      6 * (size_t)types[i].element);
    }
    made_file_write(file, path, 0);
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmFiles) files = ldm_files_new();
    g_assert_true(ldm_files_add(files, path, &error));
    g_assert_cmpuint(ldm_files_length(files), ==, G_N_ELEMENTS(types));
    g_assert_cmpstr(ldm_files_path(files), ==, path);
    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        const LdmFileTensor *t = ldm_files_find(files, types[i].type);
        g_assert_nonnull(t);
        g_assert_cmpstr(t->type, ==, types[i].type);
        g_assert_cmpint(t->weights, ==, types[i].weights);
        g_assert_cmpint(t->rank, ==, 6);
        g_assert_cmpuint(t->shape[1], ==, 2);
        g_assert_cmpuint(t->bytes, ==, 6 * types[i].element);
        g_assert_cmpuint(t->data[t->bytes - 1], ==, i + 1);
        if (i > 0)
            g_assert_cmpuint(t->data[-1], ==, i);
    }
    g_assert_cmpint(ldm_files_find(files, "BF16")->dtype, ==, LDM_BF16);
    g_assert_null(ldm_files_find(files, "C64"));
}

/* Scalars, empty arrays between others, no metadata, entries in any order, no tensors at all. */
static void test_corners(void)
{
    static const char *const headers[] = {
        "{}",
        "{\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}",
        "{\"b\":{\"shape\":[2],\"data_offsets\":[2,4],\"dtype\":\"U8\"},"
        "\"e\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[2,2]},"
        "\"a\":{\"data_offsets\":[0,2],\"dtype\":\"F16\",\"shape\":[1]}}",
        "{\"\\u00e9\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"extra\":1}}   \n",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(headers); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *path = g_build_filename(folder, "corner.safetensors", NULL);
        guint8 file[512] = {0};
        size_t length = strlen(headers[i]);
        file[0] = (guint8)length;
        memcpy(file + 8, headers[i], length);
        made_write(path, file, 8 + length + (i == 0 ? 0 : 4));
        LdmFile *loaded = ldm_file_load(path, &error);
        g_assert_no_error(error);
        ldm_file_free(loaded);
    }
}

static void test_several(void)
{
    static const size_t one[] = {1};
    g_autofree char *first = g_build_filename(folder, "1.safetensors", NULL);
    g_autofree char *second = g_build_filename(folder, "2.safetensors", NULL);
    g_autofree char *third = g_build_filename(folder, "3.safetensors", NULL);
    const char *const names[] = {"a", "b", "a"}, *const paths[] = {first, second, third};
    for (int i = 0; i < 3; i++) {
        MadeFile *file = made_file_new();
        made_file_add(file, names[i], "F16", 1, one, "xy", 2);
        made_file_write(file, paths[i], 0);
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmFiles) files = ldm_files_new();
    g_assert_true(ldm_files_add(files, first, &error));
    g_assert_true(ldm_files_add(files, second, &error));
    g_assert_cmpstr(ldm_file_path(ldm_files_find(files, "b")->file), ==, second);
    g_assert_false(ldm_files_add(files, third, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_FORMAT);
    g_assert_nonnull(strstr(error->message, first));
    g_assert_nonnull(strstr(error->message, third));
}

/* A mapped file that is replaced by rename, as careful writers do, keeps its contents. */
static void test_replaced(void)
{
    static const size_t one[] = {1};
    g_autofree char *path = g_build_filename(folder, "live.safetensors", NULL);
    g_autofree char *other = g_build_filename(folder, "new.safetensors", NULL);
    MadeFile *file = made_file_new();
    made_file_add(file, "a", "F16", 1, one, "xy", 2);
    made_file_write(file, path, 0);
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmFiles) files = ldm_files_new();
    g_assert_true(ldm_files_add(files, path, &error));
    made_write(other, "", 0);
    g_assert_cmpint(g_rename(other, path), ==, 0);
    g_assert_cmpint(ldm_files_find(files, "a")->data[1], ==, 'y');
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("pentimento-safetensors-XXXXXX", NULL);
    g_test_add_func("/safetensors/kinds", test_kinds);
    g_test_add_func("/safetensors/corners", test_corners);
    g_test_add_func("/safetensors/several", test_several);
    g_test_add_func("/safetensors/replaced", test_replaced);
    int result = g_test_run();
    made_remove(folder);
    g_free(folder);
    return result;
}
