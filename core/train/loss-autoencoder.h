/* The losses of the first stage (LDM, section 3.1 and appendix G; the reference's
 * losses/contperceptual.py):
 *
 *     L      = L_rec + kl KL + lambda L_GAN,
 *     L_rec  = l1 |x' - x| + l2 |x' - x|^2 + perceptual P(x', x),
 *     L_GAN  = -mean D(x'),
 *     lambda = adversarial |grad L_rec| / (|grad L_GAN| + 1e-4), at most 1e4 adversarial,
 *
 * with gradients by the weights of the decoder's last layer, and for the discriminator the hinge
 * loss mean(max(0, 1 - D(x)) + max(0, 1 + D(x'))) / 2. x' is decoded from a sample of the
 * posterior; P is the pyramid distance of pyramid.h. Everything is a mean over the numbers of a
 * picture (KL is its sum over the latent, divided by these), so that losses do not depend on the
 * size and `kl` means what kl_weight does in the reference, which adds up and does not divide.
 * Unlike there, the discriminator sees the same x' as L_GAN, not one decoded anew after the
 * update: one decoding less.
 *
 * Autoencoders with a codebook (VQ) are not trained: the library has no such network. */
#pragma once

#include "pipeline/model.h"
#include "train/discriminator.h"
#include "train/ranks.h"

typedef struct {
    double l1, l2, perceptual;
    double kl;
    double adversarial; /* 0: without a discriminator */
} LdmAutoencoderWeights;

/* Means over a batch. */
typedef struct {
    double loss;           /* L */
    double reconstruction; /* L_rec */
    double kl;             /* nats per number of the latent */
    double generator;      /* L_GAN */
    double adaptive;       /* lambda */
    double discriminator;  /* hinge loss */
} LdmAutoencoderTerms;

typedef struct LdmAutoencoderLoss LdmAutoencoderLoss;

typedef struct {
    const LdmModel *model;
    const LdmDiscriminator *discriminator; /* NULL: none */
    LdmParams *discriminator_params;
    LdmAutoencoderWeights weights;
    size_t N, H, W;
    LdmRanks *ranks; /* whose batches are one; lambda is that of all */
} LdmAutoencoderTask;

/* Bytes of the passes and of what goes with them. */
bool ldm_autoencoder_loss_measure(const LdmAutoencoderTask *task, size_t *bytes, GError **error);

/* Plans and allocates; the task is copied, what it points to borrowed. Errors: MEMORY. */
LdmAutoencoderLoss *ldm_autoencoder_loss_new(const LdmAutoencoderTask *task,
                                             GCancellable *cancellable, GError **error);
void ldm_autoencoder_loss_free(LdmAutoencoderLoss *loss);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmAutoencoderLoss, ldm_autoencoder_loss_free)

/* x [N, H, W, 3] in [-1, 1], noise [N, H/f, W/f, z]. */
typedef struct {
    const LdmTensor *x, *noise;
    double scale;     /* of all gradients and terms */
    bool adversarial; /* the discriminator takes part, and learns */
} LdmAutoencoderBatch;

/* Adds scale * gradients to those of all trained parameters and scale * terms to *terms, which may
 * be NaN or infinite. Errors: CANCELLED, MEMORY. */
bool ldm_autoencoder_loss_backward(LdmAutoencoderLoss *loss, const LdmAutoencoderBatch *batch,
                                   LdmAutoencoderTerms *terms, GError **error);
