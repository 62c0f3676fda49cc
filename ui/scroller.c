/* A dialog's rows, which scroll where the screen is too small for them. In: the rows, the rest of
 * the dialog. Out: a scrolled window that is as high as its rows, so that the dialog grows with
 * them, until the buttons below would leave the screen. */
#include "ui/scroller.h"

#define PENTIMENTO_TYPE_SCROLLER (pentimento_scroller_get_type())
G_DECLARE_FINAL_TYPE(PentimentoScroller, pentimento_scroller, PENTIMENTO, SCROLLER,
                     GtkScrolledWindow)

struct _PentimentoScroller {
    GtkScrolledWindow parent_instance;
};

G_DEFINE_FINAL_TYPE(PentimentoScroller, pentimento_scroller, GTK_TYPE_SCROLLED_WINDOW)

/* GTK's own least height is a few rows, and a window that is open stays at it where its content
 * grows: what an expander opens would have to be scrolled to on any screen. */
static void preferred_height(GtkWidget *widget, int *minimum, int *natural)
{
    GTK_WIDGET_CLASS(pentimento_scroller_parent_class)
        ->get_preferred_height(widget, minimum, natural);
    *minimum = *natural;
}

static void pentimento_scroller_class_init(PentimentoScrollerClass *klass)
{
    GTK_WIDGET_CLASS(klass)->get_preferred_height = preferred_height;
}

static void pentimento_scroller_init(PentimentoScroller *scroller)
{
    GtkScrolledWindow *window = GTK_SCROLLED_WINDOW(scroller);

    gtk_scrolled_window_set_policy(window, GTK_POLICY_NEVER, GTK_POLICY_AUTOMATIC);
    gtk_scrolled_window_set_propagate_natural_height(window, TRUE);
    gtk_scrolled_window_set_propagate_natural_width(window, TRUE);
    gtk_scrolled_window_set_overlay_scrolling(window, FALSE); /* tells that there is more */
}

GtkWidget *pentimento_scroller_new(GtkWidget *content)
{
    GtkWidget *scroller = g_object_new(PENTIMENTO_TYPE_SCROLLER, NULL);

    gtk_container_add(GTK_CONTAINER(scroller), content);
    gtk_widget_show(content);
    gtk_widget_show(scroller);
    return scroller;
}

/* The smallest screen's, since nothing tells beforehand on which one a window will be. */
static int height_of_screen(GdkDisplay *display)
{
    int height = G_MAXINT;

    for (int i = 0; i < gdk_display_get_n_monitors(display); i++) {
        GdkRectangle area;

        gdk_monitor_get_workarea(gdk_display_get_monitor(display, i), &area);
        height = MIN(height, area.height);
    }
    return height;
}

/* Where there is something to scroll, the wheel does that, and changes no value on its way. */
static gboolean on_wheel(GtkWidget *widget, GdkEvent *event, gpointer scroller)
{
    GtkAdjustment *rows = gtk_scrolled_window_get_vadjustment(scroller);

    if (gtk_adjustment_get_upper(rows) > gtk_adjustment_get_page_size(rows))
        g_signal_stop_emission_by_name(widget, "scroll-event");
    return FALSE;
}

static void leave_wheel(GtkWidget *widget, gpointer scroller)
{
    if (GTK_IS_COMBO_BOX(widget) || GTK_IS_SPIN_BUTTON(widget))
        g_signal_connect(widget, "scroll-event", G_CALLBACK(on_wheel), scroller);
    else if (GTK_IS_CONTAINER(widget))
        gtk_container_forall(GTK_CONTAINER(widget), leave_wheel, scroller);
}

void pentimento_scroller_fit(GtkWidget *scroller, GtkWidget *content_area)
{
    const int decoration = 64; /* a title bar, and what a panel takes where none is told of */
    const int least = 120;
    int whole, own;

    gtk_widget_get_preferred_height(content_area, NULL, &whole);
    gtk_widget_get_preferred_height(scroller, NULL, &own);
    gtk_scrolled_window_set_max_content_height(
        GTK_SCROLLED_WINDOW(scroller),
        MAX(least, height_of_screen(gtk_widget_get_display(scroller)) - decoration - whole + own));
    leave_wheel(gtk_bin_get_child(GTK_BIN(scroller)), scroller);
}
