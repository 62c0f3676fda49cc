/* The folder of a test program's own files. */
#pragma once

#include <glib.h>

static char *folder;

static inline char *in_folder(const char *name)
{
    return g_build_filename(folder, name, NULL);
}
