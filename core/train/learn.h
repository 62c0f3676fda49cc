/* Learning from the picture that is about to be filled: a LoRA in the inpainting form, from crops
 * of what is known of it, for this fill. It is kept in a private folder of the cache under a digest
 * of all that it depends on: the same fill again, with whatever seed, finds it there, and one that
 * was interrupted goes on. */
#pragma once

#include "pipeline/types.h"
#include "train/estimate.h"

/* `step` of `steps` is done, and `share` 0..1 of all of it. */
typedef void (*LdmLearnProgress)(double share, int step, int steps, void *data);

/* What is to be learnt from. The request has picture and mask, and steps in `learn`; its adapters
 * are on the model already. */
typedef struct {
    LdmModel *model;
    const LdmRequest *request;
    const LdmPrepared *geometry; /* the window that will be filled */
    LdmLearnProgress progress;   /* or NULL */
    void *progress_data;
    GCancellable *cancellable;
} LdmLearn;

/* What it will take; 0 FLOPs where it was learnt already. Errors: those of ldm_train_measure. */
bool ldm_learn_measure(const LdmLearn *learn, size_t *bytes, double *flops, GError **error);

/* The same in seconds of a step and besides, measured by a pass that is really done. */
bool ldm_learn_estimate(const LdmLearn *learn, LdmTrainEstimate *estimate, GError **error);

/* Learns, or goes on, or finds it done: the LoRA's file, or NULL. Free with g_free. Errors: those
 * of ldm_train_ldm; MISSING where no pixel is known. Cancelled, it keeps the steps taken. */
char *ldm_learn(const LdmLearn *learn, GError **error);
