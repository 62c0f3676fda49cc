/* A trained model as a diffusers folder, which this program and diffusers load. */
#pragma once

#include "pipeline/model.h"
#include "train/optimiser.h"

/* True where `model` is a diffusers folder: its configuration files are what the new one gets.
 * Else an error, UNSUPPORTED. */
bool ldm_model_writable(const LdmModel *model, GError **error);

/* False with an error, INVALID, where `folder` has a model or weights already, which a training
 * that ends there would write over. */
bool ldm_model_check_room(const char *folder, GError **error);

/* Writes the trained tables' moving averages in `dtype`, and everything else as it is in the
 * model's own folder; a denoiser whose autoencoder was trained is left without weights, a tiny
 * decoder of its latents is left out. `vae`, or NULL, goes into the configuration: what training
 * may have changed of the autoencoder is its kind, its latents' channels, its codebook, its scale
 * factor. Each file appears whole; model_index.json last. Errors: FILE, FORMAT, NONFINITE. */
bool ldm_model_write(const LdmModel *model, const LdmOptimiser *optimiser, LdmDtype dtype,
                     const LdmVaeConfig *vae, const char *folder, GError **error);

/* Changes the weights of a parameter, called as in the optimiser, or leaves them as they are. */
typedef bool (*LdmWeightsChange)(const char *name, size_t count, float *values, void *data,
                                 GError **error);

/* Writes the model that ldm_model_write has written to the folder `from` into another folder, its
 * networks' weights changed, in their own precision. Errors: FILE, FORMAT, NONFINITE, those of
 * `change`. */
bool ldm_model_rewrite(const char *from, const char *folder, LdmWeightsChange change, void *data,
                       GError **error);

/* Writes the moving averages of the tables "PART/" into a folder of their own, which loads with
 * ldm_files_bind: `config` as config.json, then model.safetensors. Errors: FILE, NONFINITE. */
bool ldm_model_write_table(const LdmOptimiser *optimiser, const char *part, LdmDtype dtype,
                           const char *folder, const char *config, GError **error);

/* A trained tiny decoder, its table called "tiny", into the folder's "preview": configuration as
 * diffusers has it for AutoencoderTiny, weights in f16. Errors: FILE, NONFINITE. */
bool ldm_model_write_tiny(const LdmTinyConfig *config, const LdmOptimiser *optimiser,
                          const char *folder, GError **error);
