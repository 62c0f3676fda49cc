/* Token merging as operations of a pass: features in, who stands for whom, fewer tokens for an
 * attention to look at, and all of them again. There is no way back through it, since no pass that
 * records comes here. */
#include "layers/merge.h"

#include "kernels/kernels.h"

static LdmMerge merge_of(const LdmMerged *merged, size_t N, size_t C)
{
    return (LdmMerge){.N = N,
                      .H = merged->H,
                      .W = merged->W,
                      .C = C,
                      .merged = merged->merged,
                      .tokens = merged->tokens->data};
}

LdmMerged ldm_merge_match_forward(LdmPass *pass, LdmTensor *x)
{
    size_t N = x->shape[0], H = x->shape[1], W = x->shape[2], C = x->shape[3];
    size_t most = ldm_merge_most(H, W), gone = (size_t)(ldm_pass_merge(pass) * (double)(H * W));
    LdmMerged merged = {.H = H, .W = W, .merged = MIN(gone, most)};
    merged.tokens = ldm_pass_scratch(pass, N * H * W * sizeof(LdmToken));
    LdmMerge merge = merge_of(&merged, N, C);
    LdmTensor *scratch = ldm_pass_scratch(pass, ldm_merge_scratch(&merge));
    merge.scratch = scratch->data;
    merge.bf16 = ldm_pass_bf16(pass);
    if (ldm_pass_op(pass, &(LdmOp){.name = "merge-match",
                                   .inputs = {x},
                                   .n_inputs = 1,
                                   .output = x,
                                   .flops = 2.0 * N * most * (H / 2) * (W / 2) * C}))
        ldm_pass_check(pass, ldm_merge_match(&merge, x->data, ldm_pass_cancellable(pass)));
    ldm_pass_drop(pass, scratch);
    return merged;
}

LdmTensor *ldm_merge_forward(LdmPass *pass, const LdmMerged *merged, LdmTensor *x)
{
    size_t N = x->shape[0], C = x->shape[3], rows = merged->H * merged->W - merged->merged;
    LdmTensor *y = ldm_pass_tensor(pass, 3, (size_t[]){N, rows, C});
    LdmMerge merge = merge_of(merged, N, C);
    if (ldm_pass_op(pass, &(LdmOp){.name = "merge", .inputs = {x}, .n_inputs = 1, .output = y}))
        ldm_pass_check(pass, ldm_merge(&merge, x->data, y->data, ldm_pass_cancellable(pass)));
    ldm_pass_drop(pass, x);
    return y;
}

LdmTensor *ldm_unmerge_forward(LdmPass *pass, LdmMerged *merged, LdmTensor *x, LdmTensor *residual)
{
    LdmTensor *y = ldm_pass_over(pass, residual);
    LdmMerge merge = merge_of(merged, x->shape[0], x->shape[2]);
    if (ldm_pass_op(
            pass, &(LdmOp){.name = "unmerge", .inputs = {x, residual}, .n_inputs = 2, .output = y}))
        ldm_pass_check(pass, ldm_unmerge(&merge, x->data, residual->data, y->data,
                                         ldm_pass_cancellable(pass)));
    ldm_pass_drop(pass, merged->tokens);
    ldm_pass_drop(pass, x);
    ldm_pass_drop(pass, residual);
    return y;
}
