/* Small windows that stand between a dialog and what it asks for. In: a question before something
 * is lost for good, what would be lost, the verb on the button; or why it cannot be done. Out: yes
 * or no; whoever just presses Enter or Escape has said no. */
#include "ui/confirm.h"

#include <glib/gi18n-lib.h>

bool pentimento_confirm(GtkWidget *beside, const char *title, const char *verb,
                        const char *question, const char *lost)
{
    GtkWidget *dialog =
        gtk_message_dialog_new(GTK_WINDOW(gtk_widget_get_toplevel(beside)), GTK_DIALOG_MODAL,
                               GTK_MESSAGE_QUESTION, GTK_BUTTONS_NONE, "%s", question);
    GtkWidget *button;
    int response;

    gtk_window_set_title(GTK_WINDOW(dialog), title);
    gtk_message_dialog_format_secondary_text(GTK_MESSAGE_DIALOG(dialog), "%s", lost);
    gtk_dialog_add_button(GTK_DIALOG(dialog), _("_Cancel"), GTK_RESPONSE_CANCEL);
    button = gtk_dialog_add_button(GTK_DIALOG(dialog), verb, GTK_RESPONSE_OK);
    gtk_style_context_add_class(gtk_widget_get_style_context(button), "destructive-action");
    gtk_dialog_set_default_response(GTK_DIALOG(dialog), GTK_RESPONSE_CANCEL);
    response = gtk_dialog_run(GTK_DIALOG(dialog));
    gtk_widget_destroy(dialog);
    return response == GTK_RESPONSE_OK;
}

void pentimento_tell(GtkWidget *beside, const char *text)
{
    GtkWidget *dialog =
        gtk_message_dialog_new(GTK_WINDOW(gtk_widget_get_toplevel(beside)), GTK_DIALOG_MODAL,
                               GTK_MESSAGE_WARNING, GTK_BUTTONS_NONE, "%s", text);

    gtk_window_set_title(GTK_WINDOW(dialog), _("Not Possible"));
    gtk_dialog_add_button(GTK_DIALOG(dialog), _("_Back"), GTK_RESPONSE_CLOSE);
    gtk_dialog_run(GTK_DIALOG(dialog));
    gtk_widget_destroy(dialog);
}
