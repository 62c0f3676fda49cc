/* The button that GIMP gives its dialogs where the user wants it there. */
#pragma once

#include <gtk/gtk.h>

/* Takes its mnemonic away, whose letter the arguments need. */
void pentimento_help_button_quieten(GtkDialog *dialog);
