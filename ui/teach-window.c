/* The window one watches a teaching in: the curve of the losses, a picture of what the model makes
 * now, a progress bar and a clock, and Pause, Stop and Keep, Cancel. In: what the worker tells.
 * Out: the responses of a dialog. */
#include "ui/teach-window.h"

#include "ui/clock.h"
#include "ui/confirm.h"
#include "ui/loss-curve.h"

#include <glib/gi18n-lib.h>
#include <libgimp/gimpui.h>

#define PICTURE 220 /* pixels a side, for the curve's height and the sample */

struct PentimentoTeachWindow {
    GtkWidget *dialog, *curve, *sample, *bar, *clock;
    GtkWidget *pause, *keep;
};

static GtkWidget *add_button(GtkWidget *dialog, const char *label, int response, const char *tip)
{
    GtkWidget *button = gtk_dialog_add_button(GTK_DIALOG(dialog), label, response);

    gtk_widget_set_tooltip_text(button, tip);
    return button;
}

static void add_buttons(PentimentoTeachWindow *window)
{
    add_button(window->dialog, _("_Cancel"), GTK_RESPONSE_CANCEL,
               _("Ends it and forgets what was learnt so far"));
    window->pause = add_button(window->dialog, _("_Pause"), PENTIMENTO_RESPONSE_PAUSE,
                               _("Interrupts it. It can go on later, too: close this window, and "
                                 "teach the same again"));
    window->keep = add_button(window->dialog, _("_Stop and Keep"), PENTIMENTO_RESPONSE_KEEP,
                              _("Ends it here: what was learnt so far can be used at once"));
    gtk_widget_set_sensitive(window->pause, FALSE); /* until it begins */
    gtk_widget_set_sensitive(window->keep, FALSE);  /* until a step was taken */
}

/* `child` below a line that says what `shown` in it is, to eyes and to screen readers. */
static GtkWidget *titled(const char *title, GtkWidget *child, GtkWidget *shown)
{
    const int spacing = 4;
    GtkWidget *box = gtk_box_new(GTK_ORIENTATION_VERTICAL, spacing);
    GtkWidget *label = gtk_label_new(title);

    atk_object_set_name(gtk_widget_get_accessible(shown), title);
    gtk_label_set_xalign(GTK_LABEL(label), 0);
    gtk_box_pack_start(GTK_BOX(box), label, FALSE, FALSE, 0);
    gtk_box_pack_start(GTK_BOX(box), child, TRUE, TRUE, 0);
    return box;
}

static void fill(PentimentoTeachWindow *window, GtkContainer *content)
{
    const int spacing = 12;
    GtkWidget *row = gtk_box_new(GTK_ORIENTATION_HORIZONTAL, spacing);
    GtkWidget *column = gtk_box_new(GTK_ORIENTATION_VERTICAL, spacing);
    GtkWidget *frame = gtk_frame_new(NULL);

    gtk_widget_set_size_request(window->curve, PICTURE * 3 / 2, PICTURE);
    gtk_widget_set_size_request(window->sample, PICTURE, PICTURE);
    gtk_container_add(GTK_CONTAINER(frame), window->sample);
    gtk_progress_bar_set_show_text(GTK_PROGRESS_BAR(window->bar), TRUE);
    gtk_box_pack_start(GTK_BOX(row),
                       titled(_("Loss: lower is closer"), window->curve, window->curve), TRUE, TRUE,
                       0);
    gtk_box_pack_start(GTK_BOX(row),
                       titled(_("What the model makes of it now"), frame, window->sample), FALSE,
                       FALSE, 0);
    gtk_box_pack_start(GTK_BOX(column), row, TRUE, TRUE, 0);
    gtk_box_pack_start(GTK_BOX(column), window->bar, FALSE, FALSE, 0);
    gtk_box_pack_start(GTK_BOX(column), window->clock, FALSE, FALSE, 0);
    gtk_container_set_border_width(GTK_CONTAINER(column), spacing);
    gtk_container_add(content, column);
    gtk_widget_show_all(column);
}

PentimentoTeachWindow *pentimento_teach_window_new(const char *name, int steps, GCallback responded,
                                                   gpointer data)
{
    PentimentoTeachWindow *window = g_new0(PentimentoTeachWindow, 1);
    /* what is being taught */
    g_autofree char *title = g_strdup_printf(_("Teaching “%s”"), name);

    window->dialog = gimp_dialog_new(title, "pentimento-teach", NULL, 0, NULL, NULL, NULL);
    window->curve = pentimento_loss_curve_new(steps);
    window->sample = gtk_image_new();
    window->bar = gtk_progress_bar_new();
    window->clock = pentimento_clock_new();
    add_buttons(window);
    fill(window, GTK_CONTAINER(gtk_dialog_get_content_area(GTK_DIALOG(window->dialog))));
    g_signal_connect(window->dialog, "response", responded, data);
    gimp_window_set_transient(GTK_WINDOW(window->dialog));
    pentimento_teach_window_progress(window, _("Waiting"), 0.0);
    gtk_widget_show(window->dialog);
    /* GTK gives the focus to Cancel, and the key that said Teach may be pressed a second time */
    gtk_window_set_focus(GTK_WINDOW(window->dialog), NULL);
    return window;
}

void pentimento_teach_window_begin(PentimentoTeachWindow *window)
{
    pentimento_teach_window_progress(window, _("Starting"), 0.0);
    gtk_widget_set_sensitive(window->pause, TRUE);
}

void pentimento_teach_window_free(PentimentoTeachWindow *window)
{
    gtk_widget_destroy(window->dialog);
    g_free(window);
}

void pentimento_teach_window_progress(PentimentoTeachWindow *window, const char *text,
                                      double fraction)
{
    gtk_progress_bar_set_text(GTK_PROGRESS_BAR(window->bar), text);
    gtk_progress_bar_set_fraction(GTK_PROGRESS_BAR(window->bar), CLAMP(fraction, 0.0, 1.0));
}

void pentimento_teach_window_losses(PentimentoTeachWindow *window, int first, const double *losses,
                                    size_t count)
{
    pentimento_loss_curve_add(window->curve, first, losses, count);
    gtk_widget_set_sensitive(window->keep, TRUE);
}

void pentimento_teach_window_sample(PentimentoTeachWindow *window, const char *path)
{
    /* a picture that cannot be read is one that was just replaced: the next one comes */
    g_autoptr(GdkPixbuf) picture =
        gdk_pixbuf_new_from_file_at_scale(path, PICTURE, PICTURE, TRUE, NULL);

    if (picture != NULL)
        gtk_image_set_from_pixbuf(GTK_IMAGE(window->sample), picture);
}

bool pentimento_teach_window_may_forget(PentimentoTeachWindow *window)
{
    /* once it has begun: steps of an earlier time count, and are told of only after the wait for
     * other jobs and for the model */
    return !gtk_widget_get_sensitive(window->pause) ||
           pentimento_confirm(window->dialog, _("Forget"), _("_Forget"),
                              _("Forget what was learnt so far?"),
                              _("It cannot be brought back. To use it as it is, choose Stop and "
                                "Keep; to go on later, close the window."));
}

void pentimento_teach_window_set_paused(PentimentoTeachWindow *window, bool paused)
{
    pentimento_clock_set_running(window->clock, !paused);
    gtk_button_set_label(GTK_BUTTON(window->pause), paused ? _("_Resume") : _("_Pause"));
    gtk_progress_bar_set_text(GTK_PROGRESS_BAR(window->bar), paused ? _("Paused") : _("Starting"));
}

void pentimento_teach_window_set_ending(PentimentoTeachWindow *window)
{
    gtk_progress_bar_set_text(GTK_PROGRESS_BAR(window->bar), _("Finishing"));
    gtk_widget_set_sensitive(window->dialog, FALSE);
}
