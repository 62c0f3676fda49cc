/* The plug-in's entry: registers the procedures of the table below with GIMP and runs them.
 * In: GIMP's call (image, selected layers, arguments). Out: a layer and the seed used, or one
 * sentence that says what is wrong. The engine is in another process (worker-client.c). */
#include "earlier.h"
#include "offers.h"
#include "region.h"
#include "settings.h"
#include "task.h"
#include "ui/confirm.h"
#include "ui/help-button.h"

#include <gegl.h>
#include <glib/gi18n-lib.h>
#include <libgimp/gimpui.h>

#define PENTIMENTO_TYPE_PLUG_IN (pentimento_plug_in_get_type())
G_DECLARE_FINAL_TYPE(PentimentoPlugIn, pentimento_plug_in, PENTIMENTO, PLUG_IN, GimpPlugIn)

struct _PentimentoPlugIn {
    GimpPlugIn parent_instance;
};

G_DEFINE_FINAL_TYPE(PentimentoPlugIn, pentimento_plug_in, GIMP_TYPE_PLUG_IN)

static const PentimentoTask *const tasks[] = {
    &pentimento_generate,
    &pentimento_img2img,
    &pentimento_inpaint,
    &pentimento_outpaint,
};

GQuark pentimento_error_quark(void)
{
    return g_quark_from_static_string("pentimento-error-quark");
}

GimpValueArray *pentimento_answer_error(GimpProcedure *procedure, GError *error)
{
    GimpPDBStatusType status = GIMP_PDB_EXECUTION_ERROR;

    if (error->domain == PENTIMENTO_ERROR)
        status = error->code;
    if (status == GIMP_PDB_CANCEL)
        g_clear_error(&error);
    return gimp_procedure_new_return_values(procedure, status, error);
}

/* What can be mended in the dialog is said beside it; what cannot is the run's to say. */
static bool may_go_on(const PentimentoTask *task, const PentimentoCall *call, GtkWidget *dialog)
{
    PentimentoRegion region;
    g_autoptr(GError) error = NULL;

    if (!task->edits ||
        !pentimento_region_find(task, call->drawables, call->config, &region, NULL) ||
        pentimento_region_check(&region, call->config, &error))
        return true;
    pentimento_tell(dialog, error->message);
    return false;
}

/* Shows the dialog. What cannot work is said before it opens, not after the prompt is written;
 * what the recalled arguments alone stand in the way of can be changed in it. */
static bool ask(const PentimentoTask *task, GimpProcedure *procedure, const PentimentoCall *call,
                GError **error)
{
    GimpProcedureConfig *config = call->config;
    PentimentoRegion region;
    PentimentoChoosers choosers;
    PentimentoOffers *offers;
    PentimentoEarlier *earlier;
    GimpProcedureDialog *dialog;
    bool confirmed;

    if (task->edits && !pentimento_region_find(task, call->drawables, config, &region, error))
        return false;
    gimp_ui_init("pentimento");
    earlier = pentimento_earlier_new(call->image, config);
    dialog = pentimento_dialog_new(procedure, config, _(task->title),
                                   pentimento_earlier_names(earlier), &choosers);
    pentimento_help_button_quieten(GTK_DIALOG(dialog));
    pentimento_earlier_serve(earlier, choosers.earlier);
    offers = pentimento_offers_new(config, &choosers);
    do
        confirmed = gimp_procedure_dialog_run(dialog);
    while (confirmed && !may_go_on(task, call, GTK_WIDGET(dialog)));
    pentimento_offers_free(offers);
    pentimento_earlier_free(earlier);
    gtk_widget_destroy(GTK_WIDGET(dialog));
    if (!confirmed)
        pentimento_set_error(error, CANCEL, "cancelled");
    return confirmed;
}

static GimpValueArray *run(GimpProcedure *procedure, GimpRunMode run_mode, GimpImage *image,
                           GimpDrawable **drawables, GimpProcedureConfig *config, gpointer data)
{
    const PentimentoTask *task = data;
    const PentimentoCall call = {image, drawables, config, run_mode == GIMP_RUN_INTERACTIVE};
    PentimentoOutcome outcome = {0};
    GimpValueArray *values;
    GError *error = NULL;

    gegl_init(NULL, NULL);
    if (run_mode != GIMP_RUN_NONINTERACTIVE)
        pentimento_last_used_recall(config);
    if (call.live && !ask(task, procedure, &call, &error))
        return pentimento_answer_error(procedure, error);
    if (call.live)
        pentimento_last_used_keep(config); /* whatever comes of the run */
    if (!task->run(task, &call, &outcome, &error))
        return pentimento_answer_error(procedure, error);
    if (run_mode != GIMP_RUN_NONINTERACTIVE) {
        GimpImage *shown = gimp_item_get_image(GIMP_ITEM(outcome.layer));
        if (shown != image)
            gimp_display_new(shown);
        gimp_displays_flush();
        /* GIMP would keep the last values in the image that is gone, and complain of it */
        if (image != NULL && !gimp_image_is_valid(image))
            return gimp_procedure_new_return_values(procedure, GIMP_PDB_CANCEL, NULL);
    }
    values = gimp_procedure_new_return_values(procedure, GIMP_PDB_SUCCESS, NULL);
    GIMP_VALUES_SET_LAYER(values, 1, outcome.layer);
    GIMP_VALUES_SET_INT(values, 2, outcome.seed);
    return values;
}

/* The help pages lie in help/ beside the plug-in; GIMP keeps their place until the plug-in is
 * another. */
static void set_help(GimpPlugIn *plug_in)
{
    g_autofree char *program = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *folder = program != NULL ? g_path_get_dirname(program) : g_strdup(".");
    g_autoptr(GFile) pages = g_file_new_build_filename(folder, "help", NULL);

    gimp_plug_in_set_help_domain(plug_in, "pentimento", pages);
}

static GList *query_procedures(GimpPlugIn *plug_in)
{
    GList *names = NULL;

    set_help(plug_in);
    for (size_t i = 0; i < G_N_ELEMENTS(tasks); i++)
        names = g_list_append(names, g_strdup(tasks[i]->procedure));
    names = g_list_append(names, g_strdup(PENTIMENTO_TEACH_PROCEDURE));
    return g_list_append(names, g_strdup(PENTIMENTO_MODELS_PROCEDURE));
}

void pentimento_procedure_describe(GimpProcedure *procedure, const char *label, const char *blurb,
                                   const char *help)
{
    gimp_procedure_set_image_types(procedure, "*");
    gimp_procedure_set_menu_label(procedure, label);
    gimp_procedure_add_menu_path(procedure, "<Image>/Filters/Pentimento");
    /* the help pages know the procedures by their names, as GIMP itself asks from the menu */
    gimp_procedure_set_documentation(procedure, blurb, help, gimp_procedure_get_name(procedure));
    gimp_procedure_set_attribution(procedure, "The Pentimento developers",
                                   "The Pentimento developers, GPL-3.0-or-later", "2026");
}

static GimpProcedure *new_procedure(GimpPlugIn *plug_in, const PentimentoTask *task)
{
    GimpProcedure *procedure = gimp_image_procedure_new(
        plug_in, task->procedure, GIMP_PDB_PROC_TYPE_PLUGIN, run, (gpointer)task, NULL);

    pentimento_procedure_describe(procedure, _(task->label), _(task->blurb), _(task->help));
    gimp_procedure_set_sensitivity_mask(procedure, task->sensitivity);
    gimp_procedure_set_icon_name(procedure, task->icon);
    pentimento_arguments_add(task, procedure);
    return procedure;
}

static GimpProcedure *create_procedure(GimpPlugIn *plug_in, const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(tasks); i++)
        if (g_str_equal(name, tasks[i]->procedure))
            return new_procedure(plug_in, tasks[i]);
    if (g_str_equal(name, PENTIMENTO_TEACH_PROCEDURE))
        return pentimento_teach_new(plug_in);
    return g_str_equal(name, PENTIMENTO_MODELS_PROCEDURE) ? pentimento_models_new(plug_in) : NULL;
}

/* Catalogues lie in locale/ beside the plug-in, under the whole suite's domain. */
static gboolean set_i18n(GimpPlugIn *plug_in, const char *procedure_name, char **gettext_domain,
                         char **catalog_dir)
{
    *gettext_domain = g_strdup(GETTEXT_PACKAGE);
    *catalog_dir = g_strdup("locale");
    return TRUE;
}

static void pentimento_plug_in_class_init(PentimentoPlugInClass *klass)
{
    GimpPlugInClass *plug_in_class = GIMP_PLUG_IN_CLASS(klass);

    plug_in_class->query_procedures = query_procedures;
    plug_in_class->create_procedure = create_procedure;
    plug_in_class->set_i18n = set_i18n;
}

static void pentimento_plug_in_init(PentimentoPlugIn *plug_in) {}

GIMP_MAIN(PENTIMENTO_TYPE_PLUG_IN)
