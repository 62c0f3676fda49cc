/* The whole line from the shell: generate, img2img, inpaint. Options come from the library's own
 * table; pictures in, pictures out, one for each --count. */
#include "base/error.h"
#include "base/rng.h"
#include "cli/command.h"
#include "cli/picture-io.h"
#include "cli/settings.h"

#include <inttypes.h>
#include <stdio.h>

#define MAX_COUNT 1000

typedef struct {
    PentimentoCommon common;
    PentimentoSettings settings;
    char *latent, *mask;
    int count;
    gboolean no_metadata;
} TaskArguments;

static void task_arguments_clear(TaskArguments *arguments)
{
    pentimento_common_clear(&arguments->common);
    pentimento_settings_clear(&arguments->settings);
    g_free(arguments->latent);
    g_free(arguments->mask);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(TaskArguments, task_arguments_clear)

static void add_entries(GOptionContext *context, TaskArguments *arguments, LdmTask task)
{
    const GOptionEntry mask_entry[] = {
        {"mask", 0, 0, G_OPTION_ARG_FILENAME, &arguments->mask,
         _("Picture of the same size: white is repainted, grey partly, black kept"), _("FILE")},
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
    g_option_context_add_main_entries(context, entries, NULL);
}

static bool check_arguments(const TaskArguments *arguments, LdmTask task, GError **error)
{
    const char *output = arguments->common.output;

    if (arguments->count < 1 || arguments->count > MAX_COUNT) {
        pentimento_set_usage(error, _("--count must be a whole number from 1 to %d"), MAX_COUNT);
        return false;
    }
    if (task == LDM_TASK_INPAINT && arguments->mask == NULL) {
        pentimento_set_usage(error, _("--mask is needed: white is repainted, black kept"));
        return false;
    }
    if (!pentimento_check_output(output, error) || !pentimento_picture_writable(output, error))
        return false;
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
                          const PentimentoPictureInfo *info, const char *path, GError **error)
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
    pentimento_interrupt_hold();
    done = pentimento_picture_write(picture, info, path, error);
    pentimento_interrupt_release();
    return done;
}

static bool make_picture(const TaskArguments *arguments, LdmModel *model, LdmRequest *request,
                         PentimentoPictureInfo *info, const PentimentoReport *report,
                         GError **error)
{
    g_autoptr(LdmResult) result = ldm_generate(model, request, &report->monitor, error);
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
    report_picture(report, request, result, model, path);
    return true;
}

/* ---- the commands ------------------------------------------------------------------------ */

static bool make_pictures(const TaskArguments *arguments, LdmRequest *request, GError **error)
{
    g_auto(PentimentoPictureInfo) info = {0};
    g_autoptr(LdmModel) model = NULL;
    PentimentoReport report;

    pentimento_report_init(&report, &arguments->common);
    report.count = arguments->count;
    if (!read_inputs(arguments, request, &info, error))
        return false;
    if (info.reduced)
        pentimento_report_note(&report, _("The picture was read with 8 bits a channel."));
    model = ldm_model_load(arguments->common.model, error);
    if (model == NULL)
        return false;
    for (; report.picture <= report.count; report.picture++) {
        if (!make_picture(arguments, model, request, &info, &report, error))
            return false;
        request->seed++;
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
    if (request->seed > G_MAXINT64 - arguments.count) {
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
