/* Rows of a dialog with widgets that GIMP's own helper does not know. */
#pragma once

#include <libgimp/gimpui.h>

/* As GIMP's rows are: the argument's label with its mnemonic, then `widget`, which it is for. */
GtkWidget *pentimento_row_new(GimpProcedureConfig *config, const char *argument, GtkWidget *widget);

/* For size groups. */
GtkWidget *pentimento_row_label(GtkWidget *row);

/* Adds a widget at the end of the row, or a line below it. */
void pentimento_row_add_end(GtkWidget *row, GtkWidget *widget);
void pentimento_row_add_below(GtkWidget *row, GtkWidget *widget);
