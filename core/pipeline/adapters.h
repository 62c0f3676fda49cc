/* What a request adds to a model for the time it runs: LoRA and words learnt by textual inversion.
 * Loading maps the files, which takes milliseconds; the model itself stays as it is, so that it
 * can serve other requests afterwards. */
#pragma once

#include "pipeline/model.h"

typedef struct LdmAdapters LdmAdapters;

/* Adds a request's files; `model` must be the caller's own meanwhile. NULL in *adapters where
 * there are none. Errors: those of weights/lora.h and weights/textual-inversion.h, UNSUPPORTED (an
 * embedding for a model without text). */
bool ldm_adapters_add(LdmModel *model, const LdmRequest *request, LdmAdapters **adapters,
                      GError **error);

/* Adds the LoRA in `path` to them, or to none yet (*adapters NULL). */
bool ldm_adapters_add_lora(LdmModel *model, const char *path, LdmAdapters **adapters,
                           GError **error);

/* The file that one of a request's LoRA, a file or a name with or without ":WEIGHT", means. Errors:
 * MISSING. */
char *ldm_adapters_lora_path(const char *text, double *weight, GError **error);

/* Where NONFINITE was set while LoRA (adapters may be NULL) stood beside the weights: says which of
 * them is the cause, or that they may be, in place of blaming the model. */
void ldm_adapters_explain(const LdmAdapters *adapters, GError **error);

/* Takes all of them away again. */
void ldm_adapters_free(LdmAdapters *adapters);
