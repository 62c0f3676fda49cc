/* Ranges of the options of training, and how a run's settings tell of them. */
#pragma once

#include "pipeline/model.h"

/* False and INVALID, naming the option, where value does not lie between least and most (NaN never
 * does). */
bool ldm_option_check(const char *name, double value, double least, double most, GError **error);

/* Adds " NAME=VALUE" to settings (checkpoint.h): the shortest number that is this very one. */
void ldm_option_append(GString *settings, const char *name, double value);

/* Adds a word of what the model's configuration and tokenizer say, the last one of settings. */
void ldm_option_append_config(GString *settings, const LdmModel *model);
