/* denoise: picks the sampler. In comes its name, out goes the struct that the loop calls for each
 * step without knowing which one it is. */
#include "denoise/sampler.h"

#include <math.h>

LdmStepper *ldm_stepper_new(LdmSampler sampler, double eta, size_t count, GError **error)
{
    switch (sampler) {
    case LDM_SAMPLER_EULER: return ldm_stepper_euler(false);
    case LDM_SAMPLER_EULER_A: return ldm_stepper_euler(true);
    case LDM_SAMPLER_DPMPP_2M: return ldm_stepper_dpmpp(count, error);
    case LDM_SAMPLER_DDIM: break;
    }
    return ldm_stepper_ddim(eta);
}

void ldm_stepper_free(LdmStepper *stepper)
{
    if (stepper != NULL)
        stepper->free(stepper);
}

double ldm_sigma(double alpha_bar)
{
    return sqrt((1.0 - alpha_bar) / alpha_bar);
}
