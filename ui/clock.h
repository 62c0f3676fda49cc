/* How long something has taken so far. */
#pragma once

#include <gtk/gtk.h>
#include <stdbool.h>

/* A label that begins to count the seconds. */
GtkWidget *pentimento_clock_new(void);

/* Stops it, or lets it go on. */
void pentimento_clock_set_running(GtkWidget *clock, bool running);
