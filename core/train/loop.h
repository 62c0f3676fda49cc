/* The loop that every kind of training runs in: epochs, steps, checkpoints, log, time left. A kind
 * of training (train-ldm.c, train-autoencoder.c, train-contrastive.c) gives it one function that
 * does one pass, and one that writes the finished model. The folder of a run holds the finished
 * model, "checkpoints/" and "log.jsonl", "loss.png", its curve, drawn at every checkpoint, and
 * perhaps "snapshots/" (snapshots.h). */
#pragma once

#include "train/checkpoint.h"
#include "train/dataset.h"

/* What products multiply; sums, weights, norms and all else are f32. */
typedef enum { LDM_TRAIN_F32, LDM_TRAIN_BF16 } LdmTrainPrecision;

typedef struct {
    LdmOptimiserOptions optimiser;
    size_t batch;      /* samples of one pass of one process */
    size_t accumulate; /* passes of one step */
    int64_t seed;
    size_t save_every; /* steps between checkpoints */
    int keep;          /* checkpoints kept */
    bool resume;       /* from the newest one; it must be there */
    bool finish;       /* take no more steps: the model is what the checkpoint has */
    bool half;         /* the finished model's weights in f16; else as the model it began with */
    LdmTrainPrecision precision; /* of the denoiser's and the autoencoder's training */
    bool checkpointing;          /* of these, too: ldm_pass_set_checkpoints; changes no bit */
    size_t look_every;           /* steps between two calls of LdmLoopWork.look; 0: none */
    size_t snapshots; /* of the averages over profiles, where there are any, in the whole run */
} LdmLoopOptions;

LdmLoopOptions ldm_loop_defaults(void);

/* Known before the first step is taken. */
typedef struct {
    size_t examples, skipped;
    size_t wordless; /* of the examples: those that lack the caption they might have */
    size_t trained;  /* weights */
    int processes;
    size_t bytes; /* of each one's memory: weights, gradients, moments, averages, the passes */
    size_t snapshots, snapshot_bytes; /* of the whole run, of all of them on the disk */
    double seconds;                   /* of one step, measured on one that is not counted */
    uint64_t first_step, steps;
    const char *passed_over; /* why a newer checkpoint is not gone on from, or NULL */
} LdmTrainPlan;

#define LDM_TRAIN_TERMS 7

typedef struct {
    uint64_t step, steps; /* 1-based */
    double loss;
    double adversary; /* the discriminator's loss, where there is one */
    LdmStep update;
    double seconds_left;
    /* What the loss is made of, means over the passes; for the log. */
    struct {
        const char *name;
        double value;
    } terms[LDM_TRAIN_TERMS];
} LdmTrainStep;

/* Adds to a term of the step; it begins at zero. */
void ldm_train_step_add(LdmTrainStep *step, const char *name, double value);

/* What the caller lends and wants to see; callbacks may be NULL, all but `read`. */
typedef struct {
    LdmPictureRead read;
    void *read_data;
    GCancellable *cancellable;
    LdmRanks *ranks; /* processes that train together; NULL: this one alone */
    void (*encoding)(size_t done, size_t total, void *data);
    void (*planned)(const LdmTrainPlan *plan, const GPtrArray *skipped, void *data);
    void (*stepped)(const LdmTrainStep *step, void *data);
    void (*looked)(const char *path, void *data); /* a picture of samples is there */
    void *data;
} LdmTrainWatch;

typedef struct {
    /* Pass `number` of step->step: adds ldm_loop_share of its gradients, loss and terms. */
    bool (*pass)(void *data, size_t number, LdmTrainStep *step, GError **error);
    /* After some steps, or NULL: shows what has been learnt. Changes nothing. */
    bool (*look)(void *data, GError **error);
    /* After the last step: the finished model. */
    bool (*write)(void *data, GError **error);
    void *data;
} LdmLoopWork;

typedef struct LdmLoop LdmLoop;

/* Checks the options, opens and locks the folder. options, watch and folder are borrowed.
 * Errors: INVALID (an option; a folder that has checkpoints or a model, without `resume`),
 * UNSUPPORTED (bf16 on a processor that gains nothing by it), FILE. */
LdmLoop *ldm_loop_new(const LdmLoopOptions *options, const LdmTrainWatch *watch, const char *folder,
                      GError **error);
void ldm_loop_free(LdmLoop *loop);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmLoop, ldm_loop_free)

/* `others`: everything that the run's numbers depend on besides the loop's own options, as
 * "name=value" words. May be called before all of it is known, so that a run that cannot be resumed
 * is refused before it takes time. Errors, of a resumed one: those of ldm_checkpoints_check. */
bool ldm_loop_set_settings(LdmLoop *loop, const char *others, GError **error);

/* The tables that are trained go in here. */
LdmOptimiser *ldm_loop_optimiser(LdmLoop *loop);

/* A second optimiser for a network that is trained against the first, steps from `start` on; it
 * belongs to the loop. Errors: INVALID. */
LdmOptimiser *ldm_loop_add_adversary(LdmLoop *loop, const LdmOptimiserOptions *options,
                                     uint64_t start, GError **error);
LdmOptimiser *ldm_loop_adversary(LdmLoop *loop); /* or NULL */

/* The example of sample `sample` of step 0, 1 ...: all `count` once an epoch, shuffled anew for
 * each. */
void ldm_loop_set_examples(LdmLoop *loop, size_t count);

/* From now on all examples of a pass come from one bucket; `buckets` [count] says which and is
 * borrowed. Where a bucket's last batch of an epoch is not full, some of it comes twice. */
void ldm_loop_set_buckets(LdmLoop *loop, const uint8_t *buckets);

size_t ldm_loop_example(LdmLoop *loop, uint64_t step, size_t sample);

/* The sample of the step that is number `place` of this process's pass `number`: all processes'
 * passes together are one pass of one process with as many times the batch. */
size_t ldm_loop_sample(const LdmLoop *loop, size_t number, size_t place);

/* What one pass counts of a step: 1 / (accumulate * processes). */
double ldm_loop_share(const LdmLoop *loop);

/* Called once by each process. Errors: MEMORY, where `bytes` for each are not free. */
bool ldm_loop_check_memory(LdmRanks *ranks, size_t bytes, GError **error);

/* Resumes if asked to, tells the plan (whose times and steps are filled in), takes the steps and
 * writes the model. Cancelling saves a checkpoint of the last whole step; the error is then
 * CANCELLED. Errors: those of the parts. */
bool ldm_loop_run(LdmLoop *loop, LdmTrainPlan *plan, const GPtrArray *skipped,
                  const LdmLoopWork *work, GError **error);
