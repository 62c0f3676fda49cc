/* A dialog's rows, which scroll where the screen is too small for them. */
#pragma once

#include <gtk/gtk.h>

/* Around `content`: never less than as high as that, up to a limit (none yet). */
GtkWidget *pentimento_scroller_new(GtkWidget *content);

/* With all its rows there: limits it so that a dialog with this content area, which it is in, fits
 * the screen. */
void pentimento_scroller_fit(GtkWidget *scroller, GtkWidget *content_area);
