/* Small windows beside a dialog: a question before something is lost for good, a refusal. */
#pragma once

#include <gtk/gtk.h>
#include <stdbool.h>

/* True where the user says `verb` ("_Delete"); Enter and Escape mean Cancel. `title` is the
 * window's, `lost` says what goes. Modal to the window in which `beside` is. */
bool pentimento_confirm(GtkWidget *beside, const char *title, const char *verb,
                        const char *question, const char *lost);

/* Says why what is asked for in that window cannot be done, and waits until it was read. */
void pentimento_tell(GtkWidget *beside, const char *text);
