/* `pentimento COMMAND …`: every stage of the line and every task as a command. Exit codes: 0 done,
 * 1 failed, 2 wrong use, 130 cancelled. */
#include "cli/command.h"
#include "cli/ranks.h"

#include <locale.h>
#include <stdlib.h>

#define EXIT_USAGE     2
#define EXIT_CANCELLED 130

static const struct {
    const char *name;
    PentimentoCommandFunc run;
    const char *summary;
} commands[] = {
    {"inspect", pentimento_inspect, N_("Tell what a model is and what it needs")},
    {"encode", pentimento_encode, N_("Turn a picture into a latent")},
    {"decode", pentimento_decode, N_("Turn a latent into a picture")},
    {"condition", pentimento_condition, N_("Turn a prompt into the model's conditioning")},
    {"predict", pentimento_predict, N_("Run the denoiser once")},
    {"generate", pentimento_generate, N_("Make a picture from a prompt")},
    {"img2img", pentimento_img2img, N_("Make a new picture on the lines of a given one")},
    {"inpaint", pentimento_inpaint, N_("Repaint the masked part of a picture")},
    {"convert", pentimento_convert, N_("Write a model in another number format")},
    {"train", pentimento_train, N_("Train a model on pictures with captions")},
};

static void set_language(void)
{
    const char *folder = g_getenv("PENTIMENTO_LOCALE_DIR");

    setlocale(LC_ALL, "");
    bindtextdomain(GETTEXT_PACKAGE, folder != NULL ? folder : PENTIMENTO_LOCALEDIR);
    bind_textdomain_codeset(GETTEXT_PACKAGE, "UTF-8");
}

static char *usage(void)
{
    GString *text = g_string_new(_("Usage: pentimento COMMAND [OPTION…]\n\nCommands:\n"));

    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
        g_string_append_printf(text, "  %-10s %s\n", commands[i].name, _(commands[i].summary));
    g_string_append(text, _("\n“pentimento COMMAND --help” documents each.\n"));
    return g_string_free(text, FALSE);
}

static PentimentoCommandFunc find_command(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return commands[i].run;
    return NULL;
}

/* What was printed on the way may still fail to arrive. */
static bool flush_output(GError **error)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return true;
    g_set_error(error, LDM_ERROR, LDM_ERROR_FILE, _("standard output cannot be written to: %s"),
                g_strerror(errno != 0 ? errno : EIO));
    return false;
}

static int report_error(const char *command, const GError *error)
{
    bool cancelled = g_error_matches(error, LDM_ERROR, LDM_ERROR_CANCELLED);
    bool usage = error->domain == G_OPTION_ERROR;

    if (!pentimento_ranks_speaks()) {
        /* another process says it */
    } else if (cancelled) {
        g_printerr("%s\n", _("cancelled"));
    } else {
        g_printerr("pentimento %s: %s\n", command, error->message);
        if (usage)
            g_printerr(_("“pentimento %s --help” tells how it is used.\n"), command);
    }
    return cancelled ? EXIT_CANCELLED : usage ? EXIT_USAGE : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    PentimentoCommandFunc run;

    set_language();
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        text = usage();
        g_print("%s", text);
        return EXIT_SUCCESS;
    }
    if (strcmp(name, "--version") == 0) {
        g_print("pentimento %s\n", PENTIMENTO_VERSION);
        return EXIT_SUCCESS;
    }
    run = find_command(name);
    if (run == NULL) {
        text = usage();
        if (*name != '\0')
            g_printerr(_("pentimento: there is no command “%s”\n\n"), name);
        g_printerr("%s", text);
        return EXIT_USAGE;
    }
    pentimento_interrupt_init();
    return run(argc - 1, argv + 1, &error) && flush_output(&error) ? EXIT_SUCCESS
                                                                   : report_error(name, error);
}
