/* Pictures in and out of the command line: values, metadata, files that are not what they say. */
#include "cli/picture-io.h"

#include "own-folder.h"
#include "tensor/tensor.h"

#include <gdk-pixbuf/gdk-pixbuf.h>
#include <glib/gstdio.h>
#include <math.h>

/* [1, 16, 32, 4]: every 8-bit value in the colours, `alpha` as it is told. */
static LdmTensor *all_values(float alpha)
{
    LdmTensor *picture = ldm_tensor_new_nhwc(1, 16, 32, 4, NULL);

    for (size_t i = 0; i < 512; i++)
        for (size_t c = 0; c < 4; c++)
            ldm_tensor_f32(picture)[i * 4 + c] =
                c < 3 ? (float)((i * (c + 1)) % 256) / 255.0f : alpha;
    return picture;
}

static void test_round_trip(void)
{
    const float alphas[] = {1.0f, 51.0f / 255.0f};
    const char *names[] = {"a.png", "a.tiff"};

    for (int i = 0; i < 3; i++) { /* gdk-pixbuf's TIFF reader does not keep clear pixels */
        g_autoptr(GError) error = NULL;
        g_autofree char *path = in_folder(names[i / 2]);
        g_autoptr(LdmTensor) picture = all_values(alphas[i % 2]);
        g_autoptr(LdmTensor) back = NULL;

        g_assert_true(pentimento_picture_write(picture, NULL, path, &error));
        back = pentimento_picture_read(path, NULL, &error);
        g_assert_no_error(error);
        g_assert_true(ldm_tensor_same_shape(picture, back));
        g_assert_cmpmem(picture->data, 2048 * sizeof(float), back->data, 2048 * sizeof(float));
    }
}

static void test_out_of_range(void)
{
    const float in[] = {-1.0f, 2.0f, NAN, 0.4999f / 255.0f, 0.5001f / 255.0f, INFINITY};
    const float out[] = {0.0f, 1.0f, 0.0f, 0.0f, 1.0f / 255.0f, 1.0f};
    g_autofree char *path = in_folder("range.png");
    g_autoptr(LdmTensor) picture = ldm_tensor_new_nhwc(1, 1, 2, 3, NULL);
    g_autoptr(LdmTensor) back = NULL;

    memcpy(picture->data, in, sizeof in);
    g_assert_true(pentimento_picture_write(picture, NULL, path, NULL));
    back = pentimento_picture_read(path, NULL, NULL);
    for (size_t i = 0; i < 6; i++)
        g_assert_cmpfloat(ldm_tensor_f32(back)[i / 3 * 4 + i % 3], ==, out[i]);
}

static void test_text(void)
{
    const char *text = "ein Apfel, 赤いりんご 🍎\nSteps: 20";
    g_autofree char *path = in_folder("text.png");
    g_autoptr(LdmTensor) picture = all_values(1.0f);
    g_autoptr(GdkPixbuf) pixbuf = NULL;
    PentimentoPictureInfo info = {.text = text};

    g_assert_true(pentimento_picture_write(picture, &info, path, NULL));
    pixbuf = gdk_pixbuf_new_from_file(path, NULL); /* libpng checks the chunk's sum */
    g_assert_cmpstr(gdk_pixbuf_get_option(pixbuf, "tEXt::parameters"), ==, text);
}

static void test_profile(void)
{
    g_autofree char *path = in_folder("profile.jpg");
    g_autofree char *copy = in_folder("copy.jpeg");
    g_autoptr(LdmTensor) picture = all_values(1.0f);
    g_auto(PentimentoPictureInfo) first = {0};
    g_auto(PentimentoPictureInfo) second = {0};
    g_autoptr(LdmTensor) read = NULL;
    g_autoptr(LdmTensor) again = NULL;
    guint8 profile[132] = {0, 0, 0, 132}; /* JPEG carries anything */

    first.icc_profile = g_base64_encode(profile, sizeof profile);
    g_assert_true(pentimento_picture_write(picture, &first, path, NULL));
    pentimento_picture_info_clear(&first);
    read = pentimento_picture_read(path, &first, NULL);
    g_assert_nonnull(first.icc_profile);
    g_assert_true(pentimento_picture_write(read, &first, copy, NULL));
    again = pentimento_picture_read(copy, &second, NULL);
    g_assert_nonnull(again);
    g_assert_cmpstr(second.icc_profile, ==, first.icc_profile);
}

/* A camera held upright: the picture is turned, and keeps its colours' meaning. */
static void test_turned_profile(void)
{
    static const guint8 turned_right[] = {
        0xff, 0xe1, 0,    34,   'E', 'x', 'i', 'f', 0, 0, 'I', 'I', '*', 0, 8, 0, 0, 0,
        1,    0,    0x12, 0x01, 3,   0,   1,   0,   0, 0, 6,   0,   0,   0, 0, 0, 0, 0,
    };
    g_autofree char *path = in_folder("turned.jpg"), *bytes = NULL;
    g_autoptr(GByteArray) file = g_byte_array_new();
    g_autoptr(LdmTensor) picture = all_values(1.0f);
    g_autoptr(LdmTensor) back = NULL;
    g_auto(PentimentoPictureInfo) info = {0};
    guint8 profile[132] = {0, 0, 0, 132};
    gsize length;

    info.icc_profile = g_base64_encode(profile, sizeof profile);
    g_assert_true(pentimento_picture_write(picture, &info, path, NULL));
    pentimento_picture_info_clear(&info);
    g_assert_true(g_file_get_contents(path, &bytes, &length, NULL));
    g_byte_array_append(file, (guint8 *)bytes, 2);
    g_byte_array_append(file, turned_right, sizeof turned_right);
    g_byte_array_append(file, (guint8 *)bytes + 2, (guint)length - 2);
    g_assert_true(g_file_set_contents(path, (char *)file->data, file->len, NULL));
    back = pentimento_picture_read(path, &info, NULL);
    g_assert_nonnull(back);
    g_assert_cmpuint(back->shape[1], ==, picture->shape[2]);
    g_assert_nonnull(info.icc_profile);
}

/* Formats without transparency say that they lost some. */
static void test_flattened(void)
{
    const char *names[] = {"clear.jpg", "clear.bmp", "clear.png"};

    for (size_t i = 0; i < 2 * G_N_ELEMENTS(names); i++) {
        g_autofree char *path = in_folder(names[i / 2]);
        g_autoptr(LdmTensor) picture = all_values(i % 2 == 0 ? 0.2f : 1.0f);
        PentimentoPictureInfo info = {0};

        g_assert_true(pentimento_picture_write(picture, &info, path, NULL));
        g_assert_cmpint(info.flattened, ==, i % 2 == 0 && i / 2 < 2);
    }
}

/* A profile that no file can carry is left out; the picture is not lost for it. */
static void test_broken_profile(void)
{
    g_autofree char *path = in_folder("broken.png");
    g_autoptr(LdmTensor) picture = all_values(1.0f);
    PentimentoPictureInfo info = {.icc_profile = (char *)"bm9uc2Vuc2U="};
    g_autoptr(GError) error = NULL;

    g_assert_true(pentimento_picture_write(picture, &info, path, &error));
    g_assert_no_error(error);
}

static void test_mask(void)
{
    const float pixels[] = {1, 1, 1, 1, 0.2f, 0.2f, 0.2f, 1, 0, 0, 0, 1, 1, 1, 1, 0, 0, 1, 0, 1};
    const float expected[] = {1.0f, 0.2f, 0.0f, 0.0f, 0.587f};
    g_autofree char *path = in_folder("mask.png");
    g_autoptr(LdmTensor) picture = ldm_tensor_new_nhwc(1, 1, 5, 4, NULL);
    g_autoptr(LdmTensor) mask = NULL;

    memcpy(picture->data, pixels, sizeof pixels);
    g_assert_true(pentimento_picture_write(picture, NULL, path, NULL));
    mask = pentimento_mask_read(path, NULL);
    g_assert_cmpuint(mask->shape[3], ==, 1);
    for (size_t i = 0; i < 5; i++)
        g_assert_cmpfloat_with_epsilon(ldm_tensor_f32(mask)[i], expected[i], 1e-6);
}

/* 1 × 1 pixel of 16 bits; and a header that promises 100,000 × 100,000 pixels. */
static const guint8 deep_png[] = {
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48,
    0x44, 0x52, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x10, 0x00, 0x00, 0x00,
    0x00, 0x6a, 0xee, 0x47, 0x16, 0x00, 0x00, 0x00, 0x0b, 0x49, 0x44, 0x41, 0x54, 0x78,
    0xda, 0x63, 0x68, 0x10, 0x02, 0x00, 0x01, 0x15, 0x00, 0x93, 0xe7, 0x5a, 0x6d, 0xde,
    0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
};
static const guint8 huge_png[] = {
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48,
    0x44, 0x52, 0x00, 0x01, 0x86, 0xa0, 0x00, 0x01, 0x86, 0xa0, 0x08, 0x02, 0x00, 0x00,
    0x00, 0x27, 0x30, 0x9c, 0x9f, 0x00, 0x00, 0x00, 0x0b, 0x49, 0x44, 0x41, 0x54, 0x78,
    0xda, 0x63, 0x60, 0xc0, 0x0f, 0x00, 0x00, 0x20, 0x00, 0x01, 0xa7, 0xff, 0xd4, 0x86,
    0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
};

static void test_deep(void)
{
    g_autofree char *path = in_folder("deep.png");
    g_auto(PentimentoPictureInfo) info = {0};
    g_autoptr(LdmTensor) picture = NULL;

    g_assert_true(g_file_set_contents(path, (const char *)deep_png, sizeof deep_png, NULL));
    picture = pentimento_picture_read(path, &info, NULL);
    g_assert_nonnull(picture);
    g_assert_true(info.reduced);
    g_assert_cmpfloat_with_epsilon(ldm_tensor_f32(picture)[0], 0.502f, 0.003);
}

static void put(GByteArray *file, bool little, guint32 number, int size)
{
    for (int i = 0; i < size; i++) {
        guint8 byte = (guint8)(number >> 8 * (little ? i : size - 1 - i));
        g_byte_array_append(file, &byte, 1);
    }
}

/* 1 x 1 pixel, of `channels` of 8 or 16 bits, whose numbers lie behind the directory. */
static GByteArray *tiff(bool little, guint32 channels, guint32 bits)
{
    enum { ENTRIES = 9, BEHIND = 8 + 2 + 12 * ENTRIES + 4 };
    const guint32 bytes = channels * bits / 8, pointed = channels > 2 ? 2 * channels : 0;
    const guint32 entries[ENTRIES][3] = {{256, 1, 1},
                                         {257, 1, 1},
                                         {258, channels, channels > 2 ? BEHIND : bits},
                                         {259, 1, 1},
                                         {262, 1, channels > 2 ? 2 : 1},
                                         {273, 1, BEHIND + pointed},
                                         {277, 1, channels},
                                         {278, 1, 1},
                                         {279, 1, bytes}};
    GByteArray *file = g_byte_array_new();

    g_byte_array_append(file, (const guint8 *)(little ? "II" : "MM"), 2);
    put(file, little, 42, 2);
    put(file, little, 8, 4);
    put(file, little, ENTRIES, 2);
    for (int i = 0; i < ENTRIES; i++) {
        bool far = entries[i][1] > 2;
        put(file, little, entries[i][0], 2);
        put(file, little, 3, 2);
        put(file, little, entries[i][1], 4);
        put(file, little, entries[i][2], far ? 4 : 2);
        if (!far)
            put(file, little, 0, 2);
    }
    put(file, little, 0, 4);
    for (guint32 i = 0; i < pointed / 2; i++)
        put(file, little, bits, 2);
    for (guint32 i = 0; i < bytes; i++)
        put(file, little, 0x80, 1);
    return file;
}

static void test_deep_tiff(void)
{
    g_autofree char *path = in_folder("deep.tiff");

    for (int i = 0; i < 8; i++) {
        g_autoptr(GByteArray) file = tiff(i & 1, i & 2 ? 3 : 1, i & 4 ? 16 : 8);
        g_auto(PentimentoPictureInfo) info = {0};
        g_autoptr(LdmTensor) picture = NULL;
        g_autoptr(GError) error = NULL;

        g_assert_true(g_file_set_contents(path, (char *)file->data, file->len, NULL));
        picture = pentimento_picture_read(path, &info, &error);
        g_assert_no_error(error);
        g_assert_cmpint(info.reduced, ==, (i & 4) != 0);
    }
}

static void refuse(const char *name, const void *bytes, size_t length, const char *words)
{
    g_autofree char *path = in_folder(name);
    g_autoptr(GError) error = NULL;

    g_assert_true(g_file_set_contents(path, bytes, (gssize)length, NULL));
    g_assert_null(pentimento_picture_read(path, NULL, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_FORMAT);
    g_assert_nonnull(strstr(error->message, name));
    g_assert_nonnull(strstr(error->message, words));
}

static void test_bad_files(void)
{
    g_autofree char *nowhere = in_folder("no/such.png");
    g_autoptr(GError) error = NULL;

    refuse("empty.png", "", 0, "not a picture");
    refuse("text.txt", "hello", 5, "not a picture");
    refuse("cut.png", deep_png, 40, "not a picture");
    refuse("huge.png", huge_png, sizeof huge_png, "100000 × 100000");
    g_assert_null(pentimento_picture_read(nowhere, NULL, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_FILE);
    g_clear_error(&error);
    g_assert_null(pentimento_picture_read(folder, NULL, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_FILE);
}

static void test_bad_outputs(void)
{
    g_autofree char *nowhere = in_folder("no/such.png");
    g_autoptr(LdmTensor) picture = all_values(1.0f);
    g_autoptr(GError) error = NULL;

    g_assert_true(pentimento_picture_writable("A.PNG", NULL));
    g_assert_true(pentimento_picture_writable("-", NULL));
    g_assert_false(pentimento_picture_writable("a.xcf", &error));
    g_assert_nonnull(strstr(error->message, ".png"));
    g_clear_error(&error);
    g_assert_false(pentimento_picture_write(picture, NULL, nowhere, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_FILE);
}

/* A hostile or truncated PNG must not make the chunk writer read beyond it. */
static void test_short_png(void)
{
    size_t length;
    g_autofree guint8 *out =
        pentimento_png_add_text((const guint8 *)"short", 5, "parameters", "text", &length);

    g_assert_cmpuint(length, ==, 5 + 12 + 10 + 5 + 4);
}

int main(int argc, char **argv)
{
    g_autofree char *command = NULL;
    int status;

    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("pentimento-XXXXXX", NULL);
    g_test_add_func("/picture-io/round-trip", test_round_trip);
    g_test_add_func("/picture-io/out-of-range", test_out_of_range);
    g_test_add_func("/picture-io/text", test_text);
    g_test_add_func("/picture-io/profile", test_profile);
    g_test_add_func("/picture-io/turned-profile", test_turned_profile);
    g_test_add_func("/picture-io/flattened", test_flattened);
    g_test_add_func("/picture-io/broken-profile", test_broken_profile);
    g_test_add_func("/picture-io/mask", test_mask);
    g_test_add_func("/picture-io/deep", test_deep);
    g_test_add_func("/picture-io/deep-tiff", test_deep_tiff);
    g_test_add_func("/picture-io/bad-files", test_bad_files);
    g_test_add_func("/picture-io/bad-outputs", test_bad_outputs);
    g_test_add_func("/picture-io/short-png", test_short_png);
    status = g_test_run();
    command = g_strconcat("rm -rf ", folder, NULL);
    g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL);
    g_free(folder);
    return status;
}
