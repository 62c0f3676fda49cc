/* Rows of a dialog with widgets that GIMP's own helper does not know. */
#pragma once

#include <libgimp/gimpui.h>

/* As GIMP's rows are: the argument's label with its mnemonic, then `widget`, which it is for. */
GtkWidget *pentimento_row_new(GimpProcedureConfig *config, const char *argument, GtkWidget *widget);

/* The same with a title, with its mnemonic, and a tooltip that are no argument's. */
GtkWidget *pentimento_row_new_titled(const char *title, const char *tooltip, GtkWidget *widget);

/* For size groups. */
GtkWidget *pentimento_row_label(GtkWidget *row);

/* Adds a widget at the end of the row. */
void pentimento_row_add_end(GtkWidget *row, GtkWidget *widget);

/* A label for sentences, as wide as so many characters; hidden yet. */
GtkWidget *pentimento_words_new(int columns);

/* Adds a line of words below it, which is hidden yet; returns the label. */
GtkWidget *pentimento_row_add_hint(GtkWidget *row);
