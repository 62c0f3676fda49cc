/* Training a latent diffusion model: the loop around L_LDM. The folder of a run holds the finished
 * model (a diffusers folder), "checkpoints/", "latents/" and "log.jsonl". */
#pragma once

#include "train/checkpoint.h"
#include "train/latent-cache.h"
#include "train/loss-ldm.h"

typedef struct {
    LdmOptimiserOptions optimiser;
    LdmCacheOptions latents; /* the seed and `holes` are filled in */
    LdmLossOptions loss;
    size_t batch;      /* samples of one pass */
    size_t accumulate; /* passes of one step */
    double drop;       /* share of captions left out, so that guidance can be used; 0 .. 1 */
    bool train_text;   /* tau_theta jointly with epsilon_theta, as in the paper */
    int64_t seed;
    size_t save_every; /* steps between checkpoints */
    int keep;          /* checkpoints kept */
    bool resume;       /* from the newest one; it must be there */
} LdmTrainOptions;

/* For a model: its native size, the caption dropout of the paper's guided models. */
LdmTrainOptions ldm_train_defaults(const LdmModel *model);

/* Known before the first step is taken. */
typedef struct {
    size_t examples, skipped;
    size_t trained; /* weights */
    size_t bytes;   /* of memory: weights, gradients, moments, averages, the pass */
    double seconds; /* of one step, measured on one that is not counted */
    uint64_t first_step, steps;
} LdmTrainPlan;

typedef struct {
    uint64_t step, steps; /* 1-based */
    double loss;
    LdmStep update;
    double seconds_left;
} LdmTrainStep;

/* What the caller lends and wants to see; callbacks may be NULL, all but `read`. */
typedef struct {
    LdmPictureRead read;
    void *read_data;
    GCancellable *cancellable;
    void (*encoding)(size_t done, size_t total, void *data);
    void (*planned)(const LdmTrainPlan *plan, const GPtrArray *skipped, void *data);
    void (*stepped)(const LdmTrainStep *step, void *data);
    void *data;
} LdmTrainWatch;

/* Trains `model`, which must not be computed with afterwards, and writes it to `folder`. Cancelling
 * saves a checkpoint of the last whole step; the error is then CANCELLED. Errors: INVALID (options;
 * a folder that has checkpoints, without `resume`), FILE, MEMORY, NONFINITE, those of the parts. */
bool ldm_train_ldm(LdmModel *model, const LdmDataset *dataset, const LdmTrainOptions *options,
                   const LdmTrainWatch *watch, const char *folder, GError **error);
