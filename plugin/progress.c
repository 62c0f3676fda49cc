/* The worker's progress in GIMP's own bar.
 * In: stage, step n of N, fraction, seconds left. Out: text and bar. */
#include "progress.h"

#include <glib/gi18n-lib.h>
#include <libgimp/gimp.h>

static const struct {
    const char *stage;
    const char *text;
} texts[] = {
    {"load", N_("Loading the model")},
    {"learn", N_("Learning from the picture")},
    {"prepare", N_("Preparing the picture")},
    {"condition", N_("Reading the prompt")},
    {"encode", N_("Encoding the picture")},
    {"diffuse", N_("Adding noise")},
    {"decode", N_("Decoding the picture")},
    {"finish", N_("Finishing")},
    {"silent", N_("pentimento-worker does not answer")},
};

/* What comes first are pictures and teachings. */
static char *waiting_text(int before)
{
    if (before <= 0)
        return g_strdup(_("Waiting"));
    return g_strdup_printf(g_dngettext(GETTEXT_PACKAGE, "Waiting: %d other job comes first",
                                       "Waiting: %d other jobs come first", (gulong)before),
                           before);
}

static char *stage_text(const char *stage, int step, int steps)
{
    if (g_str_equal(stage, "denoise"))
        return g_strdup_printf(_("Denoising, step %d of %d"), step, steps);
    if (g_str_equal(stage, "learn") && step > 0)
        return g_strdup_printf(_("Learning, step %d of %d"), step, steps);
    if (g_str_equal(stage, "encode") && steps > 0)
        return g_strdup_printf(_("Encoding picture %d of %d"), step, steps);
    if (g_str_equal(stage, "waiting"))
        return waiting_text(step);
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        if (g_str_equal(stage, texts[i].stage))
            return g_strdup(_(texts[i].text));
    return g_strdup(_("Working"));
}

/* "1 min 20 s left", rounded so that it does not flicker. */
static char *time_text(double seconds)
{
    const int exact_below = 20, round_to = 5, whole_minutes_from = 600;
    int whole = (int)(seconds + 0.5);

    if (whole > exact_below)
        whole = (whole + round_to - 1) / round_to * round_to;
    if (whole < 60)
        return g_strdup_printf(_("%d s left"), MAX(whole, 1));
    if (whole >= whole_minutes_from)
        return g_strdup_printf(_("%d min left"), (whole + 30) / 60);
    return g_strdup_printf(_("%d min %d s left"), whole / 60, whole % 60);
}

void pentimento_progress_begin(void)
{
    gimp_progress_init(_("Starting"));
}

char *pentimento_progress_text(const char *stage, int step, int steps, double seconds_left)
{
    g_autofree char *what = stage_text(stage, step, steps);
    g_autofree char *left = NULL;

    if (!(seconds_left >= 0 && seconds_left < 1e6))
        return g_steal_pointer(&what);
    left = time_text(seconds_left);
    /* first what is being done ("Denoising, step 3 of 20"), then the time left */
    return g_strdup_printf(_("%s, %s"), what, left);
}

void pentimento_progress_show(const char *text, double fraction)
{
    gimp_progress_set_text(text);
    gimp_progress_update(CLAMP(fraction, 0.0, 1.0));
}

static void watch(const char *stage, int step, int steps, double fraction, double seconds_left,
                  gpointer data)
{
    g_autofree char *text = pentimento_progress_text(stage, step, steps, seconds_left);

    pentimento_progress_show(text, fraction);
}

const PentimentoWatch pentimento_progress = {.progress = watch};
