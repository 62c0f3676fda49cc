/* The structs on the arrows of the line: gives back what a stage handed on. What is cleared may be
 * cleared again. */
#include "pipeline/types.h"

void ldm_prepared_clear(LdmPrepared *prepared)
{
    ldm_tensor_free(prepared->image);
    ldm_tensor_free(prepared->masked);
    ldm_tensor_free(prepared->mask);
    ldm_tensor_free(prepared->cells);
    *prepared = (LdmPrepared){0};
}

void ldm_conditioning_clear(LdmConditioning *conditioning)
{
    ldm_tensor_free(conditioning->context);
    ldm_tensor_free(conditioning->negative);
    ldm_tensor_free(conditioning->concat);
    *conditioning = (LdmConditioning){0};
}

void ldm_times_clear(LdmTimes *times)
{
    g_free(times->timesteps);
    g_free(times->alpha_bar);
    g_free(times->alpha_next);
    *times = (LdmTimes){0};
}

void ldm_latents_clear(LdmLatents *latents)
{
    ldm_tensor_free(latents->z0);
    ldm_tensor_free(latents->noise);
    ldm_tensor_free(latents->zt);
    *latents = (LdmLatents){0};
}
