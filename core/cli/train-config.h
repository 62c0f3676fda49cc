/* The settings of `pentimento train` from a file or from the command line. */
#pragma once

#include "train/train-autoencoder.h"
#include "train/train-contrastive.h"
#include "train/train-ldm.h"
#include "train/train-tiny.h"

typedef struct PentimentoTrainSetting PentimentoTrainSetting;

/* What can be set of one kind of training, and where it goes. */
typedef struct {
    struct {
        const PentimentoTrainSetting *table; /* ends with a name NULL */
        void *options;
    } groups[3]; /* those that are there first */
} PentimentoTrainConfig;

/* The settings of `options`, which they point into. */
PentimentoTrainConfig pentimento_train_config_ldm(
    LdmTrainOptions *options); /* its adapter's, too */
PentimentoTrainConfig pentimento_train_config_autoencoder(LdmAutoencoderOptions *options);
PentimentoTrainConfig pentimento_train_config_contrastive(LdmContrastOptions *options);
PentimentoTrainConfig pentimento_train_config_tiny(LdmTinyOptions *options);

/* Sets one option by name ("batch", "rate" ...) from text; numbers as the C locale writes them,
 * yes/no as true and false. Errors: G_OPTION_ERROR (no such option, no number). */
bool pentimento_train_config_set(const PentimentoTrainConfig *config, const char *name,
                                 const char *text, GError **error);

/* Sets what a file says: a JSON object, or lines "name = value" with # before comments.
 * Errors: FILE, FORMAT (names file and line or option). */
bool pentimento_train_config_read(const PentimentoTrainConfig *config, const char *path,
                                  GError **error);
