/* `pentimento-worker`: the process that holds the model and serves the plug-in (protocol.h).
 * Started without arguments it splits off, and returns once a worker listens. */
#include "base/error.h"
#include "worker/launch.h"
#include "worker/log.h"
#include "worker/protocol.h"
#include "worker/server.h"

#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static void set_language(void)
{
    const char *folder = g_getenv("PENTIMENTO_LOCALE_DIR");

    setlocale(LC_ALL, "");
    bindtextdomain(GETTEXT_PACKAGE, folder != NULL ? folder : PENTIMENTO_LOCALEDIR);
    bind_textdomain_codeset(GETTEXT_PACKAGE, "UTF-8");
}

/* Every code of libldm under its name of protocol.h. */
static void register_errors(void)
{
    static const char *const names[] = {
        [LDM_ERROR_INVALID] = "Invalid",     [LDM_ERROR_FILE] = "File",
        [LDM_ERROR_FORMAT] = "Format",       [LDM_ERROR_UNSUPPORTED] = "Unsupported",
        [LDM_ERROR_MISSING] = "Missing",     [LDM_ERROR_SHAPE] = "Shape",
        [LDM_ERROR_MEMORY] = "Memory",       [LDM_ERROR_NONFINITE] = "Nonfinite",
        [LDM_ERROR_CANCELLED] = "Cancelled",
    };

    for (size_t code = 0; code < G_N_ELEMENTS(names); code++) {
        g_autofree char *name = g_strconcat(PENTIMENTO_ERROR_PREFIX, names[code], NULL);

        g_dbus_error_register_error(LDM_ERROR, (int)code, name);
    }
}

/* NULL without an error where another worker serves already. */
static PentimentoServer *start(GError **error)
{
    g_autofree char *socket = pentimento_worker_socket(error);
    PentimentoServer *server;
    int lock;

    if (socket == NULL)
        return NULL;
    lock = pentimento_launch_lock(socket, error);
    if (lock < 0)
        return NULL;
    server = pentimento_server_new(socket, lock, error);
    if (server == NULL)
        close(lock);
    return server;
}

int main(int argc, char **argv)
{
    gboolean foreground = argc == 2 && strcmp(argv[1], "--foreground") == 0;
    g_autoptr(GError) error = NULL;
    PentimentoServer *server;
    int report = -1;

    set_language();
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("pentimento-worker %s, protocol %u\n", PENTIMENTO_VERSION,
               PENTIMENTO_WORKER_VERSION);
        return EXIT_SUCCESS;
    }
    if (argc > 1 && !foreground) {
        fprintf(stderr, _("Usage: pentimento-worker [--foreground | --version]\n"
                          "Pentimento's GIMP plug-ins start it by themselves.\n"));
        return 2;
    }
    if (!foreground)
        report = pentimento_launch_detach();
    signal(SIGPIPE, SIG_IGN);
    pentimento_launch_harden();
    if (!foreground)
        pentimento_log_open();
    register_errors();
    server = start(&error);
    pentimento_launch_report(report, error != NULL ? error->message : NULL);
    if (server == NULL)
        return error != NULL ? EXIT_FAILURE : EXIT_SUCCESS;
    pentimento_log("listens, version %s", PENTIMENTO_VERSION);
    pentimento_server_run(server);
    pentimento_server_free(server);
    return EXIT_SUCCESS;
}
