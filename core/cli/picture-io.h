/* Pictures in files, through gdk-pixbuf: 8 bits a channel. */
#pragma once

#include "ldm.h"

#define PENTIMENTO_MAX_FILE   ((size_t)1 << 30) /* bytes of a picture file */
#define PENTIMENTO_MAX_PIXELS ((size_t)1 << 28) /* of a picture */

/* What a picture file says besides its pixels, and what one shall say. */
typedef struct {
    char *icc_profile; /* base64, as gdk-pixbuf hands it around; NULL = sRGB */
    bool reduced;      /* reading PNG or TIFF: it had more than 8 bits a channel */
    bool flattened;    /* writing says: the format has no alpha, and some was not 1 */
    const char *text;  /* writing PNG: the settings, UTF-8, under "parameters"; or NULL */
} PentimentoPictureInfo;

void pentimento_picture_info_clear(PentimentoPictureInfo *info);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(PentimentoPictureInfo, pentimento_picture_info_clear)

/* [1, H, W, 4], R'G'B' and straight alpha, 0..1, turned upright. "-" is standard input. `info` may
 * be NULL. Errors: FILE, FORMAT, MEMORY. */
LdmTensor *pentimento_picture_read(const char *path, PentimentoPictureInfo *info, GError **error);

/* [1, H, W, 1]: the picture's brightness times its alpha; white repaints, black keeps. */
LdmTensor *pentimento_mask_read(const char *path, GError **error);

/* True where a picture can be written to a file of that name: the name's ending tells the format,
 * "-" is PNG on standard output. Wrong endings are a G_OPTION_ERROR that lists the right ones. */
bool pentimento_picture_writable(const char *path, GError **error);

/* Writes [1, H, W, 3 or 4], values clamped to 0..1; alpha is left out where all of it is 1. The
 * file appears whole or not at all. `info` may be NULL. */
bool pentimento_picture_write(const LdmTensor *picture, PentimentoPictureInfo *info,
                              const char *path, GError **error);

/* `png` with an iTXt chunk "keyword" = `text` behind its header; free with g_free. */
guint8 *pentimento_png_add_text(const guint8 *png, size_t length, const char *keyword,
                                const char *text, size_t *new_length);
