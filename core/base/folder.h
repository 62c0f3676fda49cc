/* Folders that the program makes and takes away again. */
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

/* False, with the error, FILE, that tells of an errno for which it cannot be made. */
bool ldm_folder_fail_making(GError **error, const char *path, int code);

/* Where it is or would be, without links on the way to it. Free with g_free. */
char *ldm_folder_real(const char *path);

/* Whether nothing is there, or an empty folder. */
bool ldm_folder_is_free(const char *path);

/* The same, with an error, INVALID, where it is not so. */
bool ldm_folder_check_free(const char *path, GError **error);

/* Sees to it that files which took or lost a name in it have reached the disk so. Some file systems
 * cannot; what was renamed is so all the same. */
void ldm_folder_sync(const char *path);
