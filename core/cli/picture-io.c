/* Pictures in and out of the command line. A file becomes float R'G'B'A and back; 8-bit values
 * survive the way there and back unchanged. */
#include "cli/picture-io.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/file-atomic.h"
#include "tensor/tensor.h"

#include <gdk-pixbuf/gdk-pixbuf.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

void pentimento_picture_info_clear(PentimentoPictureInfo *info)
{
    g_clear_pointer(&info->icc_profile, g_free);
}

/* ---- reading ----------------------------------------------------------------------------- */

static GByteArray *read_input(const char *path, GError **error)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    bool standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdin : fopen(path, "rbe");
    guint8 part[65536];
    size_t n;
    int fault;

    if (file == NULL) {
        ldm_set_error(error, FILE, _("“%s” cannot be opened: %s"), path, g_strerror(errno));
        return NULL;
    }
    while ((n = fread(part, 1, sizeof part, file)) > 0 && bytes->len <= PENTIMENTO_MAX_FILE)
        g_byte_array_append(bytes, part, (guint)n);
    fault = ferror(file) ? errno : 0;
    if (!standard)
        fclose(file);
    if (fault != 0) {
        ldm_set_error(error, FILE, _("“%s” cannot be read: %s"), path, g_strerror(fault));
        return NULL;
    }
    if (bytes->len > PENTIMENTO_MAX_FILE) {
        ldm_set_error(error, FORMAT, _("“%s” is larger than 1 GiB, too large for a picture"), path);
        return NULL;
    }
    return g_steal_pointer(&bytes);
}

typedef struct {
    int width, height;
    int top, bottom; /* rows unpacked so far: top .. bottom - 1 */
    bool too_large;
} Size;

/* Known before the pixels are unpacked; size 0 makes gdk-pixbuf give up. */
static void on_size(GdkPixbufLoader *loader, int width, int height, gpointer data)
{
    Size *size = data;

    size->width = width;
    size->height = height;
    size->too_large = (size_t)width * (size_t)height > PENTIMENTO_MAX_PIXELS;
    if (size->too_large)
        gdk_pixbuf_loader_set_size(loader, 0, 0);
}

static void on_rows(GdkPixbufLoader *loader, int x, int y, int width, int height, gpointer data)
{
    Size *size = data;

    size->top = MIN(size->top, y);
    size->bottom = MAX(size->bottom, y + height);
}

/* True where the end-of-image marker, ff d9, follows the pixels, which cannot contain it. Segments
 * (ff, kind, two bytes of length) come before them, and a thumbnail with an end of its own is in
 * one; ff da begins the pixels. */
static bool jpeg_ends(const guint8 *data, size_t length)
{
    size_t at = 2;

    while (at + 4 <= length && data[at] == 0xff && data[at + 1] != 0xda)
        at += data[at + 1] == 0xff ? 1 : 2 + ((size_t)data[at + 2] << 8 | data[at + 3]);
    return at < length && memmem(data + at, length - at, "\xff\xd9", 2) != NULL;
}

/* gdk-pixbuf passes PNG, JPEG and BMP files that end early over in silence, with the rest of the
 * picture blank. */
static bool is_cut_short(const GByteArray *bytes, const Size *size, GdkPixbufLoader *loader)
{
    g_autofree char *format = gdk_pixbuf_format_get_name(gdk_pixbuf_loader_get_format(loader));

    if (strcmp(format, "png") == 0 && memmem(bytes->data, bytes->len, "IEND", 4) == NULL)
        return true;
    if (strcmp(format, "jpeg") == 0 && !jpeg_ends(bytes->data, bytes->len))
        return true;
    return strcmp(format, "gif") != 0 && (size->top > 0 || size->bottom < size->height);
}

/* With its profile, which gdk-pixbuf forgets when it turns a picture. */
static GdkPixbuf *upright(GdkPixbuf *pixbuf)
{
    GdkPixbuf *turned = gdk_pixbuf_apply_embedded_orientation(pixbuf);
    const char *profile = gdk_pixbuf_get_option(pixbuf, "icc-profile");

    if (profile != NULL && turned != NULL)
        gdk_pixbuf_set_option(turned, "icc-profile", profile); /* kept where it has one already */
    return turned;
}

static GdkPixbuf *unpack(const GByteArray *bytes, const char *path, GError **error)
{
    g_autoptr(GdkPixbufLoader) loader = gdk_pixbuf_loader_new();
    g_autoptr(GError) reason = NULL;
    Size size = {.top = G_MAXINT};
    bool fine;

    g_signal_connect(loader, "size-prepared", G_CALLBACK(on_size), &size);
    g_signal_connect(loader, "area-updated", G_CALLBACK(on_rows), &size);
    fine = bytes->len > 0 && gdk_pixbuf_loader_write(loader, bytes->data, bytes->len, &reason);
    fine = gdk_pixbuf_loader_close(loader, fine ? &reason : NULL) && fine;
    if (size.too_large)
        ldm_set_error(error, FORMAT,
                      _("“%s” is %d × %d pixels, more than can be worked on: scale "
                        "it down, or cut a part out of it"),
                      path, size.width, size.height);
    else if (!fine || gdk_pixbuf_loader_get_pixbuf(loader) == NULL)
        ldm_set_error(error, FORMAT, _("“%s” is not a picture that can be read: %s"), path,
                      reason != NULL ? reason->message : _("it is empty"));
    else if (is_cut_short(bytes, &size, loader))
        ldm_set_error(error, FORMAT, _("“%s” is cut short: get the whole file again"), path);
    else
        return upright(gdk_pixbuf_loader_get_pixbuf(loader));
    return NULL;
}

/* PNG says its depth at byte 24, in its header. */
static bool is_deep_png(const GByteArray *bytes)
{
    return bytes->len > 24 && memcmp(bytes->data, "\x89PNG\r\n\x1a\n", 8) == 0 &&
           bytes->data[24] == 16;
}

/* A number of `size` bytes in a TIFF file; 0 beyond its end. */
static guint32 tiff_number(const GByteArray *bytes, guint64 at, int size)
{
    const bool little = bytes->data[0] == 'I';
    guint32 number = 0;

    if (at + (guint64)size > bytes->len)
        return 0;
    for (int i = 0; i < size; i++)
        number = number << 8 | bytes->data[at + (guint64)(little ? size - 1 - i : i)];
    return number;
}

/* TIFF says it for each channel in its first directory: 12 bytes an entry. Up to two shorts lie in
 * the entry itself, more where it points to. */
static bool is_deep_tiff(const GByteArray *bytes)
{
    enum { BITS_PER_SAMPLE = 258 };

    if (bytes->len < 8 ||
        (memcmp(bytes->data, "II*", 4) != 0 && memcmp(bytes->data, "MM\0*", 4) != 0))
        return false;
    const guint64 directory = tiff_number(bytes, 4, 4);
    const guint32 entries = tiff_number(bytes, directory, 2);
    for (guint32 i = 0; i < entries; i++) {
        const guint64 entry = directory + 2 + 12 * (guint64)i;

        if (tiff_number(bytes, entry, 2) == BITS_PER_SAMPLE) {
            bool inside = tiff_number(bytes, entry + 4, 4) <= 2;
            return tiff_number(bytes, inside ? entry + 8 : tiff_number(bytes, entry + 8, 4), 2) > 8;
        }
    }
    return false;
}

static LdmTensor *to_tensor(const GdkPixbuf *pixbuf, GError **error)
{
    size_t W = (size_t)gdk_pixbuf_get_width(pixbuf), H = (size_t)gdk_pixbuf_get_height(pixbuf);
    size_t stride = (size_t)gdk_pixbuf_get_rowstride(pixbuf);
    size_t channels = (size_t)gdk_pixbuf_get_n_channels(pixbuf);
    const guint8 *from = gdk_pixbuf_read_pixels(pixbuf);
    LdmTensor *picture = ldm_tensor_new_nhwc(1, H, W, 4, error);

    if (picture == NULL)
        return NULL;
    for (size_t i = 0; i < H * W; i++) {
        const guint8 *pixel = from + i / W * stride + i % W * channels;
        float *out = ldm_tensor_f32(picture) + i * 4;

        for (size_t c = 0; c < 4; c++)
            out[c] = c < channels ? (float)pixel[c] / 255.0f : 1.0f;
    }
    return picture;
}

LdmTensor *pentimento_picture_read(const char *path, PentimentoPictureInfo *info, GError **error)
{
    g_autoptr(GByteArray) bytes = read_input(path, error);
    g_autoptr(GdkPixbuf) pixbuf = bytes != NULL ? unpack(bytes, path, error) : NULL;

    if (pixbuf == NULL)
        return NULL;
    if (info != NULL) {
        *info = (PentimentoPictureInfo){
            .icc_profile = g_strdup(gdk_pixbuf_get_option(pixbuf, "icc-profile")),
            .reduced = is_deep_png(bytes) || is_deep_tiff(bytes),
        };
    }
    return to_tensor(pixbuf, error);
}

LdmTensor *pentimento_mask_read(const char *path, GError **error)
{
    g_autoptr(LdmTensor) picture = pentimento_picture_read(path, NULL, error);
    LdmTensor *mask;

    if (picture == NULL)
        return NULL;
    mask = ldm_tensor_new_nhwc(1, picture->shape[1], picture->shape[2], 1, error);
    for (size_t i = 0; mask != NULL && i < ldm_tensor_count(mask); i++) {
        const float *p = ldm_tensor_f32(picture) + i * 4;
        /* grey stays exactly what it is */
        float brightness =
            p[0] == p[1] && p[1] == p[2] ? p[0] : 0.299f * p[0] + 0.587f * p[1] + 0.114f * p[2];

        ldm_tensor_f32(mask)[i] = brightness * p[3];
    }
    return mask;
}

/* ---- writing ----------------------------------------------------------------------------- */

/* gdk-pixbuf's name of the format that `path` ends in; NULL where it cannot write it. Static. */
static const char *format_of(const char *path)
{
    static const struct {
        const char *ending, *format;
    } formats[] = {
        {".png", "png"},  {".jpg", "jpeg"},  {".jpeg", "jpeg"},
        {".tif", "tiff"}, {".tiff", "tiff"}, {".bmp", "bmp"},
    };
    g_autofree char *lower = g_ascii_strdown(path, -1);

    if (strcmp(path, "-") == 0)
        return "png";
    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++)
        if (g_str_has_suffix(lower, formats[i].ending))
            return formats[i].format;
    return NULL;
}

bool pentimento_picture_writable(const char *path, GError **error)
{
    if (format_of(path) != NULL)
        return true;
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                _("“%s” does not end in a picture format that can be written: .png, .jpg, .tiff "
                  "and .bmp can"),
                path);
    return false;
}

static guint8 to_byte(float value)
{
    return value > 0.0f ? (guint8)lrintf(MIN(value, 1.0f) * 255.0f) : 0; /* NaN: 0 */
}

static GdkPixbuf *to_pixbuf(const LdmTensor *picture, GError **error)
{
    size_t H = picture->shape[1], W = picture->shape[2], C = picture->shape[3];
    const float *from = ldm_tensor_f32(picture);
    bool alpha = false;
    GdkPixbuf *pixbuf;
    size_t stride, channels;
    guint8 *out;

    for (size_t i = 0; C == 4 && i < H * W && !alpha; i++)
        alpha = to_byte(from[i * 4 + 3]) < 255;
    pixbuf = W <= G_MAXINT && H <= G_MAXINT
                 ? gdk_pixbuf_new(GDK_COLORSPACE_RGB, alpha, 8, (int)W, (int)H)
                 : NULL;
    if (pixbuf == NULL) {
        ldm_set_no_memory(error, _("the finished picture"), H * W * (alpha ? 4 : 3));
        return NULL;
    }
    stride = (size_t)gdk_pixbuf_get_rowstride(pixbuf);
    channels = alpha ? 4 : 3;
    out = gdk_pixbuf_get_pixels(pixbuf);
    for (size_t i = 0; i < H * W * channels; i++) {
        size_t pixel = i / channels, c = i % channels;

        out[pixel / W * stride + pixel % W * channels + c] = to_byte(from[pixel * C + c]);
    }
    return pixbuf;
}

static bool write_bytes(const char *path, const void *data, size_t length, GError **error)
{
    if (strcmp(path, "-") != 0)
        return ldm_file_write_atomic(path, data, length, error);
    if (fwrite(data, 1, length, stdout) == length && fflush(stdout) == 0)
        return true;
    ldm_set_error(error, FILE, _("standard output cannot be written to: %s"), g_strerror(errno));
    return false;
}

/* With the profile if there is one; a damaged one, which some readers let pass, is left out. */
static bool pack(GdkPixbuf *pixbuf, const PentimentoPictureInfo *info, const char *path,
                 char **data, gsize *length, GError **error)
{
    const char *format = format_of(path);
    char *keys[] = {(char *)"icc-profile", NULL};
    char *values[] = {info != NULL ? info->icc_profile : NULL, NULL};
    g_autoptr(GError) reason = NULL;

    if (values[0] != NULL && strcmp(format, "bmp") != 0 &&
        gdk_pixbuf_save_to_bufferv(pixbuf, data, length, format, keys, values, NULL))
        return true;
    if (gdk_pixbuf_save_to_bufferv(pixbuf, data, length, format, NULL, NULL, &reason))
        return true;
    ldm_set_error(error, FILE, _("“%s” cannot be written: %s"), path, reason->message);
    return false;
}

static bool holds_alpha(const char *format)
{
    return strcmp(format, "jpeg") != 0 && strcmp(format, "bmp") != 0;
}

bool pentimento_picture_write(const LdmTensor *picture, PentimentoPictureInfo *info,
                              const char *path, GError **error)
{
    g_autoptr(GdkPixbuf) pixbuf = to_pixbuf(picture, error);
    g_autofree char *data = NULL;
    gsize length;

    if (pixbuf == NULL || !pack(pixbuf, info, path, &data, &length, error))
        return false;
    if (info != NULL)
        info->flattened = gdk_pixbuf_get_has_alpha(pixbuf) && !holds_alpha(format_of(path));
    if (info != NULL && info->text != NULL && strcmp(format_of(path), "png") == 0) {
        char *plain = data;

        data = (char *)pentimento_png_add_text((guint8 *)plain, length, "parameters", info->text,
                                               &length);
        g_free(plain);
    }
    return write_bytes(path, data, length, error);
}
