/* One run of the line, where a request may take several (refine.c, areas.c). */
#pragma once

#include "ldm.h"

/* `area` as in ldm_line_plan. Errors: those of ldm_generate. */
LdmResult *ldm_line_run(LdmModel *model, const LdmRequest *request, const LdmRect *area,
                        const LdmMonitor *monitor, GError **error);
