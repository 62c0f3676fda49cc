/* A combo of what was taught, with what it shows and what to say for it, and a button that deletes.
 * In: what the worker knows of each, the argument "adapter". Out: the argument, "" for none. What
 * does not suit the model stands last, with the reason, and can be chosen to be deleted. */
#include "ui/adapter-chooser.h"

#include "ui/confirm.h"
#include "ui/row.h"

#include <glib/gi18n-lib.h>

enum { COLUMN_VALUE, COLUMN_TEXT, COLUMN_NOTE, COLUMN_LISTED, COLUMN_HINT, N_COLUMNS };

typedef struct {
    GimpProcedureConfig *config;
    GtkWidget *combo, *button, *hint;
    GtkListStore *store;
    GVariant *adapters; /* NULL: not known yet, or not to be known */
    char *failure;
    gboolean filling; /* the changes are ours and not the user's */
    PentimentoForgetFunc forget;
    gpointer forget_data;
} Chooser;

static void chooser_free(gpointer data, GObject *row)
{
    Chooser *chooser = data;

    g_signal_handlers_disconnect_by_data(chooser->config, chooser);
    g_object_unref(chooser->store);
    g_clear_pointer(&chooser->adapters, g_variant_unref);
    g_free(chooser->failure);
    g_free(chooser);
}

/* ---- rows -------------------------------------------------------------------------------- */

typedef struct {
    const char *value, *text, *note, *hint;
    gboolean listed;
} Row;

static void add(const Chooser *chooser, Row row)
{
    gtk_list_store_insert_with_values(chooser->store, NULL, -1, COLUMN_VALUE, row.value,
                                      COLUMN_TEXT, row.text, COLUMN_NOTE, row.note, COLUMN_LISTED,
                                      row.listed, COLUMN_HINT, row.hint, -1);
}

/* What to know about a thing once it is chosen. */
static char *hint_of(const char *name, const char *trigger, const char *problem)
{
    /* "cup" is what was chosen, then why it does not work: "made for another model" */
    if (*problem != '\0')
        return g_strdup_printf(_("“%s” cannot be used: %s."), name, problem);
    return *trigger != '\0' ? g_strdup_printf(_("Say “%s” in the prompt."), trigger) : NULL;
}

static void add_adapter(const Chooser *chooser, GVariant *adapter)
{
    const char *name = "", *description = "", *trigger = "", *problem = "";
    g_autofree char *hint = NULL;

    g_variant_lookup(adapter, "name", "&s", &name);
    g_variant_lookup(adapter, "description", "&s", &description);
    g_variant_lookup(adapter, "trigger", "&s", &trigger);
    g_variant_lookup(adapter, "problem", "&s", &problem);
    hint = hint_of(name, trigger, problem);
    add(chooser, (Row){name, name, *problem == '\0' ? description : problem, hint, TRUE});
}

/* One that is set and not listed: a path, or a name of something that is gone. */
static void add_unlisted(const Chooser *chooser, const char *value)
{
    const gboolean gone = chooser->adapters != NULL && strchr(value, '/') == NULL;
    g_autofree char *base = g_path_get_basename(value);
    const char *problem = gone ? _("no longer there") : "";
    g_autofree char *hint = hint_of(base, "", problem);

    add(chooser,
        (Row){value, base, problem, chooser->failure != NULL ? chooser->failure : hint, FALSE});
}

static gboolean find(const Chooser *chooser, const char *value, GtkTreeIter *iter)
{
    GtkTreeModel *rows = GTK_TREE_MODEL(chooser->store);
    gboolean more = gtk_tree_model_get_iter_first(rows, iter);

    for (; more; more = gtk_tree_model_iter_next(rows, iter)) {
        g_autofree char *found = NULL;

        gtk_tree_model_get(rows, iter, COLUMN_VALUE, &found, -1);
        if (g_strcmp0(found, value) == 0)
            return TRUE;
    }
    return FALSE;
}

/* What to do where there is nothing to choose from. */
static const char *hint_of_none(const Chooser *chooser)
{
    if (chooser->failure != NULL)
        return chooser->failure;
    if (chooser->adapters != NULL && g_variant_n_children(chooser->adapters) == 0)
        return _("Nothing was taught yet: see Teach…");
    return NULL;
}

static void show_chosen(const Chooser *chooser, GtkTreeIter *iter)
{
    g_autofree char *hint = NULL;
    gboolean listed;

    gtk_tree_model_get(GTK_TREE_MODEL(chooser->store), iter, COLUMN_HINT, &hint, COLUMN_LISTED,
                       &listed, -1);
    gtk_combo_box_set_active_iter(GTK_COMBO_BOX(chooser->combo), iter);
    gtk_widget_set_sensitive(chooser->button, listed);
    gtk_label_set_text(GTK_LABEL(chooser->hint), hint != NULL ? hint : "");
    gtk_widget_set_visible(chooser->hint, hint != NULL);
}

/* Those that suit the model, or the others. */
static void add_adapters(const Chooser *chooser, gboolean fitting)
{
    for (gsize i = 0; chooser->adapters != NULL && i < g_variant_n_children(chooser->adapters);
         i++) {
        g_autoptr(GVariant) adapter = g_variant_get_child_value(chooser->adapters, i);
        const char *problem = "";

        g_variant_lookup(adapter, "problem", "&s", &problem);
        if ((*problem == '\0') == fitting)
            add_adapter(chooser, adapter);
    }
}

static void fill(Chooser *chooser)
{
    g_autofree char *set = NULL;
    const char *value;
    GtkTreeIter iter;

    g_object_get(chooser->config, "adapter", &set, NULL);
    value = set != NULL ? set : "";
    chooser->filling = TRUE;
    gtk_list_store_clear(chooser->store);
    add(chooser, (Row){"", _("None"), "", hint_of_none(chooser), FALSE});
    add_adapters(chooser, TRUE);
    add_adapters(chooser, FALSE); /* last, where the arrow keys do not have to cross them */
    if (!find(chooser, value, &iter)) {
        add_unlisted(chooser, value);
        find(chooser, value, &iter);
    }
    show_chosen(chooser, &iter);
    chooser->filling = FALSE;
}

void pentimento_adapter_chooser_set(GtkWidget *row, GVariant *adapters)
{
    Chooser *chooser = g_object_get_data(G_OBJECT(row), "chooser");

    g_clear_pointer(&chooser->adapters, g_variant_unref);
    g_clear_pointer(&chooser->failure, g_free);
    chooser->adapters = g_variant_ref_sink(adapters);
    fill(chooser);
}

void pentimento_adapter_chooser_fail(GtkWidget *row, const char *reason)
{
    Chooser *chooser = g_object_get_data(G_OBJECT(row), "chooser");

    g_clear_pointer(&chooser->adapters, g_variant_unref);
    g_free(chooser->failure);
    chooser->failure = g_strdup(reason);
    fill(chooser);
}

/* ---- deleting ---------------------------------------------------------------------------- */

static void on_delete(GtkButton *button, gpointer data)
{
    const Chooser *chooser = data;
    g_autofree char *name = NULL, *question = NULL;

    g_object_get(chooser->config, "adapter", &name, NULL);
    question = g_strdup_printf(_("Delete “%s”?"), name);
    if (pentimento_confirm(chooser->combo, _("Delete"), _("_Delete"), question,
                           _("What was taught under this name is lost; pictures made with it stay "
                             "as they are.")))
        chooser->forget(name, chooser->forget_data);
}

void pentimento_adapter_chooser_on_forget(GtkWidget *row, PentimentoForgetFunc forget,
                                          gpointer data)
{
    Chooser *chooser = g_object_get_data(G_OBJECT(row), "chooser");

    chooser->forget = forget;
    chooser->forget_data = data;
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
    g_object_set(chooser->config, "adapter", value, NULL); /* fills anew */
}

/* The name, and after it, fainter, what it shows or why it does not suit. */
static void add_cells(GtkCellLayout *combo)
{
    GtkCellRenderer *name = gtk_cell_renderer_text_new(), *note = gtk_cell_renderer_text_new();
    const double faint = 0.9;

    gtk_cell_layout_pack_start(combo, name, FALSE);
    gtk_cell_layout_set_attributes(combo, name, "text", COLUMN_TEXT, NULL);
    g_object_set(note, "ellipsize", PANGO_ELLIPSIZE_END, "style", PANGO_STYLE_ITALIC, "scale",
                 faint, "xpad", 6, NULL);
    gtk_cell_layout_pack_start(combo, note, TRUE);
    gtk_cell_layout_set_attributes(combo, note, "text", COLUMN_NOTE, NULL);
}

static void add_button(Chooser *chooser, GtkWidget *row)
{
    chooser->button = gtk_button_new_from_icon_name(GIMP_ICON_EDIT_DELETE, GTK_ICON_SIZE_BUTTON);
    gtk_widget_set_tooltip_text(chooser->button, _("Delete what is chosen here, for good"));
    atk_object_set_name(gtk_widget_get_accessible(chooser->button), _("Delete"));
    g_signal_connect(chooser->button, "clicked", G_CALLBACK(on_delete), chooser);
    pentimento_row_add_end(row, chooser->button);
}

GtkWidget *pentimento_adapter_chooser_new(GimpProcedureConfig *config)
{
    Chooser *chooser = g_new0(Chooser, 1);
    GtkWidget *row;

    chooser->config = config;
    chooser->store = gtk_list_store_new(N_COLUMNS, G_TYPE_STRING, G_TYPE_STRING, G_TYPE_STRING,
                                        G_TYPE_BOOLEAN, G_TYPE_STRING);
    chooser->combo = gtk_combo_box_new_with_model(GTK_TREE_MODEL(chooser->store));
    /* else it would lose the focus while it is filled anew */
    gtk_combo_box_set_button_sensitivity(GTK_COMBO_BOX(chooser->combo), GTK_SENSITIVITY_ON);
    add_cells(GTK_CELL_LAYOUT(chooser->combo));
    row = pentimento_row_new(config, "adapter", chooser->combo);
    add_button(chooser, row);
    chooser->hint = pentimento_row_add_hint(row);
    g_object_set_data(G_OBJECT(row), "chooser", chooser);
    g_object_weak_ref(G_OBJECT(row), chooser_free, chooser);
    fill(chooser);
    g_signal_connect_swapped(config, "notify::adapter", G_CALLBACK(fill), chooser);
    g_signal_connect(chooser->combo, "changed", G_CALLBACK(on_changed), chooser);
    return row;
}
