/* The noise schedule: alpha_bar of every training timestep, and the times a run visits. */
#pragma once

#include "pipeline/types.h"
#include "weights/config.h"

/* alpha_bar[t] = prod_{i <= t} (1 - beta_i) for t = 0 .. train_steps - 1 into `alpha_bar`, in the
 * reference's own float32 (each value is exactly a float). Falls with t; with zero_terminal_snr the
 * last one is 0. `config` must have passed ldm_model_config_check. */
void ldm_schedule_alpha_bar(const LdmScheduleConfig *config, double *alpha_bar);

/* The times of a run of `steps` (1 .. train_steps) at `strength` (0 .. 1; 1 for text to image), as
 * the reference's scheduler for that sampler gives them when built from the model's scheduler
 * configuration: spacing, offset, prediction, final alpha_bar, Karras sigmas.
 *
 * Where the reference has no answer or crashes:
 * - timesteps beyond the last training step (leading, K = train_steps, offset 1) are the last one;
 * - DPM++ with leading spacing and K = train_steps uses a stride of 1, not 0;
 * - Karras sigmas with DDIM and Euler a are those of Euler;
 * - epsilon prediction with zero terminal SNR starts at alpha_bar 2^-24 with DDIM too.
 *
 * Clear with ldm_times_clear. Errors: INVALID (steps, strength: says the range). */
bool ldm_times_init(LdmTimes *times, const LdmScheduleConfig *config, LdmSampler sampler,
                    LdmSigmas sigmas, int steps, double strength, GError **error);
