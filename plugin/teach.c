/* plug-in-pentimento-teach: what layers show, learnt as a LoRA for the other tasks. In: layers, a
 * name. Out: NAME.safetensors among the user's adapters; the image stays as it is. GIMP's Cancel,
 * and GIMP's end, kill us: the worker keeps a checkpoint, and the same call goes on from there. */
#include "pixels-in.h"
#include "progress.h"
#include "settings.h"
#include "worker-client.h"

#include "core/worker/protocol.h"

#include <glib/gi18n-lib.h>
#include <libgimp/gimpui.h>

/* ---- what is learnt from ----------------------------------------------------------------- */

static void picture_clear(gpointer data)
{
    close(((PentimentoPicture *)data)->fd);
}

static bool add_picture(GArray *pictures, GimpDrawable *layer, bool part, GError **error)
{
    GeglRectangle rectangle = {0, 0, gimp_drawable_get_width(layer),
                               gimp_drawable_get_height(layer)};
    PentimentoPicture picture;

    if (!GIMP_IS_LAYER(layer)) {
        pentimento_set_error(error, CALLING_ERROR,
                             _("A channel or a layer mask is selected: click on a layer's picture "
                               "in the Layers dialog."));
        return false;
    }
    if (pictures->len == PENTIMENTO_MAX_PICTURES) {
        pentimento_set_error(error, CALLING_ERROR,
                             _("These are too many layers: %d can be learnt from at once."),
                             PENTIMENTO_MAX_PICTURES);
        return false;
    }
    /* a layer beside the selection shows nothing of what is meant */
    if (part && !gimp_drawable_mask_intersect(layer, &rectangle.x, &rectangle.y, &rectangle.width,
                                              &rectangle.height))
        return true;
    picture = (PentimentoPicture){pentimento_rectangle_read(layer, &rectangle, error),
                                  rectangle.width, rectangle.height};
    if (picture.fd < 0)
        return false;
    g_array_append_val(pictures, picture);
    return true;
}

/* NULL and an error where there is nothing to learn from. */
static GArray *gather(GimpImage *image, GimpDrawable **drawables, const char *which, GError **error)
{
    bool visible = g_str_equal(which, "visible"), part = g_str_equal(which, "selection");
    g_autofree GimpLayer **layers = visible ? gimp_image_get_layers(image) : NULL;
    GimpDrawable **from = visible ? (GimpDrawable **)layers : drawables;
    g_autoptr(GArray) pictures = g_array_new(FALSE, FALSE, sizeof(PentimentoPicture));

    g_array_set_clear_func(pictures, picture_clear);
    if (part && gimp_selection_is_empty(image)) {
        pentimento_set_error(error, CALLING_ERROR,
                             _("Nothing is selected: select what is to be learnt, or learn from "
                               "whole layers."));
        return NULL;
    }
    for (size_t i = 0; from != NULL && from[i] != NULL; i++)
        if ((!visible || gimp_item_get_visible(GIMP_ITEM(from[i]))) &&
            !add_picture(pictures, from[i], part, error))
            return NULL;
    if (pictures->len > 0)
        return g_steal_pointer(&pictures);
    pentimento_set_error(error, CALLING_ERROR,
                         _("There is no layer to learn from: select one or more in the Layers "
                           "dialog."));
    return NULL;
}

/* ---- learning ---------------------------------------------------------------------------- */

static GVariant *options_of(GimpProcedureConfig *config, const char *name)
{
    g_autofree char *description = NULL, *model = NULL;
    GVariantBuilder options = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("a{sv}"));
    int steps, seed;

    g_object_get(config, "description", &description, "model", &model, "steps", &steps, "seed",
                 &seed, NULL);
    g_variant_builder_add(&options, "{sv}", "name", g_variant_new_string(name));
    g_variant_builder_add(&options, "{sv}", "description",
                          g_variant_new_string(description != NULL ? description : ""));
    g_variant_builder_add(&options, "{sv}", "model",
                          g_variant_new_string(model != NULL ? model : ""));
    g_variant_builder_add(&options, "{sv}", "steps", g_variant_new_int32(steps));
    g_variant_builder_add(&options, "{sv}", "seed", g_variant_new_int64(seed));
    g_variant_builder_add(&options, "{sv}", "threads",
                          g_variant_new_int32(MIN(gimp_get_num_processors(), 256)));
    return g_variant_ref_sink(g_variant_builder_end(&options));
}

/* The LoRA's path. */
static char *learn(GimpProcedureConfig *config, const char *name, const GArray *pictures,
                   GError **error)
{
    g_autoptr(GVariant) options = options_of(config, name);
    g_auto(PentimentoReply) reply = {0};
    const PentimentoJob job = {.task = "teach",
                               .options = options,
                               .picture = -1,
                               .mask = -1,
                               .pictures = (const PentimentoPicture *)(void *)pictures->data,
                               .n_pictures = pictures->len};
    char *file = NULL;
    int skipped = 0;

    pentimento_progress_begin();
    if (!pentimento_worker_run(&job, pentimento_progress_show, &reply, error))
        return NULL;
    g_variant_lookup(reply.values, "skipped", "i", &skipped);
    if (skipped > 0)
        gimp_message(_("Some of the pictures were too small to learn from and were left out."));
    g_variant_lookup(reply.values, "file", "s", &file);
    return file;
}

/* ---- the procedure ----------------------------------------------------------------------- */

static const PentimentoTask recalled = {.name = "teach"}; /* under which words are kept */

static bool ask(GimpProcedure *procedure, GimpProcedureConfig *config, GError **error)
{
    GtkWidget *widget, *name;
    GimpProcedureDialog *dialog;
    bool confirmed;

    gimp_ui_init("pentimento");
    widget = gimp_procedure_dialog_new(procedure, config, _("Teach"));
    dialog = GIMP_PROCEDURE_DIALOG(widget);
    gimp_procedure_dialog_set_ok_label(dialog, _("_Teach"));
    gimp_procedure_dialog_fill(dialog, "name", "description", "pictures", "steps", "model", "seed",
                               NULL);
    name = gimp_procedure_dialog_get_widget(dialog, "name", G_TYPE_NONE);
    gtk_widget_grab_focus(gimp_label_entry_get_entry(GIMP_LABEL_ENTRY(name)));
    confirmed = gimp_procedure_dialog_run(dialog);
    gtk_widget_destroy(widget);
    if (!confirmed)
        pentimento_set_error(error, CANCEL, "cancelled");
    return confirmed;
}

static char *teach(GimpImage *image, GimpDrawable **drawables, GimpProcedureConfig *config,
                   GError **error)
{
    g_autofree char *name = NULL, *which = NULL;
    g_autoptr(GArray) pictures = NULL;

    g_object_get(config, "name", &name, "pictures", &which, NULL);
    name = g_strstrip(name != NULL ? name : g_strdup(""));
    if (!pentimento_teach_name_fits(name)) {
        pentimento_set_error(error, CALLING_ERROR,
                             _("What is taught needs a name, which is also a file's: without "
                               "slashes and without a dot in front, up to %d bytes."),
                             PENTIMENTO_MAX_TEACH_NAME);
        return NULL;
    }
    pictures = gather(image, drawables, which, error);
    return pictures != NULL ? learn(config, name, pictures, error) : NULL;
}

static void tell(const char *path)
{
    g_autofree char *text =
        g_strdup_printf(_("What was taught is in %s. Its name is the word for prompts."), path);

    gimp_message(text);
}

static GimpValueArray *run(GimpProcedure *procedure, GimpRunMode run_mode, GimpImage *image,
                           GimpDrawable **drawables, GimpProcedureConfig *config, gpointer data)
{
    g_autofree char *path = NULL;
    g_autoptr(GFile) file = NULL;
    GimpValueArray *values;
    GError *error = NULL;

    gegl_init(NULL, NULL);
    if (run_mode != GIMP_RUN_NONINTERACTIVE)
        pentimento_prompts_recall(&recalled, config);
    if (run_mode == GIMP_RUN_INTERACTIVE && !ask(procedure, config, &error))
        return pentimento_answer_error(procedure, error);
    if (run_mode != GIMP_RUN_NONINTERACTIVE)
        pentimento_prompts_keep(&recalled, config); /* a killed run has to be asked for again */
    path = teach(image, drawables, config, &error);
    if (path == NULL)
        return pentimento_answer_error(procedure, error);
    if (run_mode != GIMP_RUN_NONINTERACTIVE)
        tell(path);
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
        procedure, "description", _("_Description"),
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
        _("Name or path of the model: a diffusers folder or a single file; empty = the default "
          "model"),
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
          "the default model. Cancelled, or ended together with GIMP, it "
          "goes on where it was when the same pictures are taught again under the same name with "
          "the same settings. Returns the file."));
    gimp_procedure_set_sensitivity_mask(procedure, GIMP_PROCEDURE_SENSITIVE_DRAWABLE |
                                                       GIMP_PROCEDURE_SENSITIVE_DRAWABLES |
                                                       GIMP_PROCEDURE_SENSITIVE_NO_DRAWABLES);
    gimp_procedure_set_icon_name(procedure, "gimp-tool-paintbrush");
    add_arguments(procedure);
    return procedure;
}
