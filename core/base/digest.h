/* Texts and numbers in digests. */
#pragma once

#include <glib.h>
#include <string.h>

/* Room for the text of a number, to its last bit and with a point in every language: "%.17g" in the
 * locale C, by which runs are found again that were begun before. */
typedef struct {
    char text[G_ASCII_DTOSTR_BUF_SIZE];
} LdmDigits;

static inline const char *ldm_digits(LdmDigits *digits, double value)
{
    return g_ascii_dtostr(digits->text, sizeof digits->text, value);
}

/* Adds a text with its end, so that two texts are not the same as one. */
static inline void ldm_digest_text(GChecksum *sum, const char *text)
{
    g_checksum_update(sum, (const guchar *)text, (gssize)strlen(text) + 1);
}
