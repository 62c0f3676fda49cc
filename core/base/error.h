/* Errors: whoever detects a fault writes the message (file, tensor, expected, found, remedy);
 * whoever passes it on adds nothing. Messages are for people and go through gettext (_()). */
#pragma once

#include "ldm.h"

#include <glib/gi18n-lib.h>

#define ldm_set_error(error, code, ...) g_set_error(error, LDM_ERROR, LDM_ERROR_##code, __VA_ARGS__)

/* Sets LDM_ERROR_CANCELLED where work is to stop; `cancellable` may be NULL. */
bool ldm_cancelled(GCancellable *cancellable, GError **error);

/* Sets LDM_ERROR_MEMORY: "not enough memory for WHAT (N MB)". Always returns false. */
bool ldm_set_no_memory(GError **error, const char *what, size_t bytes);
