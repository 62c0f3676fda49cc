/* The default model's vocabulary in the tokenizer: ids as the script that learnt it gives them
 * (tokens.tsv). */
#include "condition/tokenizer.h"

#define TOKENS 40

static char *source_file(const char *name)
{
    return g_build_filename(g_getenv("PENTIMENTO_SOURCE"), name, NULL);
}

static void test_ids(void)
{
    g_autofree char *vocab = source_file("data/default/model/tokenizer/vocab.json");
    g_autofree char *merges = source_file("data/default/model/tokenizer/merges.txt");
    g_autofree char *list = source_file("tests/default-model/tokens.tsv");
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmTokenizer) tokenizer =
        ldm_tokenizer_new(vocab, merges, 8190, 8191, 8191, TOKENS, &error);
    int32_t ids[TOKENS];

    g_assert_no_error(error);
    g_assert_true(g_file_get_contents(list, &text, NULL, NULL));
    g_auto(GStrv) lines = g_strsplit(g_strstrip(text), "\n", -1);
    for (guint i = 0; lines[i] != NULL; i++) {
        g_auto(GStrv) fields = g_strsplit(lines[i], "\t", 2);
        g_auto(GStrv) wanted = g_strsplit(fields[1], " ", -1);
        guint n = g_strv_length(wanted);
        g_assert_true(ldm_tokenizer_encode(tokenizer, fields[0], ids, NULL, &error));
        g_assert_cmpint(ids[0], ==, 8190);
        for (guint j = 0; j < n; j++)
            g_assert_cmpint(ids[j + 1], ==, (int)g_ascii_strtoll(wanted[j], NULL, 10));
        g_assert_cmpint(ids[n + 1], ==, 8191);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vocabulary/ids", test_ids);
    return g_test_run();
}
