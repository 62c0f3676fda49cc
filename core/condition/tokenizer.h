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

/* From now on `word` in a prompt, in upper or lower case, is the `count` ids from `first` on
 * (textual inversion). Where it begins or ends in a letter or number, it has to stand apart from
 * others. An earlier word of the same spelling is forgotten. */
void ldm_tokenizer_learn(LdmTokenizer *tokenizer, const char *word, int32_t first, size_t count);

/* Whether a text, which is valid UTF-8, has a word that was learnt. */
bool ldm_tokenizer_has_learnt(const LdmTokenizer *tokenizer, const char *text);

/* Forgets all words that were learnt. */
void ldm_tokenizer_forget(LdmTokenizer *tokenizer);

/* Adds all that ids depend on, but for words that were learnt, to a digest. */
void ldm_tokenizer_digest(const LdmTokenizer *tokenizer, GChecksum *sum);

/* ids: `tokens` entries, [bos, ..., eos, pad ...]; *cut (may be NULL) = number of tokens that did
 * not fit. Special tokens written out in the prompt, pad's too, become their own ids.
 * Errors: INVALID (no UTF-8, over 64 KiB). */
bool ldm_tokenizer_encode(const LdmTokenizer *tokenizer, const char *prompt, int32_t *ids,
                          size_t *cut, GError **error);
