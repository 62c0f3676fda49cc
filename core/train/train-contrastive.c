/* Contrastive training. In: a model with a text encoder, a data set, options. Out: the trained text
 * encoder in a model's folder, with the image tower that learnt beside it. Which pictures meet in a
 * pass is the loop's order; nothing else is drawn. */
#include "train/train-contrastive.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "tensor/tensor.h"
#include "train/check.h"
#include "train/examples.h"
#include "train/initial.h"
#include "train/model-write.h"
#include "train/thumbnails.h"

#include <string.h>

#define TOWER_FOLDER "image_tower"

typedef struct {
    LdmModel *model;
    const LdmDataset *dataset;
    const LdmContrastOptions *options;
    const LdmTrainWatch *watch;
    const char *folder;
    LdmDtype dtype; /* of the text encoder as it was: the finished one gets the same */
    LdmAugment augment;
    LdmThumbnails *thumbnails;
    LdmExamples found;
    LdmLoop *loop;
    LdmContrast contrast;
    float *drawn[2]; /* first weights of the tower and of the rest, where they are new */
    LdmContrastBatch batch;
    LdmContrastLoss *loss;
} Run;

LdmContrastOptions ldm_contrast_defaults(void)
{
    LdmContrastOptions options = {
        .loop = ldm_loop_defaults(), .tower = ldm_image_tower_defaults(), .picture_memory = 2048};

    options.loop.batch = 128; /* the more pictures, the more there is to tell apart */
    options.loop.optimiser.rate = 1e-3;
    return options;
}

static bool check_options(const LdmModel *model, const LdmContrastOptions *o, GError **error)
{
    if (model->text == NULL) {
        ldm_set_error(error, UNSUPPORTED, _("“%s” has no text encoder to train"), model->info.path);
        return false;
    }
    return ldm_option_check("batch", (double)o->loop.batch, 2, 4096, error) &&
           ldm_option_check("picture-memory", (double)o->picture_memory, 0, 1 << 20, error) &&
           ldm_image_tower_check(&o->tower, error);
}

/* What the numbers of a run depend on besides the loop's own options. */
static char *settings_text(const Run *run, GError **error)
{
    const LdmImageTowerConfig *tower = &run->options->tower;
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_autoptr(GString) text = g_string_new(NULL);

    if (!ldm_dataset_digest(run->dataset, sum, run->watch->cancellable, error))
        return NULL;
    ldm_dataset_digest_captions(run->dataset, sum);
    g_string_printf(text, "side=%zu channels=%zu levels=%zu width=%zu data=%.32s", tower->side,
                    tower->channels, tower->levels, tower->width, g_checksum_get_string(sum));
    ldm_option_append_config(text, run->model);
    return g_string_free(g_steal_pointer(&text), FALSE);
}

/* ---- samples ---- */

/* Whether picture and caption can be used; pictures that are kept are read here. */
static bool look(size_t example, void *data, GError **error)
{
    Run *run = data;
    const char *caption = ldm_dataset_at(run->dataset, example)->caption;

    if (!ldm_dataset_check_caption(run->dataset, example, error))
        return false;
    if (*caption == '\0') {
        ldm_set_error(error, MISSING, _("it has no caption"));
        return false;
    }
    return ldm_contrast_batch_set(&run->batch, 0, run->model, caption, error) &&
           ldm_thumbnails_get(run->thumbnails, example, NULL, error);
}

static bool pass(void *data, size_t number, LdmTrainStep *step, GError **error)
{
    Run *run = data;
    size_t each = ldm_tensor_count(run->batch.x) / run->batch.N;
    LdmContrastTerms terms = {0};

    for (size_t k = 0; k < run->batch.N; k++) {
        size_t sample = ldm_loop_sample(run->loop, number, k);
        size_t example = run->found.examples[ldm_loop_example(run->loop, step->step - 1, sample)];
        const char *caption = ldm_dataset_at(run->dataset, example)->caption;
        run->batch.pictures[k] = ldm_thumbnails_picture(run->thumbnails, example);
        if (!ldm_contrast_batch_set(&run->batch, k, run->model, caption, error) ||
            !ldm_thumbnails_get(run->thumbnails, example, ldm_tensor_f32(run->batch.x) + k * each,
                                error))
            return false;
    }
    if (!ldm_contrast_loss_backward(run->loss, &run->batch, &terms, error))
        return false;
    step->loss += terms.loss;
    ldm_train_step_add(step, "matched", terms.matched);
    return true;
}

/* ---- the finished model ---- */

static bool write_model(void *data, GError **error)
{
    const Run *run = data;
    const LdmOptimiser *optimiser = ldm_loop_optimiser(run->loop);
    g_autofree char *folder = g_build_filename(run->folder, TOWER_FOLDER, NULL);
    g_autofree char *config = ldm_image_tower_json(&run->options->tower);

    return ldm_model_write_table(optimiser, TOWER_FOLDER, run->dtype, folder, config, error) &&
           ldm_model_write(run->model, optimiser, run->dtype, NULL, run->folder, error);
}

/* ---- before the loop ---- */

/* The model's own tower, which has to be as the options want it. */
static bool load_tower(Run *run, const char *folder, GError **error)
{
    const LdmImageTowerConfig *wanted = &run->options->tower, *own;

    if (!ldm_contrast_load(&run->contrast, folder, &run->model->config.text, error))
        return false;
    own = ldm_image_tower_config(run->contrast.tower);
    if (memcmp(own, wanted, sizeof *own) == 0)
        return true;
    ldm_set_error(error, INVALID,
                  _("%s has side=%zu channels=%zu levels=%zu width=%zu: set these, or move the "
                    "folder away for a new image tower"),
                  folder, own->side, own->channels, own->levels, own->width);
    return false;
}

static bool draw_tower(Run *run, GError **error)
{
    uint64_t seed = (uint64_t)run->options->loop.seed;

    ldm_contrast_init(&run->contrast, &run->options->tower, &run->model->config.text);
    run->drawn[0] = ldm_params_draw(ldm_image_tower_params(run->contrast.tower), LDM_INITIAL_LAYERS,
                                    TOWER_FOLDER, seed, error);
    if (run->drawn[0] == NULL)
        return false;
    run->drawn[1] =
        ldm_params_draw(run->contrast.params, LDM_INITIAL_LAYERS, TOWER_FOLDER, seed, error);
    if (run->drawn[1] == NULL)
        return false;
    *(float *)run->contrast.scale->data = (float)LDM_CONTRAST_SCALE; /* it lies in drawn[1] */
    return true;
}

static bool make_contrast(Run *run, GError **error)
{
    g_autofree char *folder = g_build_filename(run->model->info.path, TOWER_FOLDER, NULL);
    bool goes_on = run->model->drawn[LDM_PART_TEXT] == NULL;

    if (!(goes_on && g_file_test(folder, G_FILE_TEST_IS_DIR) ? load_tower(run, folder, error)
                                                             : draw_tower(run, error)))
        return false;
    ldm_params_set_trained(run->model->text_params, true);
    ldm_params_set_trained(ldm_image_tower_params(run->contrast.tower), true);
    ldm_params_set_trained(run->contrast.params, true);
    return ldm_contrast_batch_init(&run->batch, run->model, &run->contrast,
                                   run->options->loop.batch, error);
}

static bool open_pictures(Run *run, GError **error)
{
    size_t most = run->options->picture_memory << 20;
    size_t free = (size_t)MIN(ldm_memory_available() / 2, SIZE_MAX);

    if (run->watch->ranks != NULL)
        free /= (size_t)run->watch->ranks->neighbours;
    run->augment =
        (LdmAugment){.side = run->options->tower.side, .seed = (uint64_t)run->options->loop.seed};
    run->thumbnails = ldm_thumbnails_new(run->dataset, &run->augment, run->watch->read,
                                         run->watch->read_data, MIN(most, free), error);
    return run->thumbnails != NULL;
}

/* Before any picture is read. */
static bool plan_memory(const Run *run, LdmTrainPlan *plan, GError **error)
{
    const LdmParams *const tables[] = {run->model->text_params, run->contrast.params,
                                       ldm_image_tower_params(run->contrast.tower), NULL};

    for (size_t i = 0; tables[i] != NULL; i++)
        plan->trained += ldm_params_count(tables[i]);
    if (!ldm_contrast_loss_measure(run->model, &run->contrast, &run->batch, &plan->bytes, error))
        return false;
    plan->bytes += ldm_optimiser_bytes(&run->options->loop.optimiser, tables);
    return ldm_loop_check_memory(run->watch->ranks, plan->bytes, error);
}

static bool prepare(Run *run, LdmTrainPlan *plan, GError **error)
{
    LdmOptimiser *optimiser = ldm_loop_optimiser(run->loop);

    plan->bytes += ldm_thumbnails_bytes(run->thumbnails);
    plan->examples = run->found.count;
    plan->skipped = run->found.skipped->len;
    ldm_loop_set_examples(run->loop, run->found.count);
    if (!ldm_optimiser_add(optimiser, "text", run->model->text_params, error) ||
        !ldm_optimiser_add(optimiser, TOWER_FOLDER, ldm_image_tower_params(run->contrast.tower),
                           error) ||
        !ldm_optimiser_add(optimiser, TOWER_FOLDER, run->contrast.params, error))
        return false;
    run->batch.scale = ldm_loop_share(run->loop);
    run->loss = ldm_contrast_loss_new(run->model, &run->contrast, &run->batch,
                                      run->watch->cancellable, error);
    return run->loss != NULL;
}

static void run_clear(Run *run)
{
    ldm_contrast_loss_free(run->loss);
    ldm_contrast_batch_clear(&run->batch);
    ldm_loop_free(run->loop);
    ldm_contrast_clear(&run->contrast);
    for (size_t i = 0; i < G_N_ELEMENTS(run->drawn); i++)
        ldm_aligned_free(run->drawn[i]);
    ldm_thumbnails_free(run->thumbnails);
    ldm_examples_clear(&run->found);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Run, run_clear)

bool ldm_train_contrastive(LdmModel *model, const LdmDataset *dataset,
                           const LdmContrastOptions *options, const LdmTrainWatch *watch,
                           const char *folder, GError **error)
{
    g_auto(Run) run = {
        .model = model, .dataset = dataset, .options = options, .watch = watch, .folder = folder};
    const LdmLoopWork work = {.pass = pass, .write = write_model, .data = &run};
    LdmTrainPlan plan = {0};

    if (!check_options(model, options, error) || !ldm_model_writable(model, error))
        return false;
    run.dtype = options->loop.half ? LDM_F16 : ldm_params_at(model->text_params, 0)->dtype;
    run.loop = ldm_loop_new(&options->loop, watch, folder, error);
    g_autofree char *settings = run.loop != NULL ? settings_text(&run, error) : NULL;
    return settings != NULL && ldm_loop_set_settings(run.loop, settings, error) &&
           make_contrast(&run, error) && plan_memory(&run, &plan, error) &&
           open_pictures(&run, error) &&
           ldm_examples_find(&run.found, dataset, watch, look, &run, error) &&
           prepare(&run, &plan, error) &&
           ldm_loop_run(run.loop, &plan, run.found.skipped, &work, error);
}
