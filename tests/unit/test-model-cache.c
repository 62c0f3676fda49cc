/* The worker's model cache: kept while the files are the same, loaded again when one has changed,
 * even by a change of the same length whose time was set back. */
#include "made-model.h"
#include "worker/model-cache.h"

#include <fcntl.h>
#include <sys/stat.h>

static char *folder;

/* True where `name` is served by the model it was served by before. */
static bool kept(PentimentoModelCache *cache, const char *path, LdmModel **model)
{
    g_autoptr(GError) error = NULL;
    LdmModel *before = *model;

    *model = pentimento_model_cache_get(cache, path, &error);
    g_assert_no_error(error);
    ldm_model_unref(before); /* only now, so that no new model lies at its address */
    return *model == before;
}

/* Clocks of file systems are coarse. */
static void change(const char *sub, const char *name, const char *text)
{
    g_usleep(20000);
    made_text(folder, sub, name, text);
}

static void test_folder(void)
{
    LdmModelConfig config = made_config(false, MADE_WORDS);
    MadeModel *made = made_model_new(&config);
    PentimentoModelCache *cache = pentimento_model_cache_new();
    g_autoptr(LdmModel) model = NULL;
    LdmModel *peeked;

    made_folder(made, folder);
    g_assert_null(pentimento_model_cache_peek(cache, folder));
    g_assert_false(kept(cache, folder, &model));
    g_assert_true(kept(cache, folder, &model));
    peeked = pentimento_model_cache_peek(cache, folder);
    g_assert_true(peeked == model);
    ldm_model_unref(peeked);
    change("unet", "note.txt", "x");
    g_assert_null(pentimento_model_cache_peek(cache, folder));
    g_assert_false(kept(cache, folder, &model));
    pentimento_model_cache_free(cache);
    made_model_free(made);
}

static void test_single(void)
{
    LdmModelConfig config = made_config(false, 49408);
    MadeModel *made = made_model_new(&config);
    PentimentoModelCache *cache = pentimento_model_cache_new();
    g_autoptr(LdmModel) model = NULL;
    g_autofree char *path = g_build_filename(folder, "single.safetensors", NULL);
    g_autofree char *yaml = g_build_filename(folder, "single.yaml", NULL);
    const struct timespec long_ago[2] = {{.tv_sec = 1}, {.tv_sec = 1}};

    made_file_write(made_single(made), path, 0);
    g_assert_false(kept(cache, path, &model));
    g_assert_true(kept(cache, path, &model));
    change("", "single.yaml", "model: {params: {scale_factor: 0.5}}\n");
    g_assert_false(kept(cache, path, &model));
    g_assert_cmpfloat(ldm_model_info(model)->scale_factor, ==, 0.5);
    change("", "single.yaml", "model: {params: {scale_factor: 0.7}}\n");
    g_assert_cmpint(utimensat(AT_FDCWD, yaml, long_ago, 0), ==, 0);
    g_assert_false(kept(cache, path, &model));
    g_assert_cmpfloat(ldm_model_info(model)->scale_factor, ==, 0.7);
    g_assert_true(kept(cache, path, &model));
    pentimento_model_cache_free(cache);
    made_model_free(made);
}

static void test_missing(void)
{
    PentimentoModelCache *cache = pentimento_model_cache_new();
    g_autoptr(GError) error = NULL;

    g_assert_null(pentimento_model_cache_get(cache, "/nowhere/at/all", &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_MISSING);
    g_assert_null(pentimento_model_cache_peek(cache, "/nowhere/at/all"));
    pentimento_model_cache_free(cache);
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("pentimento-test-XXXXXX", NULL);
    g_test_add_func("/model-cache/folder", test_folder);
    g_test_add_func("/model-cache/single", test_single);
    g_test_add_func("/model-cache/missing", test_missing);
    status = g_test_run();
    made_remove(folder);
    g_free(folder);
    return status;
}
