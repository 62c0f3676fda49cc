/* Whether mpirun has started this process, and if so the module that speaks with the others.
 * Everything else knows only LdmRanks. */
#include "cli/ranks.h"

#include "base/error.h"

#include <gmodule.h>
#include <stdlib.h>

static LdmRanks joined;

static int started(void)
{
    const char *text = g_getenv("OMPI_COMM_WORLD_SIZE");

    return text != NULL ? (int)g_ascii_strtoll(text, NULL, 10) : 1;
}

/* Beside the program in the build folder, else where it was installed. */
static GModule *open_module(void)
{
    g_autofree char *program = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *folder = g_path_get_dirname(program != NULL ? program : ".");
    const char *const folders[] = {folder, PENTIMENTO_MODULEDIR};
    GModule *module = NULL;

    for (size_t i = 0; module == NULL && i < G_N_ELEMENTS(folders); i++) {
        g_autofree char *path = g_build_filename(folders[i], "pentimento-mpi.so", NULL);
        module = g_module_open(path, G_MODULE_BIND_LOCAL);
    }
    return module;
}

bool pentimento_ranks_open(LdmRanks **ranks, GError **error)
{
    gpointer open = NULL, close = NULL;

    *ranks = NULL;
    if (started() == 1)
        return true;
    GModule *module = open_module();
    if (module == NULL || !g_module_symbol(module, "pentimento_mpi_open", &open) ||
        !g_module_symbol(module, "pentimento_mpi_close", &close)) {
        ldm_set_error(error, UNSUPPORTED,
                      _("this pentimento was built without MPI: it trains in one process"));
        return false;
    }
    g_module_make_resident(module);
    ((PentimentoMpiOpen *)open)(&joined);
    atexit((PentimentoMpiClose *)close);
    *ranks = &joined;
    return true;
}

bool pentimento_ranks_speaks(void)
{
    return ldm_ranks_first(&joined);
}
