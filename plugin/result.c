/* What becomes of a result: its layer's name and place, and the notes.
 * In: a task, a seed, the worker's reply. Out: a layer in the image, texts and messages. */
#include "result.h"

#include <glib/gi18n-lib.h>

char *pentimento_result_name(const PentimentoTask *task, int seed)
{
    /* name of a new layer: what made it ("Reimagine"), and the seed */
    return g_strdup_printf(_("%s, seed %d"), _(task->title), seed);
}

void pentimento_result_insert(GimpImage *image, GimpLayer *layer, GimpLayer *parent, int position)
{
    g_autofree GimpLayer **layers = gimp_image_get_selected_layers(image);
    g_autofree GimpChannel **channels = gimp_image_get_selected_channels(image);

    gimp_image_insert_layer(image, layer, parent, position); /* which selects it */
    if (layers[0] != NULL)
        gimp_image_set_selected_layers(image, (const GimpLayer **)layers);
    else if (channels[0] != NULL)
        gimp_image_set_selected_channels(image, (const GimpChannel **)channels);
}

void pentimento_result_notes(GimpImage *image, const PentimentoReply *reply)
{
    for (char **note = reply->notes; note != NULL && *note != NULL; note++)
        gimp_message(*note);
    if (gimp_image_get_base_type(image) == GIMP_INDEXED)
        gimp_message(_("This image is indexed, so the result was mapped to the colours of its "
                       "palette. For all colours convert it first (Image ▸ Mode ▸ RGB)."));
}
