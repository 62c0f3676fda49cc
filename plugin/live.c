/* Pictures before the user's eyes while they are made. In: a task's call and job. Out: the worker's
 * replies. The window stays alive since the worker is waited for in the main loop. */
#include "live.h"

#include "progress.h"
#include "settings.h"
#include "ui/picture-window.h"

#include <glib/gi18n-lib.h>

void pentimento_series_clear(PentimentoSeries *series)
{
    for (int i = 0; i < PENTIMENTO_MAX_VARIATIONS; i++) {
        g_clear_pointer(&series->made[i].options, g_variant_unref);
        pentimento_reply_clear(&series->made[i].reply);
    }
    series->count = 0;
}

typedef struct {
    PentimentoPictureWindow *window; /* NULL: nobody looks */
    GCancellable *cancellable, *finish;
    int done, pictures; /* done: before the one at work */
} Live;

static void on_response(GtkDialog *dialog, int response, gpointer data)
{
    Live *live = data;

    if (response != PENTIMENTO_RESPONSE_FINISH) { /* Cancel, or the window was closed */
        g_cancellable_cancel(live->cancellable);
        return;
    }
    pentimento_picture_window_set_ending(live->window);
    g_cancellable_cancel(live->finish);
}

static void on_progress(const char *stage, int step, int steps, double fraction,
                        double seconds_left, gpointer data)
{
    const Live *live = data;
    g_autofree char *text = pentimento_progress_text(stage, step, steps, seconds_left);
    const double whole = (live->done + CLAMP(fraction, 0.0, 1.0)) / live->pictures;

    if (live->pictures > 1) {
        g_autofree char *one = g_steal_pointer(&text);
        /* which picture, of how many; what is being done ("Denoising, step 3 of 20, 10 s left") */
        text = g_strdup_printf(_("Picture %d of %d: %s"), live->done + 1, live->pictures, one);
    }
    pentimento_progress_show(text, whole);
    if (live->window != NULL)
        pentimento_picture_window_progress(live->window, text, whole);
}

static void on_preview(const PentimentoPreview *preview, gpointer data)
{
    const Live *live = data;

    pentimento_picture_window_preview(live->window, preview->pixels, preview->width,
                                      preview->height);
}

/* Seeds of variations follow each other. */
static int seed_of(int first, int i)
{
    return first <= G_MAXINT32 - i ? first + i : i - (G_MAXINT32 - first) - 1;
}

static bool make_one(const PentimentoCall *call, const PentimentoJob *job, Live *live,
                     PentimentoMade *made, GError **error)
{
    const PentimentoWatch watch = {.progress = on_progress,
                                   .preview = live->window != NULL ? on_preview : NULL,
                                   .cancellable = live->cancellable,
                                   .finish = live->finish,
                                   .data = live};
    g_autoptr(GVariant) options = NULL;
    PentimentoJob own = *job;

    made->options = pentimento_settings_options(call->config, made->seed);
    own.options = options = pentimento_settings_job(made->options);
    return pentimento_worker_run(&own, &watch, &made->reply, error);
}

static bool make_all(const PentimentoCall *call, const PentimentoJob *job, Live *live,
                     PentimentoSeries *series, GError **error)
{
    const int first = pentimento_settings_seed(call->config);
    g_autoptr(GError) reason = NULL;

    while (series->count < live->pictures && !g_cancellable_is_cancelled(live->finish)) {
        PentimentoMade *made = &series->made[series->count];

        live->done = series->count;
        made->seed = seed_of(first, series->count);
        if (live->window != NULL && series->count > 0)
            pentimento_picture_window_set_fresh(live->window);
        if (!make_one(call, job, live, made, &reason))
            break;
        series->count++;
    }
    if (reason == NULL)
        return true;
    if (series->count > 0 && !g_error_matches(reason, PENTIMENTO_ERROR, GIMP_PDB_CANCEL)) {
        /* numbers of pictures; what went wrong, a sentence */
        g_autofree char *text = g_strdup_printf(_("%d of %d pictures were made. The next one: %s"),
                                                series->count, live->pictures, reason->message);

        gimp_message(text);
        return true;
    }
    g_propagate_error(error, g_steal_pointer(&reason));
    return false;
}

bool pentimento_task_work(const PentimentoTask *task, const PentimentoCall *call,
                          const PentimentoJob *job, PentimentoSeries *series, GError **error)
{
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(GCancellable) finish = g_cancellable_new();
    Live live = {.cancellable = cancellable,
                 .finish = finish,
                 .pictures = pentimento_settings_variations(call->config)};
    bool done;

    pentimento_progress_begin();
    if (call->live)
        live.window = pentimento_picture_window_new(_(task->title), G_CALLBACK(on_response), &live);
    done = make_all(call, job, &live, series, error);
    if (live.window != NULL)
        pentimento_picture_window_free(live.window);
    return done;
}
