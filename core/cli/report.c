/* What the user sees while work goes on: a bar with the time left on a terminal, JSON lines for
 * machines, otherwise nothing. */
#include "cli/command.h"

#include <json-glib/json-glib.h>
#include <math.h>
#include <unistd.h>

#define BAR_WIDTH 30

void pentimento_print_json(FILE *stream, GVariant *fields)
{
    g_autoptr(GVariant) held = g_variant_ref_sink(fields);
    g_autofree char *text = json_gvariant_serialize_data(held, NULL);

    fprintf(stream, "%s\n", text);
    fflush(stream);
}

GVariant *pentimento_path_variant(const char *path)
{
    return g_variant_new_take_string(g_filename_display_name(path));
}

static void show_json(const PentimentoReport *report, const LdmProgress *progress)
{
    GVariantBuilder fields;

    g_variant_builder_init(&fields, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&fields, "{sv}", "event", g_variant_new_string("progress"));
    if (report->count > 1)
        g_variant_builder_add(&fields, "{sv}", "picture", g_variant_new_int32(report->picture));
    if (report->work == NULL) {
        g_variant_builder_add(&fields, "{sv}", "stage",
                              g_variant_new_string(ldm_stage_name(progress->stage)));
        g_variant_builder_add(&fields, "{sv}", "step", g_variant_new_int32(progress->step));
        g_variant_builder_add(&fields, "{sv}", "steps", g_variant_new_int32(progress->steps));
    }
    g_variant_builder_add(&fields, "{sv}", "fraction", g_variant_new_double(progress->fraction));
    if (progress->seconds_left >= 0.0 && isfinite(progress->seconds_left))
        g_variant_builder_add(&fields, "{sv}", "seconds_left",
                              g_variant_new_double(progress->seconds_left));
    pentimento_print_json(report->stream, g_variant_builder_end(&fields));
}

/* The plug-in's words; --json has the stages' own names. */
static char *stage_text(const LdmProgress *progress)
{
    static const char *const texts[LDM_N_STAGES] = {
        [LDM_STAGE_LOAD] = N_("Loading the model"),
        [LDM_STAGE_LEARN] = N_("Learning from the picture"),
        [LDM_STAGE_PREPARE] = N_("Preparing the picture"),
        [LDM_STAGE_CONDITION] = N_("Reading the prompt"),
        [LDM_STAGE_ENCODE] = N_("Encoding the picture"),
        [LDM_STAGE_DIFFUSE] = N_("Adding noise"),
        [LDM_STAGE_DENOISE] = N_("Denoising"),
        [LDM_STAGE_DECODE] = N_("Decoding the picture"),
        [LDM_STAGE_FINISH] = N_("Finishing"),
    };

    if (progress->stage == LDM_STAGE_LEARN && progress->step > 0)
        return g_strdup_printf(_("Learning, step %d of %d"), progress->step, progress->steps);
    if (progress->stage != LDM_STAGE_LEARN && progress->steps > 0)
        return g_strdup_printf(_("Denoising, step %d of %d"), progress->step, progress->steps);
    return g_strdup(_(texts[progress->stage]));
}

/* "[######........]  42 %  Denoising, step 9 of 20  0:12 left", over the line before. */
static void show_bar(const PentimentoReport *report, const LdmProgress *progress)
{
    g_autofree char *stage =
        report->work != NULL ? g_strdup(_(report->work)) : stage_text(progress);
    double fraction = CLAMP(progress->fraction, 0.0, 1.0);
    int filled = (int)(fraction * BAR_WIDTH + 0.5);
    g_autoptr(GString) line = g_string_new("\r[");

    for (int i = 0; i < BAR_WIDTH; i++)
        g_string_append_c(line, i < filled ? '#' : '.');
    g_string_append_printf(line, "] %3d %%  ", (int)(fraction * 100.0));
    if (report->count > 1)
        g_string_append_printf(line, "%d/%d  ", report->picture, report->count);
    g_string_append(line, stage);
    if (progress->seconds_left >= 0.0 && progress->seconds_left < 1e6) {
        int left = (int)ceil(progress->seconds_left);

        g_string_append(line, "  ");
        g_string_append_printf(line, _("%d:%02d left"), left / 60, left % 60);
    }
    g_string_append(line, "\033[K");
    fputs(line->str, stderr);
    fflush(stderr);
}

static void on_progress(const LdmProgress *progress, gpointer data)
{
    const PentimentoReport *report = data;

    if (report->json)
        show_json(report, progress);
    else if (report->bar)
        show_bar(report, progress);
}

char *pentimento_duration(double seconds)
{
    int minutes = (int)MIN(ceil(seconds / 60.0), 1e9);

    return minutes < 60 ? g_strdup_printf(_("%d min"), minutes)
                        : g_strdup_printf(_("%d h %02d min"), minutes / 60, minutes % 60);
}

void pentimento_report_init(PentimentoReport *report, const PentimentoCommon *common)
{
    gboolean data_out = common->output != NULL && strcmp(common->output, "-") == 0;

    *report = (PentimentoReport){
        .json = common->json,
        .quiet = common->quiet,
        .bar = !common->json && !common->quiet && isatty(STDERR_FILENO),
        .stream = data_out ? stderr : stdout,
        .picture = 1,
        .count = 1,
        .monitor = {pentimento_interrupt_init(), on_progress, report},
    };
}

void pentimento_report_end(const PentimentoReport *report)
{
    if (report->bar)
        fputs("\r\033[K", stderr);
}

void pentimento_report_note(const PentimentoReport *report, const char *text)
{
    GVariantBuilder fields;

    pentimento_report_end(report);
    if (!report->json) {
        if (!report->quiet)
            g_printerr("%s\n", text);
        return;
    }
    g_variant_builder_init(&fields, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&fields, "{sv}", "event", g_variant_new_string("note"));
    g_variant_builder_add(&fields, "{sv}", "message", g_variant_new_string(text));
    pentimento_print_json(report->stream, g_variant_builder_end(&fields));
}

void pentimento_report_done(const PentimentoReport *report, const char *text, GVariant *fields)
{
    g_autoptr(GVariant) held = g_variant_ref_sink(fields);

    pentimento_report_end(report);
    if (report->json)
        pentimento_print_json(report->stream, held);
    else if (!report->quiet && text != NULL)
        g_printerr("%s\n", text);
}
