/* What a dialog offers. In: the rows of an open dialog. Out: the names of models and of what was
 * taught, which the worker tells. */
#include "offers.h"

#include "question.h"
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

/* ---- models ------------------------------------------------------------------------------ */

/* What goes wrong here goes wrong below, too, and is told there. */
static void on_models(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) answer = pentimento_question_answer(result, &error);
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
    g_autoptr(GVariant) answer = pentimento_question_answer(result, &error), info = NULL,
                        adapters = NULL;
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
    pentimento_question_ask(&offers->adapters,
                            (PentimentoQuestion){"Inspect", "(a{sv})",
                                                 g_variant_new("(s)", model != NULL ? model : "")},
                            on_adapters, offers);
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
    pentimento_question_ask(&offers->models,
                            (PentimentoQuestion){"Models", "(as)", g_variant_new("()")}, on_models,
                            offers);
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
    pentimento_question_drop(&offers->models);
    pentimento_question_drop(&offers->adapters);
    g_free(offers);
}
