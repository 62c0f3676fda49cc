/* Ten steps of L_LDM beside PyTorch's, on the tiny models of reference/make_networks.py: epsilon
 * and v, min-SNR weights, coarse scales, masks, the text encoder frozen and trained. */
#include "diffuse/schedule.h"
#include "pipeline/model.h"
#include "train/loss-ldm.h"
#include "train/optimiser.h"

#include "fixture.h"

#include <math.h>
#include <string.h>

#define STEPS 10
#define BATCH 2

typedef struct {
    const char *model;
    double gamma;
    bool train_text;
    const char *kind; /* of loss */
    double multiscale, hole_focus;
} Curve;

static const Curve curves[] = {
    {"sd1", 0.0, false, "", 0.0, 0.0},        {"sd1", 0.0, false, "coarse-", 1.0, 0.0},
    {"sd2", 5.0, false, "", 0.0, 0.0},        {"sd2", 5.0, false, "coarse-", 1.0, 0.0},
    {"inpaint", 5.0, true, "", 0.0, 0.0},     {"inpaint", 5.0, true, "coarse-", 1.0, 0.0},
    {"inpaint", 5.0, true, "hole-", 1.0, 0.9}};

static LdmModel *load(const char *name)
{
    g_autofree char *path = fixture_path("networks", name);
    g_autoptr(GError) error = NULL;
    LdmModel *model = ldm_model_load(path, &error);

    g_assert_no_error(error);
    return model;
}

typedef struct {
    LdmTensor *z0, *noise, *timesteps, *ids, *losses, *hole;
} Arrays;

static Arrays arrays_load(const LdmModel *model, const Curve *curve)
{
    const char *name = curve->model;

    return (Arrays){
        .z0 = fixture_array("training", "curve-%s-z0", name),
        .noise = fixture_array("training", "curve-%s-noise", name),
        .timesteps = fixture_array("training", "curve-%s-timesteps", name),
        .ids = fixture_array("training", "curve-%s-ids", name),
        .losses = fixture_array("training", "curve-%s-%slosses", name, curve->kind),
        .hole =
            model->info.concat_inpainting ? fixture_array("training", "curve-%s-hole", name) : NULL,
    };
}

static void arrays_clear(Arrays *a)
{
    LdmTensor *all[] = {a->z0, a->noise, a->timesteps, a->ids, a->losses, a->hole};
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
        ldm_tensor_free(all[i]);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Arrays, arrays_clear)

static const float *row(const LdmTensor *array, size_t n)
{
    return ldm_tensor_f32(array) + n * (ldm_tensor_count(array) / array->shape[0]);
}

static void set_batch(LdmBatch *batch, const LdmModel *model, const Curve *curve, const Arrays *a,
                      size_t step)
{
    g_autofree double *alpha_bar = g_new(double, model->config.schedule.train_steps);
    const LdmLossOptions options = {.snr_gamma = curve->gamma,
                                    .multiscale = curve->multiscale,
                                    .hole_focus = curve->hole_focus};
    size_t tokens = (size_t)model->config.text.tokens;

    ldm_schedule_alpha_bar(&model->config.schedule, alpha_bar);
    for (size_t k = 0; k < BATCH; k++) {
        size_t n = step * BATCH + k;
        int t = (int)ldm_tensor_f32(a->timesteps)[n];
        const LdmSample sample = {.z0 = row(a->z0, n),
                                  .noise = row(a->noise, n),
                                  .hole = a->hole != NULL ? row(a->hole, n) : NULL,
                                  .timestep = t,
                                  .alpha_bar = alpha_bar[t]};
        ldm_batch_set(batch, k, model, &options, &sample);
        for (size_t i = 0; i < tokens; i++)
            batch->ids[k * tokens + i] = (int32_t)row(a->ids, n)[i];
    }
}

static LdmOptimiser *optimise(LdmModel *model, bool train_text)
{
    LdmOptimiserOptions options = ldm_optimiser_defaults();
    g_autoptr(GError) error = NULL;

    options.rate = 1e-3;
    options.warm_up = 0;
    options.steps = 1000000000; /* the rate stays what it is */
    LdmOptimiser *optimiser = ldm_optimiser_new(&options, &error);
    g_assert_no_error(error);
    g_assert_true(ldm_optimiser_add(optimiser, "unet", model->unet_params, &error));
    if (train_text)
        g_assert_true(ldm_optimiser_add(optimiser, "text", model->text_params, &error));
    return optimiser;
}

/* The first channel becomes 1 or 0. */
static void round_masks(LdmTensor *hole)
{
    float *mask = ldm_tensor_f32(hole);

    for (size_t i = 0; i < ldm_tensor_count(hole); i += hole->shape[3])
        mask[i] = mask[i] > 0.0f;
}

static void test_curve(gconstpointer data)
{
    const Curve *curve = data;
    g_autoptr(LdmModel) model = load(curve->model);
    g_auto(Arrays) a = arrays_load(model, curve);
    g_auto(LdmBatch) batch = {0};
    g_autoptr(LdmOptimiser) optimiser = optimise(model, curve->train_text);
    g_autoptr(GError) error = NULL;
    double worst = 0.0;

    g_assert_true(ldm_batch_init(&batch, model, BATCH, a.z0->shape[1], a.z0->shape[2], &error));
    g_autoptr(LdmLoss) loss = ldm_loss_new(model, &batch, 0, NULL, &error);
    g_assert_no_error(error);
    if (curve->hole_focus > 0.0)
        round_masks(a.hole);
    for (size_t step = 0; step < STEPS; step++) {
        double value = 0.0, expected = ldm_tensor_f32(a.losses)[step];
        LdmStep told;
        set_batch(&batch, model, curve, &a, step);
        g_assert_true(ldm_loss_backward(loss, &batch, 1.0, &value, &error));
        g_assert_true(ldm_optimiser_step(optimiser, value, &told, &error));
        g_test_message("step %zu: %.6f, PyTorch %.6f", step + 1, value, expected);
        worst = MAX(worst, fabs(value - expected) / expected);
    }
    g_test_message("worst %.1e", worst);
    g_assert_cmpfloat(worst, <=, 1e-4);
    g_clear_pointer(&loss, ldm_loss_free);
}

/* Two passes at half the scale add up to one over both. */
static void test_accumulation(void)
{
    g_autoptr(LdmModel) model = load("sd1");
    g_auto(Arrays) a = arrays_load(model, &curves[0]);
    g_auto(LdmBatch) batch = {0};
    g_autoptr(LdmOptimiser) optimiser = optimise(model, false);
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) whole = g_array_new(FALSE, TRUE, sizeof(float));
    double once = 0.0, twice = 0.0;

    g_assert_true(ldm_batch_init(&batch, model, BATCH, a.z0->shape[1], a.z0->shape[2], &error));
    g_autoptr(LdmLoss) loss = ldm_loss_new(model, &batch, 0, NULL, &error);
    g_assert_no_error(error);
    set_batch(&batch, model, &curves[0], &a, 0);
    g_assert_true(ldm_loss_backward(loss, &batch, 1.0, &once, &error));
    LdmTrained *trained = ldm_optimiser_at(optimiser, 0);
    g_array_append_vals(whole, trained->gradient, (guint)trained->count);
    memset(trained->gradient, 0, trained->count * sizeof(float));
    for (int i = 0; i < 2; i++)
        g_assert_true(ldm_loss_backward(loss, &batch, 0.5, &twice, &error));
    g_assert_cmpfloat_with_epsilon(once, twice, 1e-9);
    for (guint i = 0; i < whole->len; i++)
        g_assert_cmpfloat_with_epsilon(g_array_index(whole, float, i), trained->gradient[i], 1e-5);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(curves); i++) {
        g_autofree char *path =
            g_strconcat("/loss/", curves[i].kind, "curve-", curves[i].model, NULL);
        g_test_add_data_func(path, &curves[i], test_curve);
    }
    g_test_add_func("/loss/accumulation", test_accumulation);
    return g_test_run();
}
