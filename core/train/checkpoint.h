/* Checkpoints: everything that a training run needs to go on as if it had never stopped. The folder
 * of a run holds "checkpoints/" with two files for each: step-N.safetensors (weights, moments, all
 * averages, f32) and step-N.json (the optimiser's counters, the run's settings), written in
 * this order, so that the .json file stands for a whole checkpoint. Noise, data order and masks
 * need no state: they follow from (seed, step, sample). */
#pragma once

#include "train/optimiser.h"

typedef struct LdmCheckpoints LdmCheckpoints;

/* Opens (makes) `folder` and locks it until the object or the process is gone.
 * Errors: FILE; also where another run is at work in the folder. */
LdmCheckpoints *ldm_checkpoints_open(const char *folder, int keep, GError **error);

/* The same without a lock, to load from what another process of the run has opened. */
LdmCheckpoints *ldm_checkpoints_join(const char *folder);
void ldm_checkpoints_free(LdmCheckpoints *checkpoints);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmCheckpoints, ldm_checkpoints_free)

/* A text of everything on which the run depends, to be given before saving and loading: a
 * checkpoint made with another one is refused. Words that older checkpoints do not have come last,
 * and begin with one of these. */
#define LDM_CHECKPOINT_CAPTIONS " captions="
#define LDM_CHECKPOINT_MODEL    " model="
#define LDM_CHECKPOINT_CONFIG   " config="
void ldm_checkpoints_set_settings(LdmCheckpoints *checkpoints, const char *settings);

/* Before everything is known. Errors: MISSING (no checkpoint), INVALID (the newest lacks a word of
 * the settings given by now). One that cannot be read is left to ldm_checkpoints_load. */
bool ldm_checkpoints_check(const LdmCheckpoints *checkpoints, GError **error);

/* True where there is anything to go on from. */
bool ldm_checkpoints_exist(LdmCheckpoints *checkpoints);

/* Writes the state of all of a run's optimisers (the step is the first one's), then removes all but
 * the newest `keep`. A failure leaves the older ones as they are. Errors: FILE, NONFINITE. */
bool ldm_checkpoints_save(LdmCheckpoints *checkpoints, LdmOptimiser *const *optimisers,
                          size_t count, GError **error);

/* Restores the newest checkpoint that is whole into as many optimisers with the same tables.
 * Errors: MISSING (none), INVALID (other settings: says which), SHAPE, FORMAT (all are damaged: the
 * newest one's fault). */
bool ldm_checkpoints_load(LdmCheckpoints *checkpoints, LdmOptimiser *const *optimisers,
                          size_t count, GError **error);

/* What is wrong with the newest checkpoint, where the last load went back to an older one; NULL:
 * nothing. Belongs to `checkpoints`. */
const char *ldm_checkpoints_passed_over(const LdmCheckpoints *checkpoints);
