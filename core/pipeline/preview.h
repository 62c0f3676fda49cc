/* Previews: what a run is heading for, shown while it works. */
#pragma once

#include "pipeline/model.h"
#include "pipeline/types.h"

/* What shows a model's latents; the model keeps it from one run to the next. */
typedef struct LdmPreviewDecoder LdmPreviewDecoder;
void ldm_preview_decoder_free(LdmPreviewDecoder *decoder);

/* The previews of one run. */
typedef struct {
    const LdmMonitor *monitor;        /* whose `preview` is called; it may be NULL: no previews */
    const LdmPreviewDecoder *decoder; /* the model's; NULL: no previews */
    const LdmPrepared *geometry;      /* of the window that is worked on */
    gint64 next;                      /* monotonic time before which there is none */
} LdmPreviews;

/* Opens the tiny decoder that the monitor names, or the model's own, or (none, or a broken one)
 * makes the linear map;
 * *bytes of memory are needed to show a latent [1, h, w, z]. Nothing is done, and nothing needed,
 * where nobody asks. Errors: those of files, SHAPE (a decoder of other latents), MEMORY, CANCELLED.
 */
bool ldm_previews_open(LdmPreviews *previews, LdmModel *model, const size_t latent[4],
                       size_t *bytes, GError **error);

/* Shows x0 [1, h, w, z] to who asked, unless it is too early for another one. What cannot be shown
 * is left out. */
void ldm_previews_show(LdmPreviews *previews, int step, int steps, const LdmTensor *x0);
