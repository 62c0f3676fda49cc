/* A combo of models, and a button for one that lies elsewhere. In: the names there are, the
 * argument "model". Out: the argument, a name or a path; "" is the default model. The combo itself
 * opens no file chooser: the arrow keys and the mouse wheel go through its rows. */
#include "ui/model-chooser.h"

#include "ui/model-file.h"
#include "ui/row.h"

#include <glib/gi18n-lib.h>

enum { COLUMN_VALUE, COLUMN_TEXT, N_COLUMNS };

typedef struct {
    GimpProcedureConfig *config;
    GtkWidget *combo;
    GtkListStore *store;
    const char *tooltip; /* where no path is to be told */
    char **names;
    gboolean filling; /* the changes are ours and not the user's */
} Chooser;

static void chooser_free(gpointer data, GObject *row)
{
    Chooser *chooser = data;

    g_signal_handlers_disconnect_by_data(chooser->config, chooser);
    g_object_unref(chooser->store);
    g_strfreev(chooser->names);
    g_free(chooser);
}

/* ---- rows -------------------------------------------------------------------------------- */

static void add(const Chooser *chooser, const char *value, const char *text)
{
    gtk_list_store_insert_with_values(chooser->store, NULL, -1, COLUMN_VALUE, value, COLUMN_TEXT,
                                      text, -1);
}

/* A path by the last part of it. */
static void add_current(const Chooser *chooser, const char *model)
{
    g_autofree char *base = g_path_get_basename(model);

    if (*model != '\0' &&
        (chooser->names == NULL || !g_strv_contains((const char *const *)chooser->names, model)))
        add(chooser, model, base);
}

static void select_current(const Chooser *chooser, const char *model)
{
    GtkTreeModel *rows = GTK_TREE_MODEL(chooser->store);
    GtkTreeIter iter;
    gboolean more = gtk_tree_model_get_iter_first(rows, &iter);

    for (; more; more = gtk_tree_model_iter_next(rows, &iter)) {
        g_autofree char *value = NULL;

        gtk_tree_model_get(rows, &iter, COLUMN_VALUE, &value, -1);
        if (g_strcmp0(value, model) == 0)
            gtk_combo_box_set_active_iter(GTK_COMBO_BOX(chooser->combo), &iter);
    }
}

static void fill(Chooser *chooser)
{
    g_autofree char *set = NULL;
    const char *model;

    g_object_get(chooser->config, "model", &set, NULL);
    model = set != NULL ? set : "";
    chooser->filling = TRUE;
    gtk_list_store_clear(chooser->store);
    add(chooser, "", _("Default model"));
    for (size_t i = 0; chooser->names != NULL && chooser->names[i] != NULL; i++)
        add(chooser, chooser->names[i], chooser->names[i]);
    add_current(chooser, model);
    select_current(chooser, model);
    gtk_widget_set_tooltip_text(chooser->combo,
                                strchr(model, '/') != NULL ? model : chooser->tooltip);
    chooser->filling = FALSE;
}

void pentimento_model_chooser_set(GtkWidget *row, char *const *names)
{
    Chooser *chooser = g_object_get_data(G_OBJECT(row), "chooser");

    g_strfreev(chooser->names);
    chooser->names = g_strdupv((char **)names);
    fill(chooser);
}

/* ---- the widget -------------------------------------------------------------------------- */

static void on_changed(GtkComboBox *combo, gpointer data)
{
    Chooser *chooser = data;
    g_autofree char *value = NULL;
    GtkTreeIter iter;

    if (chooser->filling || !gtk_combo_box_get_active_iter(combo, &iter))
        return;
    gtk_tree_model_get(GTK_TREE_MODEL(chooser->store), &iter, COLUMN_VALUE, &value, -1);
    g_object_set(chooser->config, "model", value, NULL); /* fills anew */
}

static void ask(const Chooser *chooser, bool folder)
{
    g_autofree char *path = pentimento_model_file_ask(chooser->combo, folder, NULL);

    if (path != NULL)
        g_object_set(chooser->config, "model", path, NULL);
}

static void on_file(GtkMenuItem *item, gpointer data)
{
    ask(data, false);
}

static void on_folder(GtkMenuItem *item, gpointer data)
{
    ask(data, true);
}

static void add_item(GtkWidget *menu, const char *text, GCallback activated, Chooser *chooser)
{
    GtkWidget *item = gtk_menu_item_new_with_label(text);

    g_signal_connect(item, "activate", activated, chooser);
    gtk_menu_shell_append(GTK_MENU_SHELL(menu), item);
    gtk_widget_show(item);
}

static void add_button(Chooser *chooser, GtkWidget *row)
{
    GtkWidget *button = gtk_menu_button_new(), *menu = gtk_menu_new();
    GtkWidget *icon = gtk_image_new_from_icon_name(GIMP_ICON_DOCUMENT_OPEN, GTK_ICON_SIZE_BUTTON);

    add_item(menu, _("Other file…"), G_CALLBACK(on_file), chooser);
    add_item(menu, _("Other folder…"), G_CALLBACK(on_folder), chooser);
    gtk_widget_set_halign(menu, GTK_ALIGN_END);
    gtk_button_set_image(GTK_BUTTON(button), icon);
    gtk_menu_button_set_popup(GTK_MENU_BUTTON(button), menu);
    gtk_widget_set_tooltip_text(button, _("A model that lies elsewhere: its file or its folder"));
    atk_object_set_name(gtk_widget_get_accessible(button), _("Other model"));
    pentimento_row_add_end(row, button);
}

GtkWidget *pentimento_model_chooser_new(GimpProcedureConfig *config)
{
    Chooser *chooser = g_new0(Chooser, 1);
    GtkCellRenderer *cell = gtk_cell_renderer_text_new();
    GtkWidget *row;

    chooser->config = config;
    chooser->store = gtk_list_store_new(N_COLUMNS, G_TYPE_STRING, G_TYPE_STRING);
    chooser->combo = gtk_combo_box_new_with_model(GTK_TREE_MODEL(chooser->store));
    /* else it would lose the focus while it is filled anew */
    gtk_combo_box_set_button_sensitivity(GTK_COMBO_BOX(chooser->combo), GTK_SENSITIVITY_ON);
    g_object_set(cell, "ellipsize", PANGO_ELLIPSIZE_END, NULL);
    gtk_cell_layout_pack_start(GTK_CELL_LAYOUT(chooser->combo), cell, TRUE);
    gtk_cell_layout_add_attribute(GTK_CELL_LAYOUT(chooser->combo), cell, "text", COLUMN_TEXT);
    row = pentimento_row_new(config, "model", chooser->combo);
    add_button(chooser, row);
    chooser->tooltip =
        g_param_spec_get_blurb(g_object_class_find_property(G_OBJECT_GET_CLASS(config), "model"));
    g_object_set_data(G_OBJECT(row), "chooser", chooser);
    g_object_weak_ref(G_OBJECT(row), chooser_free, chooser);
    fill(chooser);
    g_signal_connect_swapped(config, "notify::model", G_CALLBACK(fill), chooser);
    g_signal_connect(chooser->combo, "changed", G_CALLBACK(on_changed), chooser);
    return row;
}
