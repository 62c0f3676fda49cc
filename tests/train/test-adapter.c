/* Adapters in training: gradients and ten-step loss curves of LoRA and of textual inversion beside
 * PyTorch's and peft's (reference/make_adapters.py), on frozen f16 weights; whole runs, resumed to
 * the same bytes; what they write changes pictures, and with weight 0 not one bit. */
#include "diffuse/schedule.h"
#include "fixture.h"
#include "place.h"
#include "train/estimate.h"
#include "weights/safetensors.h"

#include <math.h>
#include <string.h>

#define CURVE_STEPS 10
#define CURVE_BATCH 2
#define STEPS       6

/* ---- beside PyTorch ---- */

static LdmModel *load_sd1(void)
{
    g_autofree char *path = fixture_path("networks", "sd1");
    g_autoptr(GError) error = NULL;
    LdmModel *model = ldm_model_load(path, &error);
    g_assert_no_error(error);
    return model;
}

static LdmFiles *files(const char *name)
{
    g_autofree char *path = fixture_path("adapters", name);
    g_autoptr(GError) error = NULL;
    LdmFiles *opened = ldm_files_new();
    g_assert_true(ldm_files_add(opened, path, &error));
    g_assert_no_error(error);
    return opened;
}

static const float *row(const LdmTensor *tensor, size_t n)
{
    return ldm_tensor_f32(tensor) + n * (ldm_tensor_count(tensor) / tensor->shape[0]);
}

/* |a - b| / |b|, of whole arrays */
static double distance(const float *a, const float *b, size_t n)
{
    double difference = 0.0, length = 0.0;
    for (size_t i = 0; i < n; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        length += (double)b[i] * b[i];
    }
    return sqrt(difference / length);
}

static void set_batch(LdmBatch *batch, const LdmModel *model, size_t step, bool words)
{
    g_autoptr(LdmTensor) z0 = fixture_array("training", "curve-sd1-z0");
    g_autoptr(LdmTensor) noise = fixture_array("training", "curve-sd1-noise");
    g_autoptr(LdmTensor) times = fixture_array("training", "curve-sd1-timesteps");
    g_autoptr(LdmTensor) ids = fixture_array("training", "curve-sd1-ids");
    g_autofree double *alpha_bar = g_new(double, model->config.schedule.train_steps);
    size_t tokens = (size_t)model->config.text.tokens;
    ldm_schedule_alpha_bar(&model->config.schedule, alpha_bar);
    for (size_t k = 0; k < CURVE_BATCH; k++) {
        size_t n = step * CURVE_BATCH + k;
        int t = (int)ldm_tensor_f32(times)[n];
        int32_t *to = batch->ids + k * tokens;
        ldm_batch_set(batch, k, model, &(LdmLossOptions){0},
                      &(LdmSample){.z0 = row(z0, n),
                                   .noise = row(noise, n),
                                   .timestep = t,
                                   .alpha_bar = alpha_bar[t]});
        for (size_t i = 0; i < tokens; i++)
            to[i] = (int32_t)row(ids, n)[i];
        if (words) { /* as in make_adapters.py */
            to[3] = model->config.text.vocab_size;
            to[4] = model->config.text.vocab_size + 1;
            if (n == 1)
                to[5] = model->config.text.vocab_size;
        }
    }
}

/* The optimiser with the adapter's table, beginning where PyTorch began. */
static LdmOptimiser *optimise(const LdmTrainAdapter *adapter, double decay)
{
    LdmOptimiserOptions options = ldm_optimiser_defaults();
    g_autoptr(GError) error = NULL;
    options.rate = 1e-2;
    options.weight_decay = decay;
    options.warm_up = 0;
    options.steps = 1000000000; /* the rate stays what it is */
    LdmOptimiser *optimiser = ldm_optimiser_new(&options, &error);
    g_assert_no_error(error);
    ldm_optimiser_add(optimiser, "adapter", ldm_train_adapter_params(adapter), &error);
    g_assert_no_error(error);
    return optimiser;
}

typedef void (*CheckGradients)(const LdmOptimiser *optimiser);

static void run_curve(LdmModel *model, LdmOptimiser *optimiser, const char *name, bool words,
                      CheckGradients check)
{
    g_autoptr(LdmTensor) losses = fixture_array("adapters", "%s-losses", name);
    g_autoptr(LdmTensor) z0 = fixture_array("training", "curve-sd1-z0");
    g_auto(LdmBatch) batch = {0};
    g_autoptr(GError) error = NULL;
    double worst = 0.0;
    ldm_batch_init(&batch, model, CURVE_BATCH, z0->shape[1], z0->shape[2], &error);
    g_autoptr(LdmLoss) loss = ldm_loss_new(model, &batch, 0, NULL, &error);
    g_assert_no_error(error);
    for (size_t step = 0; step < CURVE_STEPS; step++) {
        double value = 0.0, expected = ldm_tensor_f32(losses)[step];
        LdmStep told;
        set_batch(&batch, model, step, words);
        g_assert_true(ldm_loss_backward(loss, &batch, 1.0, &value, &error));
        if (step == 0)
            check(optimiser);
        g_assert_true(ldm_optimiser_step(optimiser, value, &told, &error));
        g_test_message("step %zu: %.6f, PyTorch %.6f", step + 1, value, expected);
        worst = MAX(worst, fabs(value - expected) / expected);
    }
    g_test_message("worst %.1e", worst);
    g_assert_cmpfloat(worst, <=, 1e-4);
}

static void check_lora_gradients(const LdmOptimiser *optimiser)
{
    g_autoptr(LdmFiles) expected = files("lora-gradients.safetensors");
    double worst = 0.0;
    g_assert_cmpuint(ldm_optimiser_length(optimiser), ==, ldm_files_length(expected));
    for (size_t i = 0; i < ldm_optimiser_length(optimiser); i++) {
        const LdmTrained *trained = ldm_optimiser_at(optimiser, i);
        const LdmFileTensor *t = ldm_files_find(expected, trained->param->name);
        g_assert_nonnull(t);
        g_assert_cmpuint(t->bytes, ==, trained->count * sizeof(float));
        g_autofree float *values = g_memdup2(t->data, t->bytes);
        worst = MAX(worst, distance(trained->gradient, values, trained->count));
    }
    g_test_message("worst gradient %.1e", worst);
    g_assert_cmpfloat(worst, <=, 1e-4);
}

static void test_lora_curve(void)
{
    LdmAdapterOptions options = ldm_adapter_defaults(LDM_ADAPTER_LORA);
    g_autoptr(LdmModel) model = load_sd1();
    g_autoptr(LdmFiles) start = files("lora-start.safetensors");
    g_autoptr(GError) error = NULL;
    options.rank = 2;
    options.alpha = 4.0;
    g_autoptr(LdmTrainAdapter) adapter = ldm_train_adapter_new(model, &options, true, 1, &error);
    g_assert_no_error(error);
    g_autoptr(LdmOptimiser) optimiser = optimise(adapter, 0.01);
    for (size_t i = 0; i < ldm_optimiser_length(optimiser); i++) {
        LdmTrained *trained = ldm_optimiser_at(optimiser, i);
        const LdmFileTensor *t = ldm_files_find(start, trained->param->name);
        g_assert_nonnull(t);
        memcpy(trained->weight, t->data, t->bytes);
    }
    run_curve(model, optimiser, "lora", false, check_lora_gradients);
    const LdmParam *frozen = ldm_params_find(model->unet_params, "conv_in.weight");
    g_assert_cmpint(frozen->dtype, ==, LDM_F16); /* still in the file */
    g_assert_null(frozen->gradient);
}

static void check_word_gradients(const LdmOptimiser *optimiser)
{
    g_autoptr(LdmTensor) expected = fixture_array("adapters", "inversion-gradients");
    const LdmTrained *trained = ldm_optimiser_at(optimiser, 0);
    double found = distance(trained->gradient, ldm_tensor_f32(expected), trained->count);
    g_test_message("gradient %.1e", found);
    g_assert_cmpuint(trained->count, ==, ldm_tensor_count(expected));
    g_assert_cmpfloat(found, <=, 1e-4);
}

static void test_word_curve(void)
{
    LdmAdapterOptions options = ldm_adapter_defaults(LDM_ADAPTER_WORD);
    g_autoptr(LdmModel) model = load_sd1();
    g_autoptr(LdmTensor) start = fixture_array("adapters", "inversion-start");
    g_autoptr(GError) error = NULL;
    g_strlcpy(options.word, "<cat>", sizeof options.word);
    options.vectors = 2;
    g_autoptr(LdmTrainAdapter) adapter = ldm_train_adapter_new(model, &options, false, 1, &error);
    g_assert_no_error(error);
    g_autoptr(LdmOptimiser) optimiser = optimise(adapter, 0.0);
    LdmTrained *trained = ldm_optimiser_at(optimiser, 0);
    memcpy(trained->weight, start->data, trained->count * sizeof(float));
    run_curve(model, optimiser, "inversion", true, check_word_gradients);
}

/* ---- whole runs ---- */

static LdmTrainOptions options_of(LdmAdapterKind kind)
{
    LdmTrainOptions options = ldm_train_adapter_defaults(kind);
    options.latents.augment.side = 16;
    options.latents.variants = 1;
    options.loop.optimiser.steps = STEPS;
    options.loop.optimiser.warm_up = 1;
    options.loop.optimiser.rate = 0.05;
    options.loop.optimiser.ema = 0.5;
    options.loop.batch = 2;
    options.loop.seed = 3;
    options.loop.save_every = 2;
    g_strlcpy(options.adapter.word, "<cat>", sizeof options.adapter.word);
    return options;
}

/* `model`: loaded already, or NULL. */
static bool train(const Place *place, const char *run, const LdmTrainOptions *options, Watch *watch,
                  GError **error)
{
    g_autoptr(LdmModel) model = ldm_model_load(place->model_folder, error);
    g_autoptr(LdmDataset) dataset = model != NULL ? ldm_dataset_open(place->pictures, error) : NULL;
    g_autofree char *folder = g_build_filename(place->folder, run, NULL);
    const LdmTrainWatch callbacks = watch_run(watch, read_picture);
    if (dataset == NULL)
        return false;
    bool done = ldm_train_ldm(model, dataset, options, &callbacks, folder, error);
    for (size_t i = 0; i < ldm_params_length(model->unet_params); i++) /* as it was before */
        g_assert_null(ldm_params_at(model->unet_params, i)->adapter);
    return done;
}

static void assert_trains(const Place *place, const char *run, const LdmTrainOptions *options)
{
    g_autoptr(GError) error = NULL;
    g_auto(Watch) watch = {0};
    bool done = train(place, run, options, &watch, &error);
    g_assert_no_error(error);
    g_assert_true(done);
    g_assert_cmpuint(watch.plan.trained, <, 20000);
}

static LdmTensor *picture_of(const Place *place, const char *prompt, char *lora, char *word)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmModel) model = ldm_model_load(place->model_folder, &error);
    g_autoptr(LdmRequest) request = ldm_request_new(LDM_TASK_GENERATE);
    request->steps = 2;
    request->width = request->height = 16;
    request->seed = 1;
    ldm_request_set(request, "prompt", g_variant_new_string(prompt), &error);
    if (lora != NULL)
        ldm_request_set(request, "lora", g_variant_new_strv((const char *[]){lora}, 1), &error);
    if (word != NULL)
        ldm_request_set(request, "embedding", g_variant_new_strv((const char *[]){word}, 1),
                        &error);
    g_assert_no_error(error);
    g_autoptr(LdmResult) result = ldm_generate(model, request, NULL, &error);
    g_assert_no_error(error);
    return g_steal_pointer(&result->pixels);
}

static bool same(const LdmTensor *a, const LdmTensor *b)
{
    return memcmp(a->data, b->data, ldm_tensor_count(a) * sizeof(float)) == 0;
}

static void test_lora_run(void)
{
    LdmTrainOptions options = options_of(LDM_ADAPTER_LORA);
    g_auto(Place) place = place_new();
    g_autofree char *peft =
        g_build_filename(place.folder, "peft", "pytorch_lora_weights.safetensors", NULL);
    g_autofree char *kohya =
        g_build_filename(place.folder, "kohya", "pytorch_lora_weights.safetensors", NULL);
    g_autofree char *nothing = g_strconcat(peft, ":0", NULL);
    options.train_text = true;
    options.adapter.alpha = 8.0;
    assert_trains(&place, "peft", &options);
    options.adapter.kohya = true;
    assert_trains(&place, "kohya", &options);

    g_autoptr(LdmTensor) plain = picture_of(&place, "a picture", NULL, NULL);
    g_autoptr(LdmTensor) zero = picture_of(&place, "a picture", nothing, NULL);
    g_autoptr(LdmTensor) moved = picture_of(&place, "a picture", peft, NULL);
    g_autoptr(LdmTensor) other = picture_of(&place, "a picture", kohya, NULL);
    g_assert_true(same(plain, zero));
    g_assert_false(same(plain, moved));
    for (size_t i = 0; i < ldm_tensor_count(moved); i++) /* alpha inside the matrices or beside */
        g_assert_cmpfloat_with_epsilon(ldm_tensor_f32(moved)[i], ldm_tensor_f32(other)[i], 1e-5);
}

static void test_word_run(void)
{
    LdmTrainOptions options = options_of(LDM_ADAPTER_WORD);
    g_auto(Place) place = place_new();
    g_autofree char *file =
        g_build_filename(place.folder, "word", "learned_embeds.safetensors", NULL);
    assert_trains(&place, "word", &options);
    g_autoptr(LdmTensor) plain = picture_of(&place, "<cat>", NULL, NULL);
    g_autoptr(LdmTensor) learnt = picture_of(&place, "<cat>", NULL, file);
    g_autoptr(LdmTensor) without = picture_of(&place, "x", NULL, NULL);
    g_autoptr(LdmTensor) unused = picture_of(&place, "x", NULL, file);
    g_assert_false(same(plain, learnt));
    g_assert_true(same(without, unused));
}

/* Another bit in the denoiser. */
static void change_model(const Place *place)
{
    g_autofree char *path =
        g_build_filename(place->model_folder, "unet", "diffusion_pytorch_model.safetensors", NULL);
    g_autofree char *bytes = NULL;
    guint64 header;
    gsize length;
    g_assert_true(g_file_get_contents(path, &bytes, &length, NULL));
    memcpy(&header, bytes, sizeof header);
    bytes[sizeof header + GUINT64_FROM_LE(header)] ^= 1;
    g_assert_true(g_file_set_contents(path, bytes, (gssize)length, NULL));
}

static void test_resume(void)
{
    LdmTrainOptions options = options_of(LDM_ADAPTER_LORA);
    g_auto(Place) place = place_new();
    g_autoptr(GError) error = NULL;
    g_auto(Watch) parts = {.stop_after = 3}, rest = {0}, others = {0};
    assert_trains(&place, "whole", &options);
    g_assert_false(train(&place, "parts", &options, &parts, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_CANCELLED);
    g_clear_error(&error);
    options.loop.resume = true;
    options.adapter.rank = 5; /* another one */
    g_assert_false(train(&place, "parts", &options, &others, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_clear_error(&error);
    options.adapter.rank = 4;
    g_assert_true(train(&place, "parts", &options, &rest, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(rest.plan.first_step, ==, 3);
    assert_same_file(&place, "whole", "parts", "pytorch_lora_weights.safetensors");
    assert_same_file(&place, "whole", "parts", "log.jsonl");
    change_model(&place); /* to which what was learnt would not fit */
    g_assert_false(train(&place, "parts", &options, &others, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, "model="));
}

/* What has been learnt up to the newest checkpoint, as a model. */
static void test_finish(void)
{
    LdmTrainOptions options = options_of(LDM_ADAPTER_LORA);
    g_auto(Place) place = place_new();
    g_autofree char *file =
        g_build_filename(place.folder, "early", "pytorch_lora_weights.safetensors", NULL);
    g_autoptr(GError) error = NULL;
    g_auto(Watch) parts = {.stop_after = 3}, rest = {0};
    g_assert_false(train(&place, "early", &options, &parts, &error));
    g_clear_error(&error);
    options.loop.resume = options.loop.finish = true;
    g_assert_true(train(&place, "early", &options, &rest, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(rest.plan.first_step, ==, 3);
    g_assert_cmpuint(rest.taken, ==, 0);
    g_autoptr(LdmTensor) plain = picture_of(&place, "a picture", NULL, NULL);
    g_autoptr(LdmTensor) moved = picture_of(&place, "a picture", file, NULL);
    g_assert_false(same(plain, moved));
}

/* The memory is what the run then says it takes, and the samples'. */
static void test_estimate(void)
{
    LdmTrainOptions options = options_of(LDM_ADAPTER_LORA);
    g_auto(Place) place = place_new();
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmModel) model = ldm_model_load(place.model_folder, &error);
    LdmTrainEstimate with, without;
    g_auto(Watch) watch = {0};
    options.loop.look_every = 0;
    g_assert_true(ldm_train_estimate(model, &options, 4, NULL, &without, &error));
    options.loop.look_every = 2;
    g_assert_true(ldm_train_estimate(model, &options, 4, NULL, &with, &error));
    g_assert_no_error(error);
    g_assert_null(ldm_params_at(model->unet_params, 0)->adapter);
    options.loop.look_every = 0;
    g_assert_true(train(&place, "run", &options, &watch, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(without.bytes, ==, watch.plan.bytes);
    g_assert_cmpuint(without.trained, ==, watch.plan.trained);
    g_assert_cmpuint(with.bytes, >, without.bytes);
    g_assert_true(with.seconds > 0.0 && without.besides > 0.0);
}

static void refuse_as(const Place *place, const LdmTrainOptions *options, int code,
                      const char *part)
{
    g_autoptr(GError) error = NULL;
    g_auto(Watch) watch = {0};
    g_assert_false(train(place, "refused", options, &watch, &error));
    g_assert_error(error, LDM_ERROR, code);
    g_assert_nonnull(strstr(error->message, part));
}

static void refuse(const Place *place, const LdmTrainOptions *options, const char *part)
{
    refuse_as(place, options, LDM_ERROR_INVALID, part);
}

static void test_refusals(void)
{
    LdmTrainOptions lora = options_of(LDM_ADAPTER_LORA), word = options_of(LDM_ADAPTER_WORD);
    g_auto(Place) place = place_new();
    g_strlcpy(lora.adapter.targets, "q, norm1, _q", sizeof lora.adapter.targets);
    refuse(&place, &lora, "norm1");
    lora.adapter.rank = 0;
    refuse(&place, &lora, "rank");
    word.adapter.vectors = 7; /* of eight tokens two are begin and end */
    refuse(&place, &word, "vectors");
    word.adapter.vectors = 1;
    word.adapter.meaning[0] = '\0';
    refuse(&place, &word, "meaning");
    g_autofree char *vocab = g_build_filename(place.model_folder, "tokenizer", "vocab.json", NULL);
    g_autofree char *words = NULL;
    g_assert_true(g_file_get_contents(vocab, &words, NULL, NULL));
    g_autoptr(GString) wrong = g_string_new(words);
    g_assert_cmpuint(g_string_replace(wrong, "\"a</w>\":", "\"a</w>\":1000", 0), ==, 1);
    g_assert_true(g_file_set_contents(vocab, wrong->str, -1, NULL));
    g_strlcpy(word.adapter.meaning, "a", sizeof word.adapter.meaning);
    refuse_as(&place, &word, LDM_ERROR_FORMAT, "token 1000");
    g_assert_true(g_file_set_contents(vocab, words, -1, NULL));
    word.train_text = true;
    refuse(&place, &word, "train-text");
    word.train_text = false;
    word.full_holes = 0.5; /* of a model without any */
    refuse(&place, &word, "full-holes");
    word.full_holes = 0.0;
    word.adapter.word[0] = '\0';
    refuse(&place, &word, "<cat>");
}

/* The new word is put where the caption lacks it. */
static void test_captions(void)
{
    static const char *const cases[][3] = {
        {"<cat>", "", "<cat>"},
        {"<cat>", "on a mat", "<cat>, on a mat"},
        {"<cat>", "a <CAT> on a mat", "a <CAT> on a mat"},
        {"ink", "a pink cup", "ink, a pink cup"}, /* which the tokenizer finds in no other word */
        {"ink", "a cup, ink", "a cup, ink"},
        {"Ärger", "nur ärger", "nur ärger"},
    };
    LdmTrainOptions options = options_of(LDM_ADAPTER_WORD);
    g_autoptr(LdmModel) model = load_sd1();
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_strlcpy(options.adapter.word, cases[i][0], sizeof options.adapter.word);
        g_autoptr(LdmTrainAdapter) adapter =
            ldm_train_adapter_new(model, &options.adapter, false, 1, NULL);
        g_assert_nonnull(adapter);
        g_autofree char *caption = ldm_train_adapter_caption(adapter, cases[i][1]);
        g_assert_cmpstr(caption, ==, cases[i][2]);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/adapter/lora-curve", test_lora_curve);
    g_test_add_func("/adapter/word-curve", test_word_curve);
    g_test_add_func("/adapter/lora-run", test_lora_run);
    g_test_add_func("/adapter/word-run", test_word_run);
    g_test_add_func("/adapter/resume", test_resume);
    g_test_add_func("/adapter/finish", test_finish);
    g_test_add_func("/adapter/estimate", test_estimate);
    g_test_add_func("/adapter/refusals", test_refusals);
    g_test_add_func("/adapter/captions", test_captions);
    return g_test_run();
}
