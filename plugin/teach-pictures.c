/* The pictures that are learnt from. In: an image, its selected layers, which of them. Out: memory
 * files, one a layer; or how many there would be. */
#include "pixels-in.h"
#include "teach.h"

#include "core/worker/protocol.h"

#include <glib/gi18n-lib.h>

/* One picture: a part of a layer. */
typedef struct {
    GimpDrawable *layer;
    GeglRectangle part;
} Place;

/* The user may have closed the image, or deleted a layer, while the dialog was open. */
static bool check_there(bool there, GError **error)
{
    if (!there)
        pentimento_set_error(error, EXECUTION_ERROR,
                             _("The layer or its image is no longer there: nothing was changed."));
    return there;
}

static bool add_place(GArray *places, GimpDrawable *layer, bool part, GError **error)
{
    Place place = {.layer = layer};

    if (!check_there(gimp_item_is_valid(GIMP_ITEM(layer)), error))
        return false;
    if (!GIMP_IS_LAYER(layer)) {
        pentimento_set_error(error, CALLING_ERROR,
                             _("A channel or a layer mask is selected: click on a layer's picture "
                               "in the Layers dialog."));
        return false;
    }
    if (places->len == PENTIMENTO_MAX_PICTURES) {
        pentimento_set_error(error, CALLING_ERROR,
                             _("These are too many layers: %d can be learnt from at once."),
                             PENTIMENTO_MAX_PICTURES);
        return false;
    }
    place.part.width = gimp_drawable_get_width(layer);
    place.part.height = gimp_drawable_get_height(layer);
    /* a layer beside the selection shows nothing of what is meant */
    if (!part || gimp_drawable_mask_intersect(layer, &place.part.x, &place.part.y,
                                              &place.part.width, &place.part.height))
        g_array_append_val(places, place);
    return true;
}

/* NULL and an error where there is nothing to learn from. */
static GArray *find(const PentimentoLesson *lesson, GError **error)
{
    g_autofree char *which = NULL;
    g_autofree GimpLayer **layers = NULL;
    g_autoptr(GArray) places = g_array_new(FALSE, FALSE, sizeof(Place));
    GimpDrawable **from = lesson->drawables;
    bool visible, part;

    if (!check_there(gimp_image_is_valid(lesson->image), error))
        return NULL;
    g_object_get(lesson->config, "pictures", &which, NULL);
    visible = g_str_equal(which, "visible");
    part = g_str_equal(which, "selection");
    if (visible)
        from = (GimpDrawable **)(layers = gimp_image_get_layers(lesson->image));
    if (part && gimp_selection_is_empty(lesson->image)) {
        pentimento_set_error(error, CALLING_ERROR,
                             _("Nothing is selected: select what is to be learnt, or learn from "
                               "whole layers."));
        return NULL;
    }
    for (size_t i = 0; from != NULL && from[i] != NULL; i++)
        if ((!visible || gimp_item_get_visible(GIMP_ITEM(from[i]))) &&
            !add_place(places, from[i], part, error))
            return NULL;
    if (places->len > 0)
        return g_steal_pointer(&places);
    pentimento_set_error(error, CALLING_ERROR,
                         _("There is no layer to learn from: select one or more in the Layers "
                           "dialog."));
    return NULL;
}

guint pentimento_lesson_count(const PentimentoLesson *lesson, GError **error)
{
    g_autoptr(GArray) places = find(lesson, error);

    return places != NULL ? places->len : 0;
}

static void picture_clear(gpointer data)
{
    close(((PentimentoPicture *)data)->fd);
}

GArray *pentimento_lesson_read(const PentimentoLesson *lesson, GError **error)
{
    g_autoptr(GArray) places = find(lesson, error);
    g_autoptr(GArray) pictures = g_array_new(FALSE, FALSE, sizeof(PentimentoPicture));

    g_array_set_clear_func(pictures, picture_clear);
    for (guint i = 0; places != NULL && i < places->len; i++) {
        const Place *place = &g_array_index(places, Place, i);
        PentimentoPicture picture = {pentimento_rectangle_read(place->layer, &place->part, error),
                                     place->part.width, place->part.height};

        if (picture.fd < 0)
            return NULL;
        g_array_append_val(pictures, picture);
    }
    return places != NULL ? g_steal_pointer(&pictures) : NULL;
}
