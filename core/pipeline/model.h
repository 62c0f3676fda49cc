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
    gpointer files; /* keeps the mappings alive */
    GMutex busy;
};
