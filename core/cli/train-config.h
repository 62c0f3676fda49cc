/* The settings of `pentimento train` from a file or from the command line. */
#pragma once

#include "train/train-ldm.h"

/* Sets one option by name ("batch", "rate" ...) from text; numbers as the C locale writes them,
 * yes/no as true and false. Errors: G_OPTION_ERROR (no such option, no number). */
bool pentimento_train_set(LdmTrainOptions *options, const char *name, const char *text,
                          GError **error);

/* Sets what a file says: a JSON object, or lines "name = value" with # before comments.
 * Errors: FILE, FORMAT (names file and line or option). */
bool pentimento_train_read(LdmTrainOptions *options, const char *path, GError **error);

/* "batch, rate ...": for help. Free with g_free. */
char *pentimento_train_names(void);
