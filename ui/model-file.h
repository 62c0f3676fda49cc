/* Asks for a model that lies somewhere. */
#pragma once

#include <gtk/gtk.h>
#include <stdbool.h>

/* The path of a file or a folder, in UTF-8, that the user picks; NULL where none. `extra` (may be
 * NULL) is shown below the files. Modal to the window in which `beside` is. Free with g_free. */
char *pentimento_model_file_ask(GtkWidget *beside, bool folder, GtkWidget *extra);
