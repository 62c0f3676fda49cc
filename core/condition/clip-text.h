/* tau_theta: CLIP's text transformer (ViT-L with quick GELU, OpenCLIP H/bigG with exact GELU).
 * Token ids in, hidden states after the final LayerNorm out. Causal mask; padding attends. */
#pragma once

#include "layers/pass.h"
#include "weights/config.h"
#include "weights/param.h"

typedef struct LdmClipText LdmClipText;

/* Adds its parameters (transformers' names, "text_model.encoder.layers.0...") to `params`. */
LdmClipText *ldm_clip_text_new(const LdmTextConfig *config, LdmParams *params);
void ldm_clip_text_free(LdmClipText *text);

/* The table of token embeddings, whose `extra` rows are learnt words'. */
LdmParam *ldm_clip_text_words(const LdmClipText *text);

/* ids [N * tokens] -> [N, tokens, width] */
LdmTensor *ldm_clip_text_forward(LdmPass *pass, const LdmClipText *text, const int32_t *ids,
                                 size_t n);

/* The same of the first `tokens` alone: ids [N * tokens] -> [N, tokens, width]. Since no token sees
 * a later one, these are the same states. */
LdmTensor *ldm_clip_text_forward_first(LdmPass *pass, const LdmClipText *text, const int32_t *ids,
                                       size_t n, size_t tokens);
