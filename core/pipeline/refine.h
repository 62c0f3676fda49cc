/* A picture larger than the model was trained at, in two runs of the line. What has never seen so
 * many cells does not know what goes where: shapes repeat or fall apart. So it is laid out at about
 * the native size first, enlarged (Lanczos), and made anew from there, as img2img does. */
#pragma once

#include "ldm.h"

/* The two requests; all but numbers is borrowed from the one they are made of. */
typedef struct {
    LdmRequest layout, anew;
    LdmTensor picture; /* the enlarged layout; without data until there is one */
} LdmRefine;

/* Whether a request takes two runs: it generates, `refine` is above 0, no start latent is given and
 * its picture has more than twice the native one's pixels. */
bool ldm_refine_split(const LdmModel *model, const LdmRequest *request, LdmRefine *refine);

/* What both need together. Errors: those of ldm_plan. */
bool ldm_refine_plan(const LdmRefine *refine, LdmModel *model, LdmPlan *plan, GError **error);

/* Both; monitor, seed and result are as of one run. Memory is looked at before the first. Errors:
 * those of ldm_generate. */
LdmResult *ldm_refine_run(LdmRefine *refine, LdmModel *model, const LdmMonitor *monitor,
                          GError **error);
