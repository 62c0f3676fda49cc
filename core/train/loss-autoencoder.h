/* The losses of the first stage (LDM, section 3.1 and appendix G; the reference's
 * losses/contperceptual.py and vqperceptual.py):
 *
 *     L      = L_rec + L_reg + lambda L_GAN + matching L_FM,
 *     L_rec  = l1 |x' - x| + l2 |x' - x|^2 + perceptual P(x', x) + texture T(x', x),
 *     L_GAN  = -mean D(x'),
 *     lambda = adversarial |grad L_rec| / (|grad L_GAN| + 1e-4), at most 1e4 adversarial,
 *     L_FM   = sum over i of mean |D_i(x') - D_i(x)|,
 *
 * with gradients by the weights of the decoder's last layer, and for the discriminator the hinge
 * loss mean(max(0, 1 - D(x)) + max(0, 1 + D(x'))) / 2. P is the pyramid distance of pyramid.h.
 * L_FM is feature matching (arXiv 1711.11585, equation 8): D_i are the discriminator's activations
 * behind each of its layers but the last, which gives the logits; D_i(x) is a constant, and D
 * learns nothing by it. Its weight is fixed, as there, beside lambda, and neither part of lambda
 * sees it: it is a distance as L_rec is one, whose gradient does not fade where that of L_GAN does,
 * and lambda would then raise it without need.
 * Scale equivariance (arXiv 2502.09509): a pass may decode a smaller latent, z resized bilinearly;
 * x is then the picture resized in the same way, for every term but L_reg. Latents whose smaller
 * versions mean smaller pictures are easier for a denoiser to learn.
 * Everything is a mean over the numbers of a picture, so that losses do not depend on the size.
 * Unlike in the reference, the discriminator sees the same x' as L_GAN, not one decoded anew after
 * the update: one decoding less.
 *
 * KL: x' is decoded from a sample of the posterior, L_reg = kl KL, summed over the latent and
 * divided by the numbers of the picture: `kl` means what kl_weight does in the reference, which
 * adds up and does not divide.
 *
 * VQ: x' is decoded from the entries e nearest to z, and
 *
 *     L_reg = codebook mean(|sg[z] - e|^2 + commitment |z - sg[e]|^2), sg: no gradient,
 *
 * as in arXiv 1711.00937: `commitment` is on the encoder's side. The reference's VectorQuantizer2
 * has its beta = 0.25 on the other side unless it is made with legacy=False, and LDM does not: its
 * models were trained with what is codebook 0.25 and commitment 4 here. */
#pragma once

#include "pipeline/model.h"
#include "train/discriminator.h"
#include "train/ranks.h"

typedef struct {
    double l1, l2, perceptual, texture;
    double kl;                   /* of KL autoencoders */
    double codebook, commitment; /* of VQ autoencoders */
    double adversarial;          /* 0: without a discriminator */
    double matching;             /* of its features; needs it */
} LdmAutoencoderWeights;

/* Means over a batch. */
typedef struct {
    double loss;           /* L */
    double reconstruction; /* L_rec */
    double regulariser;    /* KL: nats per number of the latent; VQ: L_reg / codebook */
    double generator;      /* L_GAN */
    double adaptive;       /* lambda */
    double discriminator;  /* hinge loss */
    double perplexity;     /* VQ: exp of the entropy of a pass's entries: how many are in use */
    double matching;       /* L_FM */
} LdmAutoencoderTerms;

typedef struct LdmAutoencoderLoss LdmAutoencoderLoss;

typedef struct {
    const LdmModel *model;
    const LdmDiscriminator *discriminator; /* NULL: none */
    LdmParams *discriminator_params;
    LdmAutoencoderWeights weights;
    size_t N, H, W;
    bool rescales;      /* passes may have smaller latents */
    bool bf16;          /* products may round, there and back (ldm_pass_set_bf16) */
    bool checkpointing; /* memory for time (ldm_pass_set_checkpoints) */
    LdmRanks *ranks;    /* whose batches are one; lambda is that of all */
} LdmAutoencoderTask;

/* Bytes of the passes and of what goes with them. */
bool ldm_autoencoder_loss_measure(const LdmAutoencoderTask *task, size_t *bytes, GError **error);

/* Plans and allocates; the task is copied, what it points to borrowed. Errors: MEMORY. */
LdmAutoencoderLoss *ldm_autoencoder_loss_new(const LdmAutoencoderTask *task,
                                             GCancellable *cancellable, GError **error);
void ldm_autoencoder_loss_free(LdmAutoencoderLoss *loss);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmAutoencoderLoss, ldm_autoencoder_loss_free)

/* x [N, H, W, 3] in [-1, 1], noise [N, H/f, W/f, z]; VQ: no noise. */
typedef struct {
    const LdmTensor *x, *noise;
    double scale;     /* of all gradients and terms */
    bool adversarial; /* the discriminator takes part, and learns */
    size_t cells;     /* side to which a square latent is made smaller; 0: it is not */
} LdmAutoencoderBatch;

/* The fewest cells that LdmAutoencoderBatch.cells may be, by the discriminator, and a quarter of
 * the latent's own side. */
size_t ldm_autoencoder_loss_cells(const LdmAutoencoderTask *task);

/* Adds scale * gradients to those of all trained parameters and scale * terms to *terms, which may
 * be NaN or infinite. Errors: CANCELLED, MEMORY. */
bool ldm_autoencoder_loss_backward(LdmAutoencoderLoss *loss, const LdmAutoencoderBatch *batch,
                                   LdmAutoencoderTerms *terms, GError **error);
