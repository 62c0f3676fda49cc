/* The contrastive loss of text and picture (InfoNCE, symmetric, as CLIP has it: arXiv 2103.00020):
 *
 *     u_i = image tower(x_i),  v_j = P tau_theta(y_j) at its end-of-text token,
 *     l_ij = exp(s) u_i v_j / |u_i| |v_j|,
 *     L = -1/2N sum_i (log softmax_j l_ij + log softmax_j l_ji) at j = i.
 *
 * P and s, the temperature's logarithm, are learnt, too; exp(s) is held at 100 at most. Pictures
 * of one pass are one another's counter-examples, but for those with the same caption and for one
 * picture's several captions: they would contradict what they teach. */
#pragma once

#include "layers/linear.h"
#include "pipeline/model.h"
#include "train/image-tower.h"

/* What is trained besides tau_theta. */
typedef struct {
    LdmImageTower *tower;
    LdmParams *params;    /* of the two that follow */
    LdmLinear projection; /* P: "text_projection.weight", [width, text width] */
    LdmParam *scale;      /* s: "logit_scale", [1] */
    LdmFiles *files;      /* what they lie in; NULL where they were not loaded */
} LdmContrast;

void ldm_contrast_init(LdmContrast *contrast, const LdmImageTowerConfig *tower,
                       const LdmTextConfig *text);

/* From an image tower's folder whose model.safetensors has P and s, too. The caller clears
 * *contrast, which was zero, after a failure, too. Errors: ldm_image_tower_load's. */
bool ldm_contrast_load(LdmContrast *contrast, const char *folder, const LdmTextConfig *text,
                       GError **error);
void ldm_contrast_clear(LdmContrast *contrast);

#define LDM_CONTRAST_SCALE 2.6592600 /* log(1 / 0.07): where s begins, as in CLIP */

typedef struct {
    size_t N, tokens;
    LdmTensor *x;     /* [N, side, side, 3] in [-1, 1] */
    size_t *pictures; /* [N]: a number of each, the same for the same picture; at first 0, 1 ... */
    int32_t *ids;     /* [N, tokens] */
    size_t *ends;     /* [N]: the place of each caption's end-of-text token */
    double scale;     /* of the gradients and terms */
} LdmContrastBatch;

/* Errors: MEMORY. */
bool ldm_contrast_batch_init(LdmContrastBatch *batch, const LdmModel *model,
                             const LdmContrast *contrast, size_t N, GError **error);

/* Puts a caption into place n. Errors: INVALID (no UTF-8, too long). */
bool ldm_contrast_batch_set(LdmContrastBatch *batch, size_t n, const LdmModel *model,
                            const char *caption, GError **error);
void ldm_contrast_batch_clear(LdmContrastBatch *batch);

typedef struct {
    double loss;
    double matched; /* share of pictures to which their own caption is nearest */
} LdmContrastTerms;

typedef struct LdmContrastLoss LdmContrastLoss;

/* Bytes of the pass. */
bool ldm_contrast_loss_measure(const LdmModel *model, const LdmContrast *contrast,
                               const LdmContrastBatch *batch, size_t *bytes, GError **error);

/* model and contrast are borrowed; batches have this one's shape. Errors: MEMORY. */
LdmContrastLoss *ldm_contrast_loss_new(const LdmModel *model, const LdmContrast *contrast,
                                       const LdmContrastBatch *batch, GCancellable *cancellable,
                                       GError **error);
void ldm_contrast_loss_free(LdmContrastLoss *loss);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmContrastLoss, ldm_contrast_loss_free)

/* Adds the gradients of all trained parameters, and to *terms. Errors: CANCELLED, MEMORY. */
bool ldm_contrast_loss_backward(LdmContrastLoss *loss, const LdmContrastBatch *batch,
                                LdmContrastTerms *terms, GError **error);
