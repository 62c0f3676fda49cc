/* AdamW, or Muon, over parameter tables, and the exponential moving average (EMA) of the weights
 * that the finished model is made of. Weights are trained in f32 whatever the file held: adding a
 * table copies it and points its parameters at the copies, so that the network computes with them
 * and backward passes add to their gradients. */
#pragma once

#include "train/power-ema.h"
#include "train/ranks.h"
#include "weights/param.h"

/* Muon updates matrices (muon.h), AdamW what is none, and the first and last layers. */
typedef enum { LDM_ADAMW, LDM_MUON } LdmOptimiserKind;

typedef struct {
    LdmOptimiserKind kind;
    bool bf16;               /* Muon's products, where the processor gains by it */
    double rate;             /* highest learning rate */
    double beta1, beta2;     /* decay of the first and second moment */
    double eps;              /* outside the square root, as torch has it */
    double weight_decay;     /* decoupled (arXiv 1711.05101), times the rate */
    uint64_t warm_up, steps; /* the rate rises linearly, then falls as half a cosine to zero; with
                              * decay_from warm_up may go beyond the steps */
    uint64_t decay_from; /* 0; else it does not fall with the end in sight, but from here on by the
                              * inverse root of the step (arXiv 2312.02696, B.2) */
    uint64_t cool_down;  /* of such a run, its last steps, over which the rate falls to zero
                              * besides, as 1 - sqrt (arXiv 2405.18392) */
    double clip;         /* longest gradient, 2-norm over all tables; 0 = any */
    double ema;          /* decay of the moving average, at most (1 + n) / (10 + n) at step n */
    double profiles[LDM_PROFILES]; /* sigma_rel of power profiles that the weights are averaged over
                                    * besides, the narrower first; 0: none */
    double outlier;                /* a step whose loss or gradient norm lies this many standard
                              * deviations above the usual is left out; 0 = none */
    int patience; /* steps without a finite loss or gradient, in a row, that are borne */
} LdmOptimiserOptions;

LdmOptimiserOptions ldm_optimiser_defaults(void);

/* A moving mean and variance. */
typedef struct {
    double mean, variance;
} LdmSpread;

/* All of the optimiser's memory besides its arrays: what a checkpoint has to keep. */
typedef struct {
    uint64_t step;     /* steps asked for: the schedule's clock */
    uint64_t taken;    /* of them taken: Adam's own */
    uint64_t outliers; /* left out */
    uint64_t nonfinite;
    uint64_t nonfinite_row; /* of them in a row, up to now */
    LdmSpread loss, norm;
} LdmOptimiserState;

/* One parameter's arrays, `count` elements each, torch's order. */
typedef struct {
    char *name; /* "unet/conv_in.weight" */
    LdmParam *param;
    size_t count;
    size_t rows; /* of a matrix that Muon updates: moment2 is its step then; 0: AdamW does */
    float *weight, *gradient, *moment1, *moment2, *ema;
    float *profiles[LDM_PROFILES]; /* averages over them, or NULL */
} LdmTrained;

typedef struct LdmOptimiser LdmOptimiser;

/* Errors: INVALID (an option out of its range: says which). */
LdmOptimiser *ldm_optimiser_new(const LdmOptimiserOptions *options, GError **error);

/* Frees the weights, too: afterwards the tables must not be computed with. */
void ldm_optimiser_free(LdmOptimiser *optimiser);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmOptimiser, ldm_optimiser_free)

/* Adds a bound table; its parameters are called "PART/NAME" and are trained from now on, those
 * excepted whose `trained` is cleared afterwards: they stay as they are. Errors: MEMORY. */
bool ldm_optimiser_add(LdmOptimiser *optimiser, const char *part, LdmParams *params,
                       GError **error);

size_t ldm_optimiser_length(const LdmOptimiser *optimiser);
LdmTrained *ldm_optimiser_at(const LdmOptimiser *optimiser, size_t i);
LdmOptimiserState *ldm_optimiser_state(LdmOptimiser *optimiser);
const LdmOptimiserOptions *ldm_optimiser_options(const LdmOptimiser *optimiser);

void ldm_optimiser_clear_gradients(LdmOptimiser *optimiser);

/* Gradients become their sums over all ranks. Errors: another rank's. */
bool ldm_optimiser_sum_gradients(LdmOptimiser *optimiser, LdmRanks *ranks, GError **error);

/* Adds the weights to a digest. */
void ldm_optimiser_digest(const LdmOptimiser *optimiser, GChecksum *sum);

/* Bytes that it takes with these tables, ending with NULL, on this machine's threads. */
size_t ldm_optimiser_bytes(const LdmOptimiserOptions *options, const LdmParams *const *tables);

/* True where it averages over power profiles. */
bool ldm_optimiser_has_profiles(const LdmOptimiserOptions *options);

/* The learning rate of step 0, 1 ... */
double ldm_optimiser_rate(const LdmOptimiserOptions *options, uint64_t step);

typedef enum { LDM_STEP_TAKEN, LDM_STEP_OUTLIER, LDM_STEP_NONFINITE } LdmStepKind;

typedef struct {
    LdmStepKind kind;
    double norm; /* of the whole gradient, before clipping */
    double rate;
} LdmStep;

/* One step along the gradients that have been added up, which are zero afterwards. A loss or
 * gradient that is not finite changes nothing but the counters. Errors: NONFINITE once that has
 * happened more than `patience` times in a row. */
bool ldm_optimiser_step(LdmOptimiser *optimiser, double loss, LdmStep *step, GError **error);
