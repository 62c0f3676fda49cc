/* .npy files: there and back, the layouts, the kinds NumPy writes, and damaged ones. */
#include "base/file-atomic.h"
#include "own-folder.h"
#include "tensor/tensor.h"

#include <glib/gstdio.h>
#include <string.h>

/* A version 1.0 file of this dictionary and these numbers. */
static char *make_file(const char *dictionary, const void *data, size_t length)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    guint8 start[] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, 0, 0};
    start[8] = (guint8)(strlen(dictionary) & 0xff);
    start[9] = (guint8)(strlen(dictionary) >> 8);
    g_byte_array_append(bytes, start, sizeof start);
    g_byte_array_append(bytes, (const guint8 *)dictionary, (guint)strlen(dictionary));
    g_byte_array_append(bytes, data, (guint)length);
    char *path = in_folder("made.npy");
    g_assert_true(ldm_file_write_atomic(path, bytes->data, bytes->len, NULL));
    return path;
}

static void test_round_trip(void)
{
    static const size_t shape[] = {2, 3, 4, 5};
    g_autofree char *path = in_folder("trip.npy");
    for (int rank = 1; rank <= 4; rank++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(LdmTensor) tensor = ldm_tensor_new(LDM_F32, rank, shape, &error);
        for (size_t i = 0; i < ldm_tensor_count(tensor); i++)
            ldm_tensor_f32(tensor)[i] = (float)i / 7;
        g_assert_true(ldm_npy_write(tensor, path, &error));
        g_autoptr(LdmTensor) back = ldm_npy_read(path, &error);
        g_assert_no_error(error);
        g_assert_true(ldm_tensor_same_shape(tensor, back));
        size_t bytes = ldm_tensor_count(tensor) * sizeof(float);
        g_assert_cmpmem(tensor->data, bytes, back->data, bytes);
    }
    g_unlink(path);
}

/* [N, H, W, C] here is (N, C, H, W) there, byte for byte what numpy.save writes. */
static void test_written_bytes(void)
{
    g_autofree char *path = in_folder("bytes.npy"), *text = NULL;
    g_autoptr(LdmTensor) tensor = ldm_tensor_new_nhwc(1, 1, 2, 3, NULL);
    for (int i = 0; i < 6; i++)
        ldm_tensor_f32(tensor)[i] = (float)i;
    g_assert_true(ldm_npy_write(tensor, path, NULL));
    gsize length;
    g_assert_true(g_file_get_contents(path, &text, &length, NULL));
    g_assert_cmpuint(length, ==, 128 + 24);
    g_assert_cmpmem(text, 10, "\x93NUMPY\x01\x00\x76\x00", 10);
    static const char dictionary[] =
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, 1, 2), }";
    g_assert_cmpmem(text + 10, sizeof dictionary - 1, dictionary, sizeof dictionary - 1);
    g_assert_cmpint(text[127], ==, '\n');
    float numbers[6];
    memcpy(numbers, text + 128, sizeof numbers);
    static const float expected[] = {0, 3, 1, 4, 2, 5};
    g_assert_cmpmem(numbers, sizeof numbers, expected, sizeof expected);
    g_unlink(path);
}

static void test_kinds(void)
{
    g_autoptr(GError) error = NULL;
    uint16_t halves[] = {0x3c00, 0xc000, 0x0001};
    g_autofree char *path =
        make_file("{'shape': (3,), 'descr': '<f2', 'fortran_order': False}\n", halves, 6);
    g_autoptr(LdmTensor) half = ldm_npy_read(path, &error);
    g_assert_no_error(error);
    g_assert_cmpint(half->rank, ==, 1);
    g_assert_cmpfloat(ldm_tensor_f32(half)[1], ==, -2);
    g_assert_cmpfloat(ldm_tensor_f32(half)[2], ==, 0x1p-24f);

    double pair[] = {1.5, -0.25};
    g_autofree char *same =
        make_file("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2), }\n", pair, 16);
    g_autoptr(LdmTensor) doubles = ldm_npy_read(same, &error);
    g_assert_no_error(error);
    g_assert_cmpint(doubles->rank, ==, 2);
    g_assert_cmpfloat(ldm_tensor_f32(doubles)[1], ==, -0.25);

    g_autofree char *scalar =
        make_file("{'descr': '<f8', 'fortran_order': False, 'shape': (), }\n", pair, 8);
    g_autoptr(LdmTensor) one = ldm_npy_read(scalar, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(ldm_tensor_count(one), ==, 1);
}

static void assert_damaged(const char *dictionary, size_t length)
{
    static const char zeros[64];
    g_autoptr(GError) error = NULL;
    g_autofree char *path = make_file(dictionary, zeros, length);
    g_assert_null(ldm_npy_read(path, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_FORMAT);
    g_assert_nonnull(strstr(error->message, path));
}

static void test_damaged(void)
{
    assert_damaged("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 7);
    assert_damaged("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 12);
    assert_damaged("{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }", 8);
    assert_damaged("{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }", 8);
    assert_damaged("{'descr': '<f4', 'fortran_order': True, 'shape': (2,), }", 8);
    assert_damaged("{'descr': '<f4', 'fortran_order': False, 'shape': (0,), }", 0);
    assert_damaged("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", 4);
    assert_damaged("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1), }", 4);
    assert_damaged("{'descr': '<f4', 'fortran_order': False, "
                   "'shape': (4294967296, 4294967296), }",
                   0);
    assert_damaged("{'descr': '<f4', 'fortran_order': False, "
                   "'shape': (99999999999999999999,), }",
                   4);
    assert_damaged("{'descr': '<f4', 'fortran_order': False, 'shape': (2", 8);
    assert_damaged("{'descr': '<f4', 'fortran_order': False, }", 8);
    assert_damaged("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", 8);
    assert_damaged("{'descr': '<f4", 0);
    assert_damaged("", 0);
}

/* Every possible length of a good file, and every byte of its header changed: an error or a
 * well-formed array, never anything worse. */
static void test_cut_and_changed(void)
{
    g_autofree char *path = in_folder("good.npy"), *text = NULL;
    g_autoptr(LdmTensor) tensor = ldm_tensor_new_nhwc(1, 2, 1, 2, NULL);
    gsize length;
    g_assert_true(ldm_npy_write(tensor, path, NULL));
    g_assert_true(g_file_get_contents(path, &text, &length, NULL));
    for (gsize cut = 0; cut < length; cut++) {
        g_assert_true(g_file_set_contents_full(path, text, (gssize)cut, G_FILE_SET_CONTENTS_NONE,
                                               0600, NULL));
        g_assert_null(ldm_npy_read(path, NULL));
    }
    for (gsize at = 0; at < 128; at++) {
        text[at] ^= 0x15;
        g_assert_true(g_file_set_contents_full(path, text, (gssize)length, G_FILE_SET_CONTENTS_NONE,
                                               0600, NULL));
        text[at] ^= 0x15;
        g_autoptr(LdmTensor) result = ldm_npy_read(path, NULL);
        if (result != NULL)
            g_assert_cmpuint(ldm_tensor_count(result), ==, 4);
    }
    g_unlink(path);
}

static void test_no_file(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = in_folder("absent.npy");
    g_assert_null(ldm_npy_read(path, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_FILE);
    g_assert_nonnull(strstr(error->message, "absent.npy"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("pentimento-npy-XXXXXX", NULL);
    g_test_add_func("/npy/round-trip", test_round_trip);
    g_test_add_func("/npy/written-bytes", test_written_bytes);
    g_test_add_func("/npy/kinds", test_kinds);
    g_test_add_func("/npy/damaged", test_damaged);
    g_test_add_func("/npy/cut-and-changed", test_cut_and_changed);
    g_test_add_func("/npy/no-file", test_no_file);
    int status = g_test_run();
    g_autofree char *made = in_folder("made.npy");
    g_unlink(made);
    g_rmdir(folder);
    g_free(folder);
    return status;
}
