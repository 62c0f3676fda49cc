#pragma once

#include "ui/dialog.h"

/* Tells the rows of a dialog what there is to choose from, as long as it is open: the models, and
 * what was taught that suits the model chosen; and deletes what was taught where the user wants it.
 */
typedef struct PentimentoOffers PentimentoOffers;

PentimentoOffers *pentimento_offers_new(GimpProcedureConfig *config,
                                        const PentimentoChoosers *choosers);
void pentimento_offers_free(PentimentoOffers *offers);
