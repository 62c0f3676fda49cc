/* Selection ∩ layer, or a layer's surroundings: what is edited, or the sentence that says why it
 * cannot be. In: the selected drawables and the arguments. Out: layer, its place, the bounds. */
#include "region.h"

#include "settings.h"

#include "core/worker/protocol.h"

#include <glib/gi18n-lib.h>

/* Groups hand their content lock down to what is in them. */
static bool is_locked(GimpItem *item)
{
    for (; item != NULL; item = gimp_item_get_parent(item))
        if (gimp_item_get_lock_content(item))
            return true;
    return false;
}

static bool check_layer(GimpLayer *layer, GError **error)
{
    g_autofree char *name = gimp_item_get_name(GIMP_ITEM(layer));

    if (gimp_item_is_group(GIMP_ITEM(layer)))
        pentimento_set_error(error, CALLING_ERROR,
                             _("“%s” is a layer group, which has no pixels of its own: select one "
                               "layer in it, or merge it (Layer ▸ Merge Layer Groups)."),
                             name);
    else if (gimp_layer_is_floating_sel(layer))
        pentimento_set_error(error, CALLING_ERROR,
                             _("There is a floating selection: anchor it or make it a layer first "
                               "(Layer ▸ Anchor Floating Layer or Mask, or To New Layer)."));
    else
        return true;
    return false;
}

bool pentimento_check_there(bool there, GError **error)
{
    if (!there)
        pentimento_set_error(error, EXECUTION_ERROR,
                             _("The layer or its image is no longer there: nothing was changed."));
    return there;
}

bool pentimento_check_unchanged(bool unchanged, GError **error)
{
    if (!unchanged)
        pentimento_set_error(error, EXECUTION_ERROR,
                             _("The layer or the selection was changed while the picture was being "
                               "made: nothing was replaced; run it again."));
    return unchanged;
}

static GimpLayer *only_layer(GimpDrawable **drawables, GError **error)
{
    if (gimp_core_object_array_get_length((GObject **)drawables) != 1)
        pentimento_set_error(error, CALLING_ERROR,
                             _("Select exactly one layer: this works on one layer at a time."));
    else if (!pentimento_check_there(gimp_item_is_valid(GIMP_ITEM(drawables[0])), error))
        return NULL;
    else if (!GIMP_IS_LAYER(drawables[0]))
        pentimento_set_error(error, CALLING_ERROR,
                             _("A channel or a layer mask is selected: click on a layer's picture "
                               "in the Layers dialog."));
    else
        return GIMP_LAYER(drawables[0]);
    return NULL;
}

/* By `pixels` where a side is among "sides", an argument's "left-right" or "all". */
static int outwards(const char *sides, const char *side, int pixels)
{
    return g_str_equal(sides, "all") || strstr(sides, side) != NULL ? pixels : 0;
}

/* The overlap leaves at least half of the picture as it is, for something to go on from. */
static void find_frame(PentimentoRegion *region, GimpProcedureConfig *config)
{
    g_autofree char *sides = NULL;
    int pixels, overlap, left, top;

    g_object_get(config, "sides", &sides, "pixels", &pixels, "overlap", &overlap, NULL);
    left = outwards(sides, "left", pixels);
    top = outwards(sides, "top", pixels);
    region->extends = true;
    region->overlap = MIN(overlap, MIN(region->width, region->height) / 4);
    region->frame =
        *GEGL_RECTANGLE(-left, -top, left + region->width + outwards(sides, "right", pixels),
                        top + region->height + outwards(sides, "bottom", pixels));
    region->bounds = region->frame;
}

/* Whose pixels GIMP draws anew from the text. */
static bool is_text(GimpLayer *layer)
{
#if GIMP_CHECK_VERSION(3, 2, 0)
    if (GIMP_IS_RASTERIZABLE(layer) && gimp_rasterizable_is_rasterized(GIMP_RASTERIZABLE(layer)))
        return false;
#endif
    return gimp_item_is_text_layer(GIMP_ITEM(layer));
}

static bool check_replaceable(const PentimentoRegion *region, GError **error)
{
    g_autofree char *name = gimp_item_get_name(GIMP_ITEM(region->layer));

    if (is_text(region->layer))
        pentimento_set_error(error, CALLING_ERROR,
                             _("“%s” is a text layer: turn it into pixels first (in the menu "
                               "Layer: Discard Text Information, from GIMP 3.2 on Rasterize), or "
                               "have the result as a new layer."),
                             name);
    else if (is_locked(GIMP_ITEM(region->layer)))
        pentimento_set_error(error, CALLING_ERROR,
                             _("The pixels of the layer “%s” are locked: unlock them, or have the "
                               "result as a new layer."),
                             name);
    else
        return true;
    return false;
}

static bool check_size(const PentimentoRegion *region, GError **error)
{
    const int width = region->frame.width, height = region->frame.height;

    if (!region->extends || (MAX(width, height) <= GIMP_MAX_IMAGE_SIZE &&
                             (gint64)width * height <= PENTIMENTO_MAX_PIXELS))
        return true;
    pentimento_set_error(error, CALLING_ERROR,
                         _("Extended, the layer would have %d × %d pixels, more than can be worked "
                           "on at once: extend it by fewer pixels."),
                         width, height);
    return false;
}

bool pentimento_region_check(const PentimentoRegion *region, GimpProcedureConfig *config,
                             GError **error)
{
    return check_size(region, error) &&
           (!pentimento_output_replaces(config) || check_replaceable(region, error));
}

/* As much of the layer around the selection as counts for what is made of it: the worker looks as
 * far as half of the selection's longer side, or as the model's own, whichever is more. The corner
 * lies between cells of the picture's latents, so that the same seed makes the same bytes. */
static void find_surroundings(PentimentoRegion *region)
{
    const int model = 1024, cells = 256; /* no fewer than any model has, and a multiple of them */
    const GeglRectangle *bounds = &region->bounds;
    const int around = MAX(model, MAX(bounds->width, bounds->height) / 2 + cells);
    const int left = MAX(0, bounds->x - around) / cells * cells;
    const int top = MAX(0, bounds->y - around) / cells * cells;
    const int right = MIN(region->width, bounds->x + bounds->width + around);
    const int bottom = MIN(region->height, bounds->y + bounds->height + around);

    region->frame = *GEGL_RECTANGLE(left, top, right - left, bottom - top);
}

static bool find_bounds(const PentimentoTask *task, PentimentoRegion *region, GError **error)
{
    GeglRectangle *bounds = &region->bounds;
    g_autofree char *name = gimp_item_get_name(GIMP_ITEM(region->layer));

    region->selected = !gimp_selection_is_empty(region->image);
    if (!region->selected && task->needs_selection) {
        pentimento_set_error(error, CALLING_ERROR,
                             _("Nothing is selected: select what is to be filled, with any "
                               "selection tool, and try again."));
        return false;
    }
    if (!gimp_drawable_mask_intersect(GIMP_DRAWABLE(region->layer), &bounds->x, &bounds->y,
                                      &bounds->width, &bounds->height)) {
        pentimento_set_error(error, CALLING_ERROR,
                             _("The selection does not touch the layer “%s”: select a part of it, "
                               "or select the layer that is meant."),
                             name);
        return false;
    }
    return true;
}

bool pentimento_region_find(const PentimentoTask *task, GimpDrawable **drawables,
                            GimpProcedureConfig *config, PentimentoRegion *region, GError **error)
{
    GimpLayer *layer = only_layer(drawables, error);

    if (layer == NULL || !check_layer(layer, error))
        return false;
    *region = (PentimentoRegion){
        .image = gimp_item_get_image(GIMP_ITEM(layer)),
        .layer = layer,
        .width = gimp_drawable_get_width(GIMP_DRAWABLE(layer)),
        .height = gimp_drawable_get_height(GIMP_DRAWABLE(layer)),
    };
    region->frame = *GEGL_RECTANGLE(0, 0, region->width, region->height);
    gimp_drawable_get_offsets(GIMP_DRAWABLE(layer), &region->offset_x, &region->offset_y);
    if (task->extends)
        find_frame(region, config);
    else if (!find_bounds(task, region, error))
        return false;
    else if (region->selected && !pentimento_settings_learns(config)) /* which looks further */
        find_surroundings(region);
    return true;
}

bool pentimento_region_same(const PentimentoRegion *before, const PentimentoRegion *now)
{
    return before->layer == now->layer && before->width == now->width &&
           before->height == now->height && before->offset_x == now->offset_x &&
           before->offset_y == now->offset_y && before->selected == now->selected &&
           gegl_rectangle_equal(&before->bounds, &now->bounds);
}
