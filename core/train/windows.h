/* Windows of a data set's pictures, for the trainings that look at pixels. */
#pragma once

#include "train/augment.h"
#include "train/examples.h"

typedef struct {
    const LdmDataset *dataset;
    const LdmAugment *augment;
    const LdmTrainWatch *watch;
    LdmLoop *loop;     /* says which example a sample is; only ldm_windows_draw needs it */
    LdmExamples found; /* those that can be read */
} LdmWindows;

/* Fills `found`. In `folder`, a run's, it is remembered which pictures of the same data set can be
 * read; `settings` tell all that this depends on but the seed. NULL, both: all are read. Errors:
 * those of ldm_examples_find. */
bool ldm_windows_find(LdmWindows *windows, const char *folder, const char *settings,
                      GError **error);
void ldm_windows_clear(LdmWindows *windows);

/* The window of an example of the data set, [1, side, side, 3] in [-1, 1]. */
LdmTensor *ldm_windows_read(const LdmWindows *windows, size_t example, size_t variant,
                            GError **error);

/* Sample `sample` of a step, counted through all of its passes, into `place` of x [N, side, side,
 * 3]: the same one for the same step whatever was drawn before. */
bool ldm_windows_draw(const LdmWindows *windows, uint64_t step, size_t sample, size_t place,
                      LdmTensor *x, GError **error);
