/* Files of a tiny decoder, which shows roughly what an autoencoder's D would: folder of diffusers'
 * AutoencoderTiny (config.json, diffusion_pytorch_model.safetensors), or one .safetensors file with
 * its names or with TAESD's (github.com/madebyollin/taesd), whose shapes tell the rest. */
#pragma once

#include "weights/source.h"

typedef struct {
    LdmTinyConfig config;
    LdmPartFiles part; /* its files belong to this struct; an encoder in them is passed over */
} LdmTinySource;

/* Errors: FILE, FORMAT, UNSUPPORTED, MISSING. */
LdmTinySource *ldm_tiny_source_open(const char *path, GError **error);
void ldm_tiny_source_free(LdmTinySource *source);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmTinySource, ldm_tiny_source_free)

/* Where a model's tiny decoder lies: "preview" or "vae_tiny" in a diffusers folder, beside a single
 * file STEM.safetensors the file STEM.preview.safetensors. NULL where there is none. Free with
 * g_free. */
char *ldm_tiny_source_find(const char *model);
