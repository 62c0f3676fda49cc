/* denoise: DDIM, arXiv 2010.02502, equation 12. With s = eta sqrt((1-a')/(1-a) (1 - a/a')):
 *
 *     z' = sqrt(a') x0 + sqrt(1 - a' - s^2) eps + s noise
 */
#include "denoise/sampler.h"

#include <math.h>

typedef struct {
    LdmStepper base;
    double eta;
} Ddim;

static void ddim_step(LdmStepper *self, const LdmStep *step)
{
    double a = step->a, next = step->a_next;
    double variance = (1.0 - next) / (1.0 - a) * (1.0 - a / next);
    double s = ((Ddim *)self)->eta * sqrt(MAX(variance, 0.0));
    double signal = sqrt(next), direction = sqrt(MAX(1.0 - next - s * s, 0.0));

    for (size_t i = 0; i < step->cells * step->channels; i++) {
        double z = signal * step->x0[i] + direction * step->eps[i];
        step->z[i] = (float)(step->noise != NULL ? z + s * step->noise[i] : z);
    }
}

static void ddim_free(LdmStepper *self)
{
    g_free(self);
}

LdmStepper *ldm_stepper_ddim(double eta)
{
    Ddim *ddim = g_new(Ddim, 1);

    *ddim = (Ddim){.base = {.wants_noise = eta > 0.0, .step = ddim_step, .free = ddim_free},
                   .eta = eta};
    return &ddim->base;
}
