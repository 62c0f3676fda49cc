/* Networks made new: parameters as PyTorch's layers and the reference's networks begin with them,
 * drawn by (seed, name), so that the same seed gives the same model whatever else is drawn. */
#pragma once

#include "pipeline/model.h"

typedef enum {
    LDM_INITIAL_LAYERS,        /* as PyTorch makes convolutions, linear layers and norms */
    LDM_INITIAL_DENOISER,      /* besides: the convolutions that end residual branches are zero */
    LDM_INITIAL_AUTOENCODER,   /* nearly linear: branches end with zero, others keep the variance */
    LDM_INITIAL_DISCRIMINATOR, /* besides: convolutions N(0, 0.02), as PatchGAN's */
} LdmInitial;

/* Gives every parameter of a table its data, f32; returns the memory, to be freed with
 * ldm_aligned_free after the table was last used, or NULL. `part` stands before the names in the
 * key. Errors: MEMORY. */
float *ldm_params_draw(LdmParams *params, LdmInitial kind, const char *part, uint64_t seed,
                       GError **error);

/* Draws the networks of a model that were not loaded (LdmWanted.made_new). Errors: MEMORY. */
bool ldm_model_draw(LdmModel *model, uint64_t seed, GError **error);

/* Draws one of them, as ldm_model_draw does, if it was not loaded. */
bool ldm_model_draw_part(LdmModel *model, LdmPart part, uint64_t seed, GError **error);
