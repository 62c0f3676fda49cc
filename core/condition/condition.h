/* The stage: prompt -> token ids -> tau_theta(y), and the extra channels of models that see mask
 * and masked picture (in_channels = 2z + 1). Joined once, before the loop. */
#pragma once

#include "condition/clip-text.h"
#include "condition/tokenizer.h"
#include "pipeline/types.h"

/* tau_theta(prompt): [1, tokens, width], the caller's to free; tokens that do not fit are left out.
 * Errors: INVALID (no UTF-8, too long), MEMORY, CANCELLED, NONFINITE. */
LdmTensor *ldm_condition_prompt(const LdmTokenizer *tokenizer, const LdmClipText *text,
                                const LdmTextConfig *config, const char *prompt,
                                GCancellable *cancellable, GError **error);

/* Bytes of work memory and FLOPs of one ldm_condition_prompt. */
bool ldm_condition_measure(const LdmClipText *text, const LdmTextConfig *config, size_t *bytes,
                           double *flops, GError **error);

/* Extra channels [1, h, w, 1 + z] in the order the networks expect: mask, masked latent.
 * cells [1, h, w, 1] soft mask: any cell above 0 counts as hole (1), the rest 0; NULL = all hole.
 * masked [1, h, w, z]: scale * mean of E(picture with its hole hidden); for text to image and
 * img2img the latent of mid-grey all over (with cells NULL).
 * Errors: SHAPE (cells and masked differ), MEMORY. */
LdmTensor *ldm_condition_concat(const LdmTensor *cells, const LdmTensor *masked, GError **error);
