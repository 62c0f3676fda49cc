/* A curve of losses that grows while it is looked at. */
#pragma once

#include <gtk/gtk.h>

/* A widget for the losses of `steps` steps. */
GtkWidget *pentimento_loss_curve_new(int steps);

/* Those of the steps `first`, `first` + 1 ... (1 is the first of all); NaN where one was not
 * finite. A step told again, after a pause, takes the place of what was told before. */
void pentimento_loss_curve_add(GtkWidget *curve, int first, const double *losses, size_t count);
