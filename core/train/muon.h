/* Muon's step for matrices: along the nearest matrix whose singular values are about one, in place
 * of the gradient, so that rare directions are learnt as fast as frequent ones (K. Jordan and
 * others, "Muon: an optimizer for hidden layers in neural networks", 2024; torch.optim.Muon). */
#pragma once

#include "ldm.h"

/* Decay of its one moment, and the share of AdamW's usual step, so that rates can be the same
 * (arXiv 2502.16982, section 2.2). */
#define LDM_MUON_MOMENTUM 0.95
#define LDM_MUON_SHARE    0.2

/* Bytes of working memory for a matrix [rows, columns]. */
size_t ldm_muon_scratch(size_t rows, size_t columns);

/* The matrix in place: five steps of Newton and Schulz towards U V^T of its U S V^T; singular
 * values end between 0.7 and 1.2 where they were not far below the largest. Zeros stay zeros. */
void ldm_muon_orthogonalise(float *matrix, size_t rows, size_t columns, bool bf16, void *scratch);
