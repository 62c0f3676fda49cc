/* Marks that lie far apart, each group in a run of its own. One window around all of them would be
 * larger than the model can take in, and so be worked on reduced; each group's own is seldom. */
#pragma once

#include "ldm.h"

#define LDM_AREAS_MAX 64

typedef struct {
    LdmRect marked[LDM_AREAS_MAX]; /* bounds of the groups */
    size_t count;
    LdmRect window;                  /* around the windows of all */
    int latent_width, latent_height; /* of the one window that would be worked on else */
} LdmAreas;

/* Whether a request takes several runs: it repaints what a mask marks, in groups whose windows have
 * no more than half of the pixels of the one around all, which would be reduced, and no more than
 * four times the pixels that this would be worked on with. Not where it learns from the picture
 * first or is given a start latent, which are for one window. */
bool ldm_areas_split(const LdmModel *model, const LdmRequest *request, LdmAreas *areas);

/* What all need together. Errors: those of ldm_plan. */
bool ldm_areas_plan(const LdmAreas *areas, LdmModel *model, const LdmRequest *request,
                    LdmPlan *plan, GError **error);

/* All of them, the later with seeds that follow the request's; monitor and result are as of one
 * run. Between the windows the result has the picture's own pixels and a blend factor of 0; so it
 * has in areas whose turn did not come before it was finished early. Errors: those of
 * ldm_generate. */
LdmResult *ldm_areas_run(const LdmAreas *areas, LdmModel *model, const LdmRequest *request,
                         const LdmMonitor *monitor, GError **error);
