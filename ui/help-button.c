/* The Help button of GIMP's dialogs. In: a dialog, with or without one. Out: the button without its
 * mnemonic: the arguments need all letters, and F1 does the same. */
#include "ui/help-button.h"

#include <glib/gi18n-lib.h>

void pentimento_help_button_quieten(GtkDialog *dialog)
{
    GtkWidget *button = gtk_dialog_get_widget_for_response(dialog, GTK_RESPONSE_HELP);

    if (button == NULL)
        return;
    gtk_button_set_use_underline(GTK_BUTTON(button), FALSE);
    gtk_button_set_label(GTK_BUTTON(button), _("Help"));
}
