/* Arguments of the command line: the options that all commands share, and numbers, texts and
 * output paths out of what people type. */
#include "cli/command.h"

#include "base/parallel.h"

#include <unistd.h>

#define MAX_THREADS 256

void pentimento_common_clear(PentimentoCommon *common)
{
    g_free(common->model);
    g_free(common->output);
    g_strfreev(common->files);
}

GOptionContext *pentimento_context_new(PentimentoCommon *common, PentimentoOutput output,
                                       const char *usage, const char *summary)
{
    GOptionContext *context = g_option_context_new(usage);
    const GOptionEntry output_entry[] = {
        {"output", 'o', 0, G_OPTION_ARG_FILENAME, &common->output,
         _("Write to this file; - is standard output"), _("FILE")},
        G_OPTION_ENTRY_NULL,
    };
    const GOptionEntry model_entry[] = {
        {"model", 'm', 0, G_OPTION_ARG_FILENAME, &common->model,
         _("Model: a folder, a file, or a name under the model folders"), _("MODEL")},
        G_OPTION_ENTRY_NULL,
    };
    const GOptionEntry entries[] = {
        {"threads", 't', 0, G_OPTION_ARG_INT, &common->threads,
         _("Use this many threads; 0 is one for each processor"), _("N")},
        {"json", 0, 0, G_OPTION_ARG_NONE, &common->json, _("Report in JSON, one object a line"),
         NULL},
        {"quiet", 'q', 0, G_OPTION_ARG_NONE, &common->quiet, _("Report errors only"), NULL},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &common->files, NULL, NULL},
        G_OPTION_ENTRY_NULL,
    };

    g_option_context_set_summary(context, summary);
    g_option_context_add_main_entries(context, model_entry, NULL);
    if (output == PENTIMENTO_OUTPUT)
        g_option_context_add_main_entries(context, output_entry, NULL);
    g_option_context_add_main_entries(context, entries, NULL);
    g_option_context_set_description(
        context, _("Exit codes: 0 done, 1 failed, 2 wrong use, 130 cancelled. See pentimento(1)."));
    return context;
}

bool pentimento_context_parse(GOptionContext *context, PentimentoCommon *common, int argc,
                              char **argv, const int least_most[2], GError **error)
{
    g_autofree char *name = g_strconcat("pentimento ", argv[0], NULL);
    g_autofree char *help = NULL;
    int n;

    g_set_prgname(name);
    if (!g_option_context_parse(context, &argc, &argv, error))
        return false;
    n = common->files != NULL ? (int)g_strv_length(common->files) : 0;
    if (n < least_most[0]) {
        pentimento_set_usage(error, _("an input file is missing"));
        return false;
    }
    if (n > least_most[1]) {
        pentimento_set_usage(error, _("“%s” is one argument too many"),
                             common->files[least_most[1]]);
        return false;
    }
    if (common->threads < 0 || common->threads > MAX_THREADS) {
        pentimento_set_usage(error, _("--threads must be a whole number from 0 to %d"),
                             MAX_THREADS);
        return false;
    }
    ldm_set_threads(common->threads);
    return true;
}

bool pentimento_parse_double(const char *name, const char *text, double *number, GError **error)
{
    char *end;

    *number = g_ascii_strtod(text, &end);
    if (end != text && *end == '\0')
        return true;
    pentimento_set_usage(error, _("--%s must be a number such as 0.5, not “%s”"), name, text);
    return false;
}

bool pentimento_parse_int(const char *name, const char *text, gint64 *number, GError **error)
{
    if (g_ascii_string_to_signed(text, 10, G_MININT64, G_MAXINT64, number, NULL))
        return true;
    pentimento_set_usage(error, _("--%s must be a whole number, not “%s”"), name, text);
    return false;
}

char *pentimento_parse_text(const char *name, const char *text, GError **error)
{
    char *converted;

    if (g_utf8_validate(text, -1, NULL))
        return g_strdup(text);
    converted = g_locale_to_utf8(text, -1, NULL, NULL, NULL);
    if (converted == NULL)
        pentimento_set_usage(error, _("--%s is not text in UTF-8 or the locale's encoding"), name);
    return converted;
}

bool pentimento_check_output(const char *path, GError **error)
{
    g_autofree char *folder = NULL;

    if (path == NULL || *path == '\0') {
        pentimento_set_usage(error, _("an output file is missing: give one with -o FILE"));
        return false;
    }
    if (strcmp(path, "-") == 0) {
        if (!isatty(STDOUT_FILENO))
            return true;
        pentimento_set_usage(error, _("pictures and arrays are not written to a terminal: give a "
                                      "file with -o, or send standard output to one"));
        return false;
    }
    folder = g_path_get_dirname(path);
    if (g_file_test(path, G_FILE_TEST_IS_DIR))
        g_set_error(error, LDM_ERROR, LDM_ERROR_FILE, _("“%s” is a folder: give a file's name"),
                    path);
    else if (access(folder, F_OK) != 0)
        g_set_error(error, LDM_ERROR, LDM_ERROR_FILE, _("there is no folder “%s”: make it first"),
                    folder);
    else if (access(folder, W_OK) != 0)
        g_set_error(error, LDM_ERROR, LDM_ERROR_FILE,
                    _("the folder “%s” cannot be written to: choose another"), folder);
    else
        return true;
    return false;
}
