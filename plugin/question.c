/* Questions to the worker. In: a method, or a function that uses it, and its arguments. Out: the
 * answer, in the main loop of who asked, unless it was given up meanwhile. */
#include "question.h"

#include "worker-client.h"

static void question_free(gpointer data)
{
    PentimentoQuestion *question = data;

    g_variant_unref(question->arguments);
    g_free(question);
}

/* On a thread of its own. */
static void answer(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
    const PentimentoQuestion *question = data;
    GError *error = NULL;
    GVariant *told = question->put != NULL
                         ? question->put(question->arguments, cancellable, &error)
                         : pentimento_worker_ask(question->method, question->arguments,
                                                 question->type, cancellable, &error);

    if (told != NULL)
        g_task_return_pointer(task, told, (GDestroyNotify)g_variant_unref);
    else
        g_task_return_error(task, error);
}

void pentimento_question_ask(GCancellable **cancellable, PentimentoQuestion question,
                             GAsyncReadyCallback told, gpointer data)
{
    g_autoptr(GTask) task = NULL;

    pentimento_question_drop(cancellable);
    *cancellable = g_cancellable_new();
    g_variant_ref_sink(question.arguments);
    task = g_task_new(NULL, *cancellable, told, data);
    g_task_set_task_data(task, g_memdup2(&question, sizeof question), question_free);
    g_task_run_in_thread(task, answer);
}

void pentimento_question_drop(GCancellable **cancellable)
{
    if (*cancellable != NULL)
        g_cancellable_cancel(*cancellable);
    g_clear_object(cancellable);
}

GVariant *pentimento_question_answer(GAsyncResult *result, GError **error)
{
    GCancellable *cancellable = g_task_get_cancellable(G_TASK(result));
    g_autoptr(GVariant) answer = g_task_propagate_pointer(G_TASK(result), error);

    if (!g_cancellable_is_cancelled(cancellable))
        return g_steal_pointer(&answer);
    g_clear_error(error);
    return NULL;
}
