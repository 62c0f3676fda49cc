/* Settings inside a PNG file: one iTXt chunk (PNG specification, 11.3.3.4), because prompts are in
 * any script and gdk-pixbuf writes Latin-1 only. */
#include "cli/picture-io.h"

#include <string.h>

#define HEADER_LENGTH 33 /* signature 8, IHDR chunk 4 + 4 + 13 + 4 */

/* CRC-32 of ISO 3309, bit by bit: the texts are short. */
static guint32 crc32_of(const guint8 *bytes, size_t length)
{
    guint32 crc = 0xffffffffu;

    for (size_t i = 0; i < length; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static void append_be32(GByteArray *array, guint32 number)
{
    guint32 bytes = GUINT32_TO_BE(number);

    g_byte_array_append(array, (const guint8 *)&bytes, sizeof bytes);
}

guint8 *pentimento_png_add_text(const guint8 *png, size_t length, const char *keyword,
                                const char *text, size_t *new_length)
{
    /* keyword, 0, not compressed (2 bytes), no language, no translated keyword, text */
    GByteArray *out = g_byte_array_sized_new((guint)length);
    size_t keyword_length = strlen(keyword), text_length = strlen(text);
    size_t head = MIN(length, HEADER_LENGTH);
    guint start;

    g_byte_array_append(out, png, (guint)head);
    append_be32(out, (guint32)(keyword_length + 5 + text_length));
    start = out->len;
    g_byte_array_append(out, (const guint8 *)"iTXt", 4);
    g_byte_array_append(out, (const guint8 *)keyword, (guint)keyword_length);
    g_byte_array_append(out, (const guint8 *)"\0\0\0\0\0", 5);
    g_byte_array_append(out, (const guint8 *)text, (guint)text_length);
    append_be32(out, crc32_of(out->data + start, out->len - start));
    g_byte_array_append(out, png + head, (guint)(length - head));
    *new_length = out->len;
    return g_byte_array_free(out, FALSE);
}
