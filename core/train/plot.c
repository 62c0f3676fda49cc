/* The curve of a run. In: its log, a JSON object a line. Out: a PNG picture of the loss of every
 * step (grey), its moving average (dark) and the learning rate (orange, scale on the right). The
 * loss's scale spans 1 % to 99 % of the values, so that one wild step does not flatten the rest. */
#include "train/plot.h"

#include "base/error.h"
#include "train/png.h"
#include "train/train-log.h"

#include <math.h>

#define WIDTH  960
#define HEIGHT 540
#define LEFT   72
#define RIGHT  72
#define TOP    28
#define BOTTOM 44
#define TICKS  5
#define FOLLOW 0.98 /* of the moving average */

/* ---- ranges ---- */

static int by_value(gconstpointer a, gconstpointer b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static LdmRange loss_range(const GArray *points)
{
    g_autoptr(GArray) values = g_array_new(FALSE, FALSE, sizeof(double));

    for (guint i = 0; i < points->len; i++) {
        double loss = g_array_index(points, LdmLogPoint, i).loss;
        if (isfinite(loss))
            g_array_append_val(values, loss);
    }
    if (values->len == 0)
        return (LdmRange){0, 1};
    g_array_sort(values, by_value);
    guint last = values->len - 1;
    LdmRange range = {g_array_index(values, double, last / 100),
                      g_array_index(values, double, last - last / 100)};
    double margin = MAX(0.05 * (range.most - range.least), 1e-3 * fabs(range.most) + 1e-12);
    double least = range.least - margin;
    return (LdmRange){range.least >= 0 ? fmax(least, 0) : least, range.most + margin};
}

/* ---- scales ---- */

double ldm_plot_step(LdmRange range)
{
    double raw = (range.most - range.least) / TICKS, power = pow(10, floor(log10(raw)));
    double m = raw / power;

    return power * (m <= 1 ? 1 : m <= 2 ? 2 : m <= 5 ? 5 : 10);
}

LdmRange ldm_plot_whole(LdmRange range)
{
    double step = ldm_plot_step(range);

    return (LdmRange){floor(range.least / step) * step, ceil(range.most / step) * step};
}

/* ---- the picture ---- */

static double place_x(const GArray *points, double step)
{
    double first = g_array_index(points, LdmLogPoint, 0).step;
    double last = g_array_index(points, LdmLogPoint, points->len - 1).step;

    return LEFT + (WIDTH - LEFT - RIGHT) * (last > first ? (step - first) / (last - first) : 0.5);
}

static double place_y(LdmRange range, double value)
{
    double share = CLAMP((value - range.least) / (range.most - range.least), 0.0, 1.0);

    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
}

static void write_text(cairo_t *cr, double x, double y, double align, const char *text)
{
    cairo_text_extents_t extents;

    cairo_text_extents(cr, text, &extents);
    cairo_move_to(cr, x - align * extents.x_advance, y);
    cairo_show_text(cr, text);
}

static void write_number(cairo_t *cr, double x, double y, double align, double value)
{
    char number[G_ASCII_DTOSTR_BUF_SIZE];

    write_text(cr, x, y, align, g_ascii_formatd(number, sizeof number, "%.6g", value));
}

/* Numbers of a scale: on the left, with lines across the picture, or on the `right`. */
static void draw_scale(cairo_t *cr, LdmRange range, bool right)
{
    double step = ldm_plot_step(range);
    int n = (int)round((range.most - range.least) / step);

    for (int i = 0; i <= n; i++) {
        double value = range.least + i * step, y = place_y(range, value);
        if (right) {
            write_number(cr, WIDTH - RIGHT + 6, y + 4, 0, value);
            continue;
        }
        cairo_set_source_rgb(cr, 0.88, 0.88, 0.88);
        cairo_move_to(cr, LEFT, y);
        cairo_line_to(cr, WIDTH - RIGHT, y);
        cairo_stroke(cr);
        cairo_set_source_rgb(cr, 0.2, 0.2, 0.2);
        write_number(cr, LEFT - 6, y + 4, 1, value);
    }
}

static void draw_frame(cairo_t *cr, const GArray *points, LdmRange loss, LdmRange rate)
{
    double first = g_array_index(points, LdmLogPoint, 0).step;
    double last = g_array_index(points, LdmLogPoint, points->len - 1).step;
    double step = last > first ? fmax(ldm_plot_step((LdmRange){first, last}), 1) : 1;

    draw_scale(cr, loss, false);
    for (double at = ceil(first / step) * step; at <= last; at += step)
        write_number(cr, place_x(points, at), HEIGHT - BOTTOM + 18, 0.5, at);
    write_text(cr, LEFT, TOP - 10, 0, _("loss and its moving average"));
    write_text(cr, WIDTH / 2.0, HEIGHT - 8, 0.5, _("step"));
    cairo_set_source_rgb(cr, 0.8, 0.45, 0.1);
    draw_scale(cr, rate, true);
    write_text(cr, WIDTH - RIGHT, TOP - 10, 1, _("learning rate"));
}

static void draw_curves(cairo_t *cr, const GArray *points, LdmRange loss, LdmRange rate)
{
    double average = 0, weight = 0;

    cairo_set_source_rgba(cr, 0.4, 0.4, 0.5, 0.5);
    for (guint i = 0; i < points->len; i++) {
        const LdmLogPoint *p = &g_array_index(points, LdmLogPoint, i);
        if (isfinite(p->loss))
            cairo_rectangle(cr, place_x(points, p->step) - 1.5, place_y(loss, p->loss) - 1.5, 3, 3);
    }
    cairo_fill(cr);
    cairo_set_source_rgb(cr, 0.9, 0.55, 0.15);
    for (guint i = 0; i < points->len; i++) {
        const LdmLogPoint *p = &g_array_index(points, LdmLogPoint, i);
        cairo_line_to(cr, place_x(points, p->step), place_y(rate, p->rate));
    }
    cairo_stroke(cr);
    cairo_set_source_rgb(cr, 0.1, 0.2, 0.5);
    cairo_set_line_width(cr, 2);
    for (guint i = 0; i < points->len; i++) {
        const LdmLogPoint *p = &g_array_index(points, LdmLogPoint, i);
        if (!isfinite(p->loss))
            continue;
        average = FOLLOW * average + (1 - FOLLOW) * p->loss; /* from 0: divided by its weight */
        weight = FOLLOW * weight + (1 - FOLLOW);
        cairo_line_to(cr, place_x(points, p->step), place_y(loss, average / weight));
    }
    cairo_stroke(cr);
}

bool ldm_plot_write(const char *log_path, const char *path, GError **error)
{
    g_autoptr(GArray) points = ldm_train_log_read(log_path, error);
    LdmRange rate = {0, 1e-12};

    if (points == NULL || points->len == 0)
        return points != NULL;
    for (guint i = 0; i < points->len; i++)
        rate.most = fmax(rate.most, g_array_index(points, LdmLogPoint, i).rate);
    rate = ldm_plot_whole(rate);
    LdmRange loss = ldm_plot_whole(loss_range(points));
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, WIDTH, HEIGHT);
    cairo_t *cr = cairo_create(surface);
    cairo_set_source_rgb(cr, 1, 1, 1);
    cairo_paint(cr);
    cairo_select_font_face(cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(cr, 12);
    cairo_set_line_width(cr, 1);
    draw_frame(cr, points, loss, rate);
    draw_curves(cr, points, loss, rate);
    cairo_destroy(cr);
    bool done = ldm_png_write(surface, path, error);
    cairo_surface_destroy(surface);
    return done;
}
