/* Token merging around an attention: fewer tokens go in, each of the others gets the result of the
 * one that stood for it (arXiv 2303.17604). */
#pragma once

#include "layers/pass.h"

/* Who stands for whom; to be handed to ldm_unmerge_forward in the end. */
typedef struct {
    LdmTensor *tokens; /* LdmToken [N, H*W] */
    size_t H, W, merged;
} LdmMerged;

/* Matches the tokens of x [N, H, W, C], as the pass says (ldm_pass_set_merge); borrows x. */
LdmMerged ldm_merge_match_forward(LdmPass *pass, LdmTensor *x);

/* x [N, H, W, C] -> [N, tokens that stay, C]; takes x over. */
LdmTensor *ldm_merge_forward(LdmPass *pass, const LdmMerged *merged, LdmTensor *x);

/* x [N, tokens that stay, C] -> [N, H, W, C] + residual; takes x, residual and merged over. */
LdmTensor *ldm_unmerge_forward(LdmPass *pass, LdmMerged *merged, LdmTensor *x, LdmTensor *residual);
