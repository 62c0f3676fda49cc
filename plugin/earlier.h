#pragma once

#include "ui/dialog.h"

typedef struct PentimentoEarlier PentimentoEarlier;

/* Results in the image (NULL: none) that tell how they were made, the topmost first. `config` takes
 * over what they tell. Layers in groups count. */
PentimentoEarlier *pentimento_earlier_new(GimpImage *image, GimpProcedureConfig *config);

/* The layers' names; NULL-terminated, owned by `earlier`; NULL where there are none. */
const char *const *pentimento_earlier_names(const PentimentoEarlier *earlier);

/* Serves the dialog's row, where there is one, until pentimento_earlier_free. */
void pentimento_earlier_serve(PentimentoEarlier *earlier, GtkWidget *row);
void pentimento_earlier_free(PentimentoEarlier *earlier);
