/* What a teaching will take, told in its dialog before it begins. In: the config as it is edited.
 * Out: a label's text. The worker measures on the model, which takes a while, so it is asked from a
 * thread; the number of steps then only multiplies. */
#include "question.h"
#include "teach.h"

#include <glib/gi18n-lib.h>

struct PentimentoEstimate {
    PentimentoLesson lesson;
    GtkLabel *label;
    guint timer;            /* 0 = none */
    GCancellable *question; /* of the last one, or NULL */
    guint64 bytes, free;    /* the last answer; bytes 0 = none */
    double step_seconds, other_seconds;
};

/* "40 s", "5 min", "2.5 h" */
static char *duration(double seconds)
{
    if (seconds < 90)
        return g_strdup_printf(_("%d s"), MAX(1, (int)(seconds + 0.5)));
    if (seconds < 5400)
        return g_strdup_printf(_("%d min"), (int)(seconds / 60 + 0.5));
    return g_strdup_printf(_("%.1f h"), seconds / 3600);
}

static void show_answer(const PentimentoEstimate *estimate)
{
    g_autofree char *needed = NULL, *free = NULL, *time = NULL, *text = NULL;
    int steps;

    if (estimate->bytes == 0)
        return;
    g_object_get(estimate->lesson.config, "steps", &steps, NULL);
    time = duration(estimate->other_seconds + steps * estimate->step_seconds);
    needed = g_format_size(estimate->bytes);
    free = g_format_size(estimate->free);
    /* how long it takes, the memory it takes, the memory that is free */
    text = estimate->bytes <= estimate->free
               ? g_strdup_printf(_("Takes about %s and %s of memory (%s are free)."), time, needed,
                                 free)
               : g_strdup_printf(_("Takes about %s and %s of memory, but only %s are free: close "
                                   "other programs, or teach a smaller model."),
                                 time, needed, free);
    gtk_label_set_text(estimate->label, text);
}

/* ---- asking ------------------------------------------------------------------------------ */

/* On a thread of its own. */
static GVariant *measure(GVariant *options, GCancellable *cancellable, GError **error)
{
    const PentimentoJob job = {.task = "teach", .options = options, .picture = -1, .mask = -1};
    const PentimentoWatch watch = {.cancellable = cancellable};
    g_autoptr(GMainContext) context = g_main_context_new();
    g_auto(PentimentoReply) reply = {0};
    bool done;

    g_main_context_push_thread_default(context);
    done = pentimento_worker_run(&job, &watch, &reply, error);
    g_main_context_pop_thread_default(context);
    return done ? g_variant_ref(reply.values) : NULL;
}

static void on_measured(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) values = pentimento_question_answer(result, &error);
    PentimentoEstimate *estimate = data;

    if (error != NULL)
        gtk_label_set_text(estimate->label, error->message);
    if (values == NULL)
        return;
    g_variant_lookup(values, "bytes", "t", &estimate->bytes);
    g_variant_lookup(values, "free", "t", &estimate->free);
    g_variant_lookup(values, "step-seconds", "d", &estimate->step_seconds);
    g_variant_lookup(values, "other-seconds", "d", &estimate->other_seconds);
    show_answer(estimate);
}

static void drop_question(PentimentoEstimate *estimate)
{
    pentimento_question_drop(&estimate->question);
    g_clear_handle_id(&estimate->timer, g_source_remove);
}

static gboolean ask(gpointer data)
{
    PentimentoEstimate *estimate = data;
    g_autoptr(GVariant) options = pentimento_lesson_options(&estimate->lesson, "estimate");
    g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(options);
    g_autoptr(GError) error = NULL;
    guint count = pentimento_lesson_count(&estimate->lesson, &error);

    estimate->timer = 0;
    if (count == 0) {
        gtk_label_set_text(estimate->label, error->message);
        return G_SOURCE_REMOVE;
    }
    g_variant_dict_insert(&dict, "count", "i", (int)count);
    pentimento_question_ask(
        &estimate->question,
        (PentimentoQuestion){.arguments = g_variant_dict_end(&dict), .put = measure}, on_measured,
        estimate);
    return G_SOURCE_REMOVE;
}

/* A moment later: while a name is being typed, nothing is asked. */
static void ask_soon(PentimentoEstimate *estimate)
{
    const guint moment_ms = 500;

    drop_question(estimate);
    estimate->bytes = 0;
    gtk_label_set_text(estimate->label, _("Measuring how long it will take…"));
    estimate->timer = g_timeout_add(moment_ms, ask, estimate);
}

/* ---- beside the dialog ------------------------------------------------------------------- */

PentimentoEstimate *pentimento_estimate_new(const PentimentoLesson *lesson, GtkLabel *label)
{
    PentimentoEstimate *estimate = g_new0(PentimentoEstimate, 1);

    estimate->lesson = *lesson;
    estimate->label = label;
    g_signal_connect_swapped(lesson->config, "notify::model", G_CALLBACK(ask_soon), estimate);
    g_signal_connect_swapped(lesson->config, "notify::pictures", G_CALLBACK(ask_soon), estimate);
    g_signal_connect_swapped(lesson->config, "notify::steps", G_CALLBACK(show_answer), estimate);
    ask_soon(estimate);
    return estimate;
}

void pentimento_estimate_free(PentimentoEstimate *estimate)
{
    g_signal_handlers_disconnect_by_data(estimate->lesson.config, estimate);
    drop_question(estimate);
    g_free(estimate);
}
