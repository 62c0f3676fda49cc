/* Ranges of the options of training, and how a run's settings tell of them. */
#pragma once

#include "ldm.h"

/* False and INVALID, naming the option, where value does not lie between least and most (NaN never
 * does). */
bool ldm_option_check(const char *name, double value, double least, double most, GError **error);

/* Adds " NAME=VALUE" to settings (checkpoint.h): the shortest number that is this very one. */
void ldm_option_append(GString *settings, const char *name, double value);
