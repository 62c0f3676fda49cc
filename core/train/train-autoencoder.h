/* Training the first stage: the losses of loss-autoencoder.h in the loop (loop.h). The finished
 * folder has the trained "vae", with the scale factor measured on the data (1 / standard deviation
 * of the latents, as in the LDM's section "rescaling"), and the other parts' configuration, so that
 * a denoiser can be trained on it next. */
#pragma once

#include "train/augment.h"
#include "train/loop.h"
#include "train/loss-autoencoder.h"

typedef struct {
    LdmLoopOptions loop;
    LdmAugment augment; /* side 0: the model's; the seed is filled in */
    LdmAutoencoderWeights weights;
    LdmVaeWish vae; /* what the model has been made with; else INVALID */
    LdmDiscriminatorConfig discriminator;
    uint64_t adversarial_start; /* steps taken before the discriminator takes part */
    bool freeze_encoder; /* only the decoder learns: latents, and denoisers of them, stay right */
    double equivariance; /* share of the passes whose latents are made smaller */
    double adversarial_rate; /* its learning rate, which stays; 0: the autoencoder's highest */
} LdmAutoencoderOptions;

LdmAutoencoderOptions ldm_autoencoder_defaults(void);

/* Trains the encoder and decoder of `model` (ldm_model_load_wanted, first_stage is enough), which
 * must not be computed with afterwards, and writes the result to `folder`. Pictures that cannot be
 * read are left out. Errors: as ldm_train_ldm. */
bool ldm_train_autoencoder(LdmModel *model, const LdmDataset *dataset,
                           const LdmAutoencoderOptions *options, const LdmTrainWatch *watch,
                           const char *folder, GError **error);
