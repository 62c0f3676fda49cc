/* plug-in-pentimento-teach: what layers show, learnt as a LoRA for the other tasks. In: layers, a
 * name. Out: NAME.safetensors among the user's adapters; the image stays as it is. GIMP's Cancel,
 * and GIMP's end, kill us: the worker keeps a checkpoint, and the same call goes on from there. */
#include "offers.h"
#include "progress.h"
#include "teach.h"
#include "ui/confirm.h"
#include "ui/help-button.h"

#include "core/worker/protocol.h"

#include <glib/gi18n-lib.h>

/* ---- asking the worker ------------------------------------------------------------------- */

/* Without the spaces around it, as the worker takes it. */
static char *name_of(GimpProcedureConfig *config)
{
    char *name;

    g_object_get(config, "name", &name, NULL);
    return g_strstrip(name != NULL ? name : g_strdup(""));
}

/* This process: what is given up is what it asked for, and no other teaching of that name. */
static const char *asker(void)
{
    static char *id = NULL;

    if (id == NULL)
        id = g_uuid_string_random();
    return id;
}

GVariant *pentimento_lesson_options(const PentimentoLesson *lesson, const char *action)
{
    g_autofree char *name = name_of(lesson->config), *description = NULL, *model = NULL;
    GVariantBuilder options = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("a{sv}"));
    int steps, seed;

    g_object_get(lesson->config, "description", &description, "model", &model, "steps", &steps,
                 "seed", &seed, NULL);
    g_variant_builder_add(&options, "{sv}", "action", g_variant_new_string(action));
    g_variant_builder_add(&options, "{sv}", "name", g_variant_new_string(name));
    g_variant_builder_add(&options, "{sv}", "description",
                          g_variant_new_string(description != NULL ? description : ""));
    g_variant_builder_add(&options, "{sv}", "model",
                          g_variant_new_string(model != NULL ? model : ""));
    g_variant_builder_add(&options, "{sv}", "asker", g_variant_new_string(asker()));
    g_variant_builder_add(&options, "{sv}", "steps", g_variant_new_int32(steps));
    g_variant_builder_add(&options, "{sv}", "seed", g_variant_new_int64(seed));
    g_variant_builder_add(&options, "{sv}", "threads",
                          g_variant_new_int32(MIN(gimp_get_num_processors(), 256)));
    return g_variant_ref_sink(g_variant_builder_end(&options));
}

PentimentoJob pentimento_lesson_job(GVariant *options, const GArray *pictures)
{
    return (PentimentoJob){.task = "teach",
                           .options = options,
                           .picture = -1,
                           .mask = -1,
                           .pictures = (const PentimentoPicture *)(void *)pictures->data,
                           .n_pictures = pictures->len};
}

/* For a script, or with the last values: nobody looks. */
static bool learn_unseen(const PentimentoLesson *lesson, PentimentoReply *reply, GError **error)
{
    const PentimentoQuestion question = pentimento_lesson_question(lesson);
    g_autoptr(GVariant) options = pentimento_lesson_options(lesson, "teach");
    g_autoptr(GVariant) model = NULL;
    g_autoptr(GArray) pictures = NULL;
    PentimentoJob job;

    pentimento_progress_begin(); /* a busy worker may take its time to tell what the model needs */
    model = pentimento_worker_ask(question.method, question.arguments, question.type, NULL, error);
    if (model == NULL || (pictures = pentimento_lesson_read(lesson, model, error)) == NULL)
        return false;
    job = pentimento_lesson_job(options, pictures);
    return pentimento_worker_run(&job, &pentimento_progress, reply, error);
}

/* The LoRA's path. */
static char *learn(const PentimentoLesson *lesson, bool live, GError **error)
{
    g_auto(PentimentoReply) reply = {0};
    char *file = NULL;
    int skipped = 0;

    if (live ? !pentimento_teach_live(lesson, &reply, error) : !learn_unseen(lesson, &reply, error))
        return NULL;
    g_variant_lookup(reply.values, "skipped", "i", &skipped);
    if (skipped > 0)
        gimp_message(_("Some of the pictures were too small to learn from and were left out."));
    g_variant_lookup(reply.values, "file", "s", &file);
    return file;
}

/* ---- the procedure ----------------------------------------------------------------------- */

static bool check_name(GimpProcedureConfig *config, GError **error)
{
    g_autofree char *name = name_of(config);

    if (pentimento_teach_name_fits(name))
        return true;
    pentimento_set_error(error, CALLING_ERROR,
                         _("What is taught needs a name, which is also a file's: without slashes "
                           "and without a dot in front, up to %d bytes."),
                         PENTIMENTO_MAX_TEACH_NAME);
    return false;
}

/* What is to be mended is said beside the dialog; what was taught under the name is asked about
 * before another takes its place. */
static bool may_go_on(GtkWidget *dialog, GimpProcedureConfig *config)
{
    g_autofree char *name = name_of(config), *file = NULL, *question = NULL;
    g_autoptr(GError) error = NULL;

    if (!check_name(config, &error)) {
        pentimento_tell(dialog, error->message);
        return false;
    }
    file = pentimento_teach_file(name);
    /* a name */
    question = g_strdup_printf(_("“%s” was taught before. Replace it?"), name);
    return !g_file_test(file, G_FILE_TEST_EXISTS) ||
           pentimento_confirm(dialog, _("Replace"), _("_Replace"), question,
                              _("What was taught under this name is lost once the new teaching is "
                                "over; pictures made with it stay as they are. To keep both, give "
                                "another name."));
}

/* Repeat asks nothing, so it replaces nothing. */
static bool check_new(GimpProcedureConfig *config, GError **error)
{
    g_autofree char *name = name_of(config), *file = NULL;

    if (!check_name(config, error))
        return false;
    file = pentimento_teach_file(name);
    if (!g_file_test(file, G_FILE_TEST_EXISTS))
        return true;
    pentimento_set_error(error, CALLING_ERROR,
                         _("“%s” was taught before: choose Teach… to replace it, or to give "
                           "another name."),
                         name);
    return false;
}

static bool ask(GimpProcedure *procedure, const PentimentoLesson *lesson, GError **error)
{
    PentimentoEstimate *estimate;
    PentimentoChoosers choosers;
    PentimentoOffers *offers;
    GimpProcedureDialog *dialog;
    GtkLabel *cost;
    bool confirmed;

    gimp_ui_init("pentimento");
    dialog = pentimento_teach_dialog_new(procedure, lesson->config, &choosers, &cost);
    pentimento_help_button_quieten(GTK_DIALOG(dialog));
    offers = pentimento_offers_new(lesson->config, &choosers);
    estimate = pentimento_estimate_new(lesson, cost);
    do
        confirmed = gimp_procedure_dialog_run(dialog);
    while (confirmed && !may_go_on(GTK_WIDGET(dialog), lesson->config));
    pentimento_estimate_free(estimate);
    pentimento_offers_free(offers);
    gtk_widget_destroy(GTK_WIDGET(dialog));
    if (!confirmed)
        pentimento_set_error(error, CANCEL, "cancelled");
    return confirmed;
}

static char *teach(const PentimentoLesson *lesson, bool live, GError **error)
{
    if (!check_name(lesson->config, error))
        return NULL;
    return pentimento_lesson_count(lesson, error) > 0 ? learn(lesson, live, error) : NULL;
}

static void tell(GimpProcedureConfig *config, const char *path)
{
    g_autofree char *name = name_of(config);
    /* a name, a name, a path */
    g_autofree char *text = g_strdup_printf(_("“%s” is learnt. Choose it as Taught style in "
                                              "Generate, Reimagine, Fill Selection or Extend, and "
                                              "say “%s” in the prompt. It is the file %s."),
                                            name, name, path);

    gimp_message(text);
}

static GimpValueArray *run(GimpProcedure *procedure, GimpRunMode run_mode, GimpImage *image,
                           GimpDrawable **drawables, GimpProcedureConfig *config, gpointer data)
{
    const PentimentoLesson lesson = {image, drawables, config};
    g_autofree char *path = NULL;
    g_autoptr(GFile) file = NULL;
    GimpValueArray *values;
    GError *error = NULL;

    gegl_init(NULL, NULL);
    if (run_mode != GIMP_RUN_NONINTERACTIVE)
        pentimento_last_used_recall(config);
    if ((run_mode == GIMP_RUN_INTERACTIVE && !ask(procedure, &lesson, &error)) ||
        (run_mode == GIMP_RUN_WITH_LAST_VALS && !check_new(config, &error)))
        return pentimento_answer_error(procedure, error);
    if (run_mode == GIMP_RUN_INTERACTIVE)
        pentimento_last_used_keep(config); /* a killed run has to be asked for again */
    path = teach(&lesson, run_mode == GIMP_RUN_INTERACTIVE, &error);
    if (path == NULL)
        return pentimento_answer_error(procedure, error);
    if (run_mode != GIMP_RUN_NONINTERACTIVE)
        tell(config, path);
    file = g_file_new_for_path(path);
    values = gimp_procedure_new_return_values(procedure, GIMP_PDB_SUCCESS, NULL);
    GIMP_VALUES_SET_FILE(values, 1, file);
    return values;
}

static void add_arguments(GimpProcedure *procedure)
{
    gimp_procedure_add_string_argument(
        procedure, "name", _("_Name"),
        _("What the new thing or style is called: the name of the file, and the word for prompts"),
        "", G_PARAM_READWRITE | GIMP_PARAM_DONT_SERIALIZE);
    gimp_procedure_add_string_argument(
        procedure, "description", _("Descri_ption"),
        _("What the pictures show, in a few words the model knows; may be empty"), "",
        G_PARAM_READWRITE | GIMP_PARAM_DONT_SERIALIZE);
    gimp_procedure_add_choice_argument(
        procedure, "pictures", _("Learn _from"), _("Which pictures are learnt from"),
        gimp_choice_new_with_values(
            "selected", 0, _("Selected layers"), _("Each selected layer is a picture"), "visible",
            1, _("Visible layers"), _("Each visible layer is a picture, a group counts as one"),
            "selection", 2, _("The selection"),
            _("The rectangle around the selection, in each selected layer"), NULL),
        "selected", G_PARAM_READWRITE);
    gimp_procedure_add_int_argument(
        procedure, "steps", _("St_eps"),
        _("How often it practises: more take longer and follow the pictures more closely"), 1,
        PENTIMENTO_MAX_TEACH_STEPS, 300, G_PARAM_READWRITE);
    gimp_procedure_add_string_argument(
        procedure, "model", _("_Model"),
        _("Which model learns. Scripts give its name, or the full path of a diffusers folder or "
          "a single file; empty = the default model"),
        "", G_PARAM_READWRITE);
    gimp_procedure_add_int_argument(procedure, "seed", _("See_d"),
                                    _("The same seed and pictures teach the same"), 0, G_MAXINT32,
                                    0, G_PARAM_READWRITE);
    gimp_procedure_add_file_return_value(procedure, "file", _("File"),
                                         _("The LoRA (.safetensors) that was made"),
                                         G_PARAM_READWRITE);
}

GimpProcedure *pentimento_teach_new(GimpPlugIn *plug_in)
{
    GimpProcedure *procedure = gimp_image_procedure_new(plug_in, PENTIMENTO_TEACH_PROCEDURE,
                                                        GIMP_PDB_PROC_TYPE_PLUGIN, run, NULL, NULL);

    pentimento_procedure_describe(
        procedure, _("_Teach..."), _("Teach the model a thing or a style from layers"),
        _("Learns what layers show, or what is selected in them, on this computer: a LoRA, a small "
          "file beside the model, of that name in the user's data folder, in pentimento/adapters. "
          "The image is not changed, and the pictures stay on this computer. It takes minutes with "
          "the default model. Interrupted, or ended together with GIMP, it "
          "goes on where it was when the same pictures are taught again under the same name with "
          "the same settings. Returns the file."));
    gimp_procedure_set_sensitivity_mask(procedure, GIMP_PROCEDURE_SENSITIVE_DRAWABLE |
                                                       GIMP_PROCEDURE_SENSITIVE_DRAWABLES |
                                                       GIMP_PROCEDURE_SENSITIVE_NO_DRAWABLES);
    gimp_procedure_set_icon_name(procedure, "gimp-tool-paintbrush");
    add_arguments(procedure);
    return procedure;
}
