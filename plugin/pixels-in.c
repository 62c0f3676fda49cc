/* Pixels on their way out of GIMP: layer and selection become sealed memory files for the worker.
 * In: a region. Out: float32 arrays of its frame's size, rows from the top, without padding. */
#include "pixels-in.h"

#include "pixel-grid.h"

#include "core/worker/protocol.h"

#include <gegl.h>
#include <glib/gi18n-lib.h>
#include <sys/mman.h>

/* Bytes that can be had without swapping; G_MAXUINT64 where the system does not tell. */
static guint64 memory_available(void)
{
    const char *const key = "\nMemAvailable:";
    g_autofree char *text = NULL;
    const char *line;

    if (!g_file_get_contents("/proc/meminfo", &text, NULL, NULL) ||
        (line = strstr(text, key)) == NULL)
        return G_MAXUINT64;
    return g_ascii_strtoull(line + strlen(key), NULL, 10) * 1024;
}

bool pentimento_pixels_fit(guint64 bytes, GError **error)
{
    const guint64 available = memory_available();

    if (bytes > available)
        pentimento_set_error(
            error, EXECUTION_ERROR,
            _("The pixels take %.0f MB of memory, but only %.0f MB are free: close "
              "other programs, scale the layers down, or work on fewer of them or "
              "on parts of them."),
            (double)bytes / 1e6, (double)available / 1e6);
    return bytes <= available;
}

/* A memory file of `bytes`, all of it reserved (so that a full memory is an error here and not a
 * signal later), mapped for writing. Linux reserves memory until it has to kill somebody, maybe
 * GIMP: what is free is looked at before. */
static int open_memory(const char *name, size_t bytes, float **map, GError **error)
{
    int fd;

    if (!pentimento_pixels_fit(bytes, error))
        return -1;
    fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    *map = MAP_FAILED;
    if (fd >= 0 && posix_fallocate(fd, 0, (off_t)bytes) == 0)
        *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (*map != MAP_FAILED)
        return fd;
    if (fd >= 0)
        close(fd);
    pentimento_set_error(error, EXECUTION_ERROR,
                         _("Not enough memory for the layer's pixels (%.0f MB): close other "
                           "programs or work on a smaller layer."),
                         bytes / 1e6);
    return -1;
}

static int seal(int fd, float *map, size_t bytes)
{
    munmap(map, bytes);
    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
    return fd;
}

/* `factor` rows of `width` * `factor` pixels -> one row: means, in which colours weigh by alpha. */
static void average(const float *rows, size_t width, size_t factor, float *out)
{
    for (size_t x = 0; x < width; x++, out += 4) {
        double sum[4] = {0};

        for (size_t i = 0; i < factor * factor; i++) {
            const float *p = rows + (i / factor * width * factor + x * factor + i % factor) * 4;

            for (int c = 0; c < 3; c++)
                sum[c] += (double)p[c] * p[3];
            sum[3] += p[3];
        }
        for (int c = 0; c < 3; c++)
            out[c] = sum[3] > 0.0 ? (float)(sum[c] / sum[3]) : 0.0f;
        out[3] = (float)(sum[3] / (double)(factor * factor));
    }
}

/* Not by GEGL, whose reduction comes before the grid: the same layer has to make the same bytes. */
static void read_reduced(const PentimentoSource *source, const GeglRectangle *rectangle, int factor,
                         float *out)
{
    const size_t width = (size_t)(rectangle->width / factor);
    const size_t count = width * (size_t)factor * (size_t)factor;
    GeglRectangle rows = {rectangle->x, rectangle->y, (int)width * factor, factor};
    g_autofree float *pixels = g_new(float, 4 * count);

    for (int y = 0; y < rectangle->height / factor; y++, rows.y += factor, out += width * 4) {
        pentimento_source_read(source, &rows, pixels);
        average(pixels, width, (size_t)factor, out);
    }
}

int pentimento_rectangle_read(const PentimentoSource *source, const GeglRectangle *rectangle,
                              int factor, GError **error)
{
    const int width = rectangle->width / factor, height = rectangle->height / factor;
    const size_t count = (size_t)width * height;
    const size_t bytes = count * 4 * sizeof(float);
    float *map;
    int fd;

    if (count > PENTIMENTO_MAX_PIXELS) {
        pentimento_set_error(error, CALLING_ERROR,
                             _("These are %d × %d pixels, more than can be worked on at once (%u "
                               "million): select a smaller part of the layer, or crop it."),
                             width, height, PENTIMENTO_MAX_PIXELS / 1000000);
        return -1;
    }
    fd = open_memory("pentimento-picture", bytes, &map, error);
    if (fd < 0)
        return -1;
    if (factor > 1)
        read_reduced(source, rectangle, factor, map);
    else
        pentimento_source_read(source, rectangle, map);
    return seal(fd, map, bytes);
}

int pentimento_pixels_read(const PentimentoRegion *region, bool change, GError **error)
{
    g_auto(PentimentoSource) source = {0};

    if (!pentimento_source_open(&source, GIMP_DRAWABLE(region->layer),
                                (PentimentoSight){.filtered = !change}, error))
        return -1;
    return pentimento_rectangle_read(&source, &region->frame, 1, error);
}

/* It is as large as the image; beyond it nothing is selected. */
static void read_selection(const PentimentoRegion *region, float *mask)
{
    GimpSelection *selection = gimp_image_get_selection(region->image);
    GeglBuffer *buffer = gimp_drawable_get_buffer(GIMP_DRAWABLE(selection));
    GeglRectangle frame = region->frame;

    frame.x += region->offset_x;
    frame.y += region->offset_y;
    gegl_buffer_get(buffer, &frame, 1.0, babl_format("Y float"), mask, GEGL_AUTO_ROWSTRIDE,
                    GEGL_ABYSS_NONE);
    pentimento_snap(gegl_buffer_get_format(buffer), mask, (size_t)frame.width * frame.height);
    g_object_unref(buffer);
}

/* How far pixel i is marked, of a line of `length` of which `before` and `after` lie beyond the
 * layer. */
static float marked(int i, int length, int before, int after, int overlap)
{
    const int within =
        MIN(before > 0 ? i - before : G_MAXINT, /* from the nearest edge that moves */
            after > 0 ? length - after - 1 - i : G_MAXINT);

    if (within < 0)
        return 1;
    return within < overlap ? 1 - (within + 0.5f) / (float)overlap : 0;
}

static void draw_extension(const PentimentoRegion *region, float *mask)
{
    const GeglRectangle *frame = &region->frame;
    const int right = frame->width + frame->x - region->width;
    const int bottom = frame->height + frame->y - region->height;

    for (int y = 0; y < frame->height; y++) {
        const float down = marked(y, frame->height, -frame->y, bottom, region->overlap);

        for (int x = 0; x < frame->width; x++)
            *mask++ = MAX(down, marked(x, frame->width, -frame->x, right, region->overlap));
    }
}

int pentimento_mask_read(const PentimentoRegion *region, GError **error)
{
    const size_t bytes = (size_t)region->frame.width * region->frame.height * sizeof(float);
    float *map;
    int fd = open_memory("pentimento-mask", bytes, &map, error);

    if (fd < 0)
        return -1;
    if (region->extends)
        draw_extension(region, map);
    else
        read_selection(region, map);
    return seal(fd, map, bytes);
}
