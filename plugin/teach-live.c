/* Teaching before the user's eyes. In: what to learn from. Out: the worker's reply, after as many
 * runs as the user has paused it: a cancelled run keeps a checkpoint, and the same one goes on from
 * there. One that the worker cancelled of itself, as it does when GIMP ends, is over all the same.
 * The window stays alive since the worker is waited for in the main loop. */
#include "progress.h"
#include "teach.h"
#include "ui/teach-window.h"

/* What the user wants of the run. */
typedef enum { GO_ON, PAUSE, KEEP, GIVE_UP, LEAVE } Wish;

typedef struct {
    PentimentoTeachWindow *window;
    GCancellable *cancellable; /* of the run at work; NULL while it is paused */
    GMainLoop *loop;           /* turns while it is paused, or has not begun; else NULL */
    Wish wish;
    GVariant *model; /* what the worker tells of it; NULL: not yet, or `error` */
    GError *error;
} Live;

static void on_response(GtkDialog *dialog, int response, gpointer data)
{
    Live *live = data;

    switch (response) {
    case PENTIMENTO_RESPONSE_PAUSE: live->wish = live->loop == NULL ? PAUSE : GO_ON; break;
    case PENTIMENTO_RESPONSE_KEEP: live->wish = KEEP; break;
    case GTK_RESPONSE_CANCEL:
        if (!pentimento_teach_window_may_forget(live->window))
            return;
        live->wish = GIVE_UP;
        break;
    default: live->wish = LEAVE; /* the window was closed: the checkpoint stays */
    }
    if (live->loop != NULL)
        g_main_loop_quit(live->loop);
    else
        g_cancellable_cancel(live->cancellable);
}

static void on_progress(const char *stage, int step, int steps, double fraction,
                        double seconds_left, gpointer data)
{
    const Live *live = data;
    g_autofree char *text = pentimento_progress_text(stage, step, steps, seconds_left);

    pentimento_teach_window_progress(live->window, text, fraction);
}

static void on_losses(int first, const double *losses, size_t count, gpointer data)
{
    const Live *live = data;

    pentimento_teach_window_losses(live->window, first, losses, count);
}

static void on_sample(const char *path, gpointer data)
{
    const Live *live = data;

    pentimento_teach_window_sample(live->window, path);
}

/* One run, until it is over or the user wants something else. */
static bool run(Live *live, const PentimentoJob *job, PentimentoReply *reply, GError **error)
{
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    const PentimentoWatch watch = {.progress = on_progress,
                                   .losses = on_losses,
                                   .sample = on_sample,
                                   .cancellable = cancellable,
                                   .data = live};
    bool done;

    live->wish = GO_ON;
    live->cancellable = cancellable;
    done = pentimento_worker_run(job, &watch, reply, error);
    live->cancellable = NULL;
    return done;
}

static void wait_paused(Live *live)
{
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);

    live->loop = loop;
    pentimento_teach_window_set_paused(live->window, true);
    g_main_loop_run(loop);
    pentimento_teach_window_set_paused(live->window, false);
    live->loop = NULL;
}

/* What follows the last run: keep or forget, which nothing interrupts. */
static bool end(Live *live, const PentimentoLesson *lesson, const PentimentoJob *job,
                const char *action, PentimentoReply *reply, GError **error)
{
    g_autoptr(GVariant) options = pentimento_lesson_options(lesson, action);
    const PentimentoWatch watch = {.progress = on_progress, .data = live};
    PentimentoJob last = *job;

    last.options = options;
    return pentimento_worker_run(&last, &watch, reply, error);
}

static bool learn(Live *live, const PentimentoLesson *lesson, const PentimentoJob *job,
                  PentimentoReply *reply, GError **error)
{
    g_autoptr(GError) reason = NULL;

    while (!run(live, job, reply, &reason)) {
        if (!g_error_matches(reason, PENTIMENTO_ERROR, GIMP_PDB_CANCEL)) {
            g_propagate_error(error, g_steal_pointer(&reason));
            return false;
        }
        g_clear_error(&reason);
        if (live->wish == PAUSE) {
            wait_paused(live);
            if (live->wish == GO_ON)
                continue;
        }
        pentimento_teach_window_set_ending(live->window);
        if (live->wish == KEEP)
            return end(live, lesson, job, "keep", reply, error);
        if (live->wish == GIVE_UP && !end(live, lesson, job, "forget", reply, error))
            return false;
        pentimento_set_error(error, CANCEL, "cancelled");
        return false;
    }
    return true;
}

/* ---- before it begins -------------------------------------------------------------------- */

static void on_model(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) answer = pentimento_question_answer(result, &error);
    Live *live = data;

    if (answer == NULL && error == NULL)
        return;
    live->model = g_steal_pointer(&answer);
    live->error = g_steal_pointer(&error);
    g_main_loop_quit(live->loop);
}

/* Waits for what the worker tells of the model, unless the user gives up. Nothing was begun then,
 * and Cancel leaves a checkpoint of another time where it is. */
static bool wait_for_model(Live *live, const PentimentoLesson *lesson, GError **error)
{
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    GCancellable *question = NULL;

    live->loop = loop;
    pentimento_question_ask(&question, pentimento_lesson_question(lesson), on_model, live);
    g_main_loop_run(loop);
    live->loop = NULL;
    pentimento_question_drop(&question);
    if (live->error != NULL)
        g_propagate_error(error, g_steal_pointer(&live->error));
    else if (live->model == NULL)
        pentimento_set_error(error, CANCEL, "cancelled");
    return live->model != NULL;
}

static bool teach(Live *live, const PentimentoLesson *lesson, PentimentoReply *reply,
                  GError **error)
{
    g_autoptr(GVariant) options = pentimento_lesson_options(lesson, "teach");
    g_autoptr(GArray) pictures = NULL;
    PentimentoJob job;

    if (!wait_for_model(live, lesson, error) ||
        (pictures = pentimento_lesson_read(lesson, live->model, error)) == NULL)
        return false;
    pentimento_teach_window_begin(live->window);
    job = pentimento_lesson_job(options, pictures);
    return learn(live, lesson, &job, reply, error);
}

bool pentimento_teach_live(const PentimentoLesson *lesson, PentimentoReply *reply, GError **error)
{
    g_autofree char *name = NULL;
    Live live = {0};
    bool done;
    int steps;

    g_object_get(lesson->config, "name", &name, "steps", &steps, NULL);
    live.window = pentimento_teach_window_new(name, steps, G_CALLBACK(on_response), &live);
    done = teach(&live, lesson, reply, error);
    pentimento_teach_window_free(live.window);
    g_clear_pointer(&live.model, g_variant_unref);
    return done;
}
