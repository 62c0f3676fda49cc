/* A label that counts. In: nothing but the time. Out: "1 min 20 s so far", anew every second, also
 * while what is counted tells nothing of itself. */
#include "ui/clock.h"

#include <glib/gi18n-lib.h>

typedef struct {
    GtkLabel *label;
    GTimer *timer;
    guint source;
} Clock;

static gboolean show(gpointer data)
{
    const Clock *clock = data;
    const int seconds = (int)g_timer_elapsed(clock->timer, NULL), minute = 60;
    g_autofree char *text = seconds < minute ? g_strdup_printf(_("%d s so far"), seconds)
                                             : g_strdup_printf(_("%d min %d s so far"),
                                                               seconds / minute, seconds % minute);

    gtk_label_set_text(clock->label, text);
    return G_SOURCE_CONTINUE;
}

static void clock_free(gpointer data, GObject *label)
{
    Clock *clock = data;

    g_source_remove(clock->source);
    g_timer_destroy(clock->timer);
    g_free(clock);
}

GtkWidget *pentimento_clock_new(void)
{
    GtkWidget *label = gtk_label_new(NULL);
    Clock *clock = g_new0(Clock, 1);

    clock->label = GTK_LABEL(label);
    clock->timer = g_timer_new();
    clock->source = g_timeout_add_seconds(1, show, clock);
    g_object_set_data(G_OBJECT(label), "clock", clock);
    g_object_weak_ref(G_OBJECT(label), clock_free, clock);
    gtk_label_set_xalign(GTK_LABEL(label), 1);
    gtk_style_context_add_class(gtk_widget_get_style_context(label), "dim-label");
    show(clock);
    return label;
}

void pentimento_clock_set_running(GtkWidget *label, bool running)
{
    const Clock *clock = g_object_get_data(G_OBJECT(label), "clock");

    if (running == g_timer_is_active(clock->timer))
        return;
    if (running)
        g_timer_continue(clock->timer);
    else
        g_timer_stop(clock->timer);
}
