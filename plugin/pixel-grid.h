#pragma once

#include <gegl.h>

/* Rounds `count` floats to multiples of 1/65535 where the drawable's `format` holds integers of 8
 * or 16 bits; leaves those of other drawables alone.
 *
 * babl picks its conversions by their speed, measured anew in each process, and they differ in the
 * last bits of a float: enough for a picture that is not the same when it is made again. Every 8-
 * and 16-bit value lies on this grid, and no point of it is half-way between two of them. */
void pentimento_snap(const Babl *format, float *values, size_t count);
