/* The tokenizer on vocabularies of a few entries: merges in order, cuts, limits and broken files.
 * Ids of real vocabularies are in tests/parity/test-tokenizer.c. */
#include "condition/tokenizer.h"

#include <glib/gstdio.h>
#include <sys/stat.h>
#include <string.h>
#include <time.h>

#define NO_MERGES "#version: 0.2\n"
#define SPECIALS  "\"<s>\": 0, \"</s>\": 1, "
#define LETTERS                                                                                  \
    "\"a\": 2, \"a</w>\": 3, \"b\": 4, \"b</w>\": 5, \"ab\": 6, \"ab</w>\": 7, \"aab</w>\": 8, " \
    "\"aa\": 9, \"!</w>\": 10, \"1</w>\": 11"

typedef struct {
    char *folder, *vocab, *merges;
} Files;

static Files write_files(const char *vocab, const char *merges)
{
    char *folder = g_dir_make_tmp("pentimento-tokenizer-XXXXXX", NULL);
    Files files = {folder, g_build_filename(folder, "vocab.json", NULL),
                   g_build_filename(folder, "merges.txt", NULL)};

    g_assert_true(g_file_set_contents(files.vocab, vocab, -1, NULL));
    g_assert_true(g_file_set_contents(files.merges, merges, -1, NULL));
    return files;
}

static void remove_files(Files *files)
{
    g_remove(files->vocab);
    g_remove(files->merges);
    g_rmdir(files->folder);
    g_free(files->folder);
    g_free(files->vocab);
    g_free(files->merges);
}

static LdmTokenizer *open_text(const char *vocab, const char *merges, int tokens, GError **error)
{
    Files files = write_files(vocab, merges);
    LdmTokenizer *tokenizer = ldm_tokenizer_new(files.vocab, files.merges, 0, 1, 1, tokens, error);

    remove_files(&files);
    return tokenizer;
}

static void assert_ids(const LdmTokenizer *tokenizer, const char *prompt, const char *expected,
                       int tokens)
{
    g_autofree int32_t *ids = g_new(int32_t, tokens);
    g_autoptr(GString) got = g_string_new(NULL);

    g_assert_true(ldm_tokenizer_encode(tokenizer, prompt, ids, NULL, NULL));
    for (int i = 0; i < tokens; i++)
        g_string_append_printf(got, "%s%d", i > 0 ? " " : "", ids[i]);
    g_assert_cmpstr(got->str, ==, expected);
}

/* "a b</w>" comes first, then "a ab</w>", then "a a". */
static void test_merges(void)
{
    g_autoptr(LdmTokenizer) tokenizer =
        open_text("{" SPECIALS LETTERS "}", "#version: 0.2\na b</w>\na ab</w>\na a\n", 8, NULL);

    assert_ids(tokenizer, "", "0 1 1 1 1 1 1 1", 8);
    assert_ids(tokenizer, "ab", "0 7 1 1 1 1 1 1", 8);
    assert_ids(tokenizer, "AAB", "0 8 1 1 1 1 1 1", 8);
    assert_ids(tokenizer, "aaab", "0 2 8 1 1 1 1 1", 8);
    assert_ids(tokenizer, "aaa b", "0 9 3 5 1 1 1 1", 8);
    assert_ids(tokenizer, "a1!b", "0 3 11 10 5 1 1 1", 8);
    assert_ids(tokenizer, "a</s>b", "0 3 1 5 1 1 1 1", 8);
    assert_ids(tokenizer, "c", "0 1 1 1 1 1 1 1", 8);
}

/* Case is that of all letters; of two words the longer one is meant. */
static void test_learnt(void)
{
    g_autoptr(LdmTokenizer) tokenizer =
        open_text("{" SPECIALS LETTERS "}", "#version: 0.2\na b</w>\n", 8, NULL);

    ldm_tokenizer_learn(tokenizer, "stra\u00dfe", 20, 1);
    ldm_tokenizer_learn(tokenizer, "\u00c4a", 30, 2);
    ldm_tokenizer_learn(tokenizer, "\u00c4a ab", 40, 1);
    assert_ids(tokenizer, "a Stra\u00dfe b", "0 3 20 5 1 1 1 1", 8);
    assert_ids(tokenizer, "a STRA\u1e9eE b", "0 3 20 5 1 1 1 1", 8);
    assert_ids(tokenizer, "STRA\u1e9eE", "0 20 1 1 1 1 1 1", 8);
    assert_ids(tokenizer, "\u00e4a,b", "0 30 31 1 5 1 1 1", 8);
    assert_ids(tokenizer, "\u00e4A AB", "0 40 1 1 1 1 1 1", 8);
    ldm_tokenizer_forget(tokenizer);
    assert_ids(tokenizer, "ab", "0 7 1 1 1 1 1 1", 8);
}

static void test_cut(void)
{
    g_autoptr(LdmTokenizer) tokenizer = open_text("{" SPECIALS LETTERS "}", NO_MERGES, 5, NULL);
    int32_t ids[5];
    size_t cut = 99;

    g_assert_true(ldm_tokenizer_encode(tokenizer, "a b a", ids, &cut, NULL));
    g_assert_cmpuint(cut, ==, 0);
    g_assert_cmpint(ids[4], ==, 1);
    g_assert_true(ldm_tokenizer_encode(tokenizer, "a b a b b", ids, &cut, NULL));
    g_assert_cmpuint(cut, ==, 2);
    g_assert_cmpint(ids[3], ==, 3);
    g_assert_cmpint(ids[4], ==, 1);
}

/* One word of 64 KiB is no slower than many. */
static void test_long(void)
{
    g_autoptr(LdmTokenizer) tokenizer =
        open_text("{" SPECIALS LETTERS "}", "a b</w>\na ab</w>\na a\n", 5, NULL);
    g_autofree char *prompt = g_strnfill(64 << 10, 'a');
    g_autofree char *longer = g_strnfill((64 << 10) + 1, 'a');
    g_autoptr(GError) error = NULL;
    int32_t ids[5];
    size_t cut;
    clock_t begin = clock();

    g_assert_true(ldm_tokenizer_encode(tokenizer, prompt, ids, &cut, NULL));
    g_assert_cmpint(clock() - begin, <, 2 * CLOCKS_PER_SEC);
    g_assert_cmpuint(cut, ==, (32 << 10) + 1 - 3);
    g_assert_false(ldm_tokenizer_encode(tokenizer, longer, ids, NULL, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
}

static void test_no_utf8(void)
{
    g_autoptr(LdmTokenizer) tokenizer = open_text("{" SPECIALS LETTERS "}", NO_MERGES, 5, NULL);
    static const char *const bad[] = {"\xff", "a\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80"};
    int32_t ids[5];

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_false(ldm_tokenizer_encode(tokenizer, bad[i], ids, NULL, &error));
        g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    }
}

static void test_broken_files(void)
{
    static const struct {
        const char *vocab, *merges, *says;
    } bad[] = {
        {"", NO_MERGES, "vocab.json"},
        {"{" SPECIALS LETTERS "}", "", "merges.txt"},
        {"[1, 2]", NO_MERGES, "vocab.json"},
        {"{\"<s>\": 0", NO_MERGES, "vocab.json"},
        {"{\"<s>\": -1, \"</s>\": 1}", NO_MERGES, "<s>"},
        {"{\"<s>\": 0.5, \"</s>\": 1}", NO_MERGES, "<s>"},
        {"{\"<s>\": \"0\", \"</s>\": 1}", NO_MERGES, "<s>"},
        {"{\"<s>\": 0, \"</s>\": 99999999999}", NO_MERGES, "</s>"},
        {"{\"<s>\": 0, \"x\": 5}", NO_MERGES, "special"},
        {"{" SPECIALS LETTERS "}", "#version: 0.2\na b\na c\n", "line 3"},
        {"{" SPECIALS LETTERS "}", "ab\n", "line 1"},
        {"{" SPECIALS LETTERS "}", "b a\n", "line 1"},
        {"{" SPECIALS LETTERS "}", "a \xff\n", "UTF-8"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(LdmTokenizer) tokenizer = open_text(bad[i].vocab, bad[i].merges, 5, &error);
        g_assert_null(tokenizer);
        g_assert_error(error, LDM_ERROR, LDM_ERROR_FORMAT);
        g_assert_nonnull(strstr(error->message, bad[i].says));
    }
}

/* A pipe that nobody writes to is no file that is waited for. */
static void test_pipe(void)
{
    Files files = write_files("{" SPECIALS LETTERS "}", "a b\n");
    g_autoptr(GError) error = NULL;

    g_remove(files.merges);
    g_assert_cmpint(mkfifo(files.merges, 0600), ==, 0);
    g_assert_null(ldm_tokenizer_new(files.vocab, files.merges, 0, 1, 1, 5, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_FORMAT);
    g_assert_nonnull(strstr(error->message, "merges.txt"));
    remove_files(&files);
}

static void test_missing_files(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(
        ldm_tokenizer_new("/nowhere/vocab.json", "/nowhere/merges.txt", 0, 1, 1, 5, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_FILE);
    g_assert_nonnull(strstr(error->message, "/nowhere/vocab.json"));
}

static void test_no_room(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(open_text("{" SPECIALS LETTERS "}", NO_MERGES, 1, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_FORMAT);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tokenizer/merges", test_merges);
    g_test_add_func("/tokenizer/pipe", test_pipe);
    g_test_add_func("/tokenizer/learnt", test_learnt);
    g_test_add_func("/tokenizer/cut", test_cut);
    g_test_add_func("/tokenizer/long", test_long);
    g_test_add_func("/tokenizer/no-utf8", test_no_utf8);
    g_test_add_func("/tokenizer/broken-files", test_broken_files);
    g_test_add_func("/tokenizer/missing-files", test_missing_files);
    g_test_add_func("/tokenizer/no-room", test_no_room);
    return g_test_run();
}
