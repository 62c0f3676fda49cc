/* The settings of `pentimento train` from a file or from the command line. */
#pragma once

#include "train/train-autoencoder.h"
#include "train/train-contrastive.h"
#include "train/train-ldm.h"
#include "train/train-tiny.h"

typedef struct PentimentoSetting PentimentoSetting;

/* What can be set of one kind of training, and where it goes. */
typedef struct {
    struct {
        const PentimentoSetting *table; /* ends with a name NULL */
        void *options;
    } groups[3]; /* those that are there first */
} PentimentoSettings;

/* The settings of `options`, which they point into. */
PentimentoSettings pentimento_settings_ldm(LdmTrainOptions *options); /* its adapter's, too */
PentimentoSettings pentimento_settings_autoencoder(LdmAutoencoderOptions *options);
PentimentoSettings pentimento_settings_contrastive(LdmContrastOptions *options);
PentimentoSettings pentimento_settings_tiny(LdmTinyOptions *options);

/* Sets one option by name ("batch", "rate" ...) from text; numbers as the C locale writes them,
 * yes/no as true and false. Errors: G_OPTION_ERROR (no such option, no number). */
bool pentimento_train_set(const PentimentoSettings *settings, const char *name, const char *text,
                          GError **error);

/* Sets what a file says: a JSON object, or lines "name = value" with # before comments.
 * Errors: FILE, FORMAT (names file and line or option). */
bool pentimento_train_read(const PentimentoSettings *settings, const char *path, GError **error);
