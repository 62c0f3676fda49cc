/* Arrays and files that the scripts in reference/ made: PENTIMENTO_FIXTURES/FOLDER/... */
#pragma once

#include "tensor/tensor.h"

static inline char *fixture_path(const char *folder, const char *file)
{
    return g_build_filename(g_getenv("PENTIMENTO_FIXTURES"), folder, file, NULL);
}

/* NAME.npy; the name is a printf format. */
G_GNUC_PRINTF(2, 3)
static inline LdmTensor *fixture_array(const char *folder, const char *format, ...)
{
    g_autoptr(GError) error = NULL;
    va_list arguments;

    va_start(arguments, format);
    g_autofree char *name = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_autofree char *file = g_strconcat(name, ".npy", NULL);
    g_autofree char *path = fixture_path(folder, file);
    LdmTensor *array = ldm_npy_read(path, &error);
    g_assert_no_error(error);
    return array;
}
