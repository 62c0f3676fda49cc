/* The grid on which pixels cross the border between babl and the engine, so that the same layer and
 * the same seed make the same bytes, whichever of its conversions babl has found the fastest. */
#include "pixel-grid.h"

#include <math.h>

#define STEPS 65535.0

void pentimento_snap(const Babl *format, float *values, size_t count)
{
    const Babl *type = babl_format_get_type(format, 0);

    if (type != babl_type("u8") && type != babl_type("u16"))
        return;
    for (size_t i = 0; i < count; i++)
        values[i] = (float)(rint(values[i] * STEPS) / STEPS);
}
