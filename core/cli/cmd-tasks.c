/* The whole line from the shell: generate, img2img, inpaint. Options come from the library's own
 * table; pictures in, pictures out, one for each --count. */
#include "base/error.h"
#include "base/memory.h"
#include "base/rng.h"
#include "cli/command.h"
#include "cli/picture-io.h"
#include "cli/preview.h"
#include "cli/settings.h"
#include "pipeline/plan.h"
#include "pipeline/request.h"
#include "train/learn.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#define MAX_COUNT  1000
#define MANY_STEPS 1000 /* of learning: with more, what is done before the first grows no more */

typedef struct {
    PentimentoCommon common;
    PentimentoSettings settings;
    PentimentoPreviewFile preview;
    char *latent, *mask, *learn_time;
    double learn_seconds; /* 0: not given */
    int count;
    gboolean no_metadata;
} TaskArguments;

static void task_arguments_clear(TaskArguments *arguments)
{
    pentimento_common_clear(&arguments->common);
    pentimento_settings_clear(&arguments->settings);
    pentimento_preview_clear(&arguments->preview);
    g_free(arguments->latent);
    g_free(arguments->mask);
    g_free(arguments->learn_time);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(TaskArguments, task_arguments_clear)

static void add_entries(GOptionContext *context, TaskArguments *arguments, LdmTask task)
{
    const GOptionEntry mask_entry[] = {
        {"mask", 0, 0, G_OPTION_ARG_FILENAME, &arguments->mask,
         _("Picture of the same size: white is repainted, grey partly, black kept"), _("FILE")},
        G_OPTION_ENTRY_NULL,
    };
    const GOptionEntry learn_entry[] = {
        {"learn-time", 0, 0, G_OPTION_ARG_STRING, &arguments->learn_time,
         _("As many steps of --learn as fit into this time here and now; they are told"),
         _("SECONDS")},
        G_OPTION_ENTRY_NULL,
    };
    const GOptionEntry entries[] = {
        {"count", 'n', 0, G_OPTION_ARG_INT, &arguments->count,
         _("Make this many pictures, NAME-1, NAME-2 …, with seeds N, N + 1 …"), _("N")},
        {"latent", 0, 0, G_OPTION_ARG_FILENAME, &arguments->latent,
         _("Start from this noise of unit variance, [1, z, h, w]"), _("FILE.npy")},
        {"no-metadata", 0, 0, G_OPTION_ARG_NONE, &arguments->no_metadata,
         _("Leave prompt and settings out of PNG files"), NULL},
        G_OPTION_ENTRY_NULL,
    };

    if (task != LDM_TASK_GENERATE)
        g_option_context_add_main_entries(context, mask_entry, NULL);
    pentimento_settings_add(context, &arguments->settings, task);
    if (task == LDM_TASK_INPAINT)
        g_option_context_add_main_entries(context, learn_entry, NULL);
    g_option_context_add_main_entries(context, entries, NULL);
    pentimento_preview_add(context, &arguments->preview);
}

static bool check_learn_time(TaskArguments *arguments, GError **error)
{
    if (arguments->learn_time == NULL)
        return true;
    if (!pentimento_parse_double("learn-time", arguments->learn_time, &arguments->learn_seconds,
                                 error))
        return false;
    if (arguments->learn_seconds > 0.0 && arguments->learn_seconds <= 1e6)
        return true;
    pentimento_set_usage(error, _("--learn-time must be a number of seconds above 0"));
    return false;
}

static bool check_arguments(TaskArguments *arguments, LdmTask task, GError **error)
{
    const char *output = arguments->common.output;

    if (!check_learn_time(arguments, error))
        return false;

    if (arguments->count < 1 || arguments->count > MAX_COUNT) {
        pentimento_set_usage(error, _("--count must be a whole number from 1 to %d"), MAX_COUNT);
        return false;
    }
    if (task == LDM_TASK_INPAINT && arguments->mask == NULL) {
        pentimento_set_usage(error, _("--mask is needed: white is repainted, black kept"));
        return false;
    }
    if (!pentimento_check_output(output, error) || !pentimento_picture_writable(output, error) ||
        !pentimento_preview_check(&arguments->preview, error))
        return false;
    if (arguments->count > 1 && arguments->latent != NULL) {
        pentimento_set_usage(error, _("--count goes with seeds, and --latent takes the seed's "
                                      "place: give one of them"));
        return false;
    }
    if (arguments->count > 1 && strcmp(output, "-") == 0) {
        pentimento_set_usage(error, _("several pictures do not go to standard output"));
        return false;
    }
    return true;
}

static bool read_inputs(const TaskArguments *arguments, LdmRequest *request,
                        PentimentoPictureInfo *info, GError **error)
{
    if (request->task != LDM_TASK_GENERATE) {
        request->picture = pentimento_picture_read(arguments->common.files[0], info, error);
        if (request->picture == NULL)
            return false;
    }
    if (arguments->mask != NULL &&
        (request->mask = pentimento_mask_read(arguments->mask, error)) == NULL)
        return false;
    return arguments->latent == NULL ||
           (request->latent = ldm_npy_read(arguments->latent, error)) != NULL;
}

/* "dir/apple.png" -> "dir/apple-2.png"; unchanged where there is one picture only. */
static char *output_name(const char *path, int picture, int count)
{
    const char *dot = strrchr(path, '.');

    if (count == 1)
        return g_strdup(path);
    return g_strdup_printf("%.*s-%d%s", (int)(dot - path), path, picture, dot);
}

/* ---- one picture ------------------------------------------------------------------------- */

static void report_picture(const PentimentoReport *report, const LdmRequest *request,
                           const LdmResult *result, const LdmModel *model, const char *path)
{
    g_autofree char *text = NULL;
    double total = 0.0;
    char number[G_ASCII_DTOSTR_BUF_SIZE];

    for (int stage = 0; stage < LDM_N_STAGES; stage++)
        total += result->seconds[stage];
    g_ascii_formatd(number, sizeof number, "%.1f", total);
    text = g_strdup_printf(_("%s: seed %" PRId64 ", %s s"), path, (gint64)result->seed, number);
    pentimento_report_done(report, text,
                           pentimento_settings_describe(request, result, model, path));
}

static bool write_picture(const LdmRequest *request, const LdmResult *result,
                          PentimentoPictureInfo *info, const char *path, GError **error)
{
    g_autoptr(LdmTensor) composite = NULL;
    const LdmTensor *picture = result->pixels;
    bool done;

    if (request->task != LDM_TASK_GENERATE) {
        composite = ldm_result_composite(result, request, error);
        if (composite == NULL)
            return false;
        picture = composite;
    }
    pentimento_output_begin(path);
    done = pentimento_picture_write(picture, info, path, error);
    pentimento_output_end(path);
    return done;
}

/* Interrupted, a lesson saves what was learnt so far before it ends. */
static LdmResult *generate(LdmModel *model, const LdmRequest *request,
                           const PentimentoReport *report, GError **error)
{
    LdmResult *result;

    if (request->learn > 0)
        pentimento_interrupt_hold();
    result = ldm_generate(model, request, &report->monitor, error);
    if (request->learn > 0)
        pentimento_interrupt_release();
    return result;
}

static bool make_picture(const TaskArguments *arguments, LdmModel *model, LdmRequest *request,
                         PentimentoPictureInfo *info, const PentimentoReport *report,
                         GError **error)
{
    g_autoptr(LdmResult) result = generate(model, request, report, error);
    g_autofree char *path = output_name(arguments->common.output, report->picture, report->count);
    g_autofree char *text = NULL;

    pentimento_report_end(report);
    if (result == NULL)
        return false;
    if (report->picture == 1)
        request->seed = result->seed; /* a new one counts up from here like a given one */
    if (!arguments->no_metadata)
        text = pentimento_settings_text(request, result, model);
    info->text = text;
    if (!write_picture(request, result, info, path, error))
        return false;
    if (result->scale < 1.0 && report->picture == 1)
        pentimento_report_note(report, _("The area was larger than the model can take in; it was "
                                         "worked on at a smaller size and enlarged again."));
    if (info->flattened && report->picture == 1)
        pentimento_report_note(report, _("This format holds no transparency: the picture was "
                                         "written without."));
    report_picture(report, request, result, model, path);
    return true;
}

/* ---- learning from the picture ----------------------------------------------------------- */

static void tell_learning(const PentimentoReport *report, int steps,
                          const LdmTrainEstimate *estimate)
{
    g_autofree char *memory = g_format_size(estimate->bytes);
    g_autofree char *time = pentimento_duration(estimate->besides + steps * estimate->seconds);
    g_autofree char *text = g_strdup_printf(
        _("learning from the picture: --learn %d, %s of memory, about %s"), steps, memory, time);

    pentimento_report_note(report, text);
}

/* Tells what learning will take, where it is not done already; a time becomes steps. */
static bool settle_learning(const TaskArguments *arguments, LdmModel *model, LdmRequest *request,
                            const PentimentoReport *report, GError **error)
{
    bool timed = arguments->learn_seconds > 0.0;
    LdmTrainEstimate estimate;
    LdmLinePlan plan;

    if (timed)
        request->learn = MANY_STEPS;
    if (request->learn == 0 || (report->quiet && !timed))
        return true;
    if (!ldm_line_plan(model, request, NULL, ldm_memory_available(), &plan, error))
        return false;
    const LdmLearn job = {.model = model,
                          .request = request,
                          .geometry = &plan.geometry,
                          .cancellable = report->monitor.cancellable};
    if (plan.flops[LDM_STAGE_LEARN] == 0.0 && !timed)
        return true;
    if (!ldm_learn_estimate(&job, &estimate, error))
        return false;
    if (timed)
        request->learn =
            (int)CLAMP(floor((arguments->learn_seconds - estimate.besides) / estimate.seconds), 1,
                       LDM_LEARN_MAX);
    tell_learning(report, request->learn, &estimate);
    return true;
}

/* ---- the commands ------------------------------------------------------------------------ */

static bool make_pictures(TaskArguments *arguments, LdmRequest *request, GError **error)
{
    g_auto(PentimentoPictureInfo) info = {0};
    g_autoptr(LdmModel) model = NULL;
    PentimentoReport report;

    pentimento_report_init(&report, &arguments->common);
    report.count = arguments->count;
    pentimento_preview_watch(&arguments->preview, &report);
    if (!read_inputs(arguments, request, &info, error))
        return false;
    if (info.reduced)
        pentimento_report_note(&report, _("The picture was read with 8 bits a channel."));
    model = ldm_model_load(arguments->common.model, error);
    if (model == NULL || !settle_learning(arguments, model, request, &report, error))
        return false;
    for (; report.picture <= report.count; report.picture++) {
        request->seed += report.picture > 1;
        if (!make_picture(arguments, model, request, &info, &report, error))
            return false;
    }
    return true;
}

static bool run_task(LdmTask task, const char *usage, const char *summary, int argc, char **argv,
                     GError **error)
{
    g_auto(TaskArguments) arguments = {.count = 1};
    g_autoptr(GOptionContext) context =
        pentimento_context_new(&arguments.common, PENTIMENTO_OUTPUT, usage, summary);
    g_autoptr(LdmRequest) request = ldm_request_new(task);
    int files = task == LDM_TASK_GENERATE ? 0 : 1;

    add_entries(context, &arguments, task);
    if (!pentimento_context_parse(context, &arguments.common, argc, argv, (int[]){files, files},
                                  error) ||
        !check_arguments(&arguments, task, error) ||
        !pentimento_settings_apply(&arguments.settings, request, error))
        return false;
    if (request->seed > G_MAXINT64 - (arguments.count - 1)) {
        pentimento_set_usage(error, _("--seed is too high to count up from"));
        return false;
    }
    return make_pictures(&arguments, request, error);
}

bool pentimento_generate(int argc, char **argv, GError **error)
{
    return run_task(LDM_TASK_GENERATE, NULL, _("Makes a picture from a prompt."), argc, argv,
                    error);
}

bool pentimento_img2img(int argc, char **argv, GError **error)
{
    return run_task(LDM_TASK_IMG2IMG, _("IN.png"),
                    _("Makes a new picture on the lines of a given one: the higher the strength, "
                      "the freer. A mask, if there is one, says where."),
                    argc, argv, error);
}

bool pentimento_inpaint(int argc, char **argv, GError **error)
{
    return run_task(LDM_TASK_INPAINT, _("IN.png --mask MASK.png"),
                    _("Repaints the masked part of a picture. Everything else keeps its values."),
                    argc, argv, error);
}
