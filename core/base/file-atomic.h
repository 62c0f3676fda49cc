/* Writing a file whole or not at all: data goes to a temporary file in the same folder, reaches
 * the disk, and then takes the name in one step. A failed or killed run leaves the old file as it
 * was. Messages say why in words ("No space left on device", "Permission denied"). */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct LdmAtomicFile LdmAtomicFile;

/* Errors of all: LDM_ERROR_FILE. */
LdmAtomicFile *ldm_atomic_file_new(const char *path, GError **error);
bool ldm_atomic_file_write(LdmAtomicFile *file, const void *data, size_t length, GError **error);

/* Makes the file appear under its name; nothing may be written afterwards. */
bool ldm_atomic_file_commit(LdmAtomicFile *file, GError **error);

/* Removes the temporary file unless committed. NULL is allowed. */
void ldm_atomic_file_free(LdmAtomicFile *file);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmAtomicFile, ldm_atomic_file_free)

/* All of it in one call. */
bool ldm_file_write_atomic(const char *path, const void *data, size_t length, GError **error);

/* The content of a file that is there, a regular one, under another name. */
bool ldm_file_copy_atomic(const char *from, const char *to, GError **error);
