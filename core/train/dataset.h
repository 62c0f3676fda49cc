/* What a model is trained on: pictures with captions. */
#pragma once

#include "ldm.h"

typedef struct {
    char *path;
    char *caption; /* UTF-8, at most 64 KiB; "" where there is none */
    char *fault;   /* why one that is there cannot be used; else NULL */
} LdmExample;

typedef struct LdmDataset LdmDataset;

/* `path` is one of
 * - a folder: all pictures in it (.png .jpg .jpeg .webp .bmp .tif .tiff .gif), by name, each with
 *   its caption in a .txt file of the same name;
 * - a .tsv file: the columns "file" and "caption" of a first line that names them, else the first
 *   two; paths from the file's own folder;
 * - a .jsonl file: an object a line, "file" or "file_name" and "caption" or "text".
 * Pictures are not opened here, and a caption that cannot be used is no error: whoever needs it
 * leaves the example out (ldm_dataset_check_caption). Errors: FILE, FORMAT (names the line),
 * MISSING (no picture). */
LdmDataset *ldm_dataset_open(const char *path, GError **error);

/* One of pictures that are no files: LdmPictureRead knows them by name, and a name stands for a
 * picture's content (a checksum), so that other pictures are other names. */
LdmDataset *ldm_dataset_new(const char *path);
void ldm_dataset_add(LdmDataset *dataset, const char *name, const char *caption);

void ldm_dataset_free(LdmDataset *dataset);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmDataset, ldm_dataset_free)

size_t ldm_dataset_length(const LdmDataset *dataset);
const LdmExample *ldm_dataset_at(const LdmDataset *dataset, size_t i);
const char *ldm_dataset_path(const LdmDataset *dataset);

/* False and FORMAT where the example has a caption that cannot be used. */
bool ldm_dataset_check_caption(const LdmDataset *dataset, size_t i, GError **error);

/* "FILE: why": what people are told of an example that cannot be used; free with g_free. */
char *ldm_dataset_fault(const LdmDataset *dataset, size_t i, const GError *reason);

/* Adds what its numbers depend on to a digest: names, sizes and times of the pictures' files, which
 * may lie where it takes long to ask for them. Errors: CANCELLED. */
bool ldm_dataset_digest(const LdmDataset *dataset, GChecksum *sum, GCancellable *cancellable,
                        GError **error);

/* The same of what words are learnt from. */
void ldm_dataset_digest_captions(const LdmDataset *dataset, GChecksum *sum);

/* Reads one picture: [1, H, W, 4], R'G'B' and straight alpha, 0..1; the command line hands one in,
 * since the library itself knows no picture files. */
typedef LdmTensor *(*LdmPictureRead)(const char *path, void *data, GError **error);
