/* Places beyond the edge of a picture, for the filters of losses. */
#pragma once

#include <glib.h>
#include <stddef.h>

/* i beyond 0 .. n - 1, mirrored at the edge between pixels. */
static inline size_t ldm_mirror(ptrdiff_t i, size_t n)
{
    ptrdiff_t last = (ptrdiff_t)n - 1;

    i = i < 0 ? -1 - i : i > last ? 2 * last + 1 - i : i;
    return (size_t)CLAMP(i, 0, last);
}
