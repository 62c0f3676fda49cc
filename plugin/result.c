/* What becomes of a result: its layers' names, contents and place, and the notes.
 * In: a task, pictures as the worker made them. Out: layers in the image, texts and messages. */
#include "result.h"

#include "pixels-out.h"
#include "settings.h"

#include <glib/gi18n-lib.h>

GimpLayer *pentimento_result_layer(const PentimentoTask *task, GimpImage *image,
                                   const PentimentoMade *made, int x, int y, GError **error)
{
    /* name of a new layer: what made it ("Reimagine"), and the seed */
    g_autofree char *name = g_strdup_printf(_("%s, seed %d"), _(task->title), made->seed);
    GimpLayer *layer = pentimento_layer_new(image, name, &made->reply, error);

    if (layer == NULL)
        return NULL;
    pentimento_settings_attach(layer, task, made->options, &made->reply);
    gimp_layer_set_offsets(layer, x, y);
    return layer;
}

static GimpLayer *insert_group(const PentimentoTask *task, GimpImage *image, GimpLayer *parent,
                               int position)
{
    /* name of a group of layers: what made them ("Reimagine") */
    g_autofree char *name = g_strdup_printf(_("%s, variations"), _(task->title));
    GimpLayer *group = GIMP_LAYER(gimp_group_layer_new(image, name));

    gimp_layer_set_mode(group, gimp_image_get_default_new_layer_mode(image));
    gimp_image_insert_layer(image, group, parent, position);
    return group;
}

/* An indexed image has no groups: there, they lie one above the other, the first on top. */
static GimpLayer *insert_all(const PentimentoTask *task, GimpImage *image, GimpLayer *const *layers,
                             int count, GimpLayer *parent, int position)
{
    GimpLayer *group = NULL;

    if (count > 1 && gimp_image_get_base_type(image) != GIMP_INDEXED) {
        group = insert_group(task, image, parent, position);
        parent = group;
        position = 0;
    }
    for (int i = count - 1; i >= 0; i--) {
        gimp_item_set_visible(GIMP_ITEM(layers[i]), i == 0);
        gimp_image_insert_layer(image, layers[i], parent, position);
    }
    return group != NULL ? group : layers[0];
}

GimpLayer *pentimento_result_insert(const PentimentoTask *task, GimpImage *image,
                                    GimpLayer *const *layers, int count, GimpLayer *parent,
                                    int position)
{
    g_autofree GimpLayer **selected = gimp_image_get_selected_layers(image);
    g_autofree GimpChannel **channels = gimp_image_get_selected_channels(image);
    GimpLayer *whole;

    gimp_image_undo_group_start(image);
    whole = insert_all(task, image, layers, count, parent, position); /* which selects them */
    if (selected[0] != NULL)
        gimp_image_set_selected_layers(image, (const GimpLayer **)selected);
    else if (channels[0] != NULL)
        gimp_image_set_selected_channels(image, (const GimpChannel **)channels);
    else
        gimp_image_set_selected_layers(image, (const GimpLayer *[]){layers[0], NULL});
    gimp_image_undo_group_end(image);
    return whole;
}

void pentimento_result_drop(GimpLayer *const *layers, int count)
{
    for (int i = 0; i < count; i++)
        gimp_item_delete(GIMP_ITEM(layers[i]));
}

void pentimento_result_notes(GimpImage *image, const PentimentoReply *reply)
{
    for (char **note = reply->notes; note != NULL && *note != NULL; note++)
        gimp_message(*note);
    if (gimp_image_get_base_type(image) == GIMP_INDEXED)
        gimp_message(_("This image is indexed, so the result was mapped to the colours of its "
                       "palette. For all colours convert it first (Image ▸ Mode ▸ RGB)."));
}
