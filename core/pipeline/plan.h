/* What a request will need, known before anything is allocated. */
#pragma once

#include "decode/decode.h"
#include "denoise/loop.h"
#include "encode/encode.h"
#include "pipeline/model.h"
#include "pipeline/types.h"
#include "prepare/prepare.h"

/* Side of a tile, in latent cells, where the autoencoder runs in tiles. */
#define LDM_TILE_CELLS 64

typedef struct {
    LdmPrepared geometry; /* window and sizes; no arrays */
    size_t h, w, z;       /* latent [1, h, w, z] */
    int start;            /* first step of the loop; == steps: nothing to do */
    bool guided;          /* the unconditional branch runs too */
    LdmRect cells;        /* the part of the latent that the network sees; no width: all */
    bool masked;          /* the model sees mask and masked picture */
    size_t masked_bytes, condition_bytes, concat_bytes; /* of what goes to encode and denoise */
    size_t encode_tile, decode_tile;                    /* latent cells a side; 0 = whole */
    size_t bytes[LDM_N_STAGES]; /* all buffers held while the stage is at its highest */
    double flops[LDM_N_STAGES];
} LdmLinePlan;

/* Lays the window, plans every stage and sums up the buffers. A stage of the autoencoder that does
 * not fit into `available` bytes whole is planned in tiles. `area`: the part of the mask that is
 * meant, with none of it elsewhere in the window; NULL: all. Errors: those of ldm_request_check;
 * INVALID (an empty mask, a latent of the wrong shape). */
bool ldm_line_plan(LdmModel *model, const LdmRequest *request, const LdmRect *area,
                   uint64_t available, LdmLinePlan *plan, GError **error);

/* What ldm_plan tells of one run of the line, beside which the caller holds `held` bytes that are
 * not taken yet. Takes the model's lock. */
bool ldm_line_plan_alone(LdmModel *model, const LdmRequest *request, const LdmRect *area,
                         uint64_t held, LdmPlan *plan, GError **error);

/* What the line's window must fit. */
LdmPrepareOptions ldm_line_prepare_options(const LdmModel *model, const LdmRequest *request);

/* Pixels of what a request generates. */
void ldm_line_size(const LdmModel *model, const LdmRequest *request, size_t *width, size_t *height);

/* The job for the loop, without rng, hooks and cancellable; plan and run build it alike. */
LdmDenoise ldm_line_denoise(const LdmModel *model, const LdmRequest *request, const LdmTimes *times,
                            const LdmConditioning *conditioning, const LdmLatents *latents);

/* The highest of plan->bytes. */
size_t ldm_line_plan_peak(const LdmLinePlan *plan);

/* False and LDM_ERROR_MEMORY ("needs 3.1 GB, 2.4 GB free") where `bytes` exceed `available`; else
 * memory that waits (layers/room.h) makes room for them. */
bool ldm_plan_fits(size_t bytes, uint64_t available, GError **error);
