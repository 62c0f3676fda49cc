/* Training text and picture together: the contrastive loss (loss-contrastive.h) in the loop
 * (loop.h). It warms the text encoder up before the denoiser is trained with it, which can then
 * learn from the first step on what words mean. The finished folder is the model's own with the
 * trained "text_encoder", and has "image_tower" besides (image-tower.h; the matrix and the
 * temperature of the loss lie in it, too). */
#pragma once

#include "train/loop.h"
#include "train/loss-contrastive.h"

typedef struct {
    LdmLoopOptions loop; /* a pass's pictures, one process's, are compared with one another */
    LdmImageTowerConfig tower;
    size_t picture_memory; /* MiB of pictures that are kept; more are read for each pass */
} LdmContrastOptions;

LdmContrastOptions ldm_contrast_defaults(void);

/* Trains the text encoder of `model` (the other networks' weights are not looked at), which must
 * not be computed with afterwards, and writes the result to `folder`. Where the text encoder was
 * not made new, the image tower of the model's folder goes on, too, if there is one. Examples whose
 * picture or caption cannot be used are left out. Errors: as ldm_train_ldm. */
bool ldm_train_contrastive(LdmModel *model, const LdmDataset *dataset,
                           const LdmContrastOptions *options, const LdmTrainWatch *watch,
                           const char *folder, GError **error);
