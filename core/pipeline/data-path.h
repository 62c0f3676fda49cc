/* Where the program's data lie: the default model, CLIP's vocabulary. */
#pragma once

#include "ldm.h"

/* The models that ldm_model_find finds by name, besides the default one, each once, sorted. Only
 * what lies there is looked at: a folder with a model_index.json, a .safetensors file. Free with
 * g_strfreev. */
char **ldm_model_names(void);

/* Where the user's own LoRA lie, $XDG_DATA_HOME/pentimento/adapters, and the path that a name
 * resolves to: a file, or its name there, with or without .safetensors. Errors: MISSING. Free both
 * with g_free. */
char *ldm_adapter_folder(void);
char *ldm_adapter_find(const char *name, GError **error);

/* `file` ("tokenizer/clip/vocab.json") in the first folder of data that has it: in
 * $PENTIMENTO_DATA_DIR, in the source tree where this program runs from a build folder, where the
 * program was installed. Free with g_free. Errors: MISSING. */
char *ldm_data_path(const char *file, GError **error);
