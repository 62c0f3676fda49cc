/* The dialog of the procedures that make pictures: the prompt and what matters most on top, the
 * rest in an expander. In: a procedure and its config. Out: the config as the user left it, and
 * OK or not. */
#include "ui/dialog.h"

#include "ui/adapter-chooser.h"
#include "ui/earlier-chooser.h"
#include "ui/model-chooser.h"
#include "ui/row.h"
#include "ui/scroller.h"

#include <glib/gi18n-lib.h>

static bool has(GimpProcedureConfig *config, const char *argument)
{
    return g_object_class_find_property(G_OBJECT_GET_CLASS(config), argument) != NULL;
}

/* A prompt on top of `box`: its label above a text field of a few lines that scrolls. GIMP's own
 * helper knows text fields without labels only, so without mnemonics. Returns the text field. */
static GtkWidget *add_prompt(GtkBox *box, GimpProcedureConfig *config, const char *argument)
{
    const int width = 360, height = 64, spacing = 4, margin = 3;
    GParamSpec *spec = g_object_class_find_property(G_OBJECT_GET_CLASS(config), argument);
    g_autoptr(GtkTextBuffer) buffer = gimp_prop_text_buffer_new(G_OBJECT(config), argument, -1);
    GtkWidget *text = gtk_text_view_new_with_buffer(buffer);
    GtkWidget *title = gtk_label_new_with_mnemonic(g_param_spec_get_nick(spec));
    GtkWidget *scroller = gtk_scrolled_window_new(NULL, NULL);
    GtkWidget *prompt = gtk_box_new(GTK_ORIENTATION_VERTICAL, spacing);

    gtk_text_view_set_wrap_mode(GTK_TEXT_VIEW(text), GTK_WRAP_WORD_CHAR);
    gtk_text_view_set_accepts_tab(GTK_TEXT_VIEW(text), FALSE);
    gtk_text_view_set_left_margin(GTK_TEXT_VIEW(text), margin);
    gtk_text_view_set_right_margin(GTK_TEXT_VIEW(text), margin);
    gtk_text_view_set_top_margin(GTK_TEXT_VIEW(text), margin);
    gtk_widget_set_tooltip_text(text, g_param_spec_get_blurb(spec));
    gtk_label_set_mnemonic_widget(GTK_LABEL(title), text);
    gtk_label_set_xalign(GTK_LABEL(title), 0);
    gtk_scrolled_window_set_shadow_type(GTK_SCROLLED_WINDOW(scroller), GTK_SHADOW_IN);
    gtk_widget_set_size_request(scroller, width, height);
    gtk_container_add(GTK_CONTAINER(scroller), text);
    gtk_box_pack_start(GTK_BOX(prompt), title, FALSE, FALSE, 0);
    gtk_box_pack_start(GTK_BOX(prompt), scroller, TRUE, TRUE, 0);
    gtk_box_pack_start(box, prompt, TRUE, TRUE, 0);
    gtk_box_reorder_child(box, prompt, 0);
    gtk_widget_show_all(prompt);
    return text;
}

/* Rows of the dialog itself. GIMP aligns the labels only of those that it is given at once. */
typedef struct {
    GimpProcedureDialog *dialog;
    GtkBox *box; /* in which they are */
    GtkSizeGroup *labels;
} Rows;

static GtkBox *content_of(GimpProcedureDialog *dialog)
{
    return GTK_BOX(gtk_dialog_get_content_area(GTK_DIALOG(dialog)));
}

static void add_row(const Rows *rows, GtkWidget *row)
{
    gtk_size_group_add_widget(rows->labels, pentimento_row_label(row));
    gtk_box_pack_start(rows->box, row, FALSE, FALSE, 0);
}

/* One that GIMP makes: of an argument, or a container that it was told of. */
static void add_made(const Rows *rows, const char *name)
{
    GtkWidget *widget = gimp_procedure_dialog_get_widget(rows->dialog, name, G_TYPE_NONE);

    gtk_box_pack_start(rows->box, widget, FALSE, FALSE, 0);
    gtk_widget_show(widget);
}

static void align(const Rows *rows, const char *argument)
{
    GtkWidget *widget = gimp_procedure_dialog_get_widget(rows->dialog, argument, G_TYPE_NONE);

    if (GIMP_IS_LABELED(widget))
        gtk_size_group_add_widget(rows->labels, gimp_labeled_get_label(GIMP_LABELED(widget)));
}

static void add_argument(const Rows *rows, const char *argument)
{
    align(rows, argument);
    add_made(rows, argument);
}

static void add_scale(const Rows *rows, const char *argument)
{
    gimp_procedure_dialog_get_spin_scale(rows->dialog, argument, 1);
    add_made(rows, argument);
}

/* Where none is chosen there is nothing whose effect could be stronger or weaker. */
static void follow_adapter(GimpProcedureConfig *config, GParamSpec *spec, GtkWidget *weight)
{
    g_autofree char *adapter = NULL;

    g_object_get(config, "adapter", &adapter, NULL);
    gtk_widget_set_visible(weight, adapter != NULL && *adapter != '\0');
}

static GtkWidget *add_adapter(const Rows *rows, GimpProcedureConfig *config)
{
    GtkWidget *chooser = pentimento_adapter_chooser_new(config), *weight;

    add_row(rows, chooser);
    add_scale(rows, "adapter-weight");
    weight = gimp_procedure_dialog_get_widget(rows->dialog, "adapter-weight", G_TYPE_NONE);
    g_signal_connect_object(config, "notify::adapter", G_CALLBACK(follow_adapter), weight, 0);
    follow_adapter(config, NULL, weight);
    return chooser;
}

/* Only one picture can replace a layer's pixels. */
static void follow_output(GimpProcedureConfig *config, GParamSpec *spec, GtkWidget *variations)
{
    g_autofree char *output = NULL;

    g_object_get(config, "output", &output, NULL);
    gtk_widget_set_sensitive(variations, !g_str_equal(output, "replace"));
}

static void add_variations(const Rows *rows, GimpProcedureConfig *config)
{
    GtkWidget *variations;

    add_argument(rows, "variations");
    if (!has(config, "output"))
        return;
    variations = gimp_procedure_dialog_get_widget(rows->dialog, "variations", G_TYPE_NONE);
    g_signal_connect_object(config, "notify::output", G_CALLBACK(follow_output), variations, 0);
    follow_output(config, NULL, variations);
}

/* What is opened may make the dialog taller; it grows by itself, but does not shrink. */
static void on_expanded(GtkExpander *expander, GParamSpec *spec, gpointer dialog)
{
    int width, height;

    if (gtk_expander_get_expanded(expander))
        return;
    gtk_window_get_size(dialog, &width, &height);
    gtk_window_resize(dialog, width, 1); /* as low as it can be */
}

static void add_advanced(const Rows *rows, GimpProcedureConfig *config)
{
    static const char *const scales[] = {"steps", "guidance", "refine"};
    static const char *const others[] = {"sampler", "schedule", "seed"};
    GimpProcedureDialog *dialog = rows->dialog;
    GtkWidget *box, *label, *expander;
    g_autoptr(GList) content = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(scales); i++) {
        if (!has(config, scales[i]))
            continue;
        gimp_procedure_dialog_get_spin_scale(dialog, scales[i], 1);
        content = g_list_append(content, (gpointer)scales[i]);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(others); i++)
        content = g_list_append(content, (gpointer)others[i]);
    box = gimp_procedure_dialog_fill_box_list(dialog, "advanced-box", content);
    align(rows, "sampler");
    align(rows, "schedule");
    align(rows, "seed");
    add_prompt(GTK_BOX(box), config, "negative-prompt");
    label = gimp_procedure_dialog_get_label(dialog, "advanced-label", _("Ad_vanced settings"),
                                            FALSE, TRUE);
    expander = gimp_procedure_dialog_fill_expander(dialog, "advanced", "advanced-label", FALSE,
                                                   "advanced-box");
    gtk_label_set_mnemonic_widget(GTK_LABEL(label), expander);
    /* by the whole height of what it shows, however little room there is */
    gtk_expander_set_resize_toplevel(GTK_EXPANDER(expander), FALSE);
    g_signal_connect(expander, "notify::expanded", G_CALLBACK(on_expanded), dialog);
    add_made(rows, "advanced");
}

/* Steps of learning, and in words what they cost and what they are good for. */
static void add_learn(const Rows *rows)
{
    const double usual = 3000; /* steps; more can be typed */
    GtkWidget *scale = gimp_procedure_dialog_get_spin_scale(rows->dialog, "learn", 1);
    GtkWidget *hint = gimp_procedure_dialog_get_label(
        rows->dialog, "learn-hint",
        _("For textures, patterns and backgrounds that the model does not know: 1000 steps take "
          "one or two minutes with the default model. 0 does not learn."),
        FALSE, FALSE);

    gimp_spin_scale_set_scale_limits(GIMP_SPIN_SCALE(scale), 0, usual);
    gtk_label_set_line_wrap(GTK_LABEL(hint), TRUE);
    gtk_label_set_max_width_chars(GTK_LABEL(hint), 50);
    gtk_label_set_xalign(GTK_LABEL(hint), 0);
    add_made(rows, "learn");
    add_made(rows, "learn-hint");
}

GimpProcedureDialog *pentimento_dialog_new(GimpProcedure *procedure, GimpProcedureConfig *config,
                                           const char *title, const char *const *earlier,
                                           PentimentoChoosers *choosers)
{
    GtkWidget *widget = gimp_procedure_dialog_new(procedure, config, title);
    GimpProcedureDialog *dialog = GIMP_PROCEDURE_DIALOG(widget);
    g_autoptr(GtkSizeGroup) labels = gtk_size_group_new(GTK_SIZE_GROUP_HORIZONTAL);
    GtkBox *content = content_of(dialog);
    GtkWidget *box = gtk_box_new(GTK_ORIENTATION_VERTICAL, gtk_box_get_spacing(content));
    const Rows rows = {dialog, GTK_BOX(box), labels};
    GtkWidget *prompt = add_prompt(rows.box, config, "prompt");
    GtkWidget *scroller = pentimento_scroller_new(box);

    *choosers = (PentimentoChoosers){0};
    if (earlier != NULL)
        add_row(&rows, choosers->earlier = pentimento_earlier_chooser_new(earlier));
    if (has(config, "width")) {
        add_argument(&rows, "width");
        add_argument(&rows, "height");
    }
    if (has(config, "strength")) {
        add_scale(&rows, "strength");
        add_argument(&rows, "output");
    }
    if (has(config, "sides")) {
        add_argument(&rows, "sides");
        add_argument(&rows, "pixels");
        add_argument(&rows, "overlap");
    }
    add_variations(&rows, config);
    choosers->model = pentimento_model_chooser_new(config);
    add_row(&rows, choosers->model);
    choosers->adapter = add_adapter(&rows, config);
    add_argument(&rows, "quality");
    if (has(config, "learn"))
        add_learn(&rows);
    add_advanced(&rows, config);
    gtk_box_pack_start(content, scroller, TRUE, TRUE, 0);
    pentimento_scroller_fit(scroller, GTK_WIDGET(content));
    gtk_widget_grab_focus(prompt);
    return dialog;
}

GimpProcedureDialog *pentimento_teach_dialog_new(GimpProcedure *procedure,
                                                 GimpProcedureConfig *config,
                                                 PentimentoChoosers *choosers, GtkLabel **cost)
{
    const char *const arguments[] = {"name", "description", "pictures", "steps"};
    const int columns = 50;
    GtkWidget *widget = gimp_procedure_dialog_new(procedure, config, _("Teach"));
    GimpProcedureDialog *dialog = GIMP_PROCEDURE_DIALOG(widget);
    GtkWidget *label = pentimento_words_new(columns), *name;
    g_autoptr(GtkSizeGroup) labels = gtk_size_group_new(GTK_SIZE_GROUP_HORIZONTAL);
    const Rows rows = {dialog, content_of(dialog), labels};

    gimp_procedure_dialog_set_ok_label(dialog, _("_Teach"));
    for (size_t i = 0; i < G_N_ELEMENTS(arguments); i++)
        add_argument(&rows, arguments[i]);
    *choosers = (PentimentoChoosers){.model = pentimento_model_chooser_new(config)};
    add_row(&rows, choosers->model);
    add_argument(&rows, "seed");
    gtk_box_pack_end(rows.box, label, FALSE, FALSE, 0);
    gtk_widget_show(label);
    name = gimp_procedure_dialog_get_widget(dialog, "name", G_TYPE_NONE);
    gtk_widget_grab_focus(gimp_label_entry_get_entry(GIMP_LABEL_ENTRY(name)));
    *cost = GTK_LABEL(label);
    return dialog;
}
