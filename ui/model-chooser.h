/* The row of a dialog that chooses a model. */
#pragma once

#include <libgimp/gimpui.h>

/* Edits the config's argument "model": the default model first, then those set below; a button asks
 * for a file or a folder elsewhere. */
GtkWidget *pentimento_model_chooser_new(GimpProcedureConfig *config);

/* Names, NULL-terminated. */
void pentimento_model_chooser_set(GtkWidget *chooser, char *const *names);
