/* The file chooser for models. In: whether a file or a folder is meant, the window it belongs to.
 * Out: the path of what the user picked. */
#include "ui/model-file.h"

#include <glib/gi18n-lib.h>
#include <libgimp/gimpui.h>

static void add_filter(GtkFileChooser *files)
{
    GtkFileFilter *filter = gtk_file_filter_new();

    gtk_file_filter_set_name(filter, _("Models (*.safetensors)"));
    gtk_file_filter_add_pattern(filter, "*.safetensors");
    gtk_file_chooser_add_filter(files, filter);
}

/* Where models from elsewhere mostly lie; the files used last, which the chooser would begin with,
 * are GIMP's pictures. */
static void begin_at_downloads(GtkFileChooser *files)
{
    const char *downloads = g_get_user_special_dir(G_USER_DIRECTORY_DOWNLOAD);

    gtk_file_chooser_set_current_folder(files, downloads != NULL ? downloads : g_get_home_dir());
}

char *pentimento_model_file_ask(GtkWidget *beside, bool folder, GtkWidget *extra)
{
    GtkWidget *dialog = gtk_file_chooser_dialog_new(
        folder ? _("Folder of a Model") : _("File of a Model"),
        GTK_WINDOW(gtk_widget_get_toplevel(beside)),
        folder ? GTK_FILE_CHOOSER_ACTION_SELECT_FOLDER : GTK_FILE_CHOOSER_ACTION_OPEN, _("_Cancel"),
        GTK_RESPONSE_CANCEL, _("_Open"), GTK_RESPONSE_ACCEPT, NULL);
    char *path = NULL;

    gtk_dialog_set_default_response(GTK_DIALOG(dialog), GTK_RESPONSE_ACCEPT);
    begin_at_downloads(GTK_FILE_CHOOSER(dialog));
    if (!folder)
        add_filter(GTK_FILE_CHOOSER(dialog));
    if (extra != NULL)
        gtk_file_chooser_set_extra_widget(GTK_FILE_CHOOSER(dialog), extra);
    if (gtk_dialog_run(GTK_DIALOG(dialog)) == GTK_RESPONSE_ACCEPT)
        path = gtk_file_chooser_get_filename(GTK_FILE_CHOOSER(dialog));
    gtk_widget_destroy(dialog);
    if (path == NULL || g_utf8_validate(path, -1, NULL))
        return path;
    gimp_message(_("A model's path has to be in UTF-8: rename what is not."));
    g_free(path);
    return NULL;
}
