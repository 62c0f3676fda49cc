/* plug-in-pentimento-generate: a picture from words.
 * In: arguments, and perhaps an image. Out: a new layer in the middle of it, above the selected
 * one; with no image open, or none any more, a new image of the picture's size. */
#include "result.h"

#include <glib/gi18n-lib.h>

/* Into the middle of the image. */
static GimpLayer *insert(const PentimentoTask *task, GimpImage *image, PentimentoSeries *series,
                         GError **error)
{
    GimpLayer *layers[PENTIMENTO_MAX_VARIATIONS];

    for (int i = 0; i < series->count; i++) {
        PentimentoReply *reply = &series->made[i].reply;
        const int x = (gimp_image_get_width(image) - reply->width) / 2;
        const int y = (gimp_image_get_height(image) - reply->height) / 2;

        layers[i] = pentimento_result_layer(task, image, &series->made[i], x, y, error);
        if (layers[i] == NULL) {
            pentimento_result_drop(layers, i);
            return NULL;
        }
        pentimento_reply_drop_arrays(reply);
    }
    return pentimento_result_insert(task, image, layers, series->count, NULL, -1);
}

/* Puts the pictures into `image`, or into a new one where that is NULL. */
static GimpLayer *place(const PentimentoTask *task, GimpImage *image, PentimentoSeries *series,
                        GError **error)
{
    const PentimentoReply *first = &series->made[0].reply;
    GimpLayer *layer;

    if (image != NULL)
        return insert(task, image, series, error);
    image = gimp_image_new(first->width, first->height, GIMP_RGB);
    gimp_image_undo_disable(image);
    layer = insert(task, image, series, error);
    if (layer != NULL)
        gimp_image_undo_enable(image);
    else
        gimp_image_delete(image);
    return layer;
}

static bool run(const PentimentoTask *task, const PentimentoCall *call, PentimentoOutcome *outcome,
                GError **error)
{
    const PentimentoJob job = {.task = task->name, .picture = -1, .mask = -1};
    g_auto(PentimentoSeries) series = {0};

    if (!pentimento_task_work(task, call, &job, &series, error))
        return false;
    outcome->seed = series.made[0].seed;
    /* where the image was closed meanwhile, the picture needs another */
    outcome->layer =
        place(task, call->image != NULL && gimp_image_is_valid(call->image) ? call->image : NULL,
              &series, error);
    if (outcome->layer == NULL)
        return false;
    pentimento_result_notes(gimp_item_get_image(GIMP_ITEM(outcome->layer)), &series.made[0].reply);
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
