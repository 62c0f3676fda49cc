/* Texts in digests. */
#pragma once

#include <glib.h>
#include <string.h>

/* Adds a text with its end, so that two texts are not the same as one. */
static inline void ldm_digest_text(GChecksum *sum, const char *text)
{
    g_checksum_update(sum, (const guchar *)text, (gssize)strlen(text) + 1);
}
