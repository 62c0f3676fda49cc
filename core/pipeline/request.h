/* A request as a whole: what ldm_request_set cannot see field by field. */
#pragma once

#include "ldm.h"

#define LDM_PROMPT_MAX 65536 /* bytes */
#define LDM_SIDE_MAX   8192  /* pixels a side of a generated picture */
#define LDM_LIST_MAX   16    /* files of one kind */
#define LDM_PATH_MAX   4096  /* bytes */
#define LDM_LEARN_MAX  100000

/* True where the request holds everything its task needs and every field is in range. Errors:
 * INVALID (ranges, shapes that do not match), MISSING (no picture, no mask). */
bool ldm_request_check(const LdmRequest *request, GError **error);
