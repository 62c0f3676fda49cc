/* safetensors files, mapped: u64 length (little endian), JSON header, data without gaps.
 * Limits: header 100 MB, 200,000 tensors, names of 1 KiB. */
#pragma once

#include "ldm.h"

#define LDM_FILE_HEADER_BYTES ((size_t)100 << 20)
#define LDM_FILE_TENSORS      200000
#define LDM_FILE_NAME_BYTES   1024

typedef struct LdmFile LdmFile;

/* One array of a file. Any dtype and rank the format knows may occur; what a network needs is
 * checked when it is bound. */
typedef struct {
    char *name;
    const LdmFile *file;
    const char *type;           /* the format's name of its dtype, "F16" */
    int element;                /* bytes per element */
    bool weights;               /* dtype is one of LdmDtype's */
    LdmDtype dtype;             /* where `weights` */
    int rank;                   /* may exceed LDM_MAX_RANK; shape then holds the first entries */
    size_t shape[LDM_MAX_RANK]; /* entries at and above rank are 1 */
    const uint8_t *data;        /* mapped, aligned as the file happens to be */
    size_t bytes;
} LdmFileTensor;

LdmFile *ldm_file_load(const char *path, GError **error);
void ldm_file_free(LdmFile *file);
const char *ldm_file_path(const LdmFile *file);

/* Some files searched as one: the shards of a network, or the single file of a whole model. */
typedef struct LdmFiles LdmFiles;

LdmFiles *ldm_files_new(void);
void ldm_files_free(LdmFiles *files);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmFiles, ldm_files_free)

/* Opens and adds a file. Errors: FILE, FORMAT, UNSUPPORTED; FORMAT also where a tensor's name
 * is already there. */
bool ldm_files_add(LdmFiles *files, const char *path, GError **error);
const LdmFileTensor *ldm_files_find(const LdmFiles *files, const char *name); /* or NULL */
size_t ldm_files_length(const LdmFiles *files);                               /* tensors */
const LdmFileTensor *ldm_files_at(const LdmFiles *files, size_t i);
const char *ldm_files_path(const LdmFiles *files); /* of the first file: for messages */

/* Sets SHAPE: what the tensor has, and what it should have. Always returns false. */
bool ldm_file_tensor_set_shape(const LdmFileTensor *t, int rank, const size_t *shape,
                               GError **error);

/* Sets NONFINITE: the tensor holds NaN or infinity. */
void ldm_file_tensor_set_nonfinite(const LdmFileTensor *t, GError **error);

/* The one finite number that a tensor holds: of weights, F64 or whole. False, and `value` as it
 * was, where it is anything else. */
bool ldm_file_tensor_number(const LdmFileTensor *t, double *value);

/* Releases the pages of an array (ldm_file_release), where it is mapped and no copy. */
void ldm_files_release(const LdmFiles *files, const void *data, size_t bytes, bool shared);

/* Asks the system to read the files (ldm_file_ahead) until *stop, which is atomic, is not 0. */
void ldm_files_ahead(const LdmFiles *files, const gint *stop);

/* What the first file says about itself under `name` in its __metadata__; NULL where nothing. */
const char *ldm_files_metadata(const LdmFiles *files, const char *name);

/* An LdmTensor's worth of memory that lives as long as the files: for data that cannot be used
 * where it lies, and whose pages are released. NULL and MEMORY on failure. */
void *ldm_files_copy(LdmFiles *files, const void *data, size_t bytes, GError **error);

/* After the last of several copies: Linux maps some pages around every one that is asked for, also
 * such as were released. */
void ldm_files_copy_end(const LdmFiles *files);
