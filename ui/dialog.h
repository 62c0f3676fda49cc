/* The dialogs of the procedures. No engine call and no pixel work here. */
#pragma once

#include <libgimp/gimpui.h>
#include <stdbool.h>

/* Shows the dialog with the config's values; true where the user pressed the main button.
 * gimp_ui_init was called before. */
bool pentimento_dialog_run(GimpProcedure *procedure, GimpProcedureConfig *config,
                           const char *title);

/* The dialog of the procedure that teaches; `cost` is a label in it for what the teaching takes. */
GimpProcedureDialog *pentimento_teach_dialog_new(GimpProcedure *procedure,
                                                 GimpProcedureConfig *config, GtkLabel **cost);
