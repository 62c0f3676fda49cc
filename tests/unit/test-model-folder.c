/* The user's own models as files: added whole or not at all, removed and nothing besides. */
#include "plugin/model-folder.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>
#include <utime.h>

#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" /* of "abc" */

static char *in(const char *folder, const char *name)
{
    return g_build_filename(folder, name, NULL);
}

static void put(const char *folder, const char *name, const char *text)
{
    g_autofree char *path = in(folder, name), *around = g_path_get_dirname(path);

    g_assert_cmpint(g_mkdir_with_parents(around, 0700), ==, 0);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static void check_text(const char *folder, const char *name, const char *text)
{
    g_autofree char *path = in(folder, name), *found = NULL;

    g_assert_true(g_file_get_contents(path, &found, NULL, NULL));
    g_assert_cmpstr(found, ==, text);
}

static guint count(const char *folder)
{
    g_autoptr(GDir) entries = g_dir_open(folder, 0, NULL);
    guint n = 0;

    while (entries != NULL && g_dir_read_name(entries) != NULL)
        n++;
    return n;
}

/* Where a model comes from; free with g_free. */
static char *downloads(void)
{
    return in(g_get_user_cache_dir(), "downloads");
}

/* A downloaded folder: weights by a link, and what the download keeps for itself. */
static char *make_folder(const char *name)
{
    g_autofree char *around = downloads();
    char *folder = in(around, name);
    g_autofree char *blob = in(around, "blob"), *weights = in(folder, "unet/weights.safetensors");

    put(folder, "model_index.json", "{}");
    put(folder, "unet/config.json", "abc");
    put(folder, "README.md", "What it can do.\n");
    put(folder, "LICENSE", "Free \xff for all.");
    put(folder, ".cache/secret", "secret");
    put(around, "blob", "weights");
    g_assert_cmpint(symlink(blob, weights), ==, 0);
    return folder;
}

static void on_told(guint64 done, guint64 total, gpointer data)
{
    guint64 *most = data;

    g_assert_cmpuint(done, <=, total);
    g_assert_cmpuint(done, >=, *most);
    *most = done;
}

static void test_folder(void)
{
    g_autofree char *from = make_folder("net"), *folder = pentimento_model_folder();
    g_autofree char *path = in(folder, "net"), *weights = in(path, "unet/weights.safetensors");
    guint64 most = 0;
    const PentimentoFileWatch watch = {.told = on_told, .data = &most};
    g_autoptr(GError) error = NULL;
    g_autofree char *slash = in(from, "");
    g_autofree char *name = pentimento_model_add(slash, false, &watch, &error);

    g_assert_no_error(error);
    g_assert_cmpstr(name, ==, "net");
    g_assert_cmpuint(count(folder), ==, 1);
    g_assert_cmpuint(count(path), ==, 4); /* nothing hidden */
    check_text(path, "unet/config.json", "abc");
    check_text(path, "unet/weights.safetensors", "weights");
    g_assert_false(g_file_test(weights, G_FILE_TEST_IS_SYMLINK));
    g_assert_cmpuint(pentimento_model_bytes(path), ==, 2 + 3 + 16 + 15 + 7);
    g_assert_cmpuint(most, ==, pentimento_model_bytes(from));
    g_assert_true(pentimento_model_is_own(path));
    g_assert_false(pentimento_model_is_own(from));
    g_autofree char *installed = in(folder, "default");
    g_assert_false(pentimento_model_is_own(installed));

    g_autofree char *twice = pentimento_model_add(from, true, &watch, &error);
    g_assert_null(twice);
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_EXISTS);
    g_clear_error(&error);
    g_assert_true(pentimento_model_remove(path, true, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(count(folder), ==, 0);
    check_text(from, "unet/weights.safetensors", "weights");
}

static void test_texts(void)
{
    g_autofree char *from = make_folder("net"), *licence = pentimento_model_licence(from);
    const PentimentoFileWatch watch = {0};
    g_autoptr(GError) error = NULL;
    g_autofree char *sums = pentimento_model_checksums(from, &watch, &error);

    g_assert_no_error(error);
    g_assert_true(g_utf8_validate(licence, -1, NULL));
    g_assert_nonnull(strstr(licence, "net/README.md\n\nWhat it can do."));
    g_assert_nonnull(strstr(licence, "net/LICENSE\n\nFree \xef\xbf\xbd for all."));
    g_assert_null(strstr(licence, "secret"));
    g_assert_nonnull(strstr(sums, ABC "  net/unet/config.json\n"));
    g_assert_null(strstr(sums, "secret"));
    g_autofree char *missing = pentimento_model_checksums("/no/such", &watch, &error);
    g_assert_null(missing);
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND);
}

/* With its configuration; a folder of that name would be found in its place. */
static void test_file(void)
{
    g_autofree char *around = downloads();
    g_autofree char *from = in(around, "one.safetensors"), *folder = pentimento_model_folder();
    g_autofree char *path = in(folder, "one.safetensors"), *other = in(folder, "one");
    const PentimentoFileWatch watch = {0};
    g_autoptr(GError) error = NULL;

    put(around, "one.safetensors", "abc");
    put(around, "one.yaml", "model:");
    put(folder, "one/model_index.json", "{}");
    g_assert_null(pentimento_model_add(from, false, &watch, &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_EXISTS);
    g_clear_error(&error);
    g_assert_true(pentimento_model_remove(other, true, &error));

    g_autofree char *name = pentimento_model_add(from, false, &watch, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(name, ==, "one");
    check_text(folder, "one.safetensors", "abc");
    check_text(folder, "one.yaml", "model:");
    g_autofree char *sums = pentimento_model_checksums(path, &watch, &error);
    g_assert_nonnull(strstr(sums, ABC "  one.safetensors\n"));
    g_assert_true(pentimento_model_remove(path, true, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(count(folder), ==, 0);
}

static void test_link(void)
{
    g_autofree char *from = make_folder("net"), *folder = pentimento_model_folder();
    g_autofree char *path = in(folder, "net");
    const PentimentoFileWatch watch = {0};
    g_autoptr(GError) error = NULL;
    g_autofree char *name = pentimento_model_add(from, true, &watch, &error);

    g_assert_no_error(error);
    g_assert_true(g_file_test(path, G_FILE_TEST_IS_SYMLINK));
    check_text(path, "model_index.json", "{}");
    g_assert_true(pentimento_model_remove(path, false, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(count(folder), ==, 0);
    check_text(from, "model_index.json", "{}");
    check_text(from, "unet/weights.safetensors", "weights");
}

/* Of a file its configuration is linked, too; where the model has gone since, another may come. */
static void test_link_of_file(void)
{
    g_autofree char *around = downloads(), *folder = pentimento_model_folder();
    g_autofree char *from = in(around, "one.safetensors"), *second = in(around, "one.yaml");
    g_autofree char *path = in(folder, "one.safetensors"), *beside = in(folder, "one.yaml");
    const PentimentoFileWatch watch = {0};
    g_autoptr(GError) error = NULL;

    put(around, "one.safetensors", "abc");
    put(around, "one.yaml", "model:");
    g_autofree char *name = pentimento_model_add(from, true, &watch, &error);
    g_assert_no_error(error);
    g_assert_true(g_file_test(path, G_FILE_TEST_IS_SYMLINK));
    g_assert_true(g_file_test(beside, G_FILE_TEST_IS_SYMLINK));
    check_text(folder, "one.yaml", "model:");
    g_assert_cmpint(g_unlink(from) | g_unlink(second), ==, 0);

    g_autofree char *newer = in(around, "newer/one.safetensors");
    put(around, "newer/one.safetensors", "another");
    g_autofree char *again = pentimento_model_add(newer, false, &watch, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(count(folder), ==, 1); /* the old configuration is not the new model's */
    check_text(folder, "one.safetensors", "another");
    g_assert_true(pentimento_model_remove(path, true, &error));

    /* links that lead nowhere go, too */
    put(around, "one.safetensors", "abc");
    put(around, "one.yaml", "model:");
    g_autofree char *third = pentimento_model_add(from, true, &watch, &error);
    g_assert_cmpint(g_unlink(from) | g_unlink(second), ==, 0);
    g_autofree char *found = pentimento_model_find_own("one");
    g_assert_cmpstr(found, ==, path);
    g_assert_true(pentimento_model_remove(path, false, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(count(folder), ==, 0);
}

/* A configuration that is nobody's would become the new model's. */
static void test_stray(void)
{
    g_autofree char *around = downloads(), *folder = pentimento_model_folder();
    g_autofree char *from = in(around, "one.safetensors");
    const PentimentoFileWatch watch = {0};
    g_autoptr(GError) error = NULL;

    put(around, "one.safetensors", "abc");
    put(folder, "one.yaml", "of another");
    g_assert_null(pentimento_model_add(from, false, &watch, &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_EXISTS);
    g_assert_cmpuint(count(folder), ==, 1);
}

/* What no name would lead to. */
static void test_kinds(void)
{
    g_autofree char *bare = make_folder("bare"), *index = in(bare, "model_index.json");
    g_autofree char *ending = make_folder("net.safetensors"), *around = downloads();
    g_autofree char *other = in(around, "one.ckpt"), *folder = pentimento_model_folder();
    const char *const names[] = {bare, ending, other, "/no/such/folder"};
    const PentimentoFileWatch watch = {0};

    put(around, "one.ckpt", "abc");
    g_assert_cmpint(g_unlink(index), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(pentimento_model_add(names[i], false, &watch, &error));
        g_assert_error(error, G_IO_ERROR, G_IO_ERROR_NOT_REGULAR_FILE);
    }
    g_assert_cmpuint(count(folder), ==, 0);
}

/* What a killed copy left goes, unless it may still be at work. */
static void test_stale(void)
{
    g_autofree char *from = make_folder("net"), *folder = pentimento_model_folder();
    g_autofree char *old = in(folder, ".adding-old"), *young = in(folder, ".adding-new");
    const PentimentoFileWatch watch = {0};
    const struct utimbuf long_ago = {0};
    g_autoptr(GError) error = NULL;

    put(folder, ".adding-old/net/model_index.json", "{}");
    put(folder, ".adding-new/net/model_index.json", "{}");
    g_assert_cmpint(g_utime(old, (struct utimbuf *)&long_ago), ==, 0);
    g_autofree char *name = pentimento_model_add(from, true, &watch, &error);
    g_assert_no_error(error);
    g_assert_false(g_file_test(old, G_FILE_TEST_EXISTS));
    g_assert_true(g_file_test(young, G_FILE_TEST_EXISTS));
}

static void test_cancelled(void)
{
    g_autofree char *from = make_folder("net"), *folder = pentimento_model_folder();
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    const PentimentoFileWatch watch = {.cancellable = cancellable};
    g_autoptr(GError) error = NULL;

    g_cancellable_cancel(cancellable);
    g_assert_null(pentimento_model_add(from, false, &watch, &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    g_assert_cmpuint(count(folder), ==, 0);
    g_clear_error(&error);
    g_assert_null(pentimento_model_checksums(from, &watch, &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
}

static void test_refusals(void)
{
    g_autofree char *from = make_folder("default"), *hidden = make_folder(".net");
    g_autofree char *folder = pentimento_model_folder(), *around = g_path_get_dirname(folder);
    g_autofree char *beyond = in(folder, "../adapters");
    const PentimentoFileWatch watch = {0};
    const char *const names[] = {from, hidden};

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(pentimento_model_add(names[i], true, &watch, &error));
        g_assert_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_FILENAME);
    }
    put(around, "adapters/style.safetensors", "abc");
    const char *const others[] = {from, beyond, folder};
    for (size_t i = 0; i < G_N_ELEMENTS(others); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_false(pentimento_model_remove(others[i], true, &error));
        g_assert_error(error, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED);
    }
    check_text(around, "adapters/style.safetensors", "abc");
}

/* A folder that links to itself has no end. */
static void test_endless(void)
{
    g_autofree char *from = make_folder("net"), *round = in(from, "round");
    g_autofree char *folder = pentimento_model_folder();
    const PentimentoFileWatch watch = {0};
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(symlink(from, round), ==, 0);
    g_assert_null(pentimento_model_add(from, false, &watch, &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_FAILED);
    g_assert_cmpuint(count(folder), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, G_TEST_OPTION_ISOLATE_DIRS, NULL);
    g_test_add_func("/model-folder/folder", test_folder);
    g_test_add_func("/model-folder/texts", test_texts);
    g_test_add_func("/model-folder/file", test_file);
    g_test_add_func("/model-folder/link", test_link);
    g_test_add_func("/model-folder/link-of-file", test_link_of_file);
    g_test_add_func("/model-folder/stray", test_stray);
    g_test_add_func("/model-folder/kinds", test_kinds);
    g_test_add_func("/model-folder/stale", test_stale);
    g_test_add_func("/model-folder/cancelled", test_cancelled);
    g_test_add_func("/model-folder/refusals", test_refusals);
    g_test_add_func("/model-folder/endless", test_endless);
    return g_test_run();
}
