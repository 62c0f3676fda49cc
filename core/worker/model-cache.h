/* The one model that stays loaded between jobs. */
#pragma once

#include "ldm.h"

typedef struct PentimentoModelCache PentimentoModelCache;

PentimentoModelCache *pentimento_model_cache_new(void);
void pentimento_model_cache_free(PentimentoModelCache *cache);

/* The model of that name: the kept one if its files are still the same, else loaded anew (the kept
 * one is let go of first, so that two never lie in memory). Any thread. */
LdmModel *pentimento_model_cache_get(PentimentoModelCache *cache, const char *name, GError **error);

/* The same, but NULL without an error where it would have to be loaded or waited for. */
LdmModel *pentimento_model_cache_peek(PentimentoModelCache *cache, const char *name);
