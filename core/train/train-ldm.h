/* Training a latent diffusion model: L_LDM in the loop (loop.h). The folder of a run also has
 * "latents/", the data set seen through the encoder, and "samples.png", what the model makes of
 * some captions every `look_every` steps. */
#pragma once

#include "train/adapter.h"
#include "train/latent-cache.h"
#include "train/loop.h"
#include "train/loss-ldm.h"
#include "train/samples.h"

typedef struct {
    LdmLoopOptions loop;
    LdmCacheOptions latents; /* side 0: the native size; seed and holes: filled in */
    LdmLossOptions loss;
    double drop;       /* share of captions left out, so that guidance can be used; 0 .. 1 */
    double hole_drop;  /* what part of that where a hole leaves something of the picture; 0 .. 1 */
    double full_holes; /* share of samples that are all hole, whatever their variant's is: so every
                        * picture teaches its words, too; 0 .. 1; for models that see holes */
    double timestep_shift; /* of ldm_timestep_draw, 0.1 .. 100; 1 = timesteps are all as likely */
    size_t samples;        /* pictures in samples.png */
    bool train_text;       /* tau_theta jointly with epsilon_theta, as in the paper */
    LdmAdapterOptions adapter; /* what is trained in place of the model's own weights */
} LdmTrainOptions;

/* The model's native size (side 0), the caption dropout of the paper's guided models. */
LdmTrainOptions ldm_train_defaults(void);

/* The same for an adapter: no dropout, since the model can be guided already. */
LdmTrainOptions ldm_train_adapter_defaults(LdmAdapterKind kind);

/* Those of an adapter's options that its weights depend on besides seed and steps, as a text for
 * digests; free with g_free. */
char *ldm_train_adapter_text(const LdmTrainOptions *options);

/* Trains `model`, which must not be computed with afterwards, and writes it to `folder`; with an
 * adapter the model stays as it was, and the adapter's file is written. Cancelling
 * saves a checkpoint of the last whole step; the error is then CANCELLED. Errors: INVALID (options;
 * a folder that has checkpoints, without `resume`), FILE, MEMORY, NONFINITE, those of the parts. */
bool ldm_train_ldm(LdmModel *model, const LdmDataset *dataset, const LdmTrainOptions *options,
                   const LdmTrainWatch *watch, const char *folder, GError **error);
