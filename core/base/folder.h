/* Private folders of unfinished and kept work. */
#pragma once

#include <stddef.h>

/* Removes a folder with all that is in it, but for one entry (or NULL), and then itself where none
 * is spared. Symbolic links are removed and not followed. */
void ldm_folder_clear(const char *path, const char *spared);

/* Removes the folders in `path` but for the `count` that were changed last. */
void ldm_folder_keep_newest(const char *path, size_t count);
