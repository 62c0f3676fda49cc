/* A picture before the user's eyes while it is made. In: a task's job. Out: the worker's reply. The
 * window stays alive since the worker is waited for in the main loop. */
#include "live.h"

#include "progress.h"
#include "ui/picture-window.h"

#include <glib/gi18n-lib.h>

typedef struct {
    PentimentoPictureWindow *window;
    GCancellable *cancellable, *finish;
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

    pentimento_progress.progress(stage, step, steps, fraction, seconds_left, NULL);
    pentimento_picture_window_progress(live->window, text, fraction);
}

static void on_preview(const PentimentoPreview *preview, gpointer data)
{
    const Live *live = data;

    pentimento_picture_window_preview(live->window, preview->pixels, preview->width,
                                      preview->height);
}

static bool work_live(const PentimentoTask *task, const PentimentoJob *job, PentimentoReply *reply,
                      GError **error)
{
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(GCancellable) finish = g_cancellable_new();
    Live live = {.cancellable = cancellable, .finish = finish};
    const PentimentoWatch watch = {.progress = on_progress,
                                   .preview = on_preview,
                                   .cancellable = cancellable,
                                   .finish = finish,
                                   .data = &live};
    bool done;

    live.window = pentimento_picture_window_new(_(task->title), G_CALLBACK(on_response), &live);
    done = pentimento_worker_run(job, &watch, reply, error);
    pentimento_picture_window_free(live.window);
    return done;
}

bool pentimento_task_work(const PentimentoTask *task, bool live, const PentimentoJob *job,
                          PentimentoReply *reply, GError **error)
{
    pentimento_progress_begin();
    return live ? work_live(task, job, reply, error)
                : pentimento_worker_run(job, &pentimento_progress, reply, error);
}
