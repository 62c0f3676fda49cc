/* The tasks that edit a layer, top to bottom: region, pixels out to the worker, result back in.
 * In: image, selected layer, arguments. Out: a new layer above it (the canvas may grow for it), or
 * the layer changed. The image is touched last, in one undo step. */
#include "pixels-in.h"
#include "pixels-out.h"
#include "region.h"
#include "result.h"
#include "settings.h"

#include <glib/gi18n-lib.h>
#include <unistd.h>

/* Reads what the task needs and has the worker do it. */
static bool have_done(const PentimentoTask *task, const PentimentoCall *call,
                      const PentimentoRegion *region, PentimentoSeries *series, GError **error)
{
    PentimentoJob job = {
        .task = task->name,
        .picture = -1,
        .mask = -1,
        .width = region->frame.width,
        .height = region->frame.height,
    };
    const bool masked = region->selected || region->extends;
    bool done = false;

    job.picture = pentimento_pixels_read(region, pentimento_output_replaces(call->config), error);
    if (job.picture < 0)
        return false;
    if (masked)
        job.mask = pentimento_mask_read(region, error);
    if (!masked || job.mask >= 0)
        done = pentimento_task_work(task, call, &job, series, error);
    close(job.picture);
    if (job.mask >= 0)
        close(job.mask);
    return done;
}

/* GIMP stays usable meanwhile: what the result was made for may have changed. */
static bool still_there(const PentimentoTask *task, const PentimentoRegion *region, bool replace,
                        GimpProcedureConfig *config, GError **error)
{
    GimpDrawable *drawables[] = {GIMP_DRAWABLE(region->layer), NULL};
    PentimentoRegion now;

    if (!pentimento_check_there(gimp_item_is_valid(GIMP_ITEM(region->layer)), error))
        return false;
    if (!replace)
        return true;
    return pentimento_region_find(task, drawables, config, &now, error) &&
           pentimento_region_check(&now, config, error) &&
           pentimento_check_unchanged(pentimento_region_same(region, &now), error);
}

/* Takes note of where the layer has been moved to meanwhile. A layer of another size now does not
 * tell what has become of the place the result is for, which then stays as it was; false. */
static bool follow(PentimentoRegion *region)
{
    GimpDrawable *layer = GIMP_DRAWABLE(region->layer);

    if (gimp_drawable_get_width(layer) != region->width ||
        gimp_drawable_get_height(layer) != region->height)
        return false;
    gimp_drawable_get_offsets(layer, &region->offset_x, &region->offset_y);
    return true;
}

/* The canvas grows by as much as the frame sticks out, where it goes beyond the layer. */
static void make_room(const PentimentoRegion *region)
{
    const GeglRectangle *frame = &region->frame;
    const int width = gimp_image_get_width(region->image);
    const int height = gimp_image_get_height(region->image);
    const int x = region->offset_x + frame->x, y = region->offset_y + frame->y;
    const int left = frame->x < 0 ? MAX(0, -x) : 0;
    const int top = frame->y < 0 ? MAX(0, -y) : 0;
    const bool to_right = frame->x + frame->width > region->width;
    const bool to_bottom = frame->y + frame->height > region->height;
    const int right = to_right ? MAX(0, x + frame->width - width) : 0;
    const int bottom = to_bottom ? MAX(0, y + frame->height - height) : 0;

    if (left + top + right + bottom > 0)
        gimp_image_resize(region->image, left + width + right, top + height + bottom, left, top);
}

static GimpLayer *insert_above(const PentimentoTask *task, const PentimentoRegion *region,
                               GimpLayer *const *layers, int count, bool fits)
{
    GimpItem *source = GIMP_ITEM(region->layer);
    GimpLayer *whole;

    gimp_image_undo_group_start(region->image);
    whole = pentimento_result_insert(task, region->image, layers, count,
                                     GIMP_LAYER(gimp_item_get_parent(source)),
                                     gimp_image_get_item_position(region->image, source));
    if (fits)
        make_room(region); /* last: everything in the image moves with it */
    gimp_image_undo_group_end(region->image);
    return whole;
}

/* The model saw the layer's own pixels; its result covers what came of their mode and opacity. */
static void tell_blending(GimpLayer *source)
{
    const GimpLayerMode mode = gimp_layer_get_mode(source);
    g_autofree char *name = NULL, *text = NULL;

    if ((mode == GIMP_LAYER_MODE_NORMAL || mode == GIMP_LAYER_MODE_NORMAL_LEGACY) &&
        gimp_layer_get_opacity(source) >= 100.0)
        return;
    name = gimp_item_get_name(GIMP_ITEM(source));
    text = g_strdup_printf(_("The new layer is Normal and opaque, unlike the layer “%s” below it, "
                             "so that it may look different from what was seen there. To work on "
                             "what is seen, make a layer of that first (Layer ▸ New from "
                             "Visible)."),
                           name);
    gimp_message(text);
}

/* Everything is ready before the image is changed. */
static GimpLayer *add_layers(const PentimentoTask *task, PentimentoRegion *region,
                             PentimentoSeries *series, GError **error)
{
    GimpLayer *layers[PENTIMENTO_MAX_VARIATIONS], *whole;
    const bool fits = follow(region);

    for (int i = 0; i < series->count; i++) {
        PentimentoMade *made = &series->made[i];

        layers[i] = pentimento_result_layer(
            task, region->image, made, region->offset_x + region->frame.x + made->reply.x,
            region->offset_y + region->frame.y + made->reply.y, error);
        if (layers[i] == NULL) {
            pentimento_result_drop(layers, i);
            return NULL;
        }
        pentimento_layer_hide_as(layers[i], region->layer);
        pentimento_reply_drop_arrays(&made->reply);
    }
    whole = insert_above(task, region, layers, series->count, fits);
    if (!fits)
        gimp_message(_("The layer was cropped, scaled or resized while the picture was being made: "
                       "the new layer lies where it would have lain before; move it if it belongs "
                       "elsewhere now."));
    tell_blending(region->layer);
    return whole;
}

static GimpLayer *replace_pixels(const PentimentoTask *task, const PentimentoRegion *region,
                                 const PentimentoMade *made, GError **error)
{
    if (!pentimento_layer_replace(region, &made->reply, error))
        return NULL;
    pentimento_settings_attach(region->layer, task, made->options, &made->reply);
    gimp_image_undo_group_end(region->image);
    return region->layer;
}

bool pentimento_edit_run(const PentimentoTask *task, const PentimentoCall *call,
                         PentimentoOutcome *outcome, GError **error)
{
    GimpProcedureConfig *config = call->config;
    g_auto(PentimentoSeries) series = {0};
    const bool replace = pentimento_output_replaces(config);
    PentimentoRegion region;

    if (!pentimento_region_find(task, call->drawables, config, &region, error) ||
        !pentimento_region_check(&region, config, error) ||
        !have_done(task, call, &region, &series, error) ||
        !still_there(task, &region, replace, config, error))
        return false;
    outcome->seed = series.made[0].seed;
    outcome->layer = replace ? replace_pixels(task, &region, &series.made[0], error)
                             : add_layers(task, &region, &series, error);
    if (outcome->layer == NULL)
        return false;
    pentimento_result_notes(region.image, &series.made[0].reply);
    return true;
}
