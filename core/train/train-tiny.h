/* Training a tiny decoder (decode/tiny-decoder.h) for a model, to preview its latents: what the
 * model's own encoder makes of pictures is decoded, and what comes out shall be the pictures again,
 * in L1 and the pyramid distance. The folder gets "preview/" with config.json and the averaged
 * weights in f16, which belongs into the model's folder. */
#pragma once

#include "train/augment.h"
#include "train/loop.h"
#include "train/reconstruction.h"

typedef struct {
    LdmLoopOptions loop;
    LdmAugment augment; /* side 0: the model's; the seed is filled in */
    LdmReconstruction weights;
    size_t channels, blocks; /* resblocks of every level but the finest, which has one */
} LdmTinyOptions;

LdmTinyOptions ldm_tiny_defaults(void);

/* Only the autoencoder of `model` is looked at. Errors: as ldm_train_ldm. */
bool ldm_train_tiny(LdmModel *model, const LdmDataset *dataset, const LdmTinyOptions *options,
                    const LdmTrainWatch *watch, const char *folder, GError **error);
