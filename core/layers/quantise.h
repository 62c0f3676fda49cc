/* Vector quantisation (arXiv 1711.00937): the latent of each cell becomes the nearest entry of a
 * codebook that is learnt. */
#pragma once

#include "layers/pass.h"
#include "layers/scope.h"

#define LDM_CODE_WIDTH 64 /* most numbers of an entry */

typedef struct {
    LdmParam *codebook; /* [entries, width] */
    size_t entries, width;
} LdmQuantise;

void ldm_quantise_init(LdmQuantise *layer, LdmScope scope, size_t entries, size_t width);

/* z [..., width] -> e of the same shape, the entry with the smallest |z - e|^2, the first of
 * equals. Takes z over, which gets no gradient; the entries do. codes: NULL, or gets the entries'
 * numbers, int32_t for every cell, to be dropped like any other array. */
LdmTensor *ldm_quantise_forward(LdmPass *pass, const LdmQuantise *layer, LdmTensor *z,
                                LdmTensor **codes);

/* e, with a gradient that goes to z instead, as if nothing had been rounded. Takes both over. */
LdmTensor *ldm_straight_through_forward(LdmPass *pass, LdmTensor *z, LdmTensor *e);
