/* plug-in-pentimento-models: which models there are. In: nothing. Out: their names; to a person a
 * window besides, in which models are looked at, added and removed. What is in a model's files the
 * worker tells; the files themselves are model-folder.c's. */
#include "model-folder.h"
#include "question.h"
#include "task.h"
#include "worker-client.h"
#include "ui/confirm.h"
#include "ui/models-window.h"

#include <glib/gi18n-lib.h>
#include <libgimp/gimpui.h>

#define PATIENCE_MS 3000

typedef struct {
    PentimentoModelsWindow *window;
    GCancellable *listing, *inspection, *trial; /* of the last questions, or NULL */
    GCancellable *looking;                      /* at files; of the last look, or NULL */
    guint patience;                             /* timer; 0 = none */
    char *wanted;                               /* to be chosen once the names are there */
    struct Work *work;                          /* on files; NULL: none */
    guint timer;
} Models;

/* ---- which there are --------------------------------------------------------------------- */

static const PentimentoQuestion which = {.method = "Models", .type = "(as)"};

static void on_names(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) answer = pentimento_question_answer(result, &error);
    const Models *models = data;
    g_auto(GStrv) names = NULL;

    if (error != NULL)
        pentimento_models_window_fail(models->window, error->message);
    if (answer == NULL)
        return;
    g_variant_get(answer, "(^as)", &names);
    pentimento_models_window_set(models->window, names, models->wanted);
}

/* Asks anew, to choose `name`; what is shown may be gone. */
static void list(Models *models, const char *name)
{
    PentimentoQuestion question = which;

    question.arguments = g_variant_new("()");
    g_free(models->wanted);
    models->wanted = g_strdup(name);
    pentimento_models_window_expect(models->window, NULL);
    pentimento_question_ask(&models->listing, question, on_names, models);
}

/* ---- what one is ------------------------------------------------------------------------- */

/* What the worker says of a model, and then what its files tell. */
typedef struct {
    const Models *models;
    GVariant *info;
    char *path, *licence;
    guint64 bytes;
} Look;

static void look_free(gpointer data)
{
    Look *look = data;

    g_variant_unref(look->info);
    g_free(look->path);
    g_free(look->licence);
    g_free(look);
}

/* On a thread: the files may lie on a disk that has to wake up. */
static void look_at_files(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
    Look *look = data;

    look->licence = pentimento_model_licence(look->path);
    look->bytes = pentimento_model_bytes(look->path);
    g_task_return_boolean(task, TRUE);
}

static void on_looked(GObject *source, GAsyncResult *result, gpointer data)
{
    const Look *look = g_task_get_task_data(G_TASK(result));
    PentimentoModelDetails details = {
        .path = look->path, .licence = look->licence, .bytes = look->bytes};
    const char *dtype = "";
    guint64 parameters = 0;
    gboolean fills = FALSE;

    if (g_cancellable_is_cancelled(g_task_get_cancellable(G_TASK(result))))
        return;
    g_variant_lookup(look->info, "dtype", "&s", &dtype);
    g_variant_lookup(look->info, "parameters", "t", &parameters);
    g_variant_lookup(look->info, "native-size", "i", &details.side);
    g_variant_lookup(look->info, "concat-inpainting", "b", &fills);
    /* a number, how numbers are kept (f16) */
    g_autofree char *weights =
        g_strdup_printf(_("%.1f million, %s"), (double)parameters / 1e6, dtype);
    details.use = fills ? _("Makes, changes and fills pictures")
                        : _("Makes and changes pictures; is not trained to fill holes");
    details.weights = weights;
    details.own = pentimento_model_is_own(look->path);
    pentimento_models_window_describe(look->models->window, &details);
}

static void look_at(Models *models, GVariant *info)
{
    Look *look = g_new0(Look, 1);
    g_autoptr(GTask) task = NULL;

    look->models = models;
    look->info = g_variant_ref(info);
    g_variant_lookup(info, "path", "s", &look->path);
    models->looking = g_cancellable_new();
    task = g_task_new(NULL, models->looking, on_looked, NULL);
    g_task_set_task_data(task, look, look_free);
    g_task_run_in_thread(task, look_at_files);
}

static PentimentoQuestion question_of(const char *model)
{
    return (PentimentoQuestion){"Inspect", "(a{sv})", g_variant_new("(s)", model)};
}

static void on_inspected(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) answer = pentimento_question_answer(result, &error), info = NULL;
    Models *models = data;

    if (error == NULL && answer == NULL)
        return;
    g_clear_handle_id(&models->patience, g_source_remove);
    if (error != NULL) {
        pentimento_models_window_fail(models->window, error->message);
        return;
    }
    info = g_variant_get_child_value(answer, 0);
    look_at(models, info);
}

static gboolean on_patience(gpointer data)
{
    Models *models = data;

    models->patience = 0;
    pentimento_models_window_fail(models->window, _("Waiting for other work to end…"));
    return G_SOURCE_REMOVE;
}

/* One of the user's own can be removed whether or not it can be read. */
static void on_chosen(gpointer data)
{
    Models *models = data;
    g_autofree char *name = pentimento_models_window_chosen(models->window);
    g_autofree char *own = pentimento_model_find_own(name);

    pentimento_models_window_expect(models->window, own);
    pentimento_question_drop(&models->looking);
    g_clear_handle_id(&models->patience, g_source_remove);
    models->patience = g_timeout_add(PATIENCE_MS, on_patience, models);
    pentimento_question_ask(&models->inspection, question_of(name), on_inspected, models);
}

/* ---- work on files, on a thread ---------------------------------------------------------- */

typedef char *WorkFunction(const char *path, bool link, const PentimentoFileWatch *watch,
                           GError **error);

typedef struct Work {
    WorkFunction *function;
    const char *text; /* what is being done */
    char *path;
    bool link;
    gint64 done, total; /* bytes; of both threads */
    GCancellable *cancellable;
} Work;

static void work_free(gpointer data)
{
    Work *work = data;

    g_free(work->path);
    g_clear_object(&work->cancellable);
    g_free(work);
}

static void on_bytes(guint64 done, guint64 total, gpointer data)
{
    Work *work = data;

    __atomic_store_n(&work->total, (gint64)total, __ATOMIC_RELAXED);
    __atomic_store_n(&work->done, (gint64)done, __ATOMIC_RELAXED);
}

static void do_work(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
    Work *work = data;
    const PentimentoFileWatch watch = {on_bytes, work, work->cancellable};
    GError *error = NULL;
    char *result = work->function(work->path, work->link, &watch, &error);

    if (result != NULL)
        g_task_return_pointer(task, result, g_free);
    else
        g_task_return_error(task, error);
}

static gboolean on_timer(gpointer data)
{
    Models *models = data;
    double done = (double)__atomic_load_n(&models->work->done, __ATOMIC_RELAXED);
    double total = (double)__atomic_load_n(&models->work->total, __ATOMIC_RELAXED);

    pentimento_models_window_work(models->window, models->work->text,
                                  total > 0 ? done / total : -1.0);
    return G_SOURCE_CONTINUE;
}

static void begin_work(Models *models, Work work, GAsyncReadyCallback ended)
{
    const guint interval_ms = 100;
    g_autoptr(GTask) task = g_task_new(NULL, NULL, ended, models);

    work.cancellable = g_cancellable_new();
    models->work = g_memdup2(&work, sizeof work);
    g_task_set_task_data(task, models->work, work_free);
    models->timer = g_timeout_add(interval_ms, on_timer, models);
    on_timer(models);
    g_task_run_in_thread(task, do_work);
}

/* What came of it, or NULL, which the user has been told of. */
static char *end_work(Models *models, GAsyncResult *result)
{
    g_autoptr(GError) error = NULL;
    char *text = g_task_propagate_pointer(G_TASK(result), &error);

    g_clear_handle_id(&models->timer, g_source_remove);
    models->work = NULL;
    pentimento_models_window_work(models->window, NULL, 0.0);
    if (text == NULL && !g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
        gimp_message(error->message);
    return text;
}

static void on_stop(gpointer data)
{
    Models *models = data;

    if (models->work != NULL)
        g_cancellable_cancel(models->work->cancellable);
    pentimento_question_drop(&models->trial);
    if (models->work == NULL)
        pentimento_models_window_work(models->window, NULL, 0.0);
}

/* ---- adding ------------------------------------------------------------------------------ */

static void on_added(GObject *source, GAsyncResult *result, gpointer data)
{
    Models *models = data;
    g_autofree char *name = end_work(models, result);

    if (name != NULL)
        list(models, name);
}

/* What is to be added while the worker looks whether it is a model. */
typedef struct {
    Models *models;
    char *path;
    bool link;
} Trial;

static void on_tried(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) answer = pentimento_question_answer(result, &error);
    g_autofree Trial *trial = data;
    g_autofree char *path = trial->path;

    if (error != NULL) {
        pentimento_models_window_work(trial->models->window, NULL, 0.0);
        gimp_message(error->message);
    }
    if (answer != NULL)
        begin_work(trial->models,
                   (Work){.function = pentimento_model_add,
                          .text = _("Adding the model"),
                          .path = g_steal_pointer(&path),
                          .link = trial->link},
                   on_added);
}

static void on_add(const char *path, bool link, gpointer data)
{
    Models *models = data;
    Trial *trial = g_new(Trial, 1);

    *trial = (Trial){models, g_strdup(path), link};
    pentimento_models_window_work(models->window, _("Looking at the model"), -1.0);
    pentimento_question_ask(&models->trial, question_of(path), on_tried, trial);
}

/* ---- checksums --------------------------------------------------------------------------- */

static char *checksums(const char *path, bool link, const PentimentoFileWatch *watch,
                       GError **error)
{
    return pentimento_model_checksums(path, watch, error);
}

static void on_checked(GObject *source, GAsyncResult *result, gpointer data)
{
    Models *models = data;
    const Work *work = g_task_get_task_data(G_TASK(result));
    g_autofree char *text = end_work(models, result);

    if (text != NULL)
        pentimento_models_window_set_checksums(models->window, work->path, text);
}

static void on_check(const char *path, gpointer data)
{
    begin_work(
        data,
        (Work){.function = checksums, .text = _("Computing checksums"), .path = g_strdup(path)},
        on_checked);
}

/* ---- removing ---------------------------------------------------------------------------- */

static void remove_model(GtkWidget *window, const char *path)
{
    g_autoptr(GError) error = NULL;

    if (pentimento_model_remove(path, false, &error))
        return;
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED)) {
        if (!pentimento_confirm(window, _("Delete"), _("_Delete"), _("Delete the model for good?"),
                                _("There is no trash where it lies.")))
            return;
        g_clear_error(&error);
        pentimento_model_remove(path, true, &error);
    }
    if (error != NULL)
        gimp_message(error->message);
}

/* `shown` goes when another model is shown, which may be while we ask. */
static void on_remove(const char *shown, gpointer data)
{
    Models *models = data;
    GtkWidget *window = pentimento_models_window_widget(models->window);
    g_autofree char *path = g_strdup(shown), *name = g_path_get_basename(path);
    /* a model */
    g_autofree char *question = g_strdup_printf(_("Remove “%s”?"), name);
    /* a path */
    g_autofree char *lost = g_strdup_printf(g_file_test(path, G_FILE_TEST_IS_SYMLINK)
                                                ? _("%s is a link: the model stays where it is.")
                                                : _("%s goes to the trash."),
                                            path);

    if (!pentimento_confirm(window, _("Remove"), _("_Remove"), question, lost))
        return;
    remove_model(window, path);
    list(models, "");
}

/* ---- the window -------------------------------------------------------------------------- */

static void show(void)
{
    static const PentimentoModelsEvents events = {on_chosen, on_add, on_remove, on_check, on_stop};
    Models models = {0};

    gimp_ui_init("pentimento");
    models.window = pentimento_models_window_new(&events, PENTIMENTO_MODELS_PROCEDURE, &models);
    list(&models, "");
    pentimento_models_window_run(models.window);
    on_stop(&models);
    while (models.work != NULL) /* clears away what it made */
        g_main_context_iteration(NULL, TRUE);
    pentimento_question_drop(&models.listing);
    pentimento_question_drop(&models.inspection);
    pentimento_question_drop(&models.looking);
    g_clear_handle_id(&models.patience, g_source_remove);
    pentimento_models_window_free(models.window);
    g_free(models.wanted);
}

/* ---- the procedure ----------------------------------------------------------------------- */

static char **ask_names(GError **error)
{
    g_autoptr(GVariant) answer =
        pentimento_worker_ask(which.method, g_variant_new("()"), which.type, NULL, error);
    char **names = NULL;

    if (answer != NULL)
        g_variant_get(answer, "(^as)", &names);
    return names;
}

static GimpValueArray *run(GimpProcedure *procedure, GimpProcedureConfig *config, gpointer data)
{
    GimpRunMode mode = GIMP_RUN_NONINTERACTIVE;
    GimpValueArray *values;
    GError *error = NULL;
    g_auto(GStrv) names = NULL;

    g_object_get(config, "run-mode", &mode, NULL);
    if (mode == GIMP_RUN_INTERACTIVE)
        show();
    /* who has closed the window is not told once more of a worker that does not answer */
    names = ask_names(mode == GIMP_RUN_INTERACTIVE ? NULL : &error);
    if (error != NULL)
        return pentimento_answer_error(procedure, error);
    values = gimp_procedure_new_return_values(procedure, GIMP_PDB_SUCCESS, NULL);
    GIMP_VALUES_SET_STRV(values, 1, names);
    return values;
}

GimpProcedure *pentimento_models_new(GimpPlugIn *plug_in)
{
    GimpProcedure *procedure = gimp_procedure_new(plug_in, PENTIMENTO_MODELS_PROCEDURE,
                                                  GIMP_PDB_PROC_TYPE_PLUGIN, run, NULL, NULL);

    pentimento_procedure_describe(
        procedure, _("_Models..."), _("See, add and remove models"),
        _("Shows the models that Generate, Reimagine, Fill Selection, Extend and Teach can use: "
          "what each is for, what it takes, where it lies, its licence, its checksums. A model "
          "from elsewhere, a single file or a diffusers folder, is copied into the user's data "
          "folder, in pentimento/models, or linked there. Without a window it returns the names, "
          "as the argument \"model\" takes them; the default model is not among them."));
    gimp_procedure_set_icon_name(procedure, "gimp-tool-paintbrush");
    gimp_procedure_add_enum_argument(procedure, "run-mode", _("Run mode"), _("The run mode"),
                                     GIMP_TYPE_RUN_MODE, GIMP_RUN_INTERACTIVE, G_PARAM_READWRITE);
    gimp_procedure_add_string_array_return_value(procedure, "models", _("Models"),
                                                 _("The names of the models"), G_PARAM_READWRITE);
    return procedure;
}
