/* Ranges of the options of training. */
#pragma once

#include "ldm.h"

/* False and INVALID, naming the option, where value does not lie between least and most (NaN never
 * does). */
bool ldm_option_check(const char *name, double value, double least, double most, GError **error);
