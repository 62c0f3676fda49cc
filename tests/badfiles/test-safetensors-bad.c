/* Damaged and hostile safetensors files: each is refused with an error of the right kind that names
 * the file; none crashes, hangs or is read beyond its end. */
#include "made-model.h"
#include "weights/safetensors.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char *path; /* the file at hand */

/* length + header + `room` bytes of data. */
static void write_header(const char *header, size_t bytes, size_t room)
{
    g_autofree guint8 *file = g_malloc0(8 + bytes + room);
    guint64 length = GUINT64_TO_LE((guint64)bytes);
    memcpy(file, &length, 8);
    memcpy(file + 8, header, bytes);
    made_write(path, file, 8 + bytes + room);
}

static void refused(const char *name, int code)
{
    g_autoptr(GError) error = NULL;
    LdmFile *file = ldm_file_load(path, &error);
    if (file != NULL || error->domain != LDM_ERROR || error->code != code)
        g_error("%s: %s", name, error != NULL ? error->message : "was accepted");
    g_assert_nonnull(strstr(error->message, path));
    g_assert_true(g_utf8_validate(error->message, -1, NULL));
}

#define FINE "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"
#define A(dtype, shape, offsets) \
    "{\"a\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define AB(a, b)                                                      \
    "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" a "}," \
    "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" b "}}"
#define BAD   LDM_ERROR_FORMAT
#define LIMIT LDM_ERROR_UNSUPPORTED

static const struct {
    const char *name, *header;
    size_t room;
    int code;
} bad[] = {
    {"no data", A("\"F32\"", "[2]", "[0,8]"), 0, BAD},
    {"data cut short", A("\"F32\"", "[2]", "[0,8]"), 7, BAD},
    {"data too long", A("\"F32\"", "[2]", "[0,8]"), 9, BAD},
    {"no tensors but data", "{}", 1, BAD},
    {"extent smaller than shape", A("\"F32\"", "[2]", "[0,4]"), 4, BAD},
    {"extent larger than shape", A("\"F32\"", "[1]", "[0,8]"), 8, BAD},
    {"end before begin", A("\"F32\"", "[2]", "[8,0]"), 8, BAD},
    {"offsets beyond the end", A("\"F32\"", "[2]", "[8,16]"), 8, BAD},
    {"hole at the start", A("\"F32\"", "[2]", "[4,12]"), 12, BAD},
    {"hole between", AB("[0,4]", "[5,9]"), 9, BAD},
    {"overlap", AB("[0,4]", "[3,7]"), 7, BAD},
    {"the same bytes twice", AB("[0,4]", "[0,4]"), 4, BAD},
    {"negative begin", A("\"F32\"", "[2]", "[-8,0]"), 8, BAD},
    {"negative both", A("\"F32\"", "[2]", "[-16,-8]"), 8, BAD},
    {"offset 2^64", A("\"F32\"", "[2]", "[0,18446744073709551616]"), 8, BAD},
    {"offset 2^63", A("\"F32\"", "[2]", "[0,9223372036854775808]"), 8, BAD},
    {"offset 2^63-1", A("\"F32\"", "[2]", "[0,9223372036854775807]"), 8, BAD},
    {"offsets wrap", A("\"F32\"", "[2]", "[9223372036854775800,9223372036854775807]"), 8, BAD},
    {"offset a fraction", A("\"F32\"", "[2]", "[0,8.0]"), 8, BAD},
    {"offset an exponent", A("\"F32\"", "[2]", "[0,8e0]"), 8, BAD},
    {"offset a string", A("\"F32\"", "[2]", "[0,\"8\"]"), 8, BAD},
    {"offset null", A("\"F32\"", "[2]", "[null,8]"), 8, BAD},
    {"offset true", A("\"F32\"", "[2]", "[0,true]"), 8, BAD},
    {"offset octal", A("\"F32\"", "[2]", "[0,010]"), 8, BAD},
    {"offset hexadecimal", A("\"F32\"", "[2]", "[0,0x8]"), 8, BAD},
    {"one offset", A("\"F32\"", "[2]", "[0]"), 8, BAD},
    {"three offsets", A("\"F32\"", "[2]", "[0,8,8]"), 8, BAD},
    {"no offsets", A("\"F32\"", "[2]", "[]"), 8, BAD},
    {"offsets a number", A("\"F32\"", "[2]", "8"), 8, BAD},
    {"offsets an object", A("\"F32\"", "[2]", "{}"), 8, BAD},
    {"shape overflows", A("\"F32\"", "[4294967296,4294967296]", "[0,0]"), 0, BAD},
    {"shape overflows by the element", A("\"F64\"", "[2305843009213693952]", "[0,0]"), 0, BAD},
    {"shape wraps to 8", A("\"F32\"", "[4611686018427387906]", "[0,8]"), 8, BAD},
    {"shape negative", A("\"F32\"", "[-2]", "[0,8]"), 8, BAD},
    {"shape twice negative", A("\"F32\"", "[-1,-2]", "[0,8]"), 8, BAD},
    {"shape a fraction", A("\"F32\"", "[2.0]", "[0,8]"), 8, BAD},
    {"shape a string", A("\"F32\"", "[\"2\"]", "[0,8]"), 8, BAD},
    {"shape nested", A("\"F32\"", "[[2]]", "[0,8]"), 8, BAD},
    {"shape a number", A("\"F32\"", "2", "[0,8]"), 8, BAD},
    {"shape null", A("\"F32\"", "null", "[0,8]"), 8, BAD},
    {"dtype unknown", A("\"F31\"", "[2]", "[0,8]"), 8, LIMIT},
    {"dtype in small letters", A("\"f32\"", "[2]", "[0,8]"), 8, LIMIT},
    {"dtype empty", A("\"\"", "[2]", "[0,8]"), 8, LIMIT},
    {"dtype a number", A("32", "[2]", "[0,8]"), 8, BAD},
    {"dtype null", A("null", "[2]", "[0,8]"), 8, BAD},
    {"dtype a list", A("[\"F32\"]", "[2]", "[0,8]"), 8, BAD},
    {"no dtype", "{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, BAD},
    {"no shape", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, BAD},
    {"no data_offsets", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, BAD},
    {"empty entry", "{\"a\":{}}", 0, BAD},
    {"entry a list", "{\"a\":[]}", 0, BAD},
    {"entry null", "{\"a\":null}", 0, BAD},
    {"entry a string", "{\"a\":\"F32\"}", 0, BAD},
    {"name twice", "{" FINE "," FINE "}", 8, BAD},
    {"name twice by an escape",
     "{" FINE ",\"\\u0061\":{\"dtype\":\"U8\",\"shape\":[0],"
     "\"data_offsets\":[8,8]}}",
     8, BAD},
    {"key twice",
     "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],"
     "\"data_offsets\":[0,8]}}",
     8, BAD},
    {"name empty", "{\"\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, BAD},
    {"name with a zero byte",
     "{\"a\\u0000\":{\"dtype\":\"F32\",\"shape\":[2],"
     "\"data_offsets\":[0,8]}}",
     8, BAD},
    {"name with half a surrogate",
     "{\"a\\ud800\":{\"dtype\":\"U8\",\"shape\":[],"
     "\"data_offsets\":[0,8]}}",
     8, BAD},
    {"name not UTF-8", "{\"\xff\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
     BAD},
    {"name with a line feed", "{\"a\n\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
     8, BAD},
    {"metadata a number", "{\"__metadata__\":1," FINE "}", 8, BAD},
    {"metadata a list", "{\"__metadata__\":[]," FINE "}", 8, BAD},
    {"metadata with a number", "{\"__metadata__\":{\"k\":1}," FINE "}", 8, BAD},
    {"metadata with an object", "{\"__metadata__\":{\"k\":{}}," FINE "}", 8, BAD},
    {"metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}," FINE "}", 8, BAD},
    {"header a list", "[1,2]", 8, BAD},
    {"header a string", "\"abc\"", 8, BAD},
    {"header starts with a space", " {" FINE "}", 8, BAD},
    {"header open", "{" FINE, 8, BAD},
    {"header open in a string", "{\"a", 8, BAD},
    {"header ends in a backslash", "{\"a\\", 8, BAD},
    {"header ends in an escape", "{\"a\\u00", 8, BAD},
    {"two objects", "{" FINE "}{}", 8, BAD},
    {"text behind", "{" FINE "}x", 8, BAD},
    {"a comment", "{/**/" FINE "}", 8, BAD},
    {"a comment with a quote", "{/*\"*/" FINE "}", 8, BAD},
    {"single quotes", "{'a':{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, BAD},
    {"a comma too many", "{" FINE ",}", 8, BAD},
    {"no colon", "{\"a\" {\"dtype\":\"F32\"}}", 8, BAD},
    {"brackets crossed", "{\"a\":[}]", 8, BAD},
    {"NaN", A("\"F32\"", "[NaN]", "[0,8]"), 8, BAD},
    {"a number of 400 digits", A("\"F32\"", "[2]", "[0,1e400]"), 8, BAD},
};

static void test_named(void)
{
    g_assert_cmpuint(G_N_ELEMENTS(bad), >=, 60);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        write_header(bad[i].header, strlen(bad[i].header), bad[i].room);
        refused(bad[i].name, bad[i].code);
    }
    /* The form they are all variations of is good. */
    write_header("{" FINE "}", strlen("{" FINE "}"), 8);
    g_autoptr(GError) error = NULL;
    LdmFile *file = ldm_file_load(path, &error);
    g_assert_no_error(error);
    ldm_file_free(file);
}

/* Files that do not even have a header. */
static void test_lengths(void)
{
    static const guint64 lengths[] = {
        0,
        1,
        2,
        56,
        57,
        1000,
        1u << 31,
        (guint64)1 << 32,
        (guint64)1 << 63,
        G_MAXUINT64 - 7,
        G_MAXUINT64 - 8,
        G_MAXUINT64,
    };
    char file[64] = "01234567{\"a\":0}";
    made_write(path, file, 1);
    refused("one byte", BAD);
    made_write(path, file, 7);
    refused("seven bytes", BAD);
    made_write(path, file, 8);
    refused("no header", BAD);
    made_write(path, "", 0);
    refused("empty", BAD);
    for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
        guint64 length = GUINT64_TO_LE(lengths[i]);
        memcpy(file, &length, 8);
        made_write(path, file, sizeof file);
        refused("length", BAD);
    }
}

static void test_kinds(void)
{
    g_assert_cmpint(g_remove(path), ==, 0);
    refused("missing", LDM_ERROR_FILE);
    g_assert_cmpint(g_mkdir(path, 0700), ==, 0);
    refused("folder", BAD);
    g_assert_cmpint(g_rmdir(path), ==, 0);
    g_assert_cmpint(mkfifo(path, 0600), ==, 0);
    refused("pipe", BAD); /* and does not wait for a writer */
    g_assert_cmpint(g_remove(path), ==, 0);
    g_assert_cmpint(symlink("/dev/zero", path), ==, 0);
    refused("endless device", BAD);
    g_assert_cmpint(g_remove(path), ==, 0);
    g_assert_cmpint(symlink(path, path), ==, 0);
    refused("link to itself", LDM_ERROR_FILE);
    g_assert_cmpint(g_remove(path), ==, 0);
}

/* One above each limit. */
static void test_limits(void)
{
    g_autoptr(GString) text = g_string_new("{\"");
    for (int i = 0; i <= LDM_FILE_NAME_BYTES; i++)
        g_string_append_c(text, 'n');
    g_string_append(text, "\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}");
    write_header(text->str, text->len, 1);
    refused("long name", BAD);

    g_string_assign(text, "{\"__metadata__\":{\"a\":");
    for (int i = 0; i < 100000; i++)
        g_string_append_c(text, '[');
    write_header(text->str, text->len, 0);
    refused("deep", LIMIT);

    g_string_assign(text, "{\"a\":[0");
    for (int i = 0; i < 5000000; i++)
        g_string_append(text, ",0");
    g_string_append(text, "]}");
    write_header(text->str, text->len, 0);
    refused("many values", LIMIT);

    g_string_assign(text, "{");
    for (int i = 0; i <= LDM_FILE_TENSORS; i++)
        g_string_append_printf(text, "%s\"%d\":0", i > 0 ? "," : "", i);
    g_string_append(text, "}");
    write_header(text->str, text->len, 0);
    refused("many tensors", LIMIT);

    guint64 length = GUINT64_TO_LE((guint64)LDM_FILE_HEADER_BYTES + 1);
    char start[16] = {0};
    memcpy(start, &length, 8);
    start[8] = '{';
    made_write(path, start, sizeof start);
    g_assert_cmpint(truncate(path, (off_t)LDM_FILE_HEADER_BYTES + 100), ==, 0);
    refused("long header", LIMIT);
}

/* From here on the file lies in memory: thousands are written. */
static void test_in_memory(void)
{
    int fd = memfd_create("bad", 0);
    g_assert_cmpint(fd, >=, 0);
    g_free(path);
    path = g_strdup_printf("/proc/self/fd/%d", fd);
}

/* A small good file of three tensors and metadata: its bytes, and where its data start. */
static guint8 *good_file(size_t *bytes, size_t *start)
{
    static const size_t shape[] = {2, 3}, one[] = {1};
    static const char data[24] = "abcdefghijklmnopqrstuvw";
    GError *error = NULL;
    char *text;
    MadeFile *file = made_file_new();
    made_file_add(file, "w", "F32", 2, shape, data, 24);
    made_file_add(file, "h", "F16", 1, one, data, 2);
    made_file_add(file, "n", "I64", 0, one, data, 8);
    made_file_write(file, path, 0);
    g_file_get_contents(path, &text, bytes, &error);
    g_assert_no_error(error);
    *start = 8 + (guint8)text[0] + 256 * (size_t)(guint8)text[1];
    return (guint8 *)text;
}

/* Reads every byte that the table points to, so that a bad pointer shows. */
static bool load_and_touch(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmFiles) files = ldm_files_new();
    volatile guint sum = 0;
    if (!ldm_files_add(files, path, &error)) {
        g_assert_true(error->domain == LDM_ERROR);
        return false;
    }
    for (size_t i = 0; i < ldm_files_length(files); i++) {
        const LdmFileTensor *t = ldm_files_at(files, i);
        for (size_t k = 0; k < t->bytes; k++)
            sum += t->data[k];
    }
    (void)sum;
    return true;
}

static void test_prefixes(void)
{
    size_t bytes, start;
    g_autofree guint8 *file = good_file(&bytes, &start);
    for (size_t n = 0; n < bytes; n++) {
        made_write(path, file, n);
        g_assert_false(load_and_touch());
    }
    made_write(path, file, bytes);
    g_assert_true(load_and_touch());
}

static void test_bit_flips(void)
{
    size_t bytes, start;
    g_autofree guint8 *file = good_file(&bytes, &start);
    int accepted = 0;
    for (size_t i = 0; i < 8 * start; i++) {
        file[i / 8] ^= (guint8)(1u << (i % 8));
        made_write(path, file, bytes);
        accepted += load_and_touch();
        file[i / 8] ^= (guint8)(1u << (i % 8));
    }
    g_test_message("%d of %" G_GSIZE_FORMAT " flips still are well-formed files", accepted,
                   8 * start);
    g_assert_cmpint(accepted, <, (int)start * 4); /* names and metadata may differ, no more */
}

/* Bytes out of nowhere behind a plausible start. */
static void test_noise(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    static const char alphabet[] = "{}[]\",:0123456789.-eE\\u abFdtypeshata_ofse\xc3\xa9";
    for (int i = 0; i < 3000; i++) {
        char header[96];
        int length = g_rand_int_range(rand, 2, sizeof header);
        for (int k = 0; k < length; k++)
            header[k] = alphabet[g_rand_int_range(rand, 0, sizeof alphabet - 1)];
        header[0] = '{';
        write_header(header, (size_t)length, 16);
        load_and_touch();
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_autofree char *folder = g_dir_make_tmp("pentimento-bad-XXXXXX", NULL);
    path = g_build_filename(folder, "bad.safetensors", NULL);
    g_test_add_func("/safetensors-bad/named", test_named);
    g_test_add_func("/safetensors-bad/lengths", test_lengths);
    g_test_add_func("/safetensors-bad/kinds", test_kinds);
    g_test_add_func("/safetensors-bad/limits", test_limits);
    g_test_add_func("/safetensors-bad/in-memory", test_in_memory);
    g_test_add_func("/safetensors-bad/prefixes", test_prefixes);
    g_test_add_func("/safetensors-bad/bit-flips", test_bit_flips);
    g_test_add_func("/safetensors-bad/noise", test_noise);
    int result = g_test_run();
    made_remove(folder);
    g_free(path);
    return result;
}
