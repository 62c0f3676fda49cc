/* Writing safetensors files, in pieces, so that no second copy of the weights is needed:
 *
 *     ldm_file_writer_declare(writer, name, LDM_F16, rank, shape);        every array
 *     ldm_file_writer_describe(writer, key, text);                        what it is, perhaps
 *     ldm_file_writer_open(writer, path, &error);                         the header
 *     ldm_file_writer_put(writer, values, count, &error);                 all values, in that order
 *     ldm_file_writer_close(writer, &error);                              the file appears, whole
 */
#pragma once

#include "ldm.h"

typedef struct LdmFileWriter LdmFileWriter;

LdmFileWriter *ldm_file_writer_new(void);

/* Removes what has been written, unless closed. */
void ldm_file_writer_free(LdmFileWriter *writer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmFileWriter, ldm_file_writer_free)

void ldm_file_writer_declare(LdmFileWriter *writer, const char *name, LdmDtype dtype, int rank,
                             const size_t *shape);

/* What the file says about itself, in its __metadata__. */
void ldm_file_writer_describe(LdmFileWriter *writer, const char *key, const char *text);

/* Errors: FILE, INVALID (sizes that overflow, a name declared twice). */
bool ldm_file_writer_open(LdmFileWriter *writer, const char *path, GError **error);

/* The next `count` values, of one array or of several, none of them Q8. Errors: FILE; NONFINITE
 * where a finite value is beyond what the array's dtype can hold (f16: 65504). */
bool ldm_file_writer_put(LdmFileWriter *writer, const float *values, size_t count, GError **error);

/* All of the next array, in its own dtype; Q8 stands for I8. Errors: FILE, INVALID. */
bool ldm_file_writer_put_raw(LdmFileWriter *writer, const void *values, GError **error);

/* Errors: FILE, INVALID (values are missing). */
bool ldm_file_writer_close(LdmFileWriter *writer, GError **error);
