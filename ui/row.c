/* A row of a dialog: label, widget, perhaps a button, perhaps a line below. In: an argument of the
 * procedure, a widget. Out: a grid with GIMP's own distances. */
#include "ui/row.h"

enum { LABEL, WIDGET, END };

GtkWidget *pentimento_row_new(GimpProcedureConfig *config, const char *argument, GtkWidget *widget)
{
    const int spacing = 6;
    GParamSpec *spec = g_object_class_find_property(G_OBJECT_GET_CLASS(config), argument);
    GtkWidget *row = gtk_grid_new();
    GtkWidget *label = gtk_label_new_with_mnemonic(g_param_spec_get_nick(spec));

    gtk_grid_set_column_spacing(GTK_GRID(row), spacing);
    gtk_label_set_xalign(GTK_LABEL(label), 0);
    gtk_label_set_mnemonic_widget(GTK_LABEL(label), widget);
    gtk_widget_set_tooltip_text(widget, g_param_spec_get_blurb(spec));
    gtk_widget_set_hexpand(widget, TRUE);
    gtk_grid_attach(GTK_GRID(row), label, LABEL, 0, 1, 1);
    gtk_grid_attach(GTK_GRID(row), widget, WIDGET, 0, 1, 1);
    gtk_widget_show(label);
    gtk_widget_show(widget);
    gtk_widget_show(row);
    return row;
}

GtkWidget *pentimento_row_label(GtkWidget *row)
{
    return gtk_grid_get_child_at(GTK_GRID(row), LABEL, 0);
}

void pentimento_row_add_end(GtkWidget *row, GtkWidget *widget)
{
    gtk_grid_attach(GTK_GRID(row), widget, END, 0, 1, 1);
    gtk_widget_show(widget);
}

void pentimento_row_add_below(GtkWidget *row, GtkWidget *widget)
{
    gtk_grid_attach(GTK_GRID(row), widget, WIDGET, 1, 2, 1);
}
