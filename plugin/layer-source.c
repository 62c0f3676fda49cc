/* A layer's pixels for the worker. In: a layer, and whether its filters and its mask count. Out:
 * rows of floats. babl converts from the layer's own precision, gamma and colour profile, once. */
#include "layer-source.h"

#include "pixel-grid.h"
#include "region.h"

#include <glib/gi18n-lib.h>
#include <signal.h>
#include <unistd.h>

#define SCRATCH "pentimento-scratch" /* a parasite: the process that an image is made by */

/* Cancel kills us: what an earlier process left in GIMP goes now. An image that was opened stays,
 * whatever mark its file may hold. */
static void delete_stale(void)
{
    g_autofree GimpImage **images = gimp_get_images();

    for (size_t i = 0; images[i] != NULL; i++) {
        g_autoptr(GFile) opened = gimp_image_get_file(images[i]);
        GimpParasite *mark = opened == NULL ? gimp_image_get_parasite(images[i], SCRATCH) : NULL;
        guint32 size = 0;
        const char *data = mark != NULL ? gimp_parasite_get_data(mark, &size) : NULL;
        g_autofree char *process = data != NULL ? g_strndup(data, size) : NULL;

        if (process != NULL && kill((pid_t)g_ascii_strtoll(process, NULL, 10), 0) != 0)
            gimp_image_delete(images[i]);
        g_clear_pointer(&mark, gimp_parasite_free);
    }
}

static GimpImage *new_scratch(GimpDrawable *layer)
{
    GimpImage *image = gimp_item_get_image(GIMP_ITEM(layer));
    GimpImageBaseType base = gimp_image_get_base_type(image);
    g_autoptr(GimpColorProfile) profile = gimp_image_get_effective_color_profile(image);
    g_autofree char *process = g_strdup_printf("%d", (int)getpid());
    GimpParasite *mark =
        gimp_parasite_new(SCRATCH, 0, (guint32)strlen(process), (const guint8 *)process);
    GimpImage *scratch = gimp_image_new_with_precision(
        gimp_drawable_get_width(layer), gimp_drawable_get_height(layer),
        base == GIMP_INDEXED ? GIMP_RGB : base, gimp_image_get_precision(image));

    gimp_image_attach_parasite(scratch, mark);
    gimp_parasite_free(mark);
    gimp_image_undo_disable(scratch);
    gimp_image_set_color_profile(scratch, profile);
    return scratch;
}

/* A group's filters cannot be merged, but what the group shows can be copied, its mask included. */
static GimpDrawable *flatten_group(PentimentoSource *source, GimpLayer *group)
{
    gimp_layer_set_opacity(group, 100.0);
    gimp_layer_set_mode(group, GIMP_LAYER_MODE_NORMAL);
    gimp_item_set_visible(GIMP_ITEM(group), TRUE);
    gimp_image_resize_to_layers(source->scratch);
    g_clear_object(&source->mask);
    return GIMP_DRAWABLE(gimp_layer_new_from_visible(source->scratch, source->scratch, NULL));
}

/* In an image of its own, since merging in the user's would be a step to be undone there. NULL
 * where it cannot be. */
static GimpDrawable *merge_filters(PentimentoSource *source, GimpDrawable *layer)
{
    GimpLayer *copy;
    int before_x, before_y, x, y;

    delete_stale();
    source->scratch = new_scratch(layer);
    copy = gimp_layer_new_from_drawable(layer, source->scratch);
    if (copy == NULL || !gimp_image_insert_layer(source->scratch, copy, NULL, 0))
        return NULL;
    if (gimp_item_is_group(GIMP_ITEM(copy)))
        return flatten_group(source, copy);
    gimp_drawable_get_offsets(GIMP_DRAWABLE(copy), &before_x, &before_y);
    if (!gimp_drawable_merge_filters(GIMP_DRAWABLE(copy)))
        return NULL;
    gimp_drawable_get_offsets(GIMP_DRAWABLE(copy), &x, &y);
    source->x = before_x - x; /* a filter may have enlarged it */
    source->y = before_y - y;
    return GIMP_DRAWABLE(copy);
}

static bool has_filters(GimpDrawable *layer)
{
    g_autofree GimpDrawableFilter **filters = gimp_drawable_get_filters(layer);

    return filters != NULL && filters[0] != NULL;
}

bool pentimento_source_open(PentimentoSource *source, GimpDrawable *layer, PentimentoSight sight,
                            GError **error)
{
    GimpLayerMask *mask;

    *source = (PentimentoSource){0};
    if (!pentimento_check_there(gimp_item_is_valid(GIMP_ITEM(layer)), error))
        return false;
    mask = GIMP_IS_LAYER(layer) ? gimp_layer_get_mask(GIMP_LAYER(layer)) : NULL;
    if (sight.masked && mask != NULL && gimp_layer_get_apply_mask(GIMP_LAYER(layer)))
        source->mask = gimp_drawable_get_buffer(GIMP_DRAWABLE(mask));
    if (sight.filtered && has_filters(layer))
        layer = merge_filters(source, layer);
    if (layer != NULL)
        source->buffer = gimp_drawable_get_buffer(layer);
    if (source->buffer != NULL)
        return true;
    pentimento_source_clear(source);
    pentimento_set_error(error, EXECUTION_ERROR,
                         _("The layer's effects could not be taken into account: merge them into "
                           "it, or remove them, and try again."));
    return false;
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

    gegl_buffer_get(source->buffer, &from, 1.0, babl_format("R'G'B'A float"), out,
                    GEGL_AUTO_ROWSTRIDE, GEGL_ABYSS_NONE);
    pentimento_snap(gegl_buffer_get_format(source->buffer), out, count);
    for (int y = 0; factors != NULL && y < rectangle->height; y++)
        hide(source->mask, GEGL_RECTANGLE(rectangle->x, rectangle->y + y, rectangle->width, 1),
             factors, out + (size_t)y * width * 4);
}
