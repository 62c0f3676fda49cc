/* A row of a dialog: label, widget, perhaps a button, perhaps a line below. In: an argument of the
 * procedure, a widget. Out: a grid with GIMP's own distances. */
#include "ui/row.h"

enum { LABEL, WIDGET, END };

GtkWidget *pentimento_row_new(GimpProcedureConfig *config, const char *argument, GtkWidget *widget)
{
    GParamSpec *spec = g_object_class_find_property(G_OBJECT_GET_CLASS(config), argument);

    return pentimento_row_new_titled(g_param_spec_get_nick(spec), g_param_spec_get_blurb(spec),
                                     widget);
}

GtkWidget *pentimento_row_new_titled(const char *title, const char *tooltip, GtkWidget *widget)
{
    const int spacing = 6;
    GtkWidget *row = gtk_grid_new();
    GtkWidget *label = gtk_label_new_with_mnemonic(title);

    gtk_grid_set_column_spacing(GTK_GRID(row), spacing);
    gtk_label_set_xalign(GTK_LABEL(label), 0);
    gtk_label_set_mnemonic_widget(GTK_LABEL(label), widget);
    gtk_widget_set_tooltip_text(widget, tooltip);
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

GtkWidget *pentimento_words_new(int columns)
{
    GtkWidget *words = gtk_label_new(NULL);

    gtk_label_set_xalign(GTK_LABEL(words), 0);
    gtk_label_set_line_wrap(GTK_LABEL(words), TRUE);
    gtk_label_set_width_chars(GTK_LABEL(words), columns);
    gtk_label_set_max_width_chars(GTK_LABEL(words), columns);
    return words;
}

GtkWidget *pentimento_row_add_hint(GtkWidget *row)
{
    const int columns = 30;
    GtkWidget *hint = pentimento_words_new(columns);

    gtk_grid_attach(GTK_GRID(row), hint, WIDGET, 1, 2, 1);
    return hint;
}
