/* denoise: DPM-Solver++(2M), arXiv 2211.01095, algorithm 2, midpoint form, one step from x0:
 *     z' = (sqrt(1-a') / sqrt(1-a)) z + sqrt(a') (1 - e^-h) D,   h = ln(sigma / sigma')
 *     D = x0 + (h / 2 h_before) (x0 - x0_before)
 * First order (D = x0) in the run's last step, where h is infinite, and in a cell's first step: a
 * cell that a mask held back until now has no history of its own. */
#include "base/checked.h"
#include "base/error.h"
#include "denoise/sampler.h"

#include <math.h>
#include <string.h>

typedef struct {
    LdmStepper base;
    float *before; /* [cells * channels] x0 of the previous step */
} Dpmpp;

static void dpmpp_step(LdmStepper *self, const LdmStep *step)
{
    float *before = ((Dpmpp *)self)->before;
    double sigma = ldm_sigma(step->a), ratio = ldm_sigma(step->a_next) / sigma;
    double keep = sqrt((1.0 - step->a_next) / (1.0 - step->a));
    double move = sqrt(step->a_next) * (1.0 - ratio), slope = 0.0;

    if (!step->last && step->k > 0) {
        double h_before = log(ldm_sigma(step->a_before) / sigma);
        slope = h_before > 0.0 ? -log(ratio) / (2.0 * h_before) : 0.0;
    }
    for (size_t cell = 0; cell < step->cells; cell++) {
        double own_slope = step->start[cell] < step->k ? slope : 0.0;
        for (size_t c = 0; c < step->channels; c++) {
            size_t i = cell * step->channels + c;
            double d = step->x0[i];
            if (own_slope > 0.0)
                d += own_slope * ((double)step->x0[i] - before[i]);
            step->z[i] = (float)(keep * step->z[i] + move * d);
        }
    }
    memcpy(before, step->x0, step->cells * step->channels * sizeof(float));
}

static void dpmpp_free(LdmStepper *self)
{
    ldm_aligned_free(((Dpmpp *)self)->before);
    g_free(self);
}

LdmStepper *ldm_stepper_dpmpp(size_t count, GError **error)
{
    float *before = ldm_aligned_alloc0(count, sizeof(float), _("the sampler"), error);

    if (before == NULL)
        return NULL;
    Dpmpp *dpmpp = g_new(Dpmpp, 1);
    *dpmpp = (Dpmpp){.base = {.step = dpmpp_step, .free = dpmpp_free}, .before = before};
    return &dpmpp->base;
}
