/* CLIP's byte-level BPE: prompt in, token ids out, padded and cut to the model's length. */
#pragma once

#include "ldm.h"

typedef struct LdmTokenizer LdmTokenizer;

/* From a tokenizer folder's vocab.json and merges.txt (limits: condition/bpe.h). bos, eos, pad: ids
 * of the special tokens; tokens: length of the model's text. Errors: FILE, FORMAT. */
LdmTokenizer *ldm_tokenizer_new(const char *vocab_path, const char *merges_path, int bos, int eos,
                                int pad, int tokens, GError **error);
void ldm_tokenizer_free(LdmTokenizer *tokenizer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmTokenizer, ldm_tokenizer_free)

/* ids: `tokens` entries, [bos, ..., eos, pad ...]; *cut (may be NULL) = number of tokens that did
 * not fit. Special tokens written out in the prompt, pad's too, become their own ids.
 * Errors: INVALID (no UTF-8, over 64 KiB). */
bool ldm_tokenizer_encode(const LdmTokenizer *tokenizer, const char *prompt, int32_t *ids,
                          size_t *cut, GError **error);
