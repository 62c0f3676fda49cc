/* Samplers: one step from level a to level a_next, from the predicted x0 and epsilon. Private to
 * denoise/. Each kind is a small struct behind two function pointers, in a file of its own. */
#pragma once

#include "ldm.h"

/* What one step sees. Arrays hold cells * channels values, NHWC. */
typedef struct {
    int k; /* step of the schedule */
    bool last;
    double a_before;  /* alpha_bar of step k - 1 (k > 0) */
    double a, a_next; /* alpha_bar of this step, and where it leads */
    size_t cells, channels;
    const int *start;      /* [cells] first step of each cell; a cell with start > k is held */
    const float *x0, *eps; /* prediction: z = sqrt(a) x0 + sqrt(1 - a) eps */
    const float *noise;    /* unit variance; NULL where not wanted */
    float *z;              /* in: at level a; out: at level a_next */
} LdmStep;

typedef struct LdmStepper LdmStepper;
struct LdmStepper {
    bool wants_noise; /* unit noise is drawn for every step */
    void (*step)(LdmStepper *self, const LdmStep *step);
    void (*free)(LdmStepper *self);
};

/* `count` = cells * channels, for samplers with a history. Errors: MEMORY. */
LdmStepper *ldm_stepper_new(LdmSampler sampler, double eta, size_t count, GError **error);
void ldm_stepper_free(LdmStepper *stepper);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmStepper, ldm_stepper_free)

LdmStepper *ldm_stepper_ddim(double eta);
LdmStepper *ldm_stepper_euler(bool ancestral);
LdmStepper *ldm_stepper_dpmpp(size_t count, GError **error);

/* Standard deviation per signal, the sigma of the k-samplers: sqrt((1 - a) / a). */
double ldm_sigma(double alpha_bar);
