/* The plug-in's side of the process border (core/worker/protocol.h): finds or starts the worker,
 * hands it one job with its pixels in memory files, passes progress on, maps what comes back.
 * In: a job. Out: a reply. If GIMP kills us, the socket closes and the worker drops the job. */
#include "worker-client.h"

#include "core/worker/protocol.h"

#include <gio/gunixfdlist.h>
#include <glib/gi18n-lib.h>
#include <sys/mman.h>
#include <sys/syscall.h>

/* One exchange with the worker, while its main loop turns. */
typedef struct {
    GMainLoop *loop;
    const PentimentoWatch *watch;
    GDBusConnection *connection;
    GCancellable *over; /* ends what still waits for the worker */
    GVariant *told;     /* arguments of its last Progress; NULL if there was none */
    bool heard;         /* a signal came: the job is under way */
    bool asked;         /* whether it is alive, and nothing has come back yet */
    bool silent;        /* for so long that it was told */
    GVariant *answer;
    GUnixFDList *fds;
    GError *error;
} Exchange;

enum { JOB = 1 }; /* our only job on this connection */

/* The library's words, made for going on with after "pentimento: ", as a sentence of their own. A
 * name at the front (unet.conv_in.weight, model.safetensors) keeps its case. */
static char *as_sentence(const char *words)
{
    const char *const stops[] = {".", "!", "?", "。"};
    const size_t word = strspn(words, "abcdefghijklmnopqrstuvwxyz");
    g_autofree char *sentence = g_strdup(words);

    if (word > 0 && words[word] == ' ')
        sentence[0] = g_ascii_toupper(sentence[0]);
    for (size_t i = 0; i < G_N_ELEMENTS(stops); i++)
        if (g_str_has_suffix(sentence, stops[i]))
            return g_steal_pointer(&sentence);
    /* a sentence that wants its full stop */
    return g_strdup_printf(_("%s."), sentence);
}

/* ---- finding and starting ---------------------------------------------------------------- */

/* $PENTIMENTO_WORKER, else beside the plug-in, else where it was installed. */
static char *find_worker(GError **error)
{
    const char *given = g_getenv("PENTIMENTO_WORKER");
    g_autofree char *beside = NULL;
    g_autofree char *folder = NULL;

    if (given != NULL && *given != '\0')
        return g_strdup(given);
    folder = g_path_get_dirname(gimp_get_progname());
    beside = g_build_filename(folder, "pentimento-worker", NULL);
    if (g_file_test(beside, G_FILE_TEST_IS_EXECUTABLE))
        return g_steal_pointer(&beside);
    if (g_file_test(PENTIMENTO_WORKER_INSTALLED, G_FILE_TEST_IS_EXECUTABLE))
        return g_strdup(PENTIMENTO_WORKER_INSTALLED);
    pentimento_set_error(error, EXECUTION_ERROR,
                         _("pentimento-worker, the program that does the work, is neither in %s "
                           "nor at %s: install Pentimento again, or name it in the environment "
                           "variable PENTIMENTO_WORKER."),
                         folder, PENTIMENTO_WORKER_INSTALLED);
    return NULL;
}

/* The worker's environment: ours, with the place of the catalogues beside the plug-in. */
static char **worker_environment(void)
{
    g_autofree char *folder = g_path_get_dirname(gimp_get_progname());
    g_autofree char *locale = g_build_filename(folder, "locale", NULL);

    return g_environ_setenv(g_get_environ(), "PENTIMENTO_LOCALE_DIR", locale, FALSE);
}

/* Runs it; it returns as soon as a worker listens, which then lives in a session of its own. The
 * descriptors we have from GIMP are closed in it. */
static bool start_worker(GError **error)
{
    g_autofree char *path = find_worker(error);
    g_auto(GStrv) environment = worker_environment();
    g_autofree char *words = NULL;
    g_autofree char *sentence = NULL;
    g_autoptr(GError) cause = NULL;
    char *argv[] = {path, NULL};
    int status;

    if (path == NULL)
        return false;
    if (!g_spawn_sync(NULL, argv, environment, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL, &words,
                      &status, &cause)) {
        pentimento_set_error(error, EXECUTION_ERROR,
                             _("%s cannot be started (%s): install Pentimento again."), path,
                             cause->message);
        return false;
    }
    if (g_spawn_check_wait_status(status, &cause))
        return true;
    g_strstrip(words);
    sentence = as_sentence(*words ? words : cause->message);
    pentimento_set_error(error, EXECUTION_ERROR, "%s", sentence);
    return false;
}

/* ---- connecting -------------------------------------------------------------------------- */

static void take_result(GObject *source, GAsyncResult *result, gpointer data)
{
    *(GAsyncResult **)data = g_object_ref(result);
}

static gboolean cut_short(gpointer late)
{
    g_cancellable_cancel(late);
    return G_SOURCE_REMOVE;
}

/* The system connects us to a worker that is stopped, too, which then says nothing: hence a limit,
 * in a context of our own, since nothing else may go on meanwhile. */
static GDBusConnection *open_connection(const char *socket, GError **error)
{
    const int wait_s = 30;
    g_autofree char *escaped = g_dbus_address_escape_value(socket);
    g_autofree char *address = g_strconcat("unix:path=", escaped, NULL);
    g_autoptr(GMainContext) context = g_main_context_new();
    g_autoptr(GSource) limit = g_timeout_source_new_seconds(wait_s);
    g_autoptr(GCancellable) late = g_cancellable_new();
    g_autoptr(GAsyncResult) result = NULL;
    GDBusConnection *connection;

    g_source_set_callback(limit, cut_short, late, NULL);
    g_source_attach(limit, context);
    g_main_context_push_thread_default(context);
    g_dbus_connection_new_for_address(address, G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT, NULL,
                                      late, take_result, &result);
    while (result == NULL)
        g_main_context_iteration(context, TRUE);
    connection = g_dbus_connection_new_for_address_finish(result, error);
    g_main_context_pop_thread_default(context);
    g_source_destroy(limit);
    if (connection != NULL || !g_cancellable_is_cancelled(late))
        return connection;
    g_clear_error(error);
    /* why a worker does not serve */
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT, _("nothing came from it in %d s"), wait_s);
    return NULL;
}

static GVariant *call(GDBusConnection *connection, const char *method, GVariant *arguments,
                      const char *type, GError **error)
{
    const int wait_ms = 30000;

    return g_dbus_connection_call_sync(
        connection, NULL, PENTIMENTO_WORKER_PATH, PENTIMENTO_WORKER_INTERFACE, method, arguments,
        G_VARIANT_TYPE(type), G_DBUS_CALL_FLAGS_NONE, wait_ms, NULL, error);
}

/* Says Hello. False and an error where the worker is of another version than the plug-in, as after
 * an upgrade: it is asked to make room. */
static bool is_of_our_version(GDBusConnection *connection, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(GVariant) hello =
        call(connection, "Hello", g_variant_new("(u)", PENTIMENTO_WORKER_VERSION), "(us)", &cause);
    g_autoptr(GVariant) quit = NULL;
    g_autofree char *name = NULL;
    const char *engine;

    if (hello != NULL) {
        g_variant_get(hello, "(u&s)", NULL, &engine);
        if (g_str_equal(engine, PENTIMENTO_VERSION))
            return true;
        /* why a worker does not serve: versions, "0.2.0" */
        pentimento_set_error(&cause, EXECUTION_ERROR, _("it is of version %s and not %s"), engine,
                             PENTIMENTO_VERSION);
    } else {
        name = g_dbus_error_get_remote_error(cause);
    }
    if (hello != NULL || g_strcmp0(name, PENTIMENTO_ERROR_VERSION) == 0)
        quit = call(connection, "Quit", NULL, "()", NULL);
    g_propagate_error(error, g_steal_pointer(&cause));
    return false;
}

/* A connection to a worker of our version; NULL if there is none now. */
static GDBusConnection *greet(const char *socket, GError **error)
{
    g_autoptr(GDBusConnection) connection = open_connection(socket, error);

    if (connection == NULL || is_of_our_version(connection, error))
        return g_steal_pointer(&connection);
    g_dbus_connection_close_sync(connection, NULL, NULL);
    return NULL;
}

/* Twice, because a worker that has been idle may end just when it is spoken to. */
static GDBusConnection *connect_worker(GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autofree char *socket = pentimento_worker_socket(&cause);

    if (socket == NULL) {
        g_autofree char *sentence = as_sentence(cause->message);

        pentimento_set_error(error, EXECUTION_ERROR, "%s", sentence);
        return NULL;
    }
    for (int attempt = 0; attempt < 3; attempt++) {
        GDBusConnection *connection;

        g_clear_error(&cause);
        if (attempt > 0 && !start_worker(error))
            return NULL;
        connection = greet(socket, &cause);
        if (connection != NULL)
            return connection;
        if (g_error_matches(cause, G_IO_ERROR, G_IO_ERROR_TIMED_OUT))
            break; /* it would be so again */
    }
    g_dbus_error_strip_remote_error(cause);
    pentimento_set_error(error, EXECUTION_ERROR,
                         _("pentimento-worker was started but does not answer (%s): try again, and "
                           "install Pentimento again if this goes on."),
                         cause->message);
    return NULL;
}

/* ---- the job ----------------------------------------------------------------------------- */

static void tell_progress(const PentimentoWatch *watch, GVariant *arguments)
{
    const char *stage;
    int step, steps;
    double fraction, seconds_left;

    g_variant_get(arguments, "(u&siidd)", NULL, &stage, &step, &steps, &fraction, &seconds_left);
    if (watch->progress != NULL)
        watch->progress(stage, step, steps, fraction, seconds_left, watch->data);
}

static void tell_preview(const PentimentoWatch *watch, GVariant *arguments)
{
    g_autoptr(GVariant) pixels = g_variant_get_child_value(arguments, 5);
    PentimentoPreview preview;
    gsize bytes;

    g_variant_get(arguments, "(uiiii@ay)", NULL, &preview.step, &preview.steps, &preview.width,
                  &preview.height, NULL);
    preview.pixels = g_variant_get_fixed_array(pixels, &bytes, 1);
    if (watch->preview != NULL && preview.width >= 1 && preview.width <= PENTIMENTO_MAX_PREVIEW &&
        preview.height >= 1 && preview.height <= PENTIMENTO_MAX_PREVIEW &&
        bytes == (gsize)preview.width * (gsize)preview.height * 3)
        watch->preview(&preview, watch->data);
}

static void tell_losses(const PentimentoWatch *watch, GVariant *arguments)
{
    g_autoptr(GVariant) losses = g_variant_get_child_value(arguments, 2);
    gsize count;
    const double *values = g_variant_get_fixed_array(losses, &count, sizeof(double));
    int first;

    g_variant_get_child(arguments, 1, "i", &first);
    if (watch->losses != NULL && first >= 1)
        watch->losses(first, values, count, watch->data);
}

static void tell_sample(const PentimentoWatch *watch, GVariant *arguments)
{
    const char *path;

    g_variant_get(arguments, "(u&s)", NULL, &path);
    if (watch->sample != NULL)
        watch->sample(path, watch->data);
}

static void on_signal(GDBusConnection *connection, const char *sender, const char *path,
                      const char *interface, const char *signal, GVariant *arguments, gpointer data)
{
    static const struct {
        const char *name, *type;
        void (*tell)(const PentimentoWatch *watch, GVariant *arguments);
    } signals[] = {
        {"Progress", "(usiidd)", tell_progress},
        {"Preview", "(uiiiiay)", tell_preview},
        {"Losses", "(uiad)", tell_losses},
        {"Sample", "(us)", tell_sample},
    };
    Exchange *exchange = data;

    for (size_t i = 0; i < G_N_ELEMENTS(signals); i++) {
        if (g_str_equal(signal, signals[i].name) &&
            g_variant_is_of_type(arguments, G_VARIANT_TYPE(signals[i].type))) {
            exchange->heard = true;
            if (signals[i].tell == tell_progress) {
                g_clear_pointer(&exchange->told, g_variant_unref);
                exchange->told = g_variant_ref(arguments);
            }
            signals[i].tell(exchange->watch, arguments);
        }
    }
}

static void tell_worker(GDBusConnection *connection, const char *method)
{
    g_dbus_connection_call(connection, NULL, PENTIMENTO_WORKER_PATH, PENTIMENTO_WORKER_INTERFACE,
                           method, g_variant_new("(u)", JOB), NULL, G_DBUS_CALL_FLAGS_NONE, -1,
                           NULL, NULL, NULL);
}

/* Ends the exchange as the worker would if it heard of Cancel. */
static void give_up(Exchange *exchange)
{
    exchange->error = g_dbus_error_new_for_dbus_error(PENTIMENTO_ERROR_CANCELLED, "cancelled");
    g_main_loop_quit(exchange->loop);
}

static void on_cancelled(GCancellable *cancellable, gpointer data)
{
    Exchange *exchange = data;

    tell_worker(exchange->connection, "Cancel");
    if (exchange->silent)
        give_up(exchange);
}

static void on_finished(GCancellable *finish, gpointer data)
{
    const Exchange *exchange = data;

    tell_worker(exchange->connection, "Finish");
}

static void on_answer(GObject *source, GAsyncResult *result, gpointer data)
{
    Exchange *exchange = data;
    g_autoptr(GUnixFDList) fds = NULL;
    GError *error = NULL;
    GVariant *answer = g_dbus_connection_call_with_unix_fd_list_finish(G_DBUS_CONNECTION(source),
                                                                       &fds, result, &error);

    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED)) { /* the exchange is no more */
        g_error_free(error);
        return;
    }
    exchange->answer = answer;
    exchange->fds = g_steal_pointer(&fds);
    exchange->error = error;
    g_main_loop_quit(exchange->loop);
}

static void on_alive(GObject *source, GAsyncResult *result, gpointer data)
{
    Exchange *exchange = data;
    g_autoptr(GVariant) pong =
        g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, NULL);

    if (pong == NULL) /* the exchange is no more, or ends with the connection */
        return;
    if (exchange->silent && exchange->told != NULL)
        tell_progress(exchange->watch, exchange->told);
    exchange->asked = exchange->silent = false;
}

/* Every few seconds. GDBus answers a ping on a thread of its own, however much its process
 * computes: a worker of which nothing comes back is stopped, or as good as that. */
static gboolean look_after(gpointer data)
{
    Exchange *exchange = data;
    const PentimentoWatch *watch = exchange->watch;
    double fraction = 0;

    if (!exchange->asked) {
        exchange->asked = true;
        g_dbus_connection_call(
            exchange->connection, NULL, PENTIMENTO_WORKER_PATH, "org.freedesktop.DBus.Peer", "Ping",
            NULL, NULL, G_DBUS_CALL_FLAGS_NONE, G_MAXINT, exchange->over, on_alive, exchange);
        return G_SOURCE_CONTINUE;
    }
    exchange->silent = true;
    if (exchange->told != NULL)
        g_variant_get_child(exchange->told, 4, "d", &fraction);
    if (watch->cancellable != NULL && g_cancellable_is_cancelled(watch->cancellable))
        give_up(exchange);
    else if (watch->progress != NULL)
        watch->progress("silent", 0, 0, fraction, -1.0, watch->data);
    return G_SOURCE_CONTINUE;
}

static void add_handle(GVariantBuilder *handles, GUnixFDList *fds, const char *name, int fd)
{
    int index = fd >= 0 ? g_unix_fd_list_append(fds, fd, NULL) : -1;

    if (index >= 0)
        g_variant_builder_add(handles, "{sh}", name, index);
}

/* The pictures of a teaching; returns their sizes. */
static GVariant *add_pictures(const PentimentoJob *job, GVariantBuilder *handles, GUnixFDList *fds)
{
    GVariantBuilder sizes = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("a(ii)"));

    for (guint i = 0; i < job->n_pictures; i++) {
        g_autofree char *name = g_strdup_printf("picture-%u", i);

        add_handle(handles, fds, name, job->pictures[i].fd);
        g_variant_builder_add(&sizes, "(ii)", job->pictures[i].width, job->pictures[i].height);
    }
    return g_variant_builder_end(&sizes);
}

/* GIMP's pidfd, which lets the worker end with GIMP; -1 where there is none. Opened once: when GIMP
 * has ended, our parent is another process. */
static int gimp_pidfd(void)
{
    static gsize once;
    static int fd;

    if (g_once_init_enter(&once)) {
        fd = (int)syscall(SYS_pidfd_open, getppid(), 0);
        g_once_init_leave(&once, 1);
    }
    return fd;
}

/* The arguments of Run. */
static GVariant *job_arguments(const PentimentoJob *job, bool previews, GUnixFDList *fds)
{
    g_auto(GVariantDict) options = G_VARIANT_DICT_INIT(job->options);
    g_auto(GVariantBuilder) handles = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("a{sh}"));

    if (job->picture >= 0) {
        g_variant_dict_insert(&options, "picture-width", "i", job->width);
        g_variant_dict_insert(&options, "picture-height", "i", job->height);
    }
    if (previews)
        g_variant_dict_insert(&options, "previews", "b", TRUE);
    if (job->n_pictures > 0)
        g_variant_dict_insert_value(&options, "sizes", add_pictures(job, &handles, fds));
    add_handle(&handles, fds, "picture", job->picture);
    add_handle(&handles, fds, "mask", job->mask);
    add_handle(&handles, fds, "gimp", gimp_pidfd());
    return g_variant_new("(us@a{sv}a{sh})", JOB, job->task, g_variant_dict_end(&options), &handles);
}

static void converse(GDBusConnection *connection, const PentimentoJob *job, Exchange *exchange)
{
    const PentimentoWatch *watch = exchange->watch;
    const guint seconds = 5; /* between looks whether it lives */
    GMainContext *context = g_main_context_get_thread_default();
    g_autoptr(GUnixFDList) fds = g_unix_fd_list_new();
    g_autoptr(GMainLoop) loop = g_main_loop_new(context, FALSE);
    g_autoptr(GCancellable) over = g_cancellable_new();
    g_autoptr(GSource) looks = g_timeout_source_new_seconds(seconds);
    guint subscription = g_dbus_connection_signal_subscribe(
        connection, NULL, PENTIMENTO_WORKER_INTERFACE, NULL, PENTIMENTO_WORKER_PATH, NULL,
        G_DBUS_SIGNAL_FLAGS_NONE, on_signal, exchange, NULL);
    gulong cancel = 0, finish = 0;

    g_source_set_callback(looks, look_after, exchange, NULL);
    g_source_attach(looks, context);
    exchange->loop = loop;
    exchange->connection = connection;
    exchange->over = over;
    exchange->asked = exchange->silent = false;
    g_dbus_connection_call_with_unix_fd_list(
        connection, NULL, PENTIMENTO_WORKER_PATH, PENTIMENTO_WORKER_INTERFACE, "Run",
        job_arguments(job, watch->preview != NULL, fds), G_VARIANT_TYPE("(a{sv}a{sh})"),
        G_DBUS_CALL_FLAGS_NONE, G_MAXINT, fds, over, on_answer, exchange);
    if (watch->cancellable != NULL) /* after Run: one that is cancelled already calls at once */
        cancel =
            g_cancellable_connect(watch->cancellable, G_CALLBACK(on_cancelled), exchange, NULL);
    if (watch->finish != NULL)
        finish = g_cancellable_connect(watch->finish, G_CALLBACK(on_finished), exchange, NULL);
    g_main_loop_run(loop);
    g_cancellable_cancel(over);
    g_source_destroy(looks);
    g_cancellable_disconnect(watch->cancellable, cancel);
    g_cancellable_disconnect(watch->finish, finish);
    g_dbus_connection_signal_unsubscribe(connection, subscription);
}

/* ---- the reply --------------------------------------------------------------------------- */

void pentimento_reply_drop_arrays(PentimentoReply *reply)
{
    const size_t count = (size_t)reply->width * reply->height;

    if (reply->pixels != NULL)
        munmap((void *)reply->pixels, count * 4 * sizeof(float));
    if (reply->alpha != NULL)
        munmap((void *)reply->alpha, count * sizeof(float));
    reply->pixels = reply->alpha = NULL;
}

void pentimento_reply_clear(PentimentoReply *reply)
{
    pentimento_reply_drop_arrays(reply);
    g_clear_pointer(&reply->seconds, g_variant_unref);
    g_strfreev(reply->notes);
    g_clear_pointer(&reply->values, g_variant_unref);
    *reply = (PentimentoReply){0};
}

/* Maps a handle of the reply; NULL unless it is a memfd of that very size that cannot shrink. */
static const float *map_handle(const Exchange *exchange, GVariant *handles, const char *name,
                               size_t bytes)
{
    struct stat info;
    void *map = MAP_FAILED;
    gint32 index;
    int fd = -1, seals;

    if (exchange->fds != NULL && g_variant_lookup(handles, name, "h", &index))
        fd = g_unix_fd_list_get(exchange->fds, index, NULL);
    if (fd < 0)
        return NULL;
    seals = fcntl(fd, F_GET_SEALS); /* -1: it is no memfd */
    if (fstat(fd, &info) == 0 && info.st_size == (off_t)bytes && seals >= 0 &&
        (seals & F_SEAL_SHRINK) != 0)
        map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    return map == MAP_FAILED ? NULL : map;
}

static bool read_window(GVariant *values, const PentimentoJob *job, PentimentoReply *reply)
{
    if (!g_variant_lookup(values, "x", "i", &reply->x) ||
        !g_variant_lookup(values, "y", "i", &reply->y) ||
        !g_variant_lookup(values, "width", "i", &reply->width) ||
        !g_variant_lookup(values, "height", "i", &reply->height))
        return false;
    if (reply->width < 1 || reply->width > PENTIMENTO_MAX_SIDE || reply->height < 1 ||
        reply->height > PENTIMENTO_MAX_SIDE || reply->x < 0 || reply->y < 0)
        return false;
    return job->picture < 0 ||
           (reply->x <= job->width - reply->width && reply->y <= job->height - reply->height);
}

static bool read_reply(const Exchange *exchange, const PentimentoJob *job, PentimentoReply *reply,
                       GError **error)
{
    g_autoptr(GVariant) values = g_variant_get_child_value(exchange->answer, 0);
    g_autoptr(GVariant) handles = g_variant_get_child_value(exchange->answer, 1);
    size_t count;

    reply->values = g_variant_ref(values);
    if (g_str_equal(job->task, "teach"))
        return true;
    if (read_window(values, job, reply)) {
        count = (size_t)reply->width * reply->height;
        reply->pixels = map_handle(exchange, handles, "pixels", count * 4 * sizeof(float));
        reply->alpha = map_handle(exchange, handles, "alpha", count * sizeof(float));
        reply->seconds = g_variant_lookup_value(values, "seconds", G_VARIANT_TYPE("a{sd}"));
        g_variant_lookup(values, "notes", "^as", &reply->notes);
    }
    if (reply->pixels != NULL && (job->picture < 0 || reply->alpha != NULL))
        return true;
    pentimento_set_error(error, EXECUTION_ERROR,
                         _("pentimento-worker answered with something that is not a picture of "
                           "the right size; install Pentimento again if this goes on."));
    return false;
}

/* The worker's own words; or what it means that there are none. It also cancels when it is told to
 * end, as by a guard against full memory. */
static void explain(GError *cause, GCancellable *cancellable, GError **error)
{
    g_autofree char *name = g_dbus_error_get_remote_error(cause);
    const bool cancelled = g_strcmp0(name, PENTIMENTO_ERROR_CANCELLED) == 0;
    g_autofree char *sentence = NULL, *log = NULL;

    if (cancelled && g_cancellable_is_cancelled(cancellable)) {
        pentimento_set_error(error, CANCEL, "cancelled");
    } else if (!cancelled && name != NULL && g_str_has_prefix(name, PENTIMENTO_ERROR_PREFIX)) {
        g_dbus_error_strip_remote_error(cause);
        sentence = as_sentence(cause->message);
        g_set_error_literal(error, PENTIMENTO_ERROR,
                            g_str_equal(name, PENTIMENTO_ERROR_INVALID) ? GIMP_PDB_CALLING_ERROR
                                                                        : GIMP_PDB_EXECUTION_ERROR,
                            sentence);
    } else {
        log = pentimento_worker_log();
        pentimento_set_error(error, EXECUTION_ERROR,
                             _("pentimento-worker, the program that does the work, ended in the "
                               "middle of it; try again, with less memory in use or a smaller "
                               "selection. What it did before stands in %s."),
                             log);
    }
}

bool pentimento_worker_run(const PentimentoJob *job, const PentimentoWatch *watch,
                           PentimentoReply *reply, GError **error)
{
    Exchange exchange = {.watch = watch};
    bool done = false;

    /* Once more where the worker ended before it took the job up. */
    for (int attempt = 0; attempt < 2 && exchange.answer == NULL && !exchange.heard; attempt++) {
        g_autoptr(GDBusConnection) connection = NULL;

        g_clear_error(&exchange.error);
        connection = connect_worker(error);
        if (connection == NULL)
            return false;
        converse(connection, job, &exchange);
        g_dbus_connection_close_sync(connection, NULL, NULL);
        if (exchange.error != NULL && g_dbus_error_is_remote_error(exchange.error))
            break;
    }
    if (exchange.answer != NULL)
        done = read_reply(&exchange, job, reply, error);
    else
        explain(exchange.error, watch->cancellable, error);
    g_clear_pointer(&exchange.told, g_variant_unref);
    g_clear_pointer(&exchange.answer, g_variant_unref);
    g_clear_object(&exchange.fds);
    g_clear_error(&exchange.error);
    return done;
}

GVariant *pentimento_worker_ask(const char *method, GVariant *arguments, const char *type,
                                GCancellable *cancellable, GError **error)
{
    g_autoptr(GVariant) held = g_variant_ref_sink(arguments);
    g_autoptr(GDBusConnection) connection = connect_worker(error);
    g_autoptr(GError) cause = NULL;
    GVariant *answer;

    if (connection == NULL)
        return NULL;
    answer = g_dbus_connection_call_sync(
        connection, NULL, PENTIMENTO_WORKER_PATH, PENTIMENTO_WORKER_INTERFACE, method, held,
        G_VARIANT_TYPE(type), G_DBUS_CALL_FLAGS_NONE, G_MAXINT, cancellable, &cause);
    g_dbus_connection_close_sync(connection, NULL, NULL);
    if (answer == NULL)
        explain(cause, cancellable, error);
    return answer;
}
