/* Snapshots of the averages over power profiles (power-ema.h): "snapshots/step-N.safetensors" in a
 * run's folder, f16, "0/NAME" and "1/NAME" of every trained parameter. They lie at even distances
 * over the run, so that their number and size are known before it begins. */
#pragma once

#include "train/optimiser.h"

/* Of a run of `steps` steps with `count` snapshots: whether one follows step 1, 2 ... `step`. */
bool ldm_snapshot_due(uint64_t step, uint64_t steps, size_t count);

/* Bytes of one, without its header. */
size_t ldm_snapshot_bytes(const LdmOptimiser *optimiser);

/* Writes the one of the step that the optimiser has come to. Errors: FILE, NONFINITE. */
bool ldm_snapshot_write(LdmOptimiser *optimiser, const char *run, GError **error);

/* Removes those after `step`, which are of a run that is taken up again before it. */
void ldm_snapshots_cut(const char *run, uint64_t step);

/* Writes the model of a finished run with other weights to `path`, where nothing may be but an
 * empty folder: those averaged over a profile of width sigma_rel, ending with the newest snapshot.
 * What has no snapshots stays as the run has it; of an autoencoder, the scale factor does, too.
 * Errors: INVALID (sigma_rel, the folder), MISSING (no snapshots, no model), FORMAT, FILE. */
bool ldm_snapshots_average(const char *run, double sigma_rel, const char *path, GError **error);
