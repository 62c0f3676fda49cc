/* Opening files that came from anywhere: regular files only, within a stated size. */
#pragma once

#include "ldm.h"

/* Whether a file of a model folder, by its name, is of weights, in whatever tool's format: who
 * writes other weights leaves it out, lest somebody load the old ones. */
bool ldm_file_is_weights(const char *name);

/* The whole file, with a 0 byte behind it. Free with g_free. Errors: FILE (cannot be opened or
 * read), FORMAT (no regular file, empty), UNSUPPORTED (longer than max_bytes), MEMORY. */
char *ldm_file_read(const char *path, size_t max_bytes, size_t *size, GError **error);

/* The same of a text in UTF-8, without the mark (U+FEFF) that some editors begin it with. Errors:
 * those of ldm_file_read; FORMAT where it is no UTF-8. */
char *ldm_file_read_text(const char *path, size_t max_bytes, GError **error);

/* The whole file as read-only memory, taken from the disk page by page as it is touched.
 * Replacing the file by rename (as every careful writer does) leaves a mapping untouched; a file
 * that is cut short in place while it is mapped ends the process with SIGBUS, which is why
 * models are opened in the worker and never in GIMP's own process. Errors: FILE, FORMAT. */
const uint8_t *ldm_file_map(const char *path, size_t *size, GError **error);
void ldm_file_unmap(const uint8_t *data, size_t size);

/* Takes the pages of a part of a mapping out of this process, `shared` with its neighbours or not;
 * who touches them again gets them back, from the system's cache as a rule. */
void ldm_file_release(const void *data, size_t size, bool shared);

/* Asks the system to read a mapping into its cache, and does not wait for it; stops soon after
 * *stop, which is atomic, is not 0. */
void ldm_file_ahead(const void *data, size_t size, const gint *stop);
