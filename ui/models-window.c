/* The window of the models. In: their names, what one of them is, how far work has come. Out: what
 * the user chooses, adds, removes. */
#include "ui/models-window.h"

#include "ui/confirm.h"
#include "ui/model-file.h"

#include <glib/gi18n-lib.h>
#include <libgimp/gimpui.h>

#define SPACING 12

enum { COLUMN_NAME, COLUMN_TEXT, N_COLUMNS };
enum { USE, SIDE, WEIGHTS, BYTES, PATH, N_DETAILS };

struct PentimentoModelsWindow {
    const PentimentoModelsEvents *events;
    gpointer data;
    GtkWidget *dialog, *list, *remove, *add_file, *add_folder;
    GtkWidget *pages, *details[N_DETAILS], *failure, *grid, *show, *licence, *checksums, *check;
    GtkWidget *work, *bar;
    GtkListStore *store;
    char *path; /* of the chosen one, once it is known */
    bool own, working;
    guint pulse; /* timer, while it is not known how far work is; 0 = none */
};

/* ---- the list ---------------------------------------------------------------------------- */

static void settle(PentimentoModelsWindow *window)
{
    gtk_widget_set_sensitive(window->add_file, !window->working);
    gtk_widget_set_sensitive(window->add_folder, !window->working);
    gtk_widget_set_sensitive(window->remove, window->own && !window->working);
    gtk_widget_set_sensitive(window->check, window->path != NULL && !window->working);
    gtk_widget_set_sensitive(window->show, window->path != NULL);
    gtk_widget_set_sensitive(window->work, window->working);
    gtk_widget_set_opacity(window->work, window->working ? 1.0 : 0.0); /* keeps its place */
}

static void set_text(GtkWidget *view, const char *text)
{
    gtk_text_buffer_set_text(gtk_text_view_get_buffer(GTK_TEXT_VIEW(view)), text, -1);
}

void pentimento_models_window_expect(PentimentoModelsWindow *window, const char *path)
{
    if (g_strcmp0(path, window->path) != 0)
        set_text(window->checksums, "");
    g_free(window->path);
    window->path = g_strdup(path);
    window->own = path != NULL;
    for (int i = 0; i < N_DETAILS; i++)
        gtk_label_set_text(GTK_LABEL(window->details[i]), "");
    gtk_widget_hide(window->failure);
    gtk_widget_show(window->grid);
    set_text(window->licence, "");
    settle(window);
}

static void on_selected(GtkTreeSelection *selection, gpointer data)
{
    PentimentoModelsWindow *window = data;

    window->events->chosen(window->data);
}

static GtkTreeSelection *selection_of(PentimentoModelsWindow *window)
{
    return gtk_tree_view_get_selection(GTK_TREE_VIEW(window->list));
}

static GtkWidget *scrolled(GtkWidget *child, int width, int height)
{
    GtkWidget *window = gtk_scrolled_window_new(NULL, NULL);

    gtk_scrolled_window_set_shadow_type(GTK_SCROLLED_WINDOW(window), GTK_SHADOW_IN);
    gtk_widget_set_size_request(window, width, height);
    gtk_container_add(GTK_CONTAINER(window), child);
    return window;
}

static GtkWidget *new_list(PentimentoModelsWindow *window)
{
    const int width = 220, height = 260;
    GtkCellRenderer *cell = gtk_cell_renderer_text_new();
    GtkTreeViewColumn *column;

    g_object_set(cell, "ellipsize", PANGO_ELLIPSIZE_MIDDLE, NULL);
    column = gtk_tree_view_column_new_with_attributes(_("Model"), cell, "text", COLUMN_TEXT, NULL);
    window->store = gtk_list_store_new(N_COLUMNS, G_TYPE_STRING, G_TYPE_STRING);
    window->list = gtk_tree_view_new_with_model(GTK_TREE_MODEL(window->store));
    gtk_tree_view_set_headers_visible(GTK_TREE_VIEW(window->list), FALSE);
    gtk_tree_view_append_column(GTK_TREE_VIEW(window->list), column);
    atk_object_set_name(gtk_widget_get_accessible(window->list), _("Models"));
    gtk_tree_selection_set_mode(selection_of(window), GTK_SELECTION_BROWSE);
    g_signal_connect(selection_of(window), "changed", G_CALLBACK(on_selected), window);
    return scrolled(window->list, width, height);
}

/* ---- its buttons ------------------------------------------------------------------------- */

/* A check button belongs to the file chooser that shows it, and is asked when that has gone. */
static void add(PentimentoModelsWindow *window, bool folder)
{
    g_autoptr(GtkWidget) link = g_object_ref_sink(
        gtk_check_button_new_with_mnemonic(_("_Leave it where it is: make a link, not a copy")));
    g_autofree char *path = pentimento_model_file_ask(window->dialog, folder, link);

    if (path != NULL)
        window->events->add(path, gtk_toggle_button_get_active(GTK_TOGGLE_BUTTON(link)),
                            window->data);
}

static void on_add_file(PentimentoModelsWindow *window)
{
    add(window, false);
}

static void on_add_folder(PentimentoModelsWindow *window)
{
    add(window, true);
}

static void on_remove(PentimentoModelsWindow *window)
{
    window->events->remove(window->path, window->data);
}

static void on_check(PentimentoModelsWindow *window)
{
    window->events->check(window->path, window->data);
}

static void on_stop(PentimentoModelsWindow *window)
{
    window->events->stop(window->data);
}

static void on_show(PentimentoModelsWindow *window)
{
    g_autofree char *folder = g_path_get_dirname(window->path);
    g_autofree char *uri = g_filename_to_uri(folder, NULL, NULL);
    g_autoptr(GError) error = NULL;

    if (!gtk_show_uri_on_window(GTK_WINDOW(window->dialog), uri, GDK_CURRENT_TIME, &error))
        gimp_message(error->message);
}

static GtkWidget *new_button(PentimentoModelsWindow *window, const char *label, const char *tip,
                             void (*clicked)(PentimentoModelsWindow *))
{
    GtkWidget *button = gtk_button_new_with_mnemonic(label);

    gtk_widget_set_tooltip_text(button, tip);
    g_signal_connect_swapped(button, "clicked", G_CALLBACK(clicked), window);
    return button;
}

static GtkWidget *new_left(PentimentoModelsWindow *window)
{
    GtkWidget *column = gtk_box_new(GTK_ORIENTATION_VERTICAL, SPACING / 2);
    GtkWidget *row = gtk_box_new(GTK_ORIENTATION_HORIZONTAL, SPACING / 2);

    window->add_file = new_button(window, _("Add _File…"),
                                  _("A single file of a model, .safetensors, and the .yaml beside "
                                    "it, come into your own models"),
                                  on_add_file);
    window->add_folder = new_button(window, _("Add F_older…"),
                                    _("A diffusers folder, which has a model_index.json, comes "
                                      "into your own models"),
                                    on_add_folder);
    window->remove = new_button(window, _("_Remove…"),
                                _("Moves one of your own models to the trash; of a link only the "
                                  "link goes"),
                                on_remove);
    gtk_box_pack_start(GTK_BOX(row), window->add_file, TRUE, TRUE, 0);
    gtk_box_pack_start(GTK_BOX(row), window->add_folder, TRUE, TRUE, 0);
    gtk_box_pack_start(GTK_BOX(row), window->remove, TRUE, TRUE, 0);
    gtk_box_pack_start(GTK_BOX(column), new_list(window), TRUE, TRUE, 0);
    gtk_box_pack_start(GTK_BOX(column), row, FALSE, FALSE, 0);
    return column;
}

/* ---- the pages --------------------------------------------------------------------------- */

static GtkWidget *new_label(const char *text, bool selectable)
{
    GtkWidget *label = gtk_label_new(text);

    gtk_label_set_xalign(GTK_LABEL(label), 0);
    gtk_label_set_yalign(GTK_LABEL(label), 0);
    gtk_label_set_line_wrap(GTK_LABEL(label), selectable);
    gtk_label_set_line_wrap_mode(GTK_LABEL(label), PANGO_WRAP_WORD_CHAR);
    gtk_label_set_selectable(GTK_LABEL(label), selectable);
    return label;
}

static GtkWidget *new_details(PentimentoModelsWindow *window)
{
    static const char *const titles[] = {[USE] = N_("Use:"),
                                         [SIDE] = N_("Made for:"),
                                         [WEIGHTS] = N_("Weights:"),
                                         [BYTES] = N_("On the disk:"),
                                         [PATH] = N_("Where:")};
    const int columns = 44;
    GtkWidget *page = gtk_box_new(GTK_ORIENTATION_VERTICAL, SPACING);

    window->grid = gtk_grid_new();
    gtk_grid_set_row_spacing(GTK_GRID(window->grid), SPACING / 2);
    gtk_grid_set_column_spacing(GTK_GRID(window->grid), SPACING);
    for (int i = 0; i < N_DETAILS; i++) {
        GtkWidget *title = new_label(_(titles[i]), false);

        window->details[i] = new_label("", true);
        gtk_widget_set_hexpand(window->details[i], TRUE);
        gtk_label_set_width_chars(GTK_LABEL(window->details[i]), columns);
        gtk_label_set_max_width_chars(GTK_LABEL(window->details[i]), columns);
        gtk_grid_attach(GTK_GRID(window->grid), title, 0, i, 1, 1);
        gtk_grid_attach(GTK_GRID(window->grid), window->details[i], 1, i, 1, 1);
    }
    window->failure = new_label("", true);
    gtk_widget_set_no_show_all(window->failure, TRUE);
    window->show = new_button(window, _("_Show in the File Manager"),
                              _("Opens the folder in which the model lies"), on_show);
    gtk_widget_set_halign(window->show, GTK_ALIGN_START);
    gtk_box_pack_start(GTK_BOX(page), window->grid, FALSE, FALSE, 0);
    gtk_box_pack_start(GTK_BOX(page), window->failure, FALSE, FALSE, 0);
    gtk_box_pack_end(GTK_BOX(page), window->show, FALSE, FALSE, 0);
    return page;
}

static GtkWidget *new_text(const char *name)
{
    GtkWidget *view = gtk_text_view_new();

    gtk_text_view_set_editable(GTK_TEXT_VIEW(view), FALSE);
    gtk_text_view_set_cursor_visible(GTK_TEXT_VIEW(view), FALSE);
    gtk_text_view_set_monospace(GTK_TEXT_VIEW(view), TRUE);
    gtk_text_view_set_accepts_tab(GTK_TEXT_VIEW(view), FALSE);
    gtk_text_view_set_wrap_mode(GTK_TEXT_VIEW(view), GTK_WRAP_WORD_CHAR);
    gtk_text_view_set_left_margin(GTK_TEXT_VIEW(view), SPACING / 2);
    atk_object_set_name(gtk_widget_get_accessible(view), name);
    return view;
}

static GtkWidget *new_checksums(PentimentoModelsWindow *window)
{
    GtkWidget *page = gtk_box_new(GTK_ORIENTATION_VERTICAL, SPACING);

    window->checksums = new_text(_("Checksums"));
    window->check = new_button(window, _("Co_mpute"),
                               _("SHA-256 of each file, to be compared with what the model's "
                                 "makers tell"),
                               on_check);
    gtk_widget_set_halign(window->check, GTK_ALIGN_START);
    gtk_box_pack_start(GTK_BOX(page), scrolled(window->checksums, -1, -1), TRUE, TRUE, 0);
    gtk_box_pack_start(GTK_BOX(page), window->check, FALSE, FALSE, 0);
    return page;
}

static void add_page(PentimentoModelsWindow *window, GtkWidget *page, const char *title)
{
    gtk_container_set_border_width(GTK_CONTAINER(page), SPACING);
    gtk_notebook_append_page(GTK_NOTEBOOK(window->pages), page, gtk_label_new_with_mnemonic(title));
}

static GtkWidget *new_pages(PentimentoModelsWindow *window)
{
    window->pages = gtk_notebook_new();
    window->licence = new_text(_("Licence"));
    add_page(window, new_details(window), _("_Details"));
    add_page(window, scrolled(window->licence, -1, -1), _("_Licence"));
    add_page(window, new_checksums(window), _("Chec_ksums"));
    return window->pages;
}

/* ---- the window -------------------------------------------------------------------------- */

static GtkWidget *new_work(PentimentoModelsWindow *window)
{
    GtkWidget *stop = new_button(window, _("S_top"), _("Ends what is at work"), on_stop);

    window->work = gtk_box_new(GTK_ORIENTATION_HORIZONTAL, SPACING);
    window->bar = gtk_progress_bar_new();
    gtk_progress_bar_set_show_text(GTK_PROGRESS_BAR(window->bar), TRUE);
    gtk_widget_set_valign(window->bar, GTK_ALIGN_CENTER);
    gtk_box_pack_start(GTK_BOX(window->work), window->bar, TRUE, TRUE, 0);
    gtk_box_pack_start(GTK_BOX(window->work), stop, FALSE, FALSE, 0);
    return window->work;
}

PentimentoModelsWindow *pentimento_models_window_new(const PentimentoModelsEvents *events,
                                                     const char *help, gpointer data)
{
    PentimentoModelsWindow *window = g_new0(PentimentoModelsWindow, 1);
    GtkWidget *column = gtk_box_new(GTK_ORIENTATION_VERTICAL, SPACING);
    GtkWidget *row = gtk_box_new(GTK_ORIENTATION_HORIZONTAL, SPACING);
    GtkWidget *content;

    window->events = events;
    window->data = data;
    window->dialog =
        gimp_dialog_new(_("Models"), "pentimento-models", NULL, 0, gimp_standard_help_func, help,
                        _("_Close"), GTK_RESPONSE_CLOSE, NULL);
    content = gtk_dialog_get_content_area(GTK_DIALOG(window->dialog));
    gtk_box_pack_start(GTK_BOX(row), new_left(window), FALSE, FALSE, 0);
    gtk_box_pack_start(GTK_BOX(row), new_pages(window), TRUE, TRUE, 0);
    gtk_box_pack_start(GTK_BOX(column), row, TRUE, TRUE, 0);
    gtk_box_pack_start(GTK_BOX(column), new_work(window), FALSE, FALSE, 0);
    gtk_container_set_border_width(GTK_CONTAINER(column), SPACING);
    gtk_box_pack_start(GTK_BOX(content), column, TRUE, TRUE, 0);
    gtk_widget_show_all(column);
    gimp_window_set_transient(GTK_WINDOW(window->dialog));
    pentimento_models_window_expect(window, NULL);
    return window;
}

void pentimento_models_window_run(PentimentoModelsWindow *window)
{
    do
        gimp_dialog_run(GIMP_DIALOG(window->dialog)); /* past Help */
    while (window->working &&
           !pentimento_confirm(window->dialog, _("Close"), _("_Close"),
                               _("Something is at work. Close all the same?"),
                               _("It ends then; a model that is not added yet is not added.")));
}

void pentimento_models_window_free(PentimentoModelsWindow *window)
{
    g_signal_handlers_disconnect_by_data(selection_of(window), window);
    g_clear_handle_id(&window->pulse, g_source_remove);
    gtk_widget_destroy(window->dialog);
    g_object_unref(window->store);
    g_free(window->path);
    g_free(window);
}

GtkWidget *pentimento_models_window_widget(PentimentoModelsWindow *window)
{
    return window->dialog;
}

/* ---- what it is told --------------------------------------------------------------------- */

static void append(PentimentoModelsWindow *window, const char *name, const char *text, bool chosen)
{
    GtkTreeIter iter;

    gtk_list_store_insert_with_values(window->store, &iter, -1, COLUMN_NAME, name, COLUMN_TEXT,
                                      text, -1);
    if (chosen)
        gtk_tree_selection_select_iter(selection_of(window), &iter);
}

void pentimento_models_window_set(PentimentoModelsWindow *window, char *const *names,
                                  const char *name)
{
    GtkTreeSelection *selection = selection_of(window);

    g_signal_handlers_block_by_func(selection, on_selected, window);
    gtk_list_store_clear(window->store);
    append(window, "", _("Default model"), true);
    for (size_t i = 0; names[i] != NULL; i++)
        append(window, names[i], names[i], g_str_equal(names[i], name));
    g_signal_handlers_unblock_by_func(selection, on_selected, window);
    on_selected(selection, window);
}

char *pentimento_models_window_chosen(PentimentoModelsWindow *window)
{
    GtkTreeIter iter;
    char *name = NULL;

    if (gtk_tree_selection_get_selected(selection_of(window), NULL, &iter))
        gtk_tree_model_get(GTK_TREE_MODEL(window->store), &iter, COLUMN_NAME, &name, -1);
    return name != NULL ? name : g_strdup("");
}

void pentimento_models_window_describe(PentimentoModelsWindow *window,
                                       const PentimentoModelDetails *details)
{
    /* width and height of the pictures that a model was made for */
    g_autofree char *side = g_strdup_printf(_("%d × %d pixels"), details->side, details->side);
    g_autofree char *bytes = g_format_size(details->bytes);
    const char *texts[N_DETAILS] = {[USE] = details->use,
                                    [SIDE] = side,
                                    [WEIGHTS] = details->weights,
                                    [BYTES] = bytes,
                                    [PATH] = details->path};

    pentimento_models_window_expect(window, details->path);
    window->own = details->own;
    for (int i = 0; i < N_DETAILS; i++)
        gtk_label_set_text(GTK_LABEL(window->details[i]), texts[i]);
    set_text(window->licence, *details->licence != '\0'
                                  ? details->licence
                                  : _("It brings no text about its licence: see where it "
                                      "came from."));
    settle(window);
}

void pentimento_models_window_fail(PentimentoModelsWindow *window, const char *text)
{
    gtk_label_set_text(GTK_LABEL(window->failure), text);
    gtk_widget_hide(window->grid);
    gtk_widget_show(window->failure);
}

void pentimento_models_window_set_checksums(PentimentoModelsWindow *window, const char *path,
                                            const char *text)
{
    if (g_strcmp0(window->path, path) == 0)
        set_text(window->checksums, text);
}

static gboolean pulse(gpointer bar)
{
    gtk_progress_bar_pulse(bar);
    return G_SOURCE_CONTINUE;
}

void pentimento_models_window_work(PentimentoModelsWindow *window, const char *text,
                                   double fraction)
{
    const guint interval_ms = 100;
    GtkProgressBar *bar = GTK_PROGRESS_BAR(window->bar);

    if (text == NULL || fraction >= 0.0)
        g_clear_handle_id(&window->pulse, g_source_remove);
    if (window->working != (text != NULL)) {
        window->working = text != NULL;
        settle(window);
    }
    if (text == NULL)
        return;
    gtk_progress_bar_set_text(bar, text);
    if (fraction >= 0.0)
        gtk_progress_bar_set_fraction(bar, MIN(fraction, 1.0));
    else if (window->pulse == 0)
        window->pulse = g_timeout_add(interval_ms, pulse, bar);
}
