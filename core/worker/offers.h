/* What there is to choose from: models, and LoRA that were taught. */
#pragma once

#include "ldm.h"

/* The reply of Models, (as). */
GVariant *pentimento_offers_models(void);

/* "adapters" of Inspect's reply, aa{sv}: the LoRA among the user's adapters, and which of them suit
 * the model. Opens the files, and reads no more of them than their headers. */
GVariant *pentimento_offers_adapters(const LdmModel *model);
