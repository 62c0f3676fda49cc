/* Pixels on their way back into GIMP: a new layer with a mask, or the layer's own pixels.
 * In: the reply's window of R'G'B'A floats and blend factors. Out: one change of the image, in one
 * undo step; outside the mask the drawable's own bytes, in whatever precision it has. */
#include "pixels-out.h"

#include "pixel-grid.h"

#include <gegl.h>
#include <glib/gi18n-lib.h>
#include <math.h>

#define MOST_COMPONENTS 4

static const Babl *picture_format(void)
{
    return babl_format("R'G'B'A float"); /* sRGB curve and gamut, straight alpha */
}

/* ---- a new layer ------------------------------------------------------------------------- */

static GimpImageType layer_type(GimpImage *image)
{
    switch (gimp_image_get_base_type(image)) {
    case GIMP_GRAY: return GIMP_GRAYA_IMAGE;
    case GIMP_INDEXED: return GIMP_INDEXEDA_IMAGE;
    default: return GIMP_RGBA_IMAGE;
    }
}

/* Rows of `channels` floats in `format`, onto the drawable. */
static void write_pixels(GimpDrawable *drawable, const Babl *format, const float *pixels,
                         int channels, int width, int height)
{
    GeglBuffer *buffer = gimp_drawable_get_buffer(drawable);
    const size_t count = (size_t)width * channels;
    g_autofree float *row = g_new(float, count);

    for (int y = 0; y < height; y++) {
        memcpy(row, pixels + y * count, count * sizeof(float));
        pentimento_snap(gegl_buffer_get_format(buffer), row, count);
        gegl_buffer_set(buffer, GEGL_RECTANGLE(0, y, width, 1), 0, format, row,
                        GEGL_AUTO_ROWSTRIDE);
    }
    g_object_unref(buffer); /* hands the last tiles over */
}

GimpLayer *pentimento_layer_new(GimpImage *image, const char *name, const PentimentoReply *reply,
                                GError **error)
{
    GimpLayer *layer = gimp_layer_new(image, name, reply->width, reply->height, layer_type(image),
                                      100, gimp_image_get_default_new_layer_mode(image));
    GimpLayerMask *mask;

    if (layer == NULL) {
        pentimento_set_error(error, EXECUTION_ERROR,
                             _("GIMP could not make a layer of %d × %d pixels: nothing was "
                               "changed."),
                             reply->width, reply->height);
        return NULL;
    }
    write_pixels(GIMP_DRAWABLE(layer), picture_format(), reply->pixels, 4, reply->width,
                 reply->height);
    if (reply->alpha == NULL)
        return layer;
    mask = gimp_layer_create_mask(layer, GIMP_ADD_MASK_WHITE);
    write_pixels(GIMP_DRAWABLE(mask), babl_format("Y float"), reply->alpha, 1, reply->width,
                 reply->height);
    gimp_layer_add_mask(layer, mask);
    gimp_layer_set_edit_mask(layer, FALSE);
    return layer;
}

void pentimento_layer_hide_as(GimpLayer *layer, GimpLayer *source)
{
    GimpDrawable *mask = GIMP_DRAWABLE(gimp_layer_get_mask(layer));
    GimpLayerMask *hiding = gimp_layer_get_mask(source);
    const Babl *format = babl_format("Y float");
    const int width = gimp_drawable_get_width(mask), height = gimp_drawable_get_height(mask);
    GeglBuffer *buffer, *factors;
    g_autofree float *row = NULL, *factor = NULL;
    int x, y, source_x, source_y;

    if (hiding == NULL || !gimp_layer_get_apply_mask(source))
        return;
    gimp_drawable_get_offsets(GIMP_DRAWABLE(layer), &x, &y);
    gimp_drawable_get_offsets(GIMP_DRAWABLE(source), &source_x, &source_y);
    buffer = gimp_drawable_get_buffer(mask);
    factors = gimp_drawable_get_buffer(GIMP_DRAWABLE(hiding));
    row = g_new(float, width);
    factor = g_new(float, width);
    for (int i = 0; i < height; i++) {
        gegl_buffer_get(buffer, GEGL_RECTANGLE(0, i, width, 1), 1.0, format, row,
                        GEGL_AUTO_ROWSTRIDE, GEGL_ABYSS_NONE);
        gegl_buffer_get(factors, GEGL_RECTANGLE(x - source_x, y - source_y + i, width, 1), 1.0,
                        format, factor, GEGL_AUTO_ROWSTRIDE, GEGL_ABYSS_WHITE);
        for (int j = 0; j < width; j++)
            row[j] *= factor[j];
        pentimento_snap(gegl_buffer_get_format(buffer), row, width);
        gegl_buffer_set(buffer, GEGL_RECTANGLE(0, i, width, 1), 0, format, row,
                        GEGL_AUTO_ROWSTRIDE);
    }
    g_object_unref(buffer);
    g_object_unref(factors);
}

/* ---- the layer itself -------------------------------------------------------------------- */

static bool usable(const float *rgba)
{
    return isfinite(rgba[0]) && isfinite(rgba[1]) && isfinite(rgba[2]) && isfinite(rgba[3]);
}

/* (1 - alpha) old + alpha new, in R'G'B' as people see it; colours weighted by their own opacity,
 * so that what lies under a transparent pixel does not bleed in. A broken pixel (NaN, infinite)
 * would stay so whatever its weight: it is taken anew. */
static void blend_pixel(float *old, const float *made, float alpha, bool keep_opacity)
{
    const bool anew = alpha >= 1 || !usable(old);
    float opacity = anew ? made[3] : (1 - alpha) * old[3] + alpha * made[3];
    float share = alpha;

    if (keep_opacity)
        opacity = old[3];
    else if (opacity > 0)
        share = alpha * made[3] / opacity;
    for (int c = 0; c < 3; c++)
        old[c] = anew ? made[c] : (1 - share) * old[c] + share * made[c];
    old[3] = opacity;
}

/* What the worker made, in the layer's coordinates. */
static GeglRectangle window_of(const PentimentoRegion *region, const PentimentoReply *reply)
{
    return *GEGL_RECTANGLE(region->frame.x + reply->x, region->frame.y + reply->y, reply->width,
                           reply->height);
}

/* What of a pixel may change: groups hand their lock down, and colour components can be off. */
typedef struct {
    size_t components, size;      /* of the drawable's format: so many, so many bytes each */
    bool active[MOST_COMPONENTS]; /* in the format's order, opacity last where there is any */
    bool keep_opacity, all_active;
} Freedom;

static bool is_alpha_locked(GimpItem *item)
{
    for (; item != NULL; item = gimp_item_get_parent(item))
        if (gimp_layer_get_lock_alpha(GIMP_LAYER(item)))
            return true;
    return false;
}

static Freedom freedom_of(const PentimentoRegion *region, const Babl *format)
{
    static const GimpChannelType colours[][3] = {
        [GIMP_RGB] = {GIMP_CHANNEL_RED, GIMP_CHANNEL_GREEN, GIMP_CHANNEL_BLUE},
        [GIMP_GRAY] = {GIMP_CHANNEL_GRAY},
        [GIMP_INDEXED] = {GIMP_CHANNEL_INDEXED},
    };
    const GimpImageBaseType base = gimp_image_get_base_type(region->image);
    const size_t components = (size_t)babl_format_get_n_components(format);
    const bool has_opacity = gimp_drawable_has_alpha(GIMP_DRAWABLE(region->layer));
    Freedom free = {
        .components = components,
        .size = (size_t)babl_format_get_bytes_per_pixel(format) / components,
        .keep_opacity = is_alpha_locked(GIMP_ITEM(region->layer)),
        .all_active = true,
    };

    for (size_t c = 0; c < components; c++) {
        const bool opacity = has_opacity && c == components - 1;
        const GimpChannelType channel = opacity ? GIMP_CHANNEL_ALPHA : colours[base][c];

        free.active[c] = gimp_image_get_component_active(region->image, channel);
        free.all_active = free.all_active && free.active[c];
        if (opacity && !free.active[c])
            free.keep_opacity = true;
    }
    return free;
}

static void take_pixel(const Freedom *free, const guint8 *made, guint8 *target)
{
    if (free->all_active)
        memcpy(target, made, free->components * free->size);
    else
        for (size_t c = 0; c < free->components; c++)
            if (free->active[c])
                memcpy(target + c * free->size, made + c * free->size, free->size);
}

/* Overwrites in `bytes` (the bounds, in the drawable's own format) those pixels whose blend factor
 * is above 0. Row by row: `row` is room for one row of floats, `made` for one of the format. */
static void blend_rows(const PentimentoRegion *region, const PentimentoReply *reply,
                       GeglBuffer *buffer, guint8 *bytes)
{
    const Babl *format = gegl_buffer_get_format(buffer);
    const Babl *fish = babl_fish(picture_format(), format);
    const size_t size = babl_format_get_bytes_per_pixel(format);
    const Freedom free = freedom_of(region, format);
    const GeglRectangle window = window_of(region, reply);
    GeglRectangle work; /* what of it lies in the bounds */
    g_autofree float *row = NULL;
    g_autofree guint8 *made = NULL;

    if (!gegl_rectangle_intersect(&work, &region->bounds, &window))
        return;
    row = g_new(float, (size_t)work.width * 4);
    made = g_malloc((size_t)work.width * size);
    for (int y = work.y; y < work.y + work.height; y++) {
        size_t first = (size_t)(y - window.y) * window.width + (work.x - window.x);
        guint8 *target = bytes + ((size_t)(y - region->bounds.y) * region->bounds.width +
                                  (work.x - region->bounds.x)) *
                                     size;

        gegl_buffer_get(buffer, GEGL_RECTANGLE(work.x, y, work.width, 1), 1.0, picture_format(),
                        row, GEGL_AUTO_ROWSTRIDE, GEGL_ABYSS_NONE);
        pentimento_snap(format, row, (size_t)work.width * 4);
        for (int x = 0; x < work.width; x++)
            blend_pixel(row + 4 * x, reply->pixels + 4 * (first + x), reply->alpha[first + x],
                        free.keep_opacity);
        pentimento_snap(format, row, (size_t)work.width * 4);
        babl_process(fish, row, made, work.width);
        for (int x = 0; x < work.width; x++)
            if (reply->alpha[first + x] > 0)
                take_pixel(&free, made + x * size, target + x * size);
    }
}

/* The merge goes by the selection there is when it is made, and GIMP stays usable meanwhile: beyond
 * what was written of it, the shadow buffer is empty. */
static bool still_bounds(const PentimentoRegion *region, GError **error)
{
    GeglRectangle now = {0};

    return pentimento_check_unchanged(gimp_drawable_mask_intersect(GIMP_DRAWABLE(region->layer),
                                                                   &now.x, &now.y, &now.width,
                                                                   &now.height) &&
                                          gegl_rectangle_equal(&now, &region->bounds),
                                      error);
}

/* GIMP's merge of the shadow buffer makes the undo step, but blends through the selection once
 * more, in linear light: soft masks would count twice, and in half and float pixels may change
 * where nothing is selected. So it is followed by writing the very bytes over the rectangle that
 * the undo step holds. */
static bool write_with_undo(const PentimentoRegion *region, GeglBuffer *buffer, const guint8 *bytes,
                            GError **error)
{
    GimpDrawable *drawable = GIMP_DRAWABLE(region->layer);
    const GeglRectangle *bounds = &region->bounds;
    const Babl *format = gegl_buffer_get_format(buffer);
    GeglBuffer *shadow = gimp_drawable_get_shadow_buffer(drawable);

    gegl_buffer_set(shadow, bounds, 0, format, bytes, GEGL_AUTO_ROWSTRIDE);
    g_object_unref(shadow);
    if (!still_bounds(region, error)) {
        gimp_drawable_free_shadow(drawable);
        return false;
    }
    gimp_image_undo_group_start(region->image);
    if (!gimp_drawable_merge_shadow(drawable, TRUE)) {
        gimp_image_undo_group_end(region->image);
        pentimento_set_error(error, EXECUTION_ERROR,
                             _("GIMP does not let the pixels of this layer be changed: have the "
                               "result as a new layer."));
        return false;
    }
    gegl_buffer_set(buffer, bounds, 0, format, bytes, GEGL_AUTO_ROWSTRIDE);
    gegl_buffer_flush(buffer);
    gimp_drawable_update(drawable, bounds->x, bounds->y, bounds->width, bounds->height);
    return true;
}

bool pentimento_layer_replace(const PentimentoRegion *region, const PentimentoReply *reply,
                              GError **error)
{
    GeglBuffer *buffer = gimp_drawable_get_buffer(GIMP_DRAWABLE(region->layer));
    const Babl *format = gegl_buffer_get_format(buffer);
    const size_t count = (size_t)region->bounds.width * region->bounds.height;
    g_autofree guint8 *bytes = g_try_malloc_n(count, babl_format_get_bytes_per_pixel(format));
    bool written;

    if (bytes == NULL) {
        pentimento_set_error(error, EXECUTION_ERROR,
                             _("Not enough memory to put the result into the layer: nothing was "
                               "changed; close other programs or select less."));
        g_object_unref(buffer);
        return false;
    }
    gegl_buffer_get(buffer, &region->bounds, 1.0, format, bytes, GEGL_AUTO_ROWSTRIDE,
                    GEGL_ABYSS_NONE);
    blend_rows(region, reply, buffer, bytes);
    written = write_with_undo(region, buffer, bytes, error);
    g_object_unref(buffer);
    return written;
}
