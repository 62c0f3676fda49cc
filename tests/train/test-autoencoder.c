/* The first stage's losses beside PyTorch's (reference/make_autoencoder.py): with a posterior, with
 * feature matching besides, with latents made smaller and with a codebook. Every term and every
 * gradient of one pass, and ten steps of which the last seven are against the discriminator. */
#include "train/loss-autoencoder.h"
#include "train/optimiser.h"
#include "weights/safetensors.h"

#include "fixture.h"
#include "parity/networks.h"
#include "signs.h"

#include <math.h>
#include <string.h>

#define STEPS 10
#define BATCH 2
#define SIDE  16
#define START 3 /* steps before the discriminator takes part */
#define TERMS 8 /* at most */
#define CELLS 3 /* of 4, to which latents are made smaller */

static const LdmAutoencoderWeights weights = {.l1 = 1.0,
                                              .l2 = 0.5,
                                              .perceptual = 0.7,
                                              .kl = 1e-2,
                                              .codebook = 0.8,
                                              .commitment = 0.3,
                                              .adversarial = 0.5};
static const LdmDiscriminatorConfig shape = {.channels = 8, .layers = 2};

/* The tiny models, and what the files of each begin with. */
static const struct {
    const char *folder, *prefix;
    bool vq, scaled; /* scaled: latents are made smaller in every second pass */
    double matching;
} kinds[] = {{"networks/sd1", "", false, false, 0.0},
             {"networks/sd1", "matching-", false, false, 0.6},
             {"networks/sd1", "scaled-", false, true, 0.6},
             {"vq", "vq-", true, false, 0.0}};

typedef struct {
    LdmModel *model;
    LdmParams *params; /* the discriminator's */
    LdmDiscriminator *discriminator;
    LdmFiles *files;
    LdmTensor *x, *noise; /* of all steps; VQ: no noise */
    const char *prefix;
    double matching;
    bool scaled;
} Case;

/* What PyTorch found. */
static LdmTensor *answer(const Case *c, const char *name)
{
    return fixture_array("autoencoder", "%s%s", c->prefix, name);
}

static Case case_new(int kind)
{
    g_autofree char *folder = fixture_path(kinds[kind].folder, NULL);
    g_autofree char *path = fixture_path("autoencoder", "discriminator.safetensors");
    g_autoptr(GError) error = NULL;
    Case c = {.model = ldm_model_load_first_stage(folder, &error),
              .prefix = kinds[kind].prefix,
              .matching = kinds[kind].matching,
              .scaled = kinds[kind].scaled};

    g_assert_no_error(error);
    c.params = ldm_params_new();
    c.discriminator = ldm_discriminator_new(&shape, c.params);
    c.files = ldm_files_new();
    g_assert_true(ldm_files_add(c.files, path, &error));
    for (size_t i = 0; i < ldm_params_length(c.params); i++) {
        LdmParam *param = ldm_params_at(c.params, i);
        const LdmFileTensor *t = ldm_files_find(c.files, param->name);
        g_assert_nonnull(t);
        g_assert_cmpmem(t->shape, sizeof t->shape, param->shape, sizeof param->shape);
        param->data = t->data;
    }
    g_assert_cmpuint(ldm_files_length(c.files), ==, ldm_params_length(c.params));
    ldm_params_set_trained(c.params, true);
    ldm_params_set_trained(c.model->vae_params, true);
    c.x = fixture_array("autoencoder", "x");
    c.noise = kinds[kind].vq ? NULL : fixture_array("autoencoder", "noise");
    return c;
}

static void case_clear(Case *c)
{
    ldm_discriminator_free(c->discriminator);
    ldm_params_free(c->params);
    ldm_files_free(c->files);
    ldm_model_unref(c->model);
    ldm_tensor_free(c->x);
    ldm_tensor_free(c->noise);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Case, case_clear)

static LdmAutoencoderLoss *loss_new(const Case *c)
{
    g_autoptr(GError) error = NULL;
    LdmAutoencoderTask task = {.model = c->model,
                               .discriminator = c->discriminator,
                               .discriminator_params = c->params,
                               .weights = weights,
                               .N = BATCH,
                               .H = SIDE,
                               .W = SIDE};

    task.weights.matching = c->matching;
    task.rescales = c->scaled;
    LdmAutoencoderLoss *loss = ldm_autoencoder_loss_new(&task, NULL, &error);
    g_assert_no_error(error);
    return loss;
}

/* The samples of a step, borrowed. */
static LdmTensor part(const LdmTensor *all, size_t step)
{
    LdmTensor t = *all;
    size_t each = ldm_tensor_count(all) / all->shape[0];

    t.shape[0] = BATCH;
    t.data = ldm_tensor_f32(all) + step * BATCH * each;
    return t;
}

static LdmAutoencoderTerms backward(const Case *c, LdmAutoencoderLoss *loss, size_t step,
                                    double scale, bool adversarial)
{
    LdmTensor x = part(c->x, step), noise = c->noise != NULL ? part(c->noise, step) : x;
    const LdmAutoencoderBatch batch = {&x, c->noise != NULL ? &noise : NULL, scale, adversarial,
                                       c->scaled && step % 2 == 0 ? CELLS : 0};
    LdmAutoencoderTerms terms = {0};
    g_autoptr(GError) error = NULL;

    g_assert_true(ldm_autoencoder_loss_backward(loss, &batch, &terms, &error));
    g_assert_no_error(error);
    return terms;
}

/* Largest error of the terms, each of its own size but never of less than 1e-2. */
static double terms_error(const LdmAutoencoderTerms *terms, const float *expected, size_t n)
{
    const double *values = (const double *)terms;
    double worst = 0.0;

    G_STATIC_ASSERT(sizeof *terms == TERMS * sizeof(double));
    for (size_t i = 0; i < n; i++)
        worst = MAX(worst, fabs(values[i] - expected[i]) / MAX(fabs((double)expected[i]), 1e-2));
    return worst;
}

static void test_pass(gconstpointer kind)
{
    g_auto(Case) c = case_new(GPOINTER_TO_INT(kind));
    g_autoptr(LdmTensor) expected = answer(&c, "terms");
    g_autoptr(LdmTensor) vae = answer(&c, "gradients-vae");
    g_autoptr(LdmTensor) discriminator = answer(&c, "gradients-discriminator");
    g_autoptr(GError) error = NULL;

    g_assert_true(ldm_params_make_gradients(c.model->vae_params, &error));
    g_assert_true(ldm_params_make_gradients(c.params, &error));
    g_autoptr(LdmAutoencoderLoss) loss = loss_new(&c);
    LdmAutoencoderTerms terms = backward(&c, loss, 0, 1.0, true);
    double worst = terms_error(&terms, ldm_tensor_f32(expected), expected->shape[0]);
    g_test_message("terms: worst error %.1e", worst);
    g_assert_cmpfloat(worst, <=, 1e-4);
    signs_check(c.model->vae_params, vae, "autoencoder");
    signs_check(c.params, discriminator, "discriminator");

    /* two passes at half the scale add up to the same */
    ldm_params_clear_gradients(c.model->vae_params);
    ldm_params_clear_gradients(c.params);
    LdmAutoencoderTerms half = backward(&c, loss, 0, 0.5, true);
    g_assert_cmpfloat_with_epsilon(half.loss, 0.5 * terms.loss, 1e-9);
    backward(&c, loss, 0, 0.5, true);
    signs_check(c.model->vae_params, vae, "autoencoder, accumulated");
    signs_check(c.params, discriminator, "discriminator, accumulated");
}

static bool is_encoder(const LdmParam *param)
{
    return g_str_has_prefix(param->name, "encoder.") ||
           g_str_has_prefix(param->name, "quant_conv.");
}

/* The decoder's gradients of one pass, one after another. */
static GArray *decoder_gradients(const Case *c, LdmAutoencoderTerms *terms)
{
    GArray *all = g_array_new(FALSE, FALSE, sizeof(float));
    g_autoptr(LdmAutoencoderLoss) loss = loss_new(c);

    g_assert_true(ldm_params_make_gradients(c->model->vae_params, NULL));
    g_assert_true(ldm_params_make_gradients(c->params, NULL));
    *terms = backward(c, loss, 0, 1.0, true);
    for (size_t i = 0; i < ldm_params_length(c->model->vae_params); i++) {
        const LdmParam *param = ldm_params_at(c->model->vae_params, i);
        size_t count = 1;
        for (int k = 0; k < param->rank; k++)
            count *= param->shape[k];
        if (!is_encoder(param))
            g_array_append_vals(all, param->gradient, (guint)count);
    }
    return all;
}

/* They do not depend on whether the encoder learns. */
static void test_frozen(void)
{
    g_auto(Case) c = case_new(1), frozen = case_new(1);
    LdmAutoencoderTerms terms, same;

    for (size_t i = 0; i < ldm_params_length(frozen.model->vae_params); i++) {
        LdmParam *param = ldm_params_at(frozen.model->vae_params, i);
        param->trained = !is_encoder(param);
    }
    g_autoptr(GArray) all = decoder_gradients(&c, &terms);
    g_autoptr(GArray) rest = decoder_gradients(&frozen, &same);
    g_assert_cmpfloat(terms.matching, >, 0.0);
    g_assert_cmpmem(&terms, sizeof terms, &same, sizeof same);
    g_assert_cmpmem(all->data, all->len * sizeof(float), rest->data, rest->len * sizeof(float));
}

/* What is no number in the discriminator is none in the term and in the gradients either, by which
 * the step is left out. */
static void test_nonfinite(void)
{
    g_auto(Case) c = case_new(1);
    LdmParam *first = ldm_params_at(c.params, 0);
    g_autofree float *weight = g_memdup2(first->data, 3 * 16 * 8 * sizeof(float));

    LdmAutoencoderTerms terms;
    double sum = 0.0;

    weight[5] = NAN;
    first->data = weight;
    g_autoptr(GArray) d = decoder_gradients(&c, &terms);
    for (guint i = 0; i < d->len; i++)
        sum += g_array_index(d, float, i);
    g_assert_true(isnan(terms.matching));
    g_assert_true(isnan(terms.loss));
    g_assert_false(isfinite(sum));
}

static LdmOptimiser *optimiser_new(LdmParams *params, const char *part)
{
    LdmOptimiserOptions options = ldm_optimiser_defaults();
    g_autoptr(GError) error = NULL;

    options.rate = 1e-3;
    options.beta1 = 0.5;
    options.beta2 = 0.9;
    options.warm_up = 0;
    options.steps = 1000000000; /* the rate stays what it is */
    LdmOptimiser *optimiser = ldm_optimiser_new(&options, &error);
    g_assert_no_error(error);
    g_assert_true(ldm_optimiser_add(optimiser, part, params, &error));
    return optimiser;
}

static void test_curve(gconstpointer kind)
{
    g_auto(Case) c = case_new(GPOINTER_TO_INT(kind));
    g_autoptr(LdmTensor) curve = answer(&c, "curve");
    g_autoptr(LdmOptimiser) first = optimiser_new(c.model->vae_params, "vae");
    g_autoptr(LdmOptimiser) second = optimiser_new(c.params, "discriminator");
    g_autoptr(LdmAutoencoderLoss) loss = loss_new(&c);
    size_t n = curve->shape[1];
    double worst = 0.0;

    for (size_t step = 0; step < STEPS; step++) {
        const float *expected = ldm_tensor_f32(curve) + step * n;
        bool adversarial = step >= START;
        LdmStep told;
        LdmAutoencoderTerms terms = backward(&c, loss, step, 1.0, adversarial);
        g_assert_true(ldm_optimiser_step(first, terms.loss, &told, NULL));
        if (adversarial)
            g_assert_true(ldm_optimiser_step(second, terms.discriminator, &told, NULL));
        double distance = fabs(terms.loss - expected[0]) / expected[0];
        g_test_message("step %zu: %.6f, PyTorch %.6f; discriminator %.6f, PyTorch %.6f", step + 1,
                       terms.loss, expected[0], terms.discriminator, expected[5]);
        worst = MAX(worst, distance);
        g_assert_cmpfloat(terms_error(&terms, expected, n), <=, 1e-3);
    }
    g_test_message("worst %.1e", worst);
    g_assert_cmpfloat(worst, <=, 1e-4);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/autoencoder/kl/pass", GINT_TO_POINTER(0), test_pass);
    g_test_add_data_func("/autoencoder/kl/curve", GINT_TO_POINTER(0), test_curve);
    g_test_add_data_func("/autoencoder/matching/pass", GINT_TO_POINTER(1), test_pass);
    g_test_add_data_func("/autoencoder/matching/curve", GINT_TO_POINTER(1), test_curve);
    g_test_add_func("/autoencoder/matching/frozen", test_frozen);
    g_test_add_func("/autoencoder/matching/nonfinite", test_nonfinite);
    g_test_add_data_func("/autoencoder/scaled/pass", GINT_TO_POINTER(2), test_pass);
    g_test_add_data_func("/autoencoder/scaled/curve", GINT_TO_POINTER(2), test_curve);
    g_test_add_data_func("/autoencoder/vq/pass", GINT_TO_POINTER(3), test_pass);
    g_test_add_data_func("/autoencoder/vq/curve", GINT_TO_POINTER(3), test_curve);
    return g_test_run();
}
