/* Pictures of a model in training. In: the model, its optimiser with the averaged weights, and
 * captions. Out: a PNG grid, each picture over its caption. The line is the same as for finished
 * models: the tables point at the averages meanwhile. */
#include "train/samples.h"

#include "base/error.h"
#include "tensor/tensor.h"
#include "train/png.h"

#include <math.h>
#include <pango/pangocairo.h>

#define STEPS   20
#define GAP     8  /* pixels between pictures */
#define CAPTION 18 /* pixels under a picture */

static void point_at(LdmOptimiser *optimiser, bool averages)
{
    for (size_t i = 0; i < ldm_optimiser_length(optimiser); i++) {
        LdmTrained *trained = ldm_optimiser_at(optimiser, i);
        trained->param->data = averages ? trained->ema : trained->weight;
    }
}

LdmRequest *ldm_samples_request(const char *caption, size_t i, size_t side)
{
    LdmRequest *request = ldm_request_new(LDM_TASK_GENERATE);

    g_free(request->prompt);
    request->prompt = g_strdup(caption);
    request->seed = (int64_t)i + 1;
    request->steps = STEPS;
    request->width = request->height = (int)side;
    return request;
}

static LdmResult *make(LdmModel *model, const LdmSamples *samples, const char *caption, size_t i,
                       GError **error)
{
    g_autoptr(LdmRequest) request = ldm_samples_request(caption, i, samples->side);
    const LdmMonitor monitor = {.cancellable = samples->cancellable};

    return ldm_generate(model, request, &monitor, error);
}

static cairo_surface_t *surface_of(const LdmTensor *pixels)
{
    int h = (int)pixels->shape[1], w = (int)pixels->shape[2];
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, w, h);
    size_t stride = (size_t)cairo_image_surface_get_stride(surface);
    const float *from = ldm_tensor_f32(pixels);

    cairo_surface_flush(surface);
    for (int y = 0; y < h; y++) {
        uint32_t *to = (void *)(cairo_image_surface_get_data(surface) + (size_t)y * stride);
        for (int x = 0; x < w; x++, from += 4) {
            uint32_t rgb = 0;
            for (int c = 0; c < 3; c++)
                rgb = rgb << 8 | (uint32_t)lrintf(255 * CLAMP(from[c], 0.0f, 1.0f));
            to[x] = rgb;
        }
    }
    cairo_surface_mark_dirty(surface);
    return surface;
}

static void draw(cairo_t *cr, const LdmTensor *pixels, const char *caption, double x, double y)
{
    cairo_surface_t *picture = surface_of(pixels);

    cairo_set_source_surface(cr, picture, x, y);
    cairo_paint(cr);
    cairo_surface_destroy(picture);
    PangoLayout *layout = pango_cairo_create_layout(cr);
    PangoFontDescription *font = pango_font_description_from_string("Sans 8");
    pango_layout_set_font_description(layout, font);
    pango_layout_set_width(layout, (int)pixels->shape[2] * PANGO_SCALE);
    pango_layout_set_height(layout, -1);
    pango_layout_set_ellipsize(layout, PANGO_ELLIPSIZE_END);
    pango_layout_set_text(layout, caption, -1);
    cairo_set_source_rgb(cr, 0.2, 0.2, 0.2);
    cairo_move_to(cr, x, y + (double)pixels->shape[1] + 1);
    pango_cairo_show_layout(cr, layout);
    pango_font_description_free(font);
    g_object_unref(layout);
}

static bool draw_all(LdmModel *model, const LdmSamples *samples, cairo_t *cr, size_t across,
                     GError **error)
{
    size_t examples = ldm_dataset_length(samples->dataset);

    for (size_t i = 0; i < samples->count; i++) {
        const LdmExample *example = ldm_dataset_at(samples->dataset, i * examples / samples->count);
        g_autofree char *caption = ldm_train_adapter_caption(samples->adapter, example->caption);
        g_autoptr(LdmResult) result = make(model, samples, caption, i, error);
        if (result == NULL)
            return false;
        draw(cr, result->pixels, caption, GAP + (double)(i % across * (samples->side + GAP)),
             GAP + (double)(i / across * (samples->side + GAP + CAPTION)));
    }
    return true;
}

bool ldm_samples_write(LdmModel *model, LdmOptimiser *optimiser, const LdmSamples *samples,
                       const char *path, GError **error)
{
    size_t across = (size_t)ceil(sqrt((double)samples->count)), side = samples->side;
    size_t down = (samples->count + across - 1) / across;
    g_autoptr(GError) reason = NULL;
    cairo_surface_t *surface =
        cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)(GAP + across * (side + GAP)),
                                   (int)(GAP + down * (side + GAP + CAPTION)));
    cairo_t *cr = cairo_create(surface);

    cairo_set_source_rgb(cr, 1, 1, 1);
    cairo_paint(cr);
    point_at(optimiser, true);
    bool done = draw_all(model, samples, cr, across, &reason);
    point_at(optimiser, false);
    cairo_destroy(cr);
    if (done)
        done = ldm_png_write(surface, path, error);
    else if (g_error_matches(reason, LDM_ERROR, LDM_ERROR_MEMORY) ||
             g_error_matches(reason, LDM_ERROR, LDM_ERROR_NONFINITE))
        done = true;
    else
        g_propagate_error(error, g_steal_pointer(&reason));
    cairo_surface_destroy(surface);
    return done;
}
