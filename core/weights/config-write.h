/* Configuration structs -> diffusers' and transformers' config.json: the way back of
 * diffusers-config.h, which reads the same struct out of what is written here. Each object is the
 * caller's. */
#pragma once

#include "weights/config.h"
#include "weights/json.h"

JsonObject *ldm_config_write_unet(const LdmUnetConfig *c);
JsonObject *ldm_config_write_vae(const LdmVaeConfig *c);
JsonObject *ldm_config_write_text(const LdmTextConfig *c);
JsonObject *ldm_config_write_schedule(const LdmScheduleConfig *c);

/* The encoder that it would have is TAESD's; only its configuration is there. */
JsonObject *ldm_config_write_tiny(const LdmTinyConfig *c);

/* CLIP's tokenizer: which token fills a prompt up. */
JsonObject *ldm_config_write_tokens(const LdmTextConfig *c);

/* model_index.json: what the folder has, the autoencoder in its subfolder `vae`. */
JsonObject *ldm_config_write_index(const LdmModelConfig *c, const char *vae);

/* The autoencoder's class, which depends on its regulariser, in a model_index.json. */
void ldm_config_write_vae_class(JsonObject *index, const char *vae, const LdmVaeConfig *c);

/* What distinguishes a KL autoencoder's file from a VQ one's, put into an object that is there. */
void ldm_config_write_regulariser(JsonObject *object, const LdmVaeConfig *c);
