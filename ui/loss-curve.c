/* A curve of losses that grows while it is looked at. In: losses, step by step. Out: a widget that
 * draws each as a dot and their moving mean as a line: a single loss depends on the noise level
 * that was drawn more than on what was learnt. */
#include "ui/loss-curve.h"

#include <math.h>

#define MEMORY 0.95 /* of the moving mean, from one step to the next */
#define MARGIN 6.0  /* pixels around the curve and between it and its numbers */

typedef struct {
    int steps;
    GArray *losses; /* float */
} Curve;

static void curve_free(gpointer data)
{
    Curve *curve = data;

    g_array_unref(curve->losses);
    g_free(curve);
}

static float highest(const Curve *curve)
{
    float most = 0.0f;

    for (guint i = 0; i < curve->losses->len; i++) {
        float loss = g_array_index(curve->losses, float, i);

        most = isfinite(loss) ? MAX(most, loss) : most;
    }
    return most;
}

/* Above, at the left, the highest loss; below, at the right, the number of steps. */
static void write_limits(GtkWidget *widget, cairo_t *cr, double most, int steps)
{
    g_autofree char *loss = g_strdup_printf("%.3g", most);
    g_autofree char *step = g_strdup_printf("%d", steps);
    g_autoptr(PangoLayout) above = gtk_widget_create_pango_layout(widget, loss);
    g_autoptr(PangoLayout) below = gtk_widget_create_pango_layout(widget, step);
    GtkStyleContext *style = gtk_widget_get_style_context(widget);
    int width, height;

    pango_layout_get_pixel_size(below, &width, &height);
    gtk_render_layout(style, cr, MARGIN, MARGIN, above);
    gtk_render_layout(style, cr, gtk_widget_get_allocated_width(widget) - width - MARGIN,
                      gtk_widget_get_allocated_height(widget) - height - MARGIN, below);
}

static void draw_dots(const Curve *curve, cairo_t *cr, double x_scale, double y_scale)
{
    for (guint i = 0; i < curve->losses->len; i++) {
        float loss = g_array_index(curve->losses, float, i);

        if (isfinite(loss))
            cairo_rectangle(cr, (i + 1) * x_scale - 1, -loss * y_scale - 1, 3, 3);
    }
    cairo_fill(cr);
}

/* The mean of the losses so far, older ones counting less. */
static void draw_mean(const Curve *curve, cairo_t *cr, double x_scale, double y_scale)
{
    double sum = 0.0, weight = 0.0;

    for (guint i = 0; i < curve->losses->len; i++) {
        float loss = g_array_index(curve->losses, float, i);

        if (!isfinite(loss))
            continue;
        sum = MEMORY * sum + loss;
        weight = MEMORY * weight + 1.0;
        cairo_line_to(cr, (i + 1) * x_scale, -sum / weight * y_scale);
    }
    cairo_set_line_width(cr, 2.0);
    cairo_stroke(cr);
}

static gboolean draw(GtkWidget *widget, cairo_t *cr, gpointer data)
{
    const Curve *curve = data;
    const double faint = 0.4;
    double width = gtk_widget_get_allocated_width(widget);
    double height = gtk_widget_get_allocated_height(widget);
    double most = highest(curve), x_scale = (width - 2 * MARGIN) / curve->steps;
    GdkRGBA colour;

    gtk_style_context_get_color(gtk_widget_get_style_context(widget),
                                gtk_widget_get_state_flags(widget), &colour);
    cairo_set_source_rgba(cr, colour.red, colour.green, colour.blue, faint);
    cairo_rectangle(cr, 0.5, 0.5, width - 1, height - 1);
    cairo_set_line_width(cr, 1.0);
    cairo_stroke(cr);
    if (!(most > 0.0))
        return FALSE;
    write_limits(widget, cr, most, curve->steps);
    cairo_translate(cr, MARGIN, height - MARGIN);
    cairo_set_source_rgba(cr, colour.red, colour.green, colour.blue, faint);
    draw_dots(curve, cr, x_scale, (height - 2 * MARGIN) / most);
    gdk_cairo_set_source_rgba(cr, &colour);
    draw_mean(curve, cr, x_scale, (height - 2 * MARGIN) / most);
    return FALSE;
}

GtkWidget *pentimento_loss_curve_new(int steps)
{
    GtkWidget *widget = gtk_drawing_area_new();
    Curve *curve = g_new0(Curve, 1);

    curve->steps = steps;
    curve->losses = g_array_new(FALSE, FALSE, sizeof(float));
    g_object_set_data_full(G_OBJECT(widget), "curve", curve, curve_free);
    g_signal_connect(widget, "draw", G_CALLBACK(draw), curve);
    return widget;
}

void pentimento_loss_curve_add(GtkWidget *widget, int first, const double *losses, size_t count)
{
    Curve *curve = g_object_get_data(G_OBJECT(widget), "curve");
    const float none = NAN;

    while (curve->losses->len + 1 < (guint)first)
        g_array_append_val(curve->losses, none);
    g_array_set_size(curve->losses, (guint)first - 1);
    for (size_t i = 0; i < count; i++) {
        float loss = (float)losses[i];

        g_array_append_val(curve->losses, loss);
    }
    gtk_widget_queue_draw(widget);
}
