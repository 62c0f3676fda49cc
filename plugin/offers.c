/* What a dialog offers. In: the rows of an open dialog. Out: the names of models and of what was
 * taught. The worker tells them, which may have to be started first, and to open the model, so that
 * it is asked from a thread. */
#include "offers.h"

#include "worker-client.h"
#include "ui/adapter-chooser.h"
#include "ui/model-chooser.h"

#include "core/worker/protocol.h"

#include <glib/gi18n-lib.h>

struct PentimentoOffers {
    GimpProcedureConfig *config;
    PentimentoChoosers choosers;
    GCancellable *models, *adapters; /* of the last questions, or NULL */
    guint patience;                  /* timer; 0 = none */
};

/* ---- asking ------------------------------------------------------------------------------ */

typedef struct {
    const char *method, *type;
    GVariant *arguments;
} Question;

static void question_free(gpointer data)
{
    Question *question = data;

    g_variant_unref(question->arguments);
    g_free(question);
}

/* On a thread of its own. */
static void put(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
    const Question *question = data;
    GError *error = NULL;
    GVariant *answer = pentimento_worker_ask(question->method, question->arguments, question->type,
                                             cancellable, &error);

    if (answer != NULL)
        g_task_return_pointer(task, answer, (GDestroyNotify)g_variant_unref);
    else
        g_task_return_error(task, error);
}

/* Another question of the kind whose last one is *cancellable. */
static void ask(PentimentoOffers *offers, GCancellable **cancellable, Question question,
                GAsyncReadyCallback told)
{
    g_autoptr(GTask) task = NULL;

    if (*cancellable != NULL)
        g_cancellable_cancel(*cancellable);
    g_clear_object(cancellable);
    *cancellable = g_cancellable_new();
    g_variant_ref_sink(question.arguments);
    task = g_task_new(NULL, *cancellable, told, offers);
    g_task_set_task_data(task, g_memdup2(&question, sizeof question), question_free);
    g_task_run_in_thread(task, put);
}

/* The answer; NULL and perhaps an error where there is none. One that is cancelled comes when
 * `offers` may be gone: it is nobody's any more. */
static GVariant *answer_of(GAsyncResult *result, GError **error)
{
    GCancellable *cancellable = g_task_get_cancellable(G_TASK(result));
    g_autoptr(GVariant) answer = g_task_propagate_pointer(G_TASK(result), error);

    if (!g_cancellable_is_cancelled(cancellable))
        return g_steal_pointer(&answer);
    g_clear_error(error);
    return NULL;
}

/* ---- models ------------------------------------------------------------------------------ */

/* What goes wrong here goes wrong below, too, and is told there. */
static void on_models(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) answer = answer_of(result, &error);
    const PentimentoOffers *offers = data;
    g_auto(GStrv) names = NULL;

    if (answer == NULL)
        return;
    g_variant_get(answer, "(^as)", &names);
    pentimento_model_chooser_set(offers->choosers.model, names);
}

/* ---- what was taught --------------------------------------------------------------------- */

static void on_adapters(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) answer = answer_of(result, &error), info = NULL, adapters = NULL;
    PentimentoOffers *offers = data;

    if (error != NULL || answer != NULL)
        g_clear_handle_id(&offers->patience, g_source_remove);
    if (error != NULL)
        pentimento_adapter_chooser_fail(offers->choosers.adapter, error->message);
    if (answer == NULL)
        return;
    info = g_variant_get_child_value(answer, 0);
    adapters = g_variant_lookup_value(info, "adapters", G_VARIANT_TYPE("aa{sv}"));
    if (adapters != NULL)
        pentimento_adapter_chooser_set(offers->choosers.adapter, adapters);
}

static gboolean on_patience(gpointer data)
{
    PentimentoOffers *offers = data;

    offers->patience = 0;
    pentimento_adapter_chooser_fail(offers->choosers.adapter, _("Waiting for what was taught…"));
    return G_SOURCE_REMOVE;
}

/* Which of them suit depends on the model. Another one than that of a job at work has to wait for
 * it. */
static void ask_adapters(PentimentoOffers *offers)
{
    const guint patience_ms = 3000;
    g_autofree char *model = NULL;

    g_clear_handle_id(&offers->patience, g_source_remove);
    offers->patience = g_timeout_add(patience_ms, on_patience, offers);
    g_object_get(offers->config, "model", &model, NULL);
    ask(offers, &offers->adapters,
        (Question){"Inspect", "(a{sv})", g_variant_new("(s)", model != NULL ? model : "")},
        on_adapters);
}

/* Removes NAME.safetensors from the user's adapters and nothing else: the name leads to no other
 * folder, and of a symbolic link the link goes and not what it points to. */
static bool remove_adapter(const char *name, int *reason)
{
    g_autofree char *path = pentimento_teach_file(name);
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *file = g_strconcat(name, ".safetensors", NULL);
    int fd = pentimento_teach_name_fits(name) ? open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    const bool removed = fd >= 0 && unlinkat(fd, file, 0) == 0;

    *reason = errno;
    if (fd >= 0)
        close(fd);
    return removed;
}

static void on_forget(const char *name, gpointer data)
{
    PentimentoOffers *offers = data;
    g_autofree char *text = NULL;
    int reason;

    if (remove_adapter(name, &reason)) {
        g_object_set(offers->config, "adapter", "", NULL);
        ask_adapters(offers);
        return;
    }
    text = g_strdup_printf(_("“%s” could not be deleted: %s."), name, g_strerror(reason));
    gimp_message(text);
}

/* ---- beside the dialog ------------------------------------------------------------------- */

PentimentoOffers *pentimento_offers_new(GimpProcedureConfig *config,
                                        const PentimentoChoosers *choosers)
{
    PentimentoOffers *offers = g_new0(PentimentoOffers, 1);

    offers->config = config;
    offers->choosers = *choosers;
    ask(offers, &offers->models, (Question){"Models", "(as)", g_variant_new("()")}, on_models);
    if (choosers->adapter == NULL)
        return offers;
    pentimento_adapter_chooser_on_forget(choosers->adapter, on_forget, offers);
    g_signal_connect_swapped(config, "notify::model", G_CALLBACK(ask_adapters), offers);
    ask_adapters(offers);
    return offers;
}

void pentimento_offers_free(PentimentoOffers *offers)
{
    g_signal_handlers_disconnect_by_data(offers->config, offers);
    g_clear_handle_id(&offers->patience, g_source_remove);
    g_cancellable_cancel(offers->models);
    g_cancellable_cancel(offers->adapters);
    g_clear_object(&offers->models);
    g_clear_object(&offers->adapters);
    g_free(offers);
}
