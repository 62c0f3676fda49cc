/* The pictures that are learnt from. In: an image, its selected layers, which of them. Out: memory
 * files, one a layer, all of them there at once and so no larger than the model can make use of; or
 * how many there would be. */
#include "pixels-in.h"
#include "teach.h"

#include "core/worker/protocol.h"

#include <glib/gi18n-lib.h>

/* What is read has at least so many times the pixels a side that the model sees: it sees a part of
 * a picture, four fifths of it or more, and the worker's own filter still reduces it by three. */
#define ENOUGH 4

/* One picture: a part of a layer. */
typedef struct {
    GimpDrawable *layer;
    GeglRectangle part;
    int factor; /* by which it is reduced */
} Place;

static bool add_place(GArray *places, GimpDrawable *layer, bool part, GError **error)
{
    Place place = {.layer = layer};

    /* the user may have closed the image, or deleted a layer, while the dialog was open */
    if (!pentimento_check_there(gimp_item_is_valid(GIMP_ITEM(layer)), error))
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

    if (!pentimento_check_there(gimp_image_is_valid(lesson->image), error))
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

/* ---- reading ----------------------------------------------------------------------------- */

PentimentoQuestion pentimento_lesson_question(const PentimentoLesson *lesson)
{
    g_autofree char *model = NULL;

    g_object_get(lesson->config, "model", &model, NULL);
    return (PentimentoQuestion){"Inspect", "(a{sv})",
                                g_variant_new("(s)", model != NULL ? model : "")};
}

/* Pixels a side of what the model sees. */
static int model_side(GVariant *answer)
{
    g_autoptr(GVariant) info = g_variant_get_child_value(answer, 0);
    int side = 1;

    g_variant_lookup(info, "native-size", "i", &side);
    return MAX(side, 1);
}

/* What people see of the layer is learnt. */
static bool open_source(const Place *place, PentimentoSource *source, GError **error)
{
    return pentimento_source_open(source, place->layer, (PentimentoSight){true, true}, error);
}

/* Leaves of its part that where the layer shows a colour at all, which is all that the worker takes
 * of it. */
static bool leave_opaque(Place *place, GError **error)
{
    GeglRectangle *part = &place->part;
    int left = part->width, right = -1, top = 0, bottom = -1;
    g_auto(PentimentoSource) source = {0};
    g_autofree float *row = g_new(float, 4 * (size_t)part->width);

    if (!open_source(place, &source, error))
        return false;
    if (source.mask == NULL && source.scratch == NULL && !gimp_drawable_has_alpha(place->layer))
        return true;
    for (int y = 0; y < part->height; y++) {
        pentimento_source_read(&source, GEGL_RECTANGLE(part->x, part->y + y, part->width, 1), row);
        for (int x = 0; x < part->width; x++) {
            if (!(row[4 * x + 3] > 0.0f))
                continue;
            left = MIN(left, x);
            right = MAX(right, x);
            top = bottom < 0 ? y : top;
            bottom = y;
        }
    }
    if (right >= 0)
        *part = *GEGL_RECTANGLE(part->x + left, part->y + top, right - left + 1, bottom - top + 1);
    return true;
}

/* Chooses what of each place is read, and how large; false and an error where it is too much. */
static bool fit(GArray *places, int side, GError **error)
{
    guint64 bytes = 0;

    for (guint i = 0; i < places->len; i++) {
        Place *place = &g_array_index(places, Place, i);
        GeglRectangle *part = &place->part;

        if (!leave_opaque(place, error))
            return false;
        place->factor = MAX(1, MIN(part->width, part->height) / (ENOUGH * side));
        part->width -= part->width % place->factor;
        part->height -= part->height % place->factor;
        bytes += (guint64)(part->width / place->factor) * (guint64)(part->height / place->factor) *
                 4 * sizeof(float);
    }
    return pentimento_pixels_fit(bytes, error);
}

static void picture_clear(gpointer data)
{
    close(((PentimentoPicture *)data)->fd);
}

GArray *pentimento_lesson_read(const PentimentoLesson *lesson, GVariant *model, GError **error)
{
    g_autoptr(GArray) pictures = g_array_new(FALSE, FALSE, sizeof(PentimentoPicture));
    g_autoptr(GArray) places = find(lesson, error);

    if (places == NULL || !fit(places, model_side(model), error))
        return NULL;
    g_array_set_clear_func(pictures, picture_clear);
    for (guint i = 0; i < places->len; i++) {
        const Place *place = &g_array_index(places, Place, i);
        g_auto(PentimentoSource) source = {0};
        PentimentoPicture picture = {-1, place->part.width / place->factor,
                                     place->part.height / place->factor};

        if (open_source(place, &source, error))
            picture.fd = pentimento_rectangle_read(&source, &place->part, place->factor, error);
        if (picture.fd < 0)
            return NULL;
        g_array_append_val(pictures, picture);
    }
    return g_steal_pointer(&pictures);
}
