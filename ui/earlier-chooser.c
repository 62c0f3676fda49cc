/* A combo of earlier results. In: their names, what to do with the one that is chosen. Out: that
 * it is chosen, and a line below that tells what came of it. */
#include "ui/earlier-chooser.h"

#include <glib/gi18n-lib.h>

typedef struct {
    GtkWidget *hint;
    PentimentoTakeFunc *take;
    gpointer data;
} Chooser;

static void on_changed(GtkComboBox *combo, gpointer data)
{
    const Chooser *chooser = data;
    const int index = gtk_combo_box_get_active(combo) - 1; /* behind the row for none of them */
    g_autofree char *hint = NULL;

    if (chooser->take != NULL)
        hint = chooser->take(index, chooser->data);
    gtk_label_set_text(GTK_LABEL(chooser->hint), hint != NULL ? hint : "");
    gtk_widget_set_visible(chooser->hint, hint != NULL);
}

void pentimento_earlier_chooser_on_take(GtkWidget *row, PentimentoTakeFunc *take, gpointer data)
{
    Chooser *chooser = g_object_get_data(G_OBJECT(row), "chooser");

    chooser->take = take;
    chooser->data = data;
}

GtkWidget *pentimento_earlier_chooser_new(const char *const *names)
{
    Chooser *chooser = g_new0(Chooser, 1);
    GtkWidget *combo = gtk_combo_box_text_new(), *row;

    gtk_combo_box_text_append_text(GTK_COMBO_BOX_TEXT(combo), _("No earlier result"));
    for (; *names != NULL; names++)
        gtk_combo_box_text_append_text(GTK_COMBO_BOX_TEXT(combo), *names);
    gtk_combo_box_set_active(GTK_COMBO_BOX(combo), 0);
    row = pentimento_row_new_titled(_("Ma_ke it like"),
                                    _("Takes over the settings, the prompt and the seed of a "
                                      "result in this image, to go on from"),
                                    combo);
    chooser->hint = pentimento_row_add_hint(row);
    g_object_set_data_full(G_OBJECT(row), "chooser", chooser, g_free);
    g_signal_connect(combo, "changed", G_CALLBACK(on_changed), chooser);
    return row;
}
