/* plug-in-pentimento-generate: a picture from words.
 * In: arguments, and perhaps an image. Out: a new layer in the middle of it, above the selected
 * one; with no image open, a new image of the picture's size. */
#include "live.h"
#include "pixels-out.h"
#include "result.h"
#include "settings.h"

#include <glib/gi18n-lib.h>

static void insert_centred(GimpImage *image, GimpLayer *layer, const PentimentoReply *reply)
{
    gimp_layer_set_offsets(layer, (gimp_image_get_width(image) - reply->width) / 2,
                           (gimp_image_get_height(image) - reply->height) / 2);
    pentimento_result_insert(image, layer, NULL, -1);
}

/* Puts the picture into `image`, or into a new one where that is NULL. */
static GimpLayer *place(const PentimentoTask *task, GimpImage *image, GVariant *options,
                        const PentimentoReply *reply, int seed, GError **error)
{
    g_autofree char *name = pentimento_result_name(task, seed);
    GimpImage *target = image;
    GimpLayer *layer;

    if (image == NULL) {
        target = gimp_image_new(reply->width, reply->height, GIMP_RGB);
        gimp_image_undo_disable(target);
    }
    layer = pentimento_layer_new(target, name, reply, error);
    if (layer != NULL) {
        pentimento_settings_attach(layer, task, options, reply);
        insert_centred(target, layer, reply);
    }
    if (image == NULL && layer != NULL)
        gimp_image_undo_enable(target);
    else if (image == NULL)
        gimp_image_delete(target);
    return layer;
}

static bool run(const PentimentoTask *task, const PentimentoCall *call, PentimentoOutcome *outcome,
                GError **error)
{
    GimpImage *image = call->image;
    g_auto(PentimentoReply) reply = {0};
    g_autoptr(GVariant) options = NULL;
    PentimentoJob job = {.task = task->name, .picture = -1, .mask = -1};

    outcome->seed = pentimento_settings_seed(call->config);
    options = pentimento_settings_options(task, call->config, outcome->seed);
    job.options = options;
    if (!pentimento_task_work(task, call->live, &job, &reply, error))
        return false;
    if (image != NULL && !gimp_image_is_valid(image)) {
        pentimento_set_error(error, EXECUTION_ERROR,
                             _("The image is no longer there: nothing was changed."));
        return false;
    }
    outcome->layer = place(task, image, options, &reply, outcome->seed, error);
    if (outcome->layer == NULL)
        return false;
    pentimento_result_notes(gimp_item_get_image(GIMP_ITEM(outcome->layer)), &reply);
    return true;
}

const PentimentoTask pentimento_generate = {
    .procedure = "plug-in-pentimento-generate",
    .name = "generate",
    .label = N_("_Generate..."),
    .title = N_("Generate"),
    .blurb = N_("Make a new picture from a description in words"),
    .help = N_("Makes a picture from a prompt with a latent diffusion model, on this computer. It "
               "becomes a new layer in the middle of the image, above the selected layer, or a "
               "new image where none is open. The layer carries the seed and the settings it was "
               "made with (parasite pentimento-settings), and until GIMP is closed the prompts "
               "(pentimento-prompts). Returns the layer and the seed."),
    .icon = "gimp-tool-paintbrush",
    .sensitivity = GIMP_PROCEDURE_SENSITIVE_DRAWABLE | GIMP_PROCEDURE_SENSITIVE_DRAWABLES |
                   GIMP_PROCEDURE_SENSITIVE_NO_DRAWABLES | GIMP_PROCEDURE_SENSITIVE_NO_IMAGE,
    .run = run,
};
