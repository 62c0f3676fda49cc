/* What a training run would take, told before there is a picture. */
#pragma once

#include "train/train-ldm.h"

typedef struct {
    size_t trained; /* weights */
    size_t bytes;   /* of memory */
    double seconds; /* of one step */
    double besides; /* seconds that do not depend on the steps: latents, samples */
} LdmTrainEstimate;

/* What of an adapter's training follows from the sizes alone. */
typedef struct {
    size_t trained;                   /* weights */
    size_t bytes;                     /* of memory, without that of samples */
    double pass_flops, latents_flops; /* of one pass, of the whole latent cache */
} LdmTrainMeasure;

/* Nothing that depends on the size is allocated but the adapter. The model stays as it was.
 * Errors: those of ldm_train_adapter_new. */
bool ldm_train_measure(LdmModel *model, const LdmTrainOptions *options, size_t pictures,
                       LdmTrainMeasure *measure, GError **error);

/* Measures one pass of an adapter's training, without data; the rest follows from it by the FLOPs.
 * The model stays as it was. Errors: MEMORY (says what is needed and what is free), CANCELLED,
 * those of ldm_train_adapter_new. */
bool ldm_train_estimate(LdmModel *model, const LdmTrainOptions *options, size_t pictures,
                        GCancellable *cancellable, LdmTrainEstimate *estimate, GError **error);
