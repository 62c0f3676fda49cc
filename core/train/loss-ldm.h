/* L_LDM = E || eps - eps_theta(z_t, t, tau_theta(y)) ||^2 (LDM, equations 2 and 3) and its
 * gradient: one pass forward and back through the denoiser and, where it is trained too, the text
 * encoder. */
#pragma once

#include "pipeline/model.h"

typedef struct {
    double snr_gamma;  /* min-SNR weighting (arXiv 2303.09556); 0 = all timesteps weigh the same */
    double multiscale; /* weight of the coarse scales in the loss, which is then, e being the error,
                        * mean e^2 + multiscale * sum over s = 2, 4, 8 ... of s * mean (e averaged
                        * over blocks of s x s cells)^2, up to one block that is the whole latent
                        * (arXiv 2301.11093, multiscale training loss). The best answer is the same,
                        * but the colours of wide areas, a small part of all error, are learnt
                        * sooner. 0 .. 1000; 0 = mean e^2 */
    double hole_focus; /* how much less than those in a hole squared errors count in the cells
                        * around it, which a fill never shows. The mean is over weights: a small
                        * hole counts as much as a whole picture. 0 .. 0.99; 0 = all alike */
} LdmLossOptions;

/* The timestep, 0 .. steps - 1, of a draw u from [0, 1): with shift 1 all are as likely, with more
 * the noisy ones are more so. At u, of 1, it lies at shift u / (1 + (shift - 1) u) (arXiv
 * 2403.03206, equation 23), so the last one comes up shift times as often as with 1, the first one
 * 1 / shift times. */
int ldm_timestep_draw(double u, double shift, int steps);

/* What one pass is given: N samples. */
typedef struct {
    size_t N;
    LdmTensor *x;       /* [N, h, w, in_channels]: z_t, then mask and masked latent if the model
                        * has 2z + 1 channels in */
    LdmTensor *target;  /* [N, h, w, z]: noise, v or z_0, whatever the model predicts */
    double *timesteps;  /* [N] */
    double *weights;    /* [N] of each sample's loss */
    float *known;       /* [N, h, w] what each cell's error is multiplied by, 0 .. 1 */
    int32_t *ids;       /* [N * tokens] of the captions; NULL without text */
    double multiscale;  /* LdmLossOptions.multiscale */
    bool bf16;          /* products may round, there and back (ldm_pass_set_bf16) */
    bool checkpointing; /* memory for time (ldm_pass_set_checkpoints) */
} LdmBatch;

/* Errors: MEMORY. */
bool ldm_batch_init(LdmBatch *batch, const LdmModel *model, size_t N, size_t h, size_t w,
                    GError **error);
void ldm_batch_clear(LdmBatch *batch);

/* Latents of h x w from now on: no more cells than ldm_batch_init was given. */
void ldm_batch_reshape(LdmBatch *batch, size_t h, size_t w);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LdmBatch, ldm_batch_clear)

/* One sample, channels last. */
typedef struct {
    const float *z0, *noise; /* [h, w, z] */
    const float *hole;       /* [h, w, 1 + z] mask and masked latent, or NULL */
    const float *known;      /* [h, w]: 0 = this cell's loss does not count; NULL: all do */
    int timestep;
    double alpha_bar; /* of that timestep */
} LdmSample;

/* z_t = sqrt(a) z_0 + sqrt(1 - a) noise into place n of the batch, with target and weight. The
 * caption's ids are the caller's to set. */
void ldm_batch_set(LdmBatch *batch, size_t n, const LdmModel *model, const LdmLossOptions *options,
                   const LdmSample *sample);

/* The pass that computes losses of batches of one shape. */
typedef struct LdmLoss LdmLoss;

/* Plans and allocates; what is trained is marked already (LdmParam.trained). The batch
 * has the most cells that will come; `bytes`: what ldm_loss_measure said, the most of all shapes
 * (0: the batch's own).
 * Errors: MEMORY, UNSUPPORTED (a model that wants text and has no encoder). */
LdmLoss *ldm_loss_new(const LdmModel *model, const LdmBatch *batch, size_t bytes,
                      GCancellable *cancellable, GError **error);
void ldm_loss_free(LdmLoss *loss);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmLoss, ldm_loss_free)

/* Bytes and FLOPs of one pass there and back, without allocating. */
bool ldm_loss_measure(const LdmModel *model, const LdmBatch *batch, size_t *bytes, double *flops,
                      GError **error);

/* Adds scale * d(mean loss) to the gradients and scale * (mean loss) to *value; the value may be
 * NaN or infinite. Errors: CANCELLED, MEMORY. */
bool ldm_loss_backward(LdmLoss *loss, const LdmBatch *batch, double scale, double *value,
                       GError **error);
