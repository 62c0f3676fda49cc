/* The window one watches a picture come in: what it is heading for, a progress bar and a clock,
 * Cancel, Stop and Keep. In: what the worker tells. Out: the responses of a dialog. */
#include "ui/picture-window.h"

#include "ui/clock.h"

#include <glib/gi18n-lib.h>
#include <libgimp/gimpui.h>

#define SIDE 256 /* pixels of the preview's longer side */

struct PentimentoPictureWindow {
    GtkWidget *dialog, *preview, *bar, *finish;
    bool ending;
};

static void add_buttons(PentimentoPictureWindow *window)
{
    GtkDialog *dialog = GTK_DIALOG(window->dialog);
    GtkWidget *cancel = gtk_dialog_add_button(dialog, _("_Cancel"), GTK_RESPONSE_CANCEL);

    window->finish = gtk_dialog_add_button(dialog, _("_Stop and Keep"), PENTIMENTO_RESPONSE_FINISH);
    gtk_widget_set_tooltip_text(cancel, _("Ends it; the image stays as it is"));
    gtk_widget_set_tooltip_text(window->finish,
                                _("Ends it early: the picture becomes what is seen here, in "
                                  "full; what would have come after it is not made"));
    gtk_widget_set_sensitive(window->finish, FALSE); /* until there is something to keep */
}

static void fill(PentimentoPictureWindow *window, GtkContainer *content)
{
    const int spacing = 12;
    GtkWidget *column = gtk_box_new(GTK_ORIENTATION_VERTICAL, spacing);
    GtkWidget *frame = gtk_frame_new(NULL);

    atk_object_set_name(gtk_widget_get_accessible(window->preview), _("Preview of the picture"));
    gtk_widget_set_size_request(window->preview, SIDE, SIDE);
    gtk_container_add(GTK_CONTAINER(frame), window->preview);
    gtk_widget_set_halign(frame, GTK_ALIGN_CENTER);
    gtk_progress_bar_set_show_text(GTK_PROGRESS_BAR(window->bar), TRUE);
    gtk_widget_set_size_request(window->bar, SIDE * 3 / 2, -1);
    gtk_box_pack_start(GTK_BOX(column), frame, TRUE, TRUE, 0);
    gtk_box_pack_start(GTK_BOX(column), window->bar, FALSE, FALSE, 0);
    gtk_box_pack_start(GTK_BOX(column), pentimento_clock_new(), FALSE, FALSE, 0);
    gtk_container_set_border_width(GTK_CONTAINER(column), spacing);
    gtk_container_add(content, column);
    gtk_widget_show_all(column);
}

PentimentoPictureWindow *pentimento_picture_window_new(const char *title, GCallback responded,
                                                       gpointer data)
{
    PentimentoPictureWindow *window = g_new0(PentimentoPictureWindow, 1);
    /* of the window that shows a picture while it is made; what makes it ("Reimagine") */
    g_autofree char *text = g_strdup_printf(_("%s: at work"), title);

    window->dialog = gimp_dialog_new(text, "pentimento-picture", NULL, 0, NULL, NULL, NULL);
    window->preview = gtk_image_new();
    window->bar = gtk_progress_bar_new();
    add_buttons(window);
    fill(window, GTK_CONTAINER(gtk_dialog_get_content_area(GTK_DIALOG(window->dialog))));
    g_signal_connect(window->dialog, "response", responded, data);
    gimp_window_set_transient(GTK_WINDOW(window->dialog));
    pentimento_picture_window_progress(window, _("Starting"), 0.0);
    gtk_widget_show(window->dialog);
    /* GTK gives the focus to Cancel, and the key that said OK may be pressed a second time */
    gtk_window_set_focus(GTK_WINDOW(window->dialog), NULL);
    return window;
}

void pentimento_picture_window_free(PentimentoPictureWindow *window)
{
    gtk_widget_destroy(window->dialog);
    g_free(window);
}

void pentimento_picture_window_progress(PentimentoPictureWindow *window, const char *text,
                                        double fraction)
{
    gtk_progress_bar_set_text(GTK_PROGRESS_BAR(window->bar), text);
    gtk_progress_bar_set_fraction(GTK_PROGRESS_BAR(window->bar), CLAMP(fraction, 0.0, 1.0));
}

void pentimento_picture_window_preview(PentimentoPictureWindow *window, const guint8 *pixels,
                                       int width, int height)
{
    gsize bytes = (gsize)width * (gsize)height * 3;
    double scale = (double)SIDE / MAX(width, height);
    g_autoptr(GBytes) copy = g_bytes_new(pixels, bytes);
    g_autoptr(GdkPixbuf) small =
        gdk_pixbuf_new_from_bytes(copy, GDK_COLORSPACE_RGB, FALSE, 8, width, height, width * 3);
    g_autoptr(GdkPixbuf) shown =
        gdk_pixbuf_scale_simple(small, MAX((int)(width * scale + 0.5), 1),
                                MAX((int)(height * scale + 0.5), 1), GDK_INTERP_BILINEAR);

    if (shown != NULL)
        gtk_image_set_from_pixbuf(GTK_IMAGE(window->preview), shown);
    gtk_widget_set_sensitive(window->finish, !window->ending);
}

void pentimento_picture_window_set_fresh(PentimentoPictureWindow *window)
{
    gtk_widget_set_sensitive(window->finish, FALSE);
}

void pentimento_picture_window_set_ending(PentimentoPictureWindow *window)
{
    window->ending = true;
    gtk_widget_set_sensitive(window->finish, FALSE);
}
