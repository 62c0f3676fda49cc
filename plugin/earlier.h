#pragma once

#include "ui/dialog.h"

typedef struct PentimentoEarlier PentimentoEarlier;

/* Results in the image (NULL: none) that tell how they were made, the topmost first; NULL where
 * there are none. `config` takes over what they tell. Layers in groups count. */
PentimentoEarlier *pentimento_earlier_new(GimpImage *image, GimpProcedureConfig *config);

/* The layers' names; NULL-terminated, owned by `earlier`. */
const char *const *pentimento_earlier_names(const PentimentoEarlier *earlier);

/* Serves the dialog's row until pentimento_earlier_free, which takes NULL, too. */
void pentimento_earlier_serve(PentimentoEarlier *earlier, GtkWidget *row);
void pentimento_earlier_free(PentimentoEarlier *earlier);
