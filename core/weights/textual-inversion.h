/* Textual inversion (arXiv 2208.01618): files with embeddings that were learnt for a new word. */
#pragma once

#include "ldm.h"

#define LDM_INVERSION_VECTORS 1000

typedef struct {
    char *word;     /* as prompts write it: "<cat>" */
    size_t vectors; /* token embeddings that stand for it, one after another */
    float *rows;    /* [vectors, width] */
} LdmInversion;

void ldm_inversion_clear(LdmInversion *inversion);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LdmInversion, ldm_inversion_clear)

/* Reads a safetensors file with one array [vectors, width] or [width]: diffusers' are named after
 * the word; the web UI's are named "emb_params", and the file after the word. `width` is the text
 * encoder's. Errors: FILE, FORMAT, NONFINITE, SHAPE, UNSUPPORTED; each names the tensor. */
bool ldm_inversion_load(const char *path, size_t width, LdmInversion *inversion, GError **error);

/* Writes diffusers' form, in f32. Errors: FILE. */
bool ldm_inversion_write(const LdmInversion *inversion, size_t width, const char *path,
                         GError **error);
