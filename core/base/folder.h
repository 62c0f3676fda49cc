/* Folders that the program makes, fills and takes away again. */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <stddef.h>

/* Removes a folder with all that is in it, but for one entry (or NULL), and then itself where none
 * is spared. Symbolic links are removed and not followed. */
void ldm_folder_clear(const char *path, const char *spared);

/* Removes the files that killed processes have not finished there (file-atomic.h). Nobody may be
 * writing. */
void ldm_folder_tidy(const char *path);

/* Removes the folders in `path` but for the `count` that were changed last. */
void ldm_folder_keep_newest(const char *path, size_t count);

/* With its parents; it may be there. Of a private one nobody else may see what is in it. Errors:
 * FILE. */
bool ldm_folder_make(const char *path, GError **error);
bool ldm_folder_make_private(const char *path, GError **error);

/* Sees to it that files which took or lost a name in it have reached the disk so. Some file systems
 * cannot; what was renamed is so all the same. */
void ldm_folder_sync(const char *path);

/* A new one with a hidden name, beside where `path` is or would be: for ldm_folder_publish. Free
 * with g_free. Errors: FILE. */
char *ldm_folder_begin(const char *path, GError **error);

/* Makes what ldm_folder_begin gave appear under its name, whole, and removes what was there where
 * `replace`; else nothing may be there but an empty folder. Errors: FILE. */
bool ldm_folder_publish(const char *begun, const char *path, bool replace, GError **error);
