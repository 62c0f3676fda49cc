/* The dialog of the three procedures: the prompt and what matters most on top, the rest in an
 * expander. In: a procedure and its config. Out: the config as the user left it, and OK or not. */
#include "ui/dialog.h"

#include <glib/gi18n-lib.h>

static bool has(GimpProcedureConfig *config, const char *argument)
{
    return g_object_class_find_property(G_OBJECT_GET_CLASS(config), argument) != NULL;
}

/* A prompt on top of `box`: its label above a text field of a few lines that scrolls. GIMP's own
 * helper knows text fields without labels only, so without mnemonics. Returns the text field. */
static GtkWidget *add_prompt(GtkBox *box, GimpProcedureConfig *config, const char *argument)
{
    const int width = 360, height = 64, spacing = 4;
    GParamSpec *spec = g_object_class_find_property(G_OBJECT_GET_CLASS(config), argument);
    g_autoptr(GtkTextBuffer) buffer = gimp_prop_text_buffer_new(G_OBJECT(config), argument, -1);
    GtkWidget *text = gtk_text_view_new_with_buffer(buffer);
    GtkWidget *title = gtk_label_new_with_mnemonic(g_param_spec_get_nick(spec));
    GtkWidget *scroller = gtk_scrolled_window_new(NULL, NULL);
    GtkWidget *prompt = gtk_box_new(GTK_ORIENTATION_VERTICAL, spacing);

    gtk_text_view_set_wrap_mode(GTK_TEXT_VIEW(text), GTK_WRAP_WORD_CHAR);
    gtk_text_view_set_accepts_tab(GTK_TEXT_VIEW(text), FALSE);
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

static void add_advanced(GimpProcedureDialog *dialog, GimpProcedureConfig *config)
{
    GtkWidget *box, *label, *expander;

    gimp_procedure_dialog_get_spin_scale(dialog, "steps", 1);
    gimp_procedure_dialog_get_spin_scale(dialog, "guidance", 1);
    box = gimp_procedure_dialog_fill_box(dialog, "advanced-box", "steps", "guidance", "sampler",
                                         "schedule", "seed", "model", NULL);
    add_prompt(GTK_BOX(box), config, "negative-prompt");
    label = gimp_procedure_dialog_get_label(dialog, "advanced-label", _("Ad_vanced settings"),
                                            FALSE, TRUE);
    expander = gimp_procedure_dialog_fill_expander(dialog, "advanced", "advanced-label", FALSE,
                                                   "advanced-box");
    gtk_label_set_mnemonic_widget(GTK_LABEL(label), expander);
}

/* Steps of learning, and in words what they cost and what they are good for. */
static void add_learn(GimpProcedureDialog *dialog)
{
    GtkWidget *hint = gimp_procedure_dialog_get_label(
        dialog, "learn-hint",
        _("For textures, patterns and grounds that the model does not know: 1000 steps take one or "
          "two minutes with the default model. 0 does not learn."),
        FALSE, FALSE);

    gtk_label_set_line_wrap(GTK_LABEL(hint), TRUE);
    gtk_label_set_max_width_chars(GTK_LABEL(hint), 50);
    gtk_label_set_xalign(GTK_LABEL(hint), 0);
    gimp_procedure_dialog_fill(dialog, "learn", "learn-hint", NULL);
}

bool pentimento_dialog_run(GimpProcedure *procedure, GimpProcedureConfig *config, const char *title)
{
    GtkWidget *widget = gimp_procedure_dialog_new(procedure, config, title);
    GimpProcedureDialog *dialog = GIMP_PROCEDURE_DIALOG(widget);
    GtkBox *content = GTK_BOX(gtk_dialog_get_content_area(GTK_DIALOG(widget)));
    GtkWidget *prompt = add_prompt(content, config, "prompt");
    bool confirmed;

    if (has(config, "width"))
        gimp_procedure_dialog_fill(dialog, "width", "height", NULL);
    if (has(config, "strength")) {
        gimp_procedure_dialog_get_spin_scale(dialog, "strength", 1);
        gimp_procedure_dialog_fill(dialog, "strength", "output", NULL);
    }
    if (has(config, "learn"))
        add_learn(dialog);
    add_advanced(dialog, config);
    gimp_procedure_dialog_fill(dialog, "advanced", NULL);
    gtk_widget_grab_focus(prompt);
    confirmed = gimp_procedure_dialog_run(dialog);
    gtk_widget_destroy(widget);
    return confirmed;
}

GimpProcedureDialog *pentimento_teach_dialog_new(GimpProcedure *procedure,
                                                 GimpProcedureConfig *config, GtkLabel **cost)
{
    const int columns = 50;
    GtkWidget *widget = gimp_procedure_dialog_new(procedure, config, _("Teach"));
    GimpProcedureDialog *dialog = GIMP_PROCEDURE_DIALOG(widget);
    GtkWidget *label = gtk_label_new(NULL), *name;

    gimp_procedure_dialog_set_ok_label(dialog, _("_Teach"));
    gimp_procedure_dialog_fill(dialog, "name", "description", "pictures", "steps", "model", "seed",
                               NULL);
    gtk_label_set_xalign(GTK_LABEL(label), 0);
    gtk_label_set_line_wrap(GTK_LABEL(label), TRUE);
    gtk_label_set_width_chars(GTK_LABEL(label), columns);
    gtk_label_set_max_width_chars(GTK_LABEL(label), columns);
    gtk_box_pack_end(GTK_BOX(gtk_dialog_get_content_area(GTK_DIALOG(widget))), label, FALSE, FALSE,
                     0);
    gtk_widget_show(label);
    name = gimp_procedure_dialog_get_widget(dialog, "name", G_TYPE_NONE);
    gtk_widget_grab_focus(gimp_label_entry_get_entry(GIMP_LABEL_ENTRY(name)));
    *cost = GTK_LABEL(label);
    return dialog;
}
