/* Asking for a model's files ahead: the system reads them into its cache while the first stages
 * work, in long pieces instead of page by page as they are touched. Nothing becomes part of this
 * process's memory by it. */
#pragma once

#include "pipeline/model.h"

typedef struct LdmAhead LdmAhead;

/* Begins with those of the networks `parts` (1 << LdmPart), in the order of the line's stages, in a
 * thread of its own. NULL where they do not fit into what memory is free, and where they were asked
 * for and nothing was let go of since (ldm_model_release): one call after another asks once. */
LdmAhead *ldm_ahead_begin(const LdmModel *model, unsigned parts);

/* Asks for nothing more. NULL is allowed. The model has to last until then. */
void ldm_ahead_free(LdmAhead *ahead);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmAhead, ldm_ahead_free)
