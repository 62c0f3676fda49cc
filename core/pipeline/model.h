/* A loaded model: configuration, networks bound to mapped weights, tokenizer. Only pipeline/,
 * train/, the command line and tests see it; a stage gets the one network it needs. */
#pragma once

#include "condition/clip-text.h"
#include "condition/tokenizer.h"
#include "decode/vae-decoder.h"
#include "denoise/unet.h"
#include "encode/vae-encoder.h"
#include "weights/config.h"
#include "weights/param.h"
#include "weights/source.h"

struct LdmModel {
    gatomicrefcount refs;
    LdmModelConfig config;
    LdmModelInfo info;
    LdmVaeEncoder *encoder;
    LdmVaeDecoder *decoder;
    LdmUnet *unet;
    LdmClipText *text;       /* NULL without text */
    LdmTokenizer *tokenizer; /* NULL without text */
    LdmParams *vae_params, *unet_params, *text_params;
    gpointer files;                    /* keeps the mappings alive */
    struct LdmPreviewDecoder *preview; /* once previews were wanted (preview.h), or NULL */
    float *drawn[LDM_N_PARTS];         /* weights made new, or NULL */
    GMutex busy;
};

/* As ldm_model_load with less than everything. Networks to be made new have parameters without
 * data: draw them (train/initial.h) before anything is computed. */
LdmModel *ldm_model_load_wanted(const char *name, const LdmWanted *wanted, GError **error);

/* For ldm_encode and ldm_decode only: a folder needs no more than its "vae". */
LdmModel *ldm_model_load_first_stage(const char *name, GError **error);

/* Lets go of the mapped pages of a table that is done with for now, so that a model's networks are
 * not in memory all at once. Who computes with it again gets them back from the system's cache. */
void ldm_model_release(const LdmModel *model, const LdmParams *params);

/* Copies of what the denoiser needs, in 8 bits or not, and the files have not (coarse.h); the
 * pages of what they were made from are released. ldm_params_drop_copies drops them. Errors:
 * MEMORY, CANCELLED. */
bool ldm_model_hold_denoiser(LdmModel *model, bool q8, GCancellable *cancellable, GError **error);

/* False and UNSUPPORTED where the denoiser's weights are stored in 8 bits and not expanded. */
bool ldm_model_check_trainable(const LdmModel *model, GError **error);

/* False and UNSUPPORTED where only the autoencoder was loaded. */
bool ldm_model_check_denoiser(const LdmModel *model, GError **error);

/* Adds what tells the model from any other, and from itself once it was trained further, to a
 * digest: path, the numbers of its configuration, the tokenizer, samples of all its arrays. */
void ldm_model_digest(const LdmModel *model, GChecksum *sum);

/* The numbers of the configuration and the tokenizer alone. */
void ldm_model_digest_config(const LdmModel *model, GChecksum *sum);

/* The samples of one network's arrays alone. */
void ldm_model_digest_table(const LdmParams *params, GChecksum *sum);
