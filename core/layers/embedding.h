/* Token and position embeddings: rows of two tables, added. */
#pragma once

#include "layers/pass.h"
#include "layers/scope.h"

typedef struct {
    LdmParam *token;    /* [words, width] */
    LdmParam *position; /* [tokens, width] */
    size_t words, tokens, width;
} LdmEmbedding;

void ldm_embedding_init(LdmEmbedding *layer, LdmScope scope, size_t words, size_t tokens,
                        size_t width);

/* ids [N * T] (NULL allowed while planning), T at most `tokens` -> [N, T, width]; ids from `words`
 * on are rows of token->extra.
 * Errors: INVALID where an id is outside the table. */
LdmTensor *ldm_embedding_forward(LdmPass *pass, const LdmEmbedding *layer, const int32_t *ids,
                                 size_t N, size_t T);
