/* The files of a model, and what they tell a person. What is in its weights is the worker's to
 * read. */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>

#define PENTIMENTO_MODEL_SUFFIX ".safetensors" /* of a model that is a single file */

/* Relative to the folder that the model lies in; what links lead to counts, what is hidden does
 * not. */
typedef struct {
    char *parent;
    GPtrArray *names; /* of char */
    guint64 bytes;
} PentimentoModelFiles;

/* Of a file, the configuration beside it comes first. Errors: G_IO_ERROR, G_FILE_ERROR; the list
 * has to be cleared all the same. */
bool pentimento_model_files_list(PentimentoModelFiles *files, const char *path, GError **error);
void pentimento_model_files_clear(PentimentoModelFiles *files);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(PentimentoModelFiles, pentimento_model_files_clear)

/* The configuration that may lie beside a single file of that name or path; "" of anything else.
 * Free with g_free. */
char *pentimento_model_configuration(const char *name);

/* Told on the thread that works: bytes done, of how many. */
typedef struct {
    void (*told)(guint64 done, guint64 total, gpointer data);
    gpointer data;
    GCancellable *cancellable;
} PentimentoFileWatch;

/* What it takes on the disk, with what belongs to it. 0 where it cannot be read. */
guint64 pentimento_model_bytes(const char *path);

/* The texts beside its weights that tell licence, authors and use, one after the other, UTF-8; ""
 * where there are none. No more than 256 KiB of each. Free with g_free. */
char *pentimento_model_licence(const char *path);

/* SHA-256 of each of its files, as sha256sum writes and checks them beside the model. Free with
 * g_free. Errors: as above, CANCELLED among them. */
char *pentimento_model_checksums(const char *path, const PentimentoFileWatch *watch,
                                 GError **error);
