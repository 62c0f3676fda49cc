/* A picture through the encoder: its rows of the latent cache. */
#pragma once

#include "train/latent-cache.h"

typedef struct {
    const LdmModel *model;
    const LdmCacheOptions *options;
    const LdmCacheInfo *info; /* side, z, moments, floats and variants */
    GCancellable *cancellable;
} LdmLatentRows;

typedef enum {
    LDM_LATENT_ROWS_FAILED,  /* error is set, and making rows is over */
    LDM_LATENT_ROWS_SKIPPED, /* the picture is of no use: error tells why */
    LDM_LATENT_ROWS_MADE
} LdmLatentRowsResult;

/* The picture [1, H, W, 4] of example `example` -> `out` [variants, floats] and the bucket of
 * its windows. Errors: MEMORY, CANCELLED, NONFINITE. */
LdmLatentRowsResult ldm_latent_rows_make(const LdmLatentRows *rows, size_t example,
                                         const LdmTensor *picture, float *out, size_t *bucket,
                                         GError **error);

/* What the network is shown where all of a window of this bucket is hole -> `out` [h, w, 1 + z]:
 * mask and masked latent. Errors: MEMORY, CANCELLED, NONFINITE. */
bool ldm_latent_rows_full_hole(const LdmLatentRows *rows, size_t bucket, float *out,
                               GError **error);
