/* The contrastive loss beside PyTorch's (reference/make_contrastive.py): loss and every gradient of
 * one pass, and ten steps. */
#include "train/loss-contrastive.h"
#include "train/optimiser.h"
#include "weights/source.h"

#include "fixture.h"
#include "parity/networks.h"
#include "signs.h"

#include <math.h>
#include <string.h>

#define STEPS 10
#define BATCH 4

typedef struct {
    LdmModel *model;
    LdmContrast contrast;
    LdmFiles *files; /* of the head */
    LdmContrastBatch batch;
    LdmTensor *x, *ids, *ends; /* of all steps */
} Case;

static Case case_new(void)
{
    g_autofree char *folder = network_folder("sd1");
    g_autofree char *tower = fixture_path("contrastive", "tower");
    g_autofree char *head = fixture_path("contrastive", "head.safetensors");
    g_autoptr(GError) error = NULL;
    Case c = {.model = ldm_model_load(folder, &error)};

    g_assert_no_error(error);
    LdmImageTower *loaded = ldm_image_tower_load(tower, &error);
    g_assert_no_error(error);
    ldm_contrast_init(&c.contrast, ldm_image_tower_config(loaded), &c.model->config.text);
    ldm_image_tower_free(c.contrast.tower);
    c.contrast.tower = loaded;
    c.files = ldm_files_new();
    g_assert_true(ldm_files_add(c.files, head, &error));
    g_assert_true(ldm_files_bind(c.files, "", c.contrast.params, &error));
    ldm_params_set_trained(c.model->text_params, true);
    ldm_params_set_trained(c.contrast.params, true);
    ldm_params_set_trained(ldm_image_tower_params(loaded), true);
    g_assert_true(ldm_contrast_batch_init(&c.batch, c.model, &c.contrast, BATCH, &error));
    c.x = fixture_array("contrastive", "x");
    c.ids = fixture_array("contrastive", "ids");
    c.ends = fixture_array("contrastive", "ends");
    return c;
}

static void case_clear(Case *c)
{
    ldm_contrast_batch_clear(&c->batch);
    ldm_contrast_clear(&c->contrast);
    ldm_files_free(c->files);
    ldm_model_unref(c->model);
    ldm_tensor_free(c->x);
    ldm_tensor_free(c->ids);
    ldm_tensor_free(c->ends);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Case, case_clear)

static void set_step(Case *c, size_t step)
{
    size_t n = ldm_tensor_count(c->batch.x);

    memcpy(c->batch.x->data, ldm_tensor_f32(c->x) + step * n, n * sizeof(float));
    for (size_t i = 0; i < BATCH * c->batch.tokens; i++)
        c->batch.ids[i] = (int32_t)ldm_tensor_f32(c->ids)[step * BATCH * c->batch.tokens + i];
    for (size_t i = 0; i < BATCH; i++)
        c->batch.ends[i] = (size_t)ldm_tensor_f32(c->ends)[step * BATCH + i];
}

static LdmContrastTerms backward(const Case *c, LdmContrastLoss *loss)
{
    g_autoptr(GError) error = NULL;
    LdmContrastTerms terms = {0};

    g_assert_true(ldm_contrast_loss_backward(loss, &c->batch, &terms, &error));
    g_assert_no_error(error);
    return terms;
}

static void make_gradients(const Case *c, LdmParams *tables[3])
{
    tables[0] = c->model->text_params;
    tables[1] = ldm_image_tower_params(c->contrast.tower);
    tables[2] = c->contrast.params;
    for (size_t i = 0; i < 3; i++)
        g_assert_true(ldm_params_make_gradients(tables[i], NULL));
}

static void test_pass(void)
{
    g_auto(Case) c = case_new();
    LdmParams *tables[3];
    static const char *const names[] = {"text", "tower", "head"};
    g_autoptr(LdmTensor) expected = fixture_array("contrastive", "loss");
    g_autoptr(LdmContrastLoss) loss = NULL;

    make_gradients(&c, tables);
    loss = ldm_contrast_loss_new(c.model, &c.contrast, &c.batch, NULL, NULL);
    set_step(&c, 0);
    c.batch.scale = 0.5; /* two passes at half the scale add up to one */
    LdmContrastTerms terms = backward(&c, loss);
    g_assert_cmpfloat_with_epsilon(terms.loss, 0.5 * ldm_tensor_f32(expected)[0], 1e-5);
    backward(&c, loss);
    for (size_t i = 0; i < 3; i++) {
        g_autofree char *name = g_strconcat("gradients-", names[i], NULL);
        g_autoptr(LdmTensor) rows = fixture_array("contrastive", "%s", name);
        signs_check(tables[i], rows, names[i]);
    }
}

/* Several captions of one picture do not speak against one another. */
static void test_same_picture(void)
{
    g_auto(Case) c = case_new();
    LdmParams *tables[3];
    g_autoptr(LdmContrastLoss) loss = NULL;

    make_gradients(&c, tables);
    loss = ldm_contrast_loss_new(c.model, &c.contrast, &c.batch, NULL, NULL);
    set_step(&c, 1);
    double apart = backward(&c, loss).loss;
    c.batch.pictures[1] = c.batch.pictures[0];
    double joined = backward(&c, loss).loss;
    g_assert_cmpfloat(joined, <, apart);
    for (size_t i = 0; i < BATCH; i++)
        c.batch.pictures[i] = 0;
    LdmContrastTerms alone = backward(&c, loss);
    g_assert_cmpfloat(alone.loss, ==, 0.0); /* nothing is left to be told apart */
    g_assert_cmpfloat(alone.matched, ==, 1.0);
}

static void test_curve(void)
{
    g_auto(Case) c = case_new();
    LdmOptimiserOptions options = ldm_optimiser_defaults();
    g_autoptr(LdmTensor) curve = fixture_array("contrastive", "curve");
    double worst = 0.0;

    options.rate = 1e-3;
    options.warm_up = 0;
    options.steps = 1000000000; /* the rate stays what it is */
    g_autoptr(LdmOptimiser) optimiser = ldm_optimiser_new(&options, NULL);
    g_assert_true(ldm_optimiser_add(optimiser, "text", c.model->text_params, NULL));
    g_assert_true(
        ldm_optimiser_add(optimiser, "image", ldm_image_tower_params(c.contrast.tower), NULL));
    g_assert_true(ldm_optimiser_add(optimiser, "head", c.contrast.params, NULL));
    g_autoptr(LdmContrastLoss) loss =
        ldm_contrast_loss_new(c.model, &c.contrast, &c.batch, NULL, NULL);
    for (size_t step = 0; step < STEPS; step++) {
        LdmStep told;
        set_step(&c, step);
        LdmContrastTerms terms = backward(&c, loss);
        double expected = ldm_tensor_f32(curve)[step];
        g_assert_true(ldm_optimiser_step(optimiser, terms.loss, &told, NULL));
        g_test_message("step %zu: %.6f, PyTorch %.6f", step + 1, terms.loss, expected);
        worst = MAX(worst, fabs(terms.loss - expected) / expected);
    }
    g_test_message("worst %.1e", worst);
    g_assert_cmpfloat(worst, <=, 1e-4);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/contrastive/pass", test_pass);
    g_test_add_func("/contrastive/same-picture", test_same_picture);
    g_test_add_func("/contrastive/curve", test_curve);
    return g_test_run();
}
