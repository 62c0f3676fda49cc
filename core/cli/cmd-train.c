/* `pentimento train`: a model, or the configuration of one, pictures and settings in, a trained
 * model out, or what was learnt beside it. What it needs is told before the first step; Ctrl-C
 * saves and stops, --resume goes on. `pentimento train ema` averages a run's weights anew, `train
 * grow` gives a model's latents further channels. */
#include "base/error.h"
#include "cli/command.h"
#include "cli/picture-io.h"
#include "cli/ranks.h"
#include "cli/train-config.h"
#include "train/grow.h"
#include "train/initial.h"
#include "train/snapshots.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define TOLD_SKIPPED 5 /* names of pictures that could not be used */

/* Settings that can be typed, too, by the names that they have in a file. */
static const struct {
    const char *name, *help, *value;
} typed[] = {
    {"steps", N_("Steps of the whole run"), N_("N")},
    {"cool-down", N_("The rate falls to zero over the last N of them, with decay-from"), N_("N")},
    {"batch", N_("Pictures of one pass"), N_("N")},
    {"rate", N_("Highest learning rate"), N_("X")},
    {"seed", N_("The same seed gives the same model"), N_("N")},
    {"rank", N_("lora: rank of the matrices; more can learn more"), N_("N")},
    {"word", N_("embedding: the new word for prompts, such as <cat>"), N_("WORD")},
    {"regulariser", N_("autoencoder: kl, or vq for a codebook; else as the model"), "kl|vq"},
    {"precision",
     N_("ldm, lora, embedding, autoencoder: what is multiplied, f32 or bf16, which is faster on "
        "processors made for it"),
     "f32|bf16"},
};

typedef struct {
    PentimentoCommon common;
    LdmRanks *ranks; /* or NULL */
    char *data, *config, *init, *sigma_rel;
    char *settings[G_N_ELEMENTS(typed)]; /* of `typed`, or NULL */
    gboolean resume;
} Arguments;

static void arguments_clear(Arguments *arguments)
{
    pentimento_common_clear(&arguments->common);
    g_free(arguments->data);
    g_free(arguments->config);
    g_free(arguments->init);
    g_free(arguments->sigma_rel);
    for (size_t i = 0; i < G_N_ELEMENTS(typed); i++)
        g_free(arguments->settings[i]);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Arguments, arguments_clear)

static void add_entries(GOptionContext *context, Arguments *arguments)
{
    const GOptionEntry entries[] = {
        {"output", 'o', 0, G_OPTION_ARG_FILENAME, &arguments->common.output,
         _("Folder of the run: checkpoints, log and at last the trained model"), _("DIR")},
        {"data", 'd', 0, G_OPTION_ARG_FILENAME, &arguments->data,
         _("Pictures: a folder with a .txt file of the same name beside each, or a .tsv or .jsonl "
           "list"),
         _("DIR|FILE")},
        {"config", 'c', 0, G_OPTION_ARG_FILENAME, &arguments->config,
         _("Settings: a JSON object, or lines “name = value”"), _("FILE")},
        {"init", 0, 0, G_OPTION_ARG_FILENAME, &arguments->init,
         _("Begin with random weights: a model folder of which the configuration is taken, and the "
           "weights of what is not trained"),
         _("DIR")},
        {"sigma-rel", 0, 0, G_OPTION_ARG_STRING, &arguments->sigma_rel,
         _("ema: width of the average, as a share of the run"), _("X")},
        {"resume", 0, 0, G_OPTION_ARG_NONE, &arguments->resume,
         _("Go on from the newest checkpoint in the folder"), NULL},
        G_OPTION_ENTRY_NULL,
    };

    g_option_context_add_main_entries(context, entries, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(typed); i++) {
        /* as it was typed: in the locale C, too, a word may be any in UTF-8 */
        const GOptionEntry setting[] = {
            {typed[i].name, 0, 0, G_OPTION_ARG_FILENAME, &arguments->settings[i], _(typed[i].help),
             _(typed[i].value)},
            G_OPTION_ENTRY_NULL,
        };
        g_option_context_add_main_entries(context, setting, NULL);
    }
}

typedef bool TrainFunc(const Arguments *arguments, const LdmDataset *dataset,
                       const LdmTrainWatch *watch, GError **error);
static TrainFunc train_ldm, train_autoencoder, train_contrastive, train_lora, train_embedding,
    train_tiny, train_grow;

/* What can be trained. */
static const struct {
    const char *name;
    TrainFunc *train;
} kinds[] = {
    {"ldm", train_ldm},   {"autoencoder", train_autoencoder}, {"contrastive", train_contrastive},
    {"lora", train_lora}, {"embedding", train_embedding},     {"tiny", train_tiny},
    {"grow", train_grow}};

/* NULL for anything else. */
static TrainFunc *kind_of(const Arguments *arguments)
{
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (strcmp(arguments->common.files[0], kinds[i].name) == 0)
            return kinds[i].train;
    return NULL;
}

/* Both models, and no settings. */
static bool has_growth(const Arguments *arguments)
{
    for (size_t i = 0; i < G_N_ELEMENTS(typed); i++)
        if (arguments->settings[i] != NULL)
            return false;
    return arguments->init != NULL && arguments->common.model != NULL &&
           arguments->config == NULL && !arguments->resume;
}

static bool check_arguments(const Arguments *arguments, GError **error)
{
    if (arguments->common.files == NULL)
        pentimento_set_usage(error, _("say what to train: ldm, autoencoder, contrastive, lora, "
                                      "embedding or tiny; or grow, or ema"));
    else if (arguments->common.files[1] != NULL)
        pentimento_set_usage(error, _("“%s” is one argument too many"), arguments->common.files[1]);
    else if (kind_of(arguments) == NULL)
        pentimento_set_usage(error,
                             _("“%s” cannot be trained; ldm, autoencoder, contrastive, lora, "
                               "embedding and tiny can"),
                             arguments->common.files[0]);
    else if (arguments->sigma_rel != NULL)
        pentimento_set_usage(error, _("--sigma-rel applies to train ema alone"));
    else if (arguments->init != NULL &&
             (kind_of(arguments) == train_lora || kind_of(arguments) == train_embedding ||
              kind_of(arguments) == train_tiny))
        pentimento_set_usage(error, _("--init does not apply: it needs a trained model"));
    else if (kind_of(arguments) == train_grow && !has_growth(arguments))
        pentimento_set_usage(error, _("train grow trains nothing: it takes --model, the model that "
                                      "grows, --init, a folder with the configuration of the "
                                      "larger one, --data and -o"));
    else if (kind_of(arguments) != train_grow && arguments->init != NULL &&
             arguments->common.model != NULL)
        pentimento_set_usage(error, _("give --model or --init, not both"));
    else if (arguments->data == NULL)
        pentimento_set_usage(error, _("--data is needed: a folder of pictures, or a list"));
    else if (arguments->common.output == NULL || *arguments->common.output == '\0')
        pentimento_set_usage(error, _("an output folder is missing: give one with -o DIR"));
    else
        return true;
    return false;
}

#define NOT_SAID ((uint64_t)G_MAXINT64)

/* Where nothing is said, a tenth of the run at most; likewise where it is shorter than what is
 * said, as of a recipe that one tries. With decay-from a run may go on for more steps than it has
 * now. */
static void choose_warm_up(LdmOptimiserOptions *optimiser, uint64_t usual)
{
    bool said = optimiser->warm_up != NOT_SAID;

    if (!said)
        optimiser->warm_up = usual;
    if (optimiser->decay_from == 0 && (!said || optimiser->warm_up > optimiser->steps))
        optimiser->warm_up = MIN(optimiser->warm_up, optimiser->steps / 10);
}

/* The file first, then what was typed. */
static bool read_options(const Arguments *arguments, const PentimentoTrainConfig *config,
                         LdmLoopOptions *loop, GError **error)
{
    uint64_t warm_up = loop->optimiser.warm_up;

    loop->optimiser.warm_up = NOT_SAID;
    if (arguments->config != NULL &&
        !pentimento_train_config_read(config, arguments->config, error))
        return false;
    for (size_t i = 0; i < G_N_ELEMENTS(typed); i++) {
        g_autoptr(GError) reason = NULL;
        if (arguments->settings[i] == NULL ||
            pentimento_train_config_set(config, typed[i].name, arguments->settings[i], &reason))
            continue;
        pentimento_set_usage(error, "--%s", reason->message); /* it begins with the name */
        return false;
    }
    loop->resume = arguments->resume;
    choose_warm_up(&loop->optimiser, warm_up);
    return true;
}

/* ---- what the user sees ------------------------------------------------------------------ */

static LdmTensor *read_picture(const char *path, void *data, GError **error)
{
    return pentimento_picture_read(path, NULL, error);
}

static void on_encoding(size_t done, size_t total, void *data)
{
    const PentimentoReport *report = data;

    if (report->bar) {
        g_printerr(_("\rpicture %zu of %zu"), done + 1, total);
        g_printerr("\033[K");
    }
}

static void on_planned(const LdmTrainPlan *plan, const GPtrArray *skipped, void *data)
{
    const PentimentoReport *report = data;
    g_autofree char *memory = g_format_size(plan->bytes);
    g_autofree char *time =
        pentimento_duration(plan->seconds * (double)(plan->steps - plan->first_step));
    g_autofree char *text = g_strdup_printf(
        _("%zu pictures, %.1f M weights, steps %" PRIu64 " to %" PRIu64 "; %s of memory, about %s"),
        plan->examples, (double)plan->trained / 1e6, plan->first_step + 1, plan->steps, memory,
        time);

    for (guint i = 0; i < MIN(skipped->len, TOLD_SKIPPED); i++) {
        g_autofree char *note =
            g_strdup_printf(_("left out: %s"), (const char *)g_ptr_array_index(skipped, i));
        pentimento_report_note(report, note);
    }
    if (skipped->len > TOLD_SKIPPED) {
        g_autofree char *note = g_strdup_printf(_("and %u others"), skipped->len - TOLD_SKIPPED);
        pentimento_report_note(report, note);
    }
    if (plan->wordless > 0) {
        g_autofree char *note = g_strdup_printf(
            _("without a caption: %zu of %zu pictures; it stands in a .txt file of the same name "
              "beside the picture, or in a list"),
            plan->wordless, plan->examples);
        pentimento_report_note(report, note);
    }
    if (plan->passed_over != NULL) {
        g_autofree char *note =
            g_strdup_printf(_("going on from an older checkpoint: %s"), plan->passed_over);
        pentimento_report_note(report, note);
    }
    if (plan->first_step < plan->steps)
        pentimento_report_note(report, text);
    if (plan->snapshots > 0) {
        g_autofree char *disk = g_format_size(plan->snapshot_bytes);
        g_autofree char *note =
            g_strdup_printf(_("%zu snapshots of the averages, %s of disk"), plan->snapshots, disk);
        pentimento_report_note(report, note);
    }
    if (plan->processes > 1) {
        g_autofree char *note =
            g_strdup_printf(_("%d processes, so much memory for each"), plan->processes);
        pentimento_report_note(report, note);
    }
}

static void step_json(const PentimentoReport *report, const LdmTrainStep *step)
{
    GVariantBuilder fields;

    g_variant_builder_init(&fields, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&fields, "{sv}", "event", g_variant_new_string("step"));
    g_variant_builder_add(&fields, "{sv}", "step", g_variant_new_uint64(step->step));
    g_variant_builder_add(&fields, "{sv}", "steps", g_variant_new_uint64(step->steps));
    if (isfinite(step->loss))
        g_variant_builder_add(&fields, "{sv}", "loss", g_variant_new_double(step->loss));
    g_variant_builder_add(&fields, "{sv}", "taken",
                          g_variant_new_boolean(step->update.kind == LDM_STEP_TAKEN));
    g_variant_builder_add(&fields, "{sv}", "seconds_left",
                          g_variant_new_double(step->seconds_left));
    pentimento_print_json(report->stream, g_variant_builder_end(&fields));
}

static void on_step(const LdmTrainStep *step, void *data)
{
    const PentimentoReport *report = data;
    char loss[G_ASCII_DTOSTR_BUF_SIZE];

    if (report->json) {
        step_json(report, step);
    } else if (report->bar) {
        g_autofree char *left = pentimento_duration(step->seconds_left);
        g_ascii_formatd(loss, sizeof loss, "%.4f", step->loss);
        g_printerr(_("\rstep %" PRIu64 " of %" PRIu64 ", loss %s, %s left"), step->step,
                   step->steps, loss, left);
        g_printerr("\033[K");
    }
}

static void report_end(const PentimentoReport *report, const char *folder)
{
    GVariantBuilder fields;

    g_variant_builder_init(&fields, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&fields, "{sv}", "event", g_variant_new_string("done"));
    g_variant_builder_add(&fields, "{sv}", "output", pentimento_path_variant(folder));
    pentimento_report_done(report, folder, g_variant_builder_end(&fields));
}

/* ---- the command ------------------------------------------------------------------------- */

/* A model to go on with, or one whose networks `wanted` names are drawn anew. */
static LdmModel *open_model(const Arguments *arguments, const LdmWanted *wanted, int64_t seed,
                            GError **error)
{
    const LdmWanted whole = {.first_stage = wanted->first_stage};

    if (arguments->init == NULL)
        return ldm_model_load_wanted(arguments->common.model, &whole, error);
    g_autoptr(LdmModel) model = ldm_model_load_wanted(arguments->init, wanted, error);
    if (model == NULL || !ldm_model_draw(model, (uint64_t)seed, error))
        return NULL;
    return g_steal_pointer(&model);
}

/* The denoiser, or an adapter of it. A text encoder that is there already has been warmed up: it
 * is trained further. */
static bool train_denoiser(const Arguments *arguments, LdmTrainOptions options,
                           const LdmDataset *dataset, const LdmTrainWatch *watch, GError **error)
{
    const PentimentoTrainConfig config = pentimento_train_config_ldm(&options);

    if (!read_options(arguments, &config, &options.loop, error))
        return false;
    const LdmWanted wanted = {.made_new = 1u << LDM_PART_UNET,
                              .made_if_missing = options.train_text ? 1u << LDM_PART_TEXT : 0};
    g_autoptr(LdmModel) model = open_model(arguments, &wanted, options.loop.seed, error);
    return model != NULL &&
           ldm_train_ldm(model, dataset, &options, watch, arguments->common.output, error);
}

static bool train_ldm(const Arguments *arguments, const LdmDataset *dataset,
                      const LdmTrainWatch *watch, GError **error)
{
    return train_denoiser(arguments, ldm_train_defaults(), dataset, watch, error);
}

static bool train_lora(const Arguments *arguments, const LdmDataset *dataset,
                       const LdmTrainWatch *watch, GError **error)
{
    return train_denoiser(arguments, ldm_train_adapter_defaults(LDM_ADAPTER_LORA), dataset, watch,
                          error);
}

static bool train_embedding(const Arguments *arguments, const LdmDataset *dataset,
                            const LdmTrainWatch *watch, GError **error)
{
    return train_denoiser(arguments, ldm_train_adapter_defaults(LDM_ADAPTER_WORD), dataset, watch,
                          error);
}

static bool train_autoencoder(const Arguments *arguments, const LdmDataset *dataset,
                              const LdmTrainWatch *watch, GError **error)
{
    LdmAutoencoderOptions options = ldm_autoencoder_defaults();
    const PentimentoTrainConfig config = pentimento_train_config_autoencoder(&options);

    if (!read_options(arguments, &config, &options.loop, error))
        return false;
    const LdmWanted wanted = {
        .first_stage = true, .made_new = 1u << LDM_PART_VAE, .vae = options.vae};
    g_autoptr(LdmModel) model = open_model(arguments, &wanted, options.loop.seed, error);
    return model != NULL &&
           ldm_train_autoencoder(model, dataset, &options, watch, arguments->common.output, error);
}

/* Of the denoiser and the autoencoder not even the weights need be there. */
static bool train_contrastive(const Arguments *arguments, const LdmDataset *dataset,
                              const LdmTrainWatch *watch, GError **error)
{
    LdmContrastOptions options = ldm_contrast_defaults();
    const PentimentoTrainConfig config = pentimento_train_config_contrastive(&options);
    bool anew = arguments->init != NULL;
    const LdmWanted wanted = {.made_new = 1u << LDM_PART_UNET | 1u << LDM_PART_VAE |
                                          (anew ? 1u << LDM_PART_TEXT : 0)};

    if (!read_options(arguments, &config, &options.loop, error))
        return false;
    g_autoptr(LdmModel) model =
        ldm_model_load_wanted(anew ? arguments->init : arguments->common.model, &wanted, error);
    return model != NULL &&
           (!anew ||
            ldm_model_draw_part(model, LDM_PART_TEXT, (uint64_t)options.loop.seed, error)) &&
           ldm_train_contrastive(model, dataset, &options, watch, arguments->common.output, error);
}

static bool train_tiny(const Arguments *arguments, const LdmDataset *dataset,
                       const LdmTrainWatch *watch, GError **error)
{
    LdmTinyOptions options = ldm_tiny_defaults();
    const PentimentoTrainConfig config = pentimento_train_config_tiny(&options);

    if (!read_options(arguments, &config, &options.loop, error))
        return false;
    g_autoptr(LdmModel) model =
        ldm_model_load_wanted(arguments->common.model, &(LdmWanted){.first_stage = true}, error);
    return model != NULL &&
           ldm_train_tiny(model, dataset, &options, watch, arguments->common.output, error);
}

static bool train_grow(const Arguments *arguments, const LdmDataset *dataset,
                       const LdmTrainWatch *watch, GError **error)
{
    const LdmWanted anew = {.made_new =
                                1u << LDM_PART_VAE | 1u << LDM_PART_UNET | 1u << LDM_PART_TEXT};
    g_autoptr(LdmModel) old = ldm_model_load(arguments->common.model, error);
    g_autoptr(LdmModel) model =
        old != NULL ? ldm_model_load_wanted(arguments->init, &anew, error) : NULL;

    return model != NULL &&
           ldm_train_grow(model, old, dataset, watch, arguments->common.output, error);
}

/* Which may be many and far away; nothing is there to save yet. */
static LdmDataset *open_pictures(const Arguments *arguments, GError **error)
{
    pentimento_interrupt_release();
    LdmDataset *dataset = ldm_dataset_open(arguments->data, error);
    pentimento_interrupt_hold();
    return dataset;
}

static bool train(const Arguments *arguments, const PentimentoReport *report, GError **error)
{
    g_autoptr(LdmDataset) dataset = open_pictures(arguments, error);
    const LdmTrainWatch watch = {
        .read = read_picture,
        .cancellable = report->monitor.cancellable,
        .ranks = arguments->ranks,
        .encoding = on_encoding,
        .planned = on_planned,
        .stepped = on_step,
        .data = (void *)report,
    };

    return dataset != NULL && kind_of(arguments)(arguments, dataset, &watch, error);
}

/* ---- averaging anew ---------------------------------------------------------------------- */

static bool is_ema(const Arguments *arguments)
{
    char **files = arguments->common.files;

    return files != NULL && strcmp(files[0], "ema") == 0;
}

static bool check_ema(const Arguments *arguments, double *sigma_rel, GError **error)
{
    if (arguments->common.files[1] == NULL)
        pentimento_set_usage(error, _("say whose weights: train ema RUN"));
    else if (arguments->data != NULL || arguments->config != NULL || arguments->init != NULL ||
             arguments->resume)
        pentimento_set_usage(error, _("train ema trains nothing: it takes --sigma-rel and -o"));
    else if (arguments->sigma_rel == NULL)
        pentimento_set_usage(error, _("--sigma-rel is needed: how wide the average is, as a share "
                                      "of the run"));
    else if (arguments->common.output == NULL || *arguments->common.output == '\0')
        pentimento_set_usage(error, _("an output folder is missing: give one with -o DIR"));
    else
        return pentimento_parse_double("sigma-rel", arguments->sigma_rel, sigma_rel, error);
    return false;
}

static bool average(const Arguments *arguments, GError **error)
{
    double sigma_rel;

    return check_ema(arguments, &sigma_rel, error) &&
           (!ldm_ranks_first(arguments->ranks) ||
            ldm_snapshots_average(arguments->common.files[1], sigma_rel, arguments->common.output,
                                  error));
}

static bool run(int argc, char **argv, LdmRanks *ranks, GError **error)
{
    g_auto(Arguments) arguments = {.ranks = ranks};
    g_autoptr(GOptionContext) context = pentimento_context_new(
        &arguments.common, PENTIMENTO_NO_OUTPUT,
        _("ldm|autoencoder|contrastive|lora|embedding|tiny|grow|ema RUN"),
        _("Trains on pictures with captions: a latent diffusion model; its first stage, the "
          "autoencoder; its text encoder, by telling pictures and captions apart; a LoRA, which is "
          "added to a model; a new word for its prompts; or a tiny decoder that previews a model's "
          "pictures. Or gives a model's latents further channels, or averages the weights of a run "
          "over another share of it."));
    PentimentoReport report;
    bool done;

    add_entries(context, &arguments);
    if (!pentimento_context_parse(context, &arguments.common, argc, argv, (int[]){0, 2}, error) ||
        (!is_ema(&arguments) && !check_arguments(&arguments, error)))
        return false;
    if (!pentimento_ranks_speaks()) {
        arguments.common.quiet = TRUE;
        arguments.common.json = FALSE;
    }
    pentimento_report_init(&report, &arguments.common);
    done = is_ema(&arguments) ? average(&arguments, error) : train(&arguments, &report, error);
    pentimento_report_end(&report);
    if (done)
        report_end(&report, arguments.common.output);
    return done;
}

bool pentimento_train(int argc, char **argv, GError **error)
{
    LdmRanks *ranks;

    if (!pentimento_ranks_open(&ranks, error))
        return false;
    pentimento_interrupt_hold(); /* a checkpoint is saved before the end */
    bool done = ldm_ranks_end(ranks, run(argc, argv, ranks, error), error);
    pentimento_interrupt_release();
    return done;
}
