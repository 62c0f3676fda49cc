/* The tasks that edit a layer, top to bottom: region, pixels out to the worker, result back in.
 * In: image, selected layer, arguments. Out: a new layer above it, or the layer changed. The image
 * is touched last, in one undo step. */
#include "live.h"
#include "pixels-in.h"
#include "pixels-out.h"
#include "region.h"
#include "result.h"
#include "settings.h"

#include <glib/gi18n-lib.h>
#include <unistd.h>

/* Reads what the task needs and has the worker do it. */
static bool have_done(const PentimentoTask *task, bool live, const PentimentoRegion *region,
                      GVariant *options, PentimentoReply *reply, GError **error)
{
    PentimentoJob job = {
        .task = task->name,
        .options = options,
        .picture = -1,
        .mask = -1,
        .width = region->width,
        .height = region->height,
    };
    bool done = false;

    job.picture = pentimento_pixels_read(region, error);
    if (job.picture < 0)
        return false;
    if (region->selected)
        job.mask = pentimento_mask_read(region, error);
    if (!region->selected || job.mask >= 0)
        done = pentimento_task_work(task, live, &job, reply, error);
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
    if (!pentimento_region_find(task, drawables, config, &now, error))
        return false;
    if (pentimento_region_same(region, &now))
        return true;
    pentimento_set_error(error, EXECUTION_ERROR,
                         _("The layer or the selection was changed while the picture was being "
                           "made: nothing was replaced; run it again."));
    return false;
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

static void insert_above(const PentimentoRegion *region, GimpLayer *layer, int x, int y)
{
    GimpItem *source = GIMP_ITEM(region->layer);

    gimp_layer_set_offsets(layer, region->offset_x + x, region->offset_y + y);
    pentimento_layer_hide_as(layer, region->layer);
    pentimento_result_insert(region->image, layer, GIMP_LAYER(gimp_item_get_parent(source)),
                             gimp_image_get_item_position(region->image, source));
}

/* Everything is ready before the one call that changes the image. */
static GimpLayer *add_layer(const PentimentoTask *task, PentimentoRegion *region, GVariant *options,
                            const PentimentoReply *reply, int seed, GError **error)
{
    g_autofree char *name = pentimento_result_name(task, seed);
    const bool fits = follow(region);
    GimpLayer *layer = pentimento_layer_new(region->image, name, reply, error);

    if (layer == NULL)
        return NULL;
    pentimento_settings_attach(layer, task, options, reply);
    insert_above(region, layer, reply->x, reply->y);
    if (!fits)
        gimp_message(_("The layer was cropped, scaled or resized while the picture was being made: "
                       "the new layer lies where it would have lain before; move it if it belongs "
                       "elsewhere now."));
    return layer;
}

static GimpLayer *replace_pixels(const PentimentoTask *task, const PentimentoRegion *region,
                                 GVariant *options, const PentimentoReply *reply, GError **error)
{
    bool done;

    gimp_image_undo_group_start(region->image);
    done = pentimento_layer_replace(region, reply, error);
    if (done)
        pentimento_settings_attach(region->layer, task, options, reply);
    gimp_image_undo_group_end(region->image);
    return done ? region->layer : NULL;
}

bool pentimento_edit_run(const PentimentoTask *task, const PentimentoCall *call,
                         PentimentoOutcome *outcome, GError **error)
{
    GimpProcedureConfig *config = call->config;
    g_auto(PentimentoReply) reply = {0};
    g_autoptr(GVariant) options = NULL;
    const bool replace = pentimento_output_replaces(config);
    PentimentoRegion region;

    if (!pentimento_region_find(task, call->drawables, config, &region, error))
        return false;
    outcome->seed = pentimento_settings_seed(config);
    options = pentimento_settings_options(task, config, outcome->seed);
    if (!have_done(task, call->live, &region, options, &reply, error) ||
        !still_there(task, &region, replace, config, error))
        return false;
    outcome->layer = replace ? replace_pixels(task, &region, options, &reply, error)
                             : add_layer(task, &region, options, &reply, outcome->seed, error);
    if (outcome->layer == NULL)
        return false;
    pentimento_result_notes(region.image, &reply);
    return true;
}
