/* The dialog of the three procedures: the prompt and what matters most on top, the rest in an
 * expander. In: a procedure and its config. Out: the config as the user left it, and OK or not. */
#include "ui/dialog.h"

#include <glib/gi18n-lib.h>
#include <libgimp/gimpui.h>

static bool has(GimpProcedureConfig *config, const char *argument)
{
    return g_object_class_find_property(G_OBJECT_GET_CLASS(config), argument) != NULL;
}

/* A prompt: its label above a text field of a few lines that scrolls. */
static void add_prompt(GimpProcedureDialog *dialog, const char *argument, const char *label,
                       const char *label_id, const char *scroller_id, const char *frame_id)
{
    const int width = 360, height = 64;
    GtkWidget *text = gimp_procedure_dialog_get_widget(dialog, argument, GTK_TYPE_TEXT_VIEW);
    GtkWidget *title, *scroller;

    gtk_text_view_set_wrap_mode(GTK_TEXT_VIEW(text), GTK_WRAP_WORD_CHAR);
    gtk_text_view_set_accepts_tab(GTK_TEXT_VIEW(text), FALSE);
    title = gimp_procedure_dialog_get_label(dialog, label_id, label, FALSE, TRUE);
    gtk_label_set_mnemonic_widget(GTK_LABEL(title), text);
    scroller = gimp_procedure_dialog_fill_scrolled_window(dialog, scroller_id, argument);
    gtk_scrolled_window_set_shadow_type(GTK_SCROLLED_WINDOW(scroller), GTK_SHADOW_IN);
    gtk_widget_set_size_request(scroller, width, height);
    gimp_procedure_dialog_fill_frame(dialog, frame_id, label_id, FALSE, scroller_id);
}

static void add_advanced(GimpProcedureDialog *dialog)
{
    GtkWidget *label, *expander;

    gimp_procedure_dialog_get_spin_scale(dialog, "steps", 1);
    gimp_procedure_dialog_get_spin_scale(dialog, "guidance", 1);
    gimp_procedure_dialog_fill_box(dialog, "advanced-box", "negative-frame", "steps", "guidance",
                                   "sampler", "schedule", "seed", "model", NULL);
    label = gimp_procedure_dialog_get_label(dialog, "advanced-label", _("Ad_vanced settings"),
                                            FALSE, TRUE);
    expander = gimp_procedure_dialog_fill_expander(dialog, "advanced", "advanced-label", FALSE,
                                                   "advanced-box");
    gtk_label_set_mnemonic_widget(GTK_LABEL(label), expander);
}

bool pentimento_dialog_run(GimpProcedure *procedure, GimpProcedureConfig *config, const char *title)
{
    GtkWidget *widget = gimp_procedure_dialog_new(procedure, config, title);
    GimpProcedureDialog *dialog = GIMP_PROCEDURE_DIALOG(widget);
    bool confirmed;

    add_prompt(dialog, "prompt", _("_Prompt"), "prompt-label", "prompt-scroller", "prompt-frame");
    add_prompt(dialog, "negative-prompt", _("_Negative prompt"), "negative-label",
               "negative-scroller", "negative-frame");
    gimp_procedure_dialog_fill(dialog, "prompt-frame", NULL);
    if (has(config, "width"))
        gimp_procedure_dialog_fill(dialog, "width", "height", NULL);
    if (has(config, "strength")) {
        gimp_procedure_dialog_get_spin_scale(dialog, "strength", 100);
        gimp_procedure_dialog_fill(dialog, "strength", "output", NULL);
    }
    add_advanced(dialog);
    gimp_procedure_dialog_fill(dialog, "advanced", NULL);
    gtk_widget_grab_focus(gimp_procedure_dialog_get_widget(dialog, "prompt", G_TYPE_NONE));
    confirmed = gimp_procedure_dialog_run(dialog);
    gtk_widget_destroy(widget);
    return confirmed;
}
