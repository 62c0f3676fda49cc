/* A model whose latents get further channels, and which else is as it was. */
#pragma once

#include "train/dataset.h"
#include "train/loop.h"

/* Fills `model`, loaded with all networks to be made new, from `old`, a model of the same kind with
 * fewer latent channels, and writes it to `folder`: what both have is the old one's. The new
 * channels tell what the pictures of `dataset` have most of and the old ones leave over
 * (linear-start.h), and the decoder adds that to its picture; what the denoiser has for them begins
 * as in a new one. Decoder and denoiser have to be trained on. Autoencoders with a posterior and a
 * linear path alone can grow.
 * The folder must not be there, or be empty; it appears once it is whole.
 * Errors: INVALID, UNSUPPORTED, those of reading pictures, FILE. */
bool ldm_train_grow(LdmModel *model, const LdmModel *old, const LdmDataset *dataset,
                    const LdmTrainWatch *watch, const char *folder, GError **error);
