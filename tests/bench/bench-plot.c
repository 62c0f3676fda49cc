/* Pictures of what the bench measured. In come the tables of docs/performance.md as measure.py
 * writes them (JSON); out go growth.png and .svg (tables whose first column is a number: seconds
 * over it) and stages.png and .svg (tables of stages: bars of the programs, the slowest = 1).
 *     bench-plot TABLES.json FOLDER */
#include "train/plot.h"
#include "weights/json.h"

#include <cairo-svg.h>
#include <math.h>
#include <pango/pangocairo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PANEL  320 /* width of a table of numbers */
#define HEIGHT 300
#define LEFT   48
#define RIGHT  16
#define TOP    56
#define BOTTOM 56
#define BAR    36
#define GAP    28 /* between stages */

/* "0.87 (0.81–0.96)": median, least, most. */
typedef struct {
    double median, least, most;
} Figure;

static const double colours[][3] = {{0.10, 0.35, 0.65}, {0.90, 0.55, 0.15}, {0.45, 0.45, 0.50}};
static const double grey[3] = {0.88, 0.88, 0.88}, dark[3] = {0.2, 0.2, 0.2};

/* ---- tables ---- */

static Figure figure_of(const char *cell)
{
    char *end;
    double median = g_ascii_strtod(cell, &end);
    Figure figure = {median, median, median};
    if (strncmp(end, " (", 2) == 0) {
        figure.least = g_ascii_strtod(end + 2, &end);
        figure.most = g_ascii_strtod(end + strlen("–"), NULL);
    }
    return figure;
}

static bool is_number(const char *cell)
{
    char *end;
    g_ascii_strtod(cell, &end);
    return end != cell && *end == '\0';
}

/* The cell of row `r` in column `name`. */
static const char *cell(JsonArray *rows, guint r, const char *name)
{
    return json_object_get_string_member(json_array_get_object_element(rows, r), name);
}

/* Names of the columns, in their order; free with g_list_free. */
static GList *columns_of(JsonArray *rows)
{
    return json_object_get_members(json_array_get_object_element(rows, 0));
}

static bool has(JsonArray *rows, const char *name)
{
    return json_object_has_member(json_array_get_object_element(rows, 0), name);
}

/* Seconds over a number. */
static bool is_growth(JsonArray *rows)
{
    g_autoptr(GList) columns = columns_of(rows);
    return has(rows, "s") && is_number(cell(rows, 0, columns->data));
}

/* ---- drawing ---- */

static void colour(cairo_t *cr, const double rgb[3])
{
    cairo_set_source_rgb(cr, rgb[0], rgb[1], rgb[2]);
}

/* Text with its middle line at y; align 0: begins at x, 1: ends there. */
static void write_text(cairo_t *cr, double x, double y, double align, const char *text)
{
    PangoLayout *layout = pango_cairo_create_layout(cr);
    PangoFontDescription *font = pango_font_description_from_string("Sans 9");
    int width, height;
    pango_layout_set_font_description(layout, font);
    pango_layout_set_alignment(layout, PANGO_ALIGN_CENTER);
    pango_layout_set_text(layout, text, -1);
    pango_layout_get_pixel_size(layout, &width, &height);
    cairo_move_to(cr, x - align * width, y - height / 2.0);
    pango_cairo_show_layout(cr, layout);
    pango_font_description_free(font);
    g_object_unref(layout);
}

static void write_number(cairo_t *cr, double x, double y, double align, double value)
{
    char number[G_ASCII_DTOSTR_BUF_SIZE];
    write_text(cr, x, y, align, g_ascii_formatd(number, sizeof number, "%.3g", value));
}

static void line(cairo_t *cr, double x0, double y0, double x1, double y1)
{
    cairo_move_to(cr, x0, y0);
    cairo_line_to(cr, x1, y1);
    cairo_stroke(cr);
}

static double place_y(LdmRange range, double value)
{
    return HEIGHT - BOTTOM - value / range.most * (HEIGHT - TOP - BOTTOM);
}

/* Numbers on the left of `x`, with lines from there on. */
static void draw_scale(cairo_t *cr, LdmRange range, double x, double width)
{
    double step = ldm_plot_step(range);
    for (int i = 0; i * step <= range.most * 1.001; i++) {
        double y = place_y(range, i * step);
        colour(cr, grey);
        line(cr, x, y, x + width, y);
        colour(cr, dark);
        write_number(cr, x - 6, y, 1, i * step);
    }
}

/* One table of numbers: medians joined, least to most as a stroke. */
static void draw_growth(cairo_t *cr, JsonArray *rows, double left)
{
    g_autoptr(GList) columns = columns_of(rows);
    const char *name = columns->data;
    guint n = json_array_get_length(rows);
    double width = PANEL - LEFT - RIGHT, last = g_ascii_strtod(cell(rows, n - 1, name), NULL);
    LdmRange range = {0, 0};
    for (guint r = 0; r < n; r++)
        range.most = fmax(range.most, figure_of(cell(rows, r, "s")).most);
    range = ldm_plot_whole(range);
    draw_scale(cr, range, left + LEFT, width);
    write_text(cr, left + LEFT + width / 2, HEIGHT - 18, 0.5, name);
    write_text(cr, left + LEFT, TOP - 20, 0, "seconds");
    for (guint r = 0; r < n; r++) {
        Figure s = figure_of(cell(rows, r, "s"));
        double at = g_ascii_strtod(cell(rows, r, name), NULL);
        double x = left + LEFT + at / last * width;
        colour(cr, dark);
        write_number(cr, x, HEIGHT - BOTTOM + 14, 0.5, at);
        colour(cr, colours[0]);
        line(cr, x, place_y(range, s.least), x, place_y(range, s.most));
        cairo_arc(cr, x, place_y(range, s.median), 3.5, 0, 2 * G_PI);
        cairo_fill(cr);
    }
    for (guint r = 0; r < n; r++)
        cairo_line_to(cr, left + LEFT + g_ascii_strtod(cell(rows, r, name), NULL) / last * width,
                      place_y(range, figure_of(cell(rows, r, "s")).median));
    cairo_stroke(cr);
}

/* Columns of seconds, "libldm, s"; free with g_list_free. */
static GList *programs_of(JsonArray *rows)
{
    g_autoptr(GList) columns = columns_of(rows);
    GList *programs = NULL;
    for (GList *c = columns; c != NULL; c = c->next)
        if (g_str_has_suffix(c->data, ", s"))
            programs = g_list_append(programs, c->data);
    return programs;
}

/* "ℰ, 512×512 pixels" in two lines, with a word for the symbol, which not every font has. */
static char *in_words(const char *stage)
{
    static const char *const words[][2] = {
        {"τ_θ", "text encoder"}, {"ε_θ", "denoiser"}, {"ℰ", "encoder"}, {"𝒟", "decoder"}};
    g_auto(GStrv) parts = g_strsplit(stage, ", ", 2);
    const char *name = parts[0];
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
        if (g_str_equal(parts[0], words[i][0]))
            name = words[i][1];
    return g_strdup_printf("%s\n%s", name, parts[1] != NULL ? parts[1] : "");
}

static void draw_bars(cairo_t *cr, JsonArray *rows)
{
    static const LdmRange range = {0, 1};
    g_autoptr(GList) programs = programs_of(rows);
    guint n = json_array_get_length(rows), count = g_list_length(programs), i = 0;
    double x = LEFT + GAP / 2.0;
    draw_scale(cr, range, LEFT, n * (count * BAR + GAP));
    for (GList *p = programs; p != NULL; p = p->next, i++) {
        g_autofree char *name = g_strndup(p->data, strlen(p->data) - strlen(", s"));
        colour(cr, colours[i % G_N_ELEMENTS(colours)]);
        cairo_rectangle(cr, LEFT + i * 110, TOP - 43, 10, 10);
        cairo_fill(cr);
        colour(cr, dark);
        write_text(cr, LEFT + i * 110 + 16, TOP - 38, 0, name);
    }
    for (guint r = 0; r < n; r++, x += count * BAR + GAP) {
        double slowest = 0;
        for (GList *p = programs; p != NULL; p = p->next)
            slowest = fmax(slowest, figure_of(cell(rows, r, p->data)).median);
        g_autofree char *stage = in_words(cell(rows, r, "stage"));
        colour(cr, dark);
        write_text(cr, x + count * BAR / 2.0, HEIGHT - BOTTOM + 18, 0.5, stage);
        i = 0;
        for (GList *p = programs; p != NULL; p = p->next, i++) {
            double seconds = figure_of(cell(rows, r, p->data)).median;
            double y = place_y(range, seconds / slowest);
            colour(cr, colours[i % G_N_ELEMENTS(colours)]);
            cairo_rectangle(cr, x + i * BAR, y, BAR - 3, HEIGHT - BOTTOM - y);
            cairo_fill(cr);
            colour(cr, dark);
            write_number(cr, x + i * BAR + (BAR - 3) / 2.0, y - 8, 0.5, seconds);
        }
    }
    write_text(cr, LEFT + n * (count * BAR + GAP) / 2.0, HEIGHT - 10, 0.5,
               "of the slowest program's time; seconds above the bars");
}

/* ---- files ---- */

typedef struct {
    GPtrArray *growths; /* JsonArray of rows */
    JsonArray *stages;  /* or NULL */
} Tables;

static void draw_growths(cairo_t *cr, const Tables *tables)
{
    for (guint i = 0; i < tables->growths->len; i++)
        draw_growth(cr, tables->growths->pdata[i], (double)i * PANEL);
}

static void draw_stages(cairo_t *cr, const Tables *tables)
{
    draw_bars(cr, tables->stages);
}

typedef void Draw(cairo_t *cr, const Tables *tables);

static void draw_on(cairo_surface_t *surface, Draw *draw, const Tables *tables)
{
    cairo_t *cr = cairo_create(surface);
    colour(cr, (double[3]){1, 1, 1});
    cairo_paint(cr);
    cairo_set_line_width(cr, 1.5);
    draw(cr, tables);
    cairo_destroy(cr);
}

/* NAME.png, twice as fine as its size says, and NAME.svg. */
static bool write_pictures(const char *folder, const char *name, double width, Draw *draw,
                           const Tables *tables)
{
    g_autofree char *png = g_strdup_printf("%s/%s.png", folder, name);
    g_autofree char *svg = g_strdup_printf("%s/%s.svg", folder, name);
    cairo_surface_t *image =
        cairo_image_surface_create(CAIRO_FORMAT_RGB24, 2 * (int)width, 2 * HEIGHT);
    cairo_surface_t *vector = cairo_svg_surface_create(svg, width, HEIGHT);
    cairo_surface_set_device_scale(image, 2, 2);
    draw_on(image, draw, tables);
    draw_on(vector, draw, tables);
    cairo_surface_finish(vector);
    bool done = cairo_surface_write_to_png(image, png) == CAIRO_STATUS_SUCCESS &&
                cairo_surface_status(vector) == CAIRO_STATUS_SUCCESS;
    cairo_surface_destroy(image);
    cairo_surface_destroy(vector);
    if (!done)
        fprintf(stderr, "bench-plot: %s could not be written\n", png);
    return done;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) growths = g_ptr_array_new();
    Tables tables = {.growths = growths};
    if (argc != 3) {
        fprintf(stderr, "bench-plot TABLES.json FOLDER\n");
        return 2;
    }
    g_autoptr(JsonObject) json = ldm_json_load(argv[1], 1 << 20, &error);
    if (json == NULL) {
        fprintf(stderr, "bench-plot: %s\n", error->message);
        return 1;
    }
    JsonArray *found = json_object_get_array_member(json, "tables");
    for (guint i = 0; i < json_array_get_length(found); i++) {
        JsonObject *table = json_array_get_object_element(found, i);
        JsonArray *rows = json_object_get_array_member(table, "rows");
        if (json_array_get_length(rows) == 0)
            continue;
        if (has(rows, "stage"))
            tables.stages = rows;
        else if (is_growth(rows))
            g_ptr_array_add(growths, rows);
    }
    bool done = growths->len == 0 ||
                write_pictures(argv[2], "growth", growths->len * PANEL, draw_growths, &tables);
    if (tables.stages != NULL) {
        g_autoptr(GList) programs = programs_of(tables.stages);
        double bars = (double)g_list_length(programs) * BAR + GAP;
        done &= write_pictures(argv[2], "stages",
                               LEFT + RIGHT + json_array_get_length(tables.stages) * bars,
                               draw_stages, &tables);
    }
    return done ? 0 : 1;
}
