/* A layer's pixels for the worker. In: a layer, and whether its filters and its mask count. Out:
 * rows of floats. babl converts from the layer's own precision, gamma and colour profile, once. */
#include "layer-source.h"

#include "pixel-grid.h"

static GimpImage *new_scratch(GimpDrawable *layer)
{
    GimpImage *image = gimp_item_get_image(GIMP_ITEM(layer));
    GimpImageBaseType base = gimp_image_get_base_type(image);
    g_autoptr(GimpColorProfile) profile = gimp_image_get_effective_color_profile(image);
    GimpImage *scratch = gimp_image_new_with_precision(
        gimp_drawable_get_width(layer), gimp_drawable_get_height(layer),
        base == GIMP_INDEXED ? GIMP_RGB : base, gimp_image_get_precision(image));

    gimp_image_undo_disable(scratch);
    gimp_image_set_color_profile(scratch, profile);
    return scratch;
}

/* In an image of its own, since merging in the user's would be a step to be undone there. */
static GimpDrawable *merge_filters(PentimentoSource *source, GimpDrawable *layer)
{
    GimpLayer *copy;
    int x, y;

    source->scratch = new_scratch(layer);
    copy = gimp_layer_new_from_drawable(layer, source->scratch);
    gimp_image_insert_layer(source->scratch, copy, NULL, 0);
    gimp_layer_set_offsets(copy, 0, 0);
    gimp_drawable_merge_filters(GIMP_DRAWABLE(copy));
    gimp_drawable_get_offsets(GIMP_DRAWABLE(copy), &x, &y); /* a filter may have enlarged it */
    source->x = -x;
    source->y = -y;
    return GIMP_DRAWABLE(copy);
}

static bool has_filters(GimpDrawable *layer)
{
    g_autofree GimpDrawableFilter **filters = gimp_drawable_get_filters(layer);

    return filters != NULL && filters[0] != NULL && !gimp_item_is_group(GIMP_ITEM(layer));
}

PentimentoSource pentimento_source_open(GimpDrawable *layer, PentimentoSight sight)
{
    PentimentoSource source = {0};
    GimpLayerMask *mask;

    if (!gimp_item_is_valid(GIMP_ITEM(layer)))
        return source;
    mask = GIMP_IS_LAYER(layer) ? gimp_layer_get_mask(GIMP_LAYER(layer)) : NULL;
    if (sight.masked && mask != NULL && gimp_layer_get_apply_mask(GIMP_LAYER(layer)))
        source.mask = gimp_drawable_get_buffer(GIMP_DRAWABLE(mask));
    if (sight.filtered && has_filters(layer))
        layer = merge_filters(&source, layer);
    source.buffer = gimp_drawable_get_buffer(layer);
    return source;
}

void pentimento_source_clear(PentimentoSource *source)
{
    g_clear_object(&source->buffer);
    g_clear_object(&source->mask);
    if (source->scratch != NULL)
        gimp_image_delete(source->scratch);
    source->scratch = NULL;
}

/* Multiplies the mask into the alpha of one row. */
static void hide(GeglBuffer *mask, const GeglRectangle *row, float *factors, float *pixels)
{
    gegl_buffer_get(mask, row, 1.0, babl_format("Y float"), factors, GEGL_AUTO_ROWSTRIDE,
                    GEGL_ABYSS_NONE);
    pentimento_snap(gegl_buffer_get_format(mask), factors, (size_t)row->width);
    for (int x = 0; x < row->width; x++)
        pixels[4 * x + 3] *= factors[x];
}

void pentimento_source_read(const PentimentoSource *source, const GeglRectangle *rectangle,
                            float *out)
{
    const size_t width = (size_t)rectangle->width;
    const size_t count = width * (size_t)rectangle->height * 4;
    const GeglRectangle from = {rectangle->x + source->x, rectangle->y + source->y,
                                rectangle->width, rectangle->height};
    g_autofree float *factors = source->mask != NULL ? g_new(float, width) : NULL;

    if (source->buffer == NULL) {
        memset(out, 0, count * sizeof(float));
        return;
    }
    gegl_buffer_get(source->buffer, &from, 1.0, babl_format("R'G'B'A float"), out,
                    GEGL_AUTO_ROWSTRIDE, GEGL_ABYSS_NONE);
    pentimento_snap(gegl_buffer_get_format(source->buffer), out, count);
    for (int y = 0; factors != NULL && y < rectangle->height; y++)
        hide(source->mask, GEGL_RECTANGLE(rectangle->x, rectangle->y + y, rectangle->width, 1),
             factors, out + (size_t)y * width * 4);
}
