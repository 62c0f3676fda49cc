/* Byte-level byte-pair encoding: the vocabulary, the merges, and one word's way to token ids.
 * Private to condition/; what a word is, tokenizer.c says. */
#pragma once

#include "ldm.h"

typedef struct LdmBpe LdmBpe;

/* Limits of both files: 16 MiB, and 2^20 entries. Errors: FILE, FORMAT (file, line or entry). */
LdmBpe *ldm_bpe_new(const char *vocab_path, const char *merges_path, GError **error);
void ldm_bpe_free(LdmBpe *bpe);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmBpe, ldm_bpe_free)

/* The entry with that id; NULL where there is none. */
const char *ldm_bpe_entry(const LdmBpe *bpe, int32_t id);

/* Adds the entries and the merges to a digest. */
void ldm_bpe_digest(const LdmBpe *bpe, GChecksum *sum);

/* Appends the ids (int32_t) of one word of `n` bytes (n > 0); a byte that the vocabulary lacks
 * becomes `unknown`. Takes O(n log n). */
void ldm_bpe_encode(const LdmBpe *bpe, const char *word, size_t n, int32_t unknown, GArray *ids);
