/* The timestep as a vector: [cos | sin] of geometric frequencies, then Linear, SiLU, Linear. */
#pragma once

#include "layers/linear.h"

typedef struct {
    LdmLinear linear1, linear2;
    size_t channels; /* of the sinusoid */
} LdmTimeEmbedding;

void ldm_time_embedding_init(LdmTimeEmbedding *layer, LdmScope scope, size_t channels,
                             size_t width);

/* timesteps [N] -> [N, width] */
LdmTensor *ldm_time_embedding_forward(LdmPass *pass, const LdmTimeEmbedding *layer,
                                      const double *timesteps, size_t N);
