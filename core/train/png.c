/* PNG files. In: a picture that cairo has drawn. Out: a file that takes its name in one step, so
 * that whoever looks at it while training goes on never sees half a picture. */
#include "train/png.h"

#include "base/error.h"
#include "base/file-atomic.h"

static cairo_status_t append(void *data, const unsigned char *bytes, unsigned int length)
{
    g_byte_array_append(data, bytes, length);
    return CAIRO_STATUS_SUCCESS;
}

bool ldm_png_write(cairo_surface_t *surface, const char *path, GError **error)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();

    if (cairo_surface_write_to_png_stream(surface, append, bytes) == CAIRO_STATUS_SUCCESS)
        return ldm_file_write_atomic(path, bytes->data, bytes->len, error);
    ldm_set_error(error, MEMORY, _("there is no memory for the picture “%s”"), path);
    return false;
}
