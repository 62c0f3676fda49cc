/* denoise: Euler (arXiv 2206.00364, algorithm 1 without churn) and ancestral Euler. In the
 * k-samplers' space x = z / sqrt(a) the derivative (x - x0) / sigma is eps itself, so one step is
 *     z' = sqrt(a') (x0 + sigma_down eps + sigma_up noise)
 *     ancestral: sigma_up^2 = sigma'^2 (1 - sigma'^2/sigma^2), sigma_down^2 = sigma'^2 - sigma_up^2
 *     Euler:     sigma_up = 0, sigma_down = sigma' */
#include "denoise/sampler.h"

#include <math.h>

static void euler_step(LdmStepper *self, const LdmStep *step)
{
    double signal = sqrt(step->a_next), sigma = ldm_sigma(step->a);
    double down = ldm_sigma(step->a_next), up = 0.0;

    if (step->noise != NULL) {
        double share = MAX(1.0 - (down * down) / (sigma * sigma), 0.0);
        up = down * sqrt(share);
        down = sqrt(MAX(down * down - up * up, 0.0));
    }
    for (size_t i = 0; i < step->cells * step->channels; i++) {
        double x = step->x0[i] + down * step->eps[i];
        if (step->noise != NULL)
            x += up * step->noise[i];
        step->z[i] = (float)(signal * x);
    }
}

static void euler_free(LdmStepper *self)
{
    g_free(self);
}

LdmStepper *ldm_stepper_euler(bool ancestral)
{
    LdmStepper *euler = g_new(LdmStepper, 1);

    *euler = (LdmStepper){.wants_noise = ancestral, .step = euler_step, .free = euler_free};
    return euler;
}
