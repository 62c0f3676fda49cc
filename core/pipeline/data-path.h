/* Where the program's data lie: the default model, CLIP's vocabulary. */
#pragma once

#include "ldm.h"

/* Folders that hold models/ and tokenizer/, in order of search: $PENTIMENTO_DATA_DIR, the source
 * tree where this program runs from a build folder, the installed one. Free with g_strfreev. */
char **ldm_data_folders(void);

/* The first of those folders that has `file` ("tokenizer/clip/vocab.json"). Errors: MISSING. */
char *ldm_data_path(const char *file, GError **error);
