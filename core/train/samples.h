/* What a model makes of some captions while it is trained. */
#pragma once

#include "train/adapter.h"
#include "train/dataset.h"
#include "train/optimiser.h"

typedef struct {
    const LdmDataset *dataset;      /* captions, evenly taken */
    const LdmTrainAdapter *adapter; /* what changes them, or NULL */
    size_t count, side;             /* pictures; pixels of one */
    GCancellable *cancellable;
} LdmSamples;

/* What makes picture `i`. Free with ldm_request_free. */
LdmRequest *ldm_samples_request(const char *caption, size_t i, size_t side);

/* Writes a PNG grid of pictures made by the whole line with the averaged weights, always from the
 * same seeds and captions; the weights in training stay as they are. A model that cannot make
 * pictures now (too little memory, numbers that are not finite) gives none. Errors: FILE,
 * CANCELLED. */
bool ldm_samples_write(LdmModel *model, LdmOptimiser *optimiser, const LdmSamples *samples,
                       const char *path, GError **error);
