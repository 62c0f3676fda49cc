/* Conversion of constants and arrays between f32 and storage precision; called from within tiles,
 * so it is itself not parallel. */
#include "kernels/lanes.h"

#include <string.h>

void ldm_convert_to_f32(const void *src, LdmDtype dtype, float *dst, size_t n)
{
    if (dtype == LDM_F32)
        memcpy(dst, src, n * sizeof *dst);
    else if (dtype == LDM_F16)
        ldm_lanes()->f16_to_f32(src, dst, n);
    else
        ldm_lanes()->bf16_to_f32(src, dst, n);
}

void ldm_convert_from_f32(const float *src, LdmDtype dtype, void *dst, size_t n)
{
    if (dtype == LDM_F32)
        memcpy(dst, src, n * sizeof *src);
    else if (dtype == LDM_F16)
        ldm_lanes()->f32_to_f16(src, dst, n);
    else
        ldm_lanes()->f32_to_bf16(src, dst, n);
}
