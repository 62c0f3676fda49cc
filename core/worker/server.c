/* Clients, their jobs, and when to end. Everything here runs on the main thread and never for
 * long; one compute thread takes the jobs in the order they came, those first that hurry. */
#include "worker/server.h"

#include "base/error.h"
#include "worker/handles.h"
#include "worker/job.h"
#include "worker/log.h"
#include "worker/offers.h"
#include "worker/protocol.h"

#include <glib-unix.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <unistd.h>

#define IDLE_SECONDS 60.0

typedef struct {
    PentimentoServer *server;
    GDBusConnection *connection;
    guint object;     /* registration of our object on it */
    gboolean greeted; /* Hello was said */
} Client;

/* A GIMP that is served. */
typedef struct {
    PentimentoServer *server;
    int process, fd;
    guint source;
} Gimp;

struct PentimentoServer {
    GMainLoop *loop;
    GDBusServer *bus; /* NULL once no connections are taken any more */
    GDBusNodeInfo *info;
    int lock;
    GHashTable *clients; /* GDBusConnection -> Client */
    GHashTable *gimps;   /* process -> Gimp */
    gboolean had_gimp;
    GQueue jobs; /* PentimentoJob: the one at work, those that hurry, the others, each in order */
    GThreadPool *compute; /* one thread */
    PentimentoModelCache *models;
    double idle_seconds;
    guint idle_source;
};

/* ---- ending ------------------------------------------------------------------------------ */

static void stop_listening(PentimentoServer *server)
{
    if (server->bus == NULL)
        return;
    g_dbus_server_stop(server->bus); /* also removes the socket's file, while the lock is ours */
    g_clear_object(&server->bus);
    close(server->lock);
    server->lock = -1;
}

static void quit(PentimentoServer *server, const char *reason)
{
    pentimento_log("ends: %s", reason);
    stop_listening(server);
    g_main_loop_quit(server->loop);
}

static gboolean on_idle(gpointer data)
{
    PentimentoServer *server = data;

    server->idle_source = 0;
    quit(server, "idle");
    return G_SOURCE_REMOVE;
}

/* After every event: ends the worker where nothing keeps it, else winds up the idle clock. */
static void settle(PentimentoServer *server)
{
    g_clear_handle_id(&server->idle_source, g_source_remove);
    if (!g_queue_is_empty(&server->jobs))
        return;
    if (server->bus == NULL)
        quit(server, "asked to");
    else if (server->had_gimp && g_hash_table_size(server->gimps) == 0 &&
             g_hash_table_size(server->clients) == 0)
        quit(server, "the last GIMP has ended");
    else
        server->idle_source =
            g_timeout_add((guint)(server->idle_seconds * 1000.0), on_idle, server);
}

/* ---- jobs -------------------------------------------------------------------------------- */

/* Each job that waits hears how many come first. */
static void tell_waiting(PentimentoServer *server)
{
    guint before = 0;

    for (GList *link = server->jobs.head->next; link != NULL; link = link->next)
        pentimento_job_waiting(link->data, ++before);
}

static void start_next(PentimentoServer *server)
{
    if (g_queue_is_empty(&server->jobs))
        return;
    tell_waiting(server);
    g_thread_pool_push(server->compute, server->jobs.head->data, NULL);
}

static gboolean on_computed(gpointer data)
{
    PentimentoServer *server = data;
    g_autoptr(PentimentoJob) job = g_queue_pop_head(&server->jobs);

    pentimento_job_answer(job);
    start_next(server);
    settle(server);
    return G_SOURCE_REMOVE;
}

static void compute(gpointer data, gpointer user_data)
{
    PentimentoServer *server = user_data;

    pentimento_job_run(data, server->models);
    g_idle_add_full(G_PRIORITY_DEFAULT, on_computed, server, NULL);
}

static void add_job(PentimentoServer *server, PentimentoJob *job)
{
    GList *before = server->jobs.head;

    if (pentimento_job_hurries(job) && before != NULL) {
        while (before->next != NULL && pentimento_job_hurries(before->next->data))
            before = before->next;
        g_queue_insert_after(&server->jobs, before, job);
    } else {
        g_queue_push_tail(&server->jobs, job);
    }
    if (server->jobs.length == 1)
        start_next(server);
    else
        tell_waiting(server);
}

/* The first job stays in the queue until the compute thread lets go of it. */
static void cancel_jobs(PentimentoServer *server, GDBusConnection *connection, const guint32 *id,
                        int process)
{
    const guint before = server->jobs.length;
    GList *next;

    for (GList *link = server->jobs.head; link != NULL; link = next) {
        PentimentoJob *job = link->data;

        next = link->next;
        if ((connection != NULL && job->connection != connection) || (id != NULL && job->id != *id))
            continue;
        if (process > 0 && job->gimp_process != process)
            continue;
        pentimento_job_cancel(job);
        if (link != server->jobs.head) {
            g_queue_delete_link(&server->jobs, link);
            pentimento_job_free(job);
        }
    }
    if (server->jobs.length < before)
        tell_waiting(server);
}

/* ---- the GIMPs served -------------------------------------------------------------------- */

static void gimp_free(gpointer data)
{
    Gimp *gimp = data;

    g_source_remove(gimp->source);
    close(gimp->fd);
    g_free(gimp);
}

static gboolean on_gimp_ended(int fd, GIOCondition condition, gpointer data)
{
    Gimp *gimp = data;
    PentimentoServer *server = gimp->server;

    cancel_jobs(server, NULL, NULL, gimp->process);
    g_hash_table_remove(server->gimps, GINT_TO_POINTER(gimp->process));
    settle(server);
    return G_SOURCE_CONTINUE; /* removed by gimp_free */
}

static void watch_gimp(PentimentoServer *server, const PentimentoJob *job)
{
    int process = job->gimp_process;
    Gimp *gimp;
    int fd;

    if (process <= 0 || g_hash_table_contains(server->gimps, GINT_TO_POINTER(process)))
        return;
    fd = fcntl(job->gimp, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return;
    gimp = g_new0(Gimp, 1);
    gimp->server = server;
    gimp->process = process;
    gimp->fd = fd;
    gimp->source = g_unix_fd_add(fd, G_IO_IN, on_gimp_ended, gimp);
    g_hash_table_insert(server->gimps, GINT_TO_POINTER(process), gimp);
    server->had_gimp = TRUE;
}

/* ---- calls ------------------------------------------------------------------------------- */

static void call_hello(Client *client, GDBusMethodInvocation *invocation)
{
    guint32 version;

    g_variant_get(g_dbus_method_invocation_get_parameters(invocation), "(u)", &version);
    if (version != PENTIMENTO_WORKER_VERSION) {
        g_autofree char *text = g_strdup_printf(
            _("the worker that runs speaks version %u of its protocol and not %u; it has to end "
              "before another can start"),
            PENTIMENTO_WORKER_VERSION, version);

        g_dbus_method_invocation_return_dbus_error(invocation, PENTIMENTO_ERROR_VERSION, text);
        return;
    }
    client->greeted = TRUE;
    g_dbus_method_invocation_return_value(
        invocation, g_variant_new("(us)", PENTIMENTO_WORKER_VERSION, PENTIMENTO_VERSION));
}

static gboolean needs_turn(const PentimentoServer *server, const PentimentoJob *job)
{
    if (!pentimento_job_hurries(job))
        return TRUE;
    for (const GList *link = server->jobs.head; link != NULL; link = link->next)
        if (pentimento_job_needs_turn(job, link->data))
            return TRUE;
    return server->jobs.head == NULL;
}

static void call_run(PentimentoServer *server, GDBusMethodInvocation *invocation)
{
    g_autoptr(GError) error = NULL;
    PentimentoJob *job = pentimento_job_new_run(invocation, &error);

    if (job == NULL) {
        g_dbus_method_invocation_return_gerror(invocation, error);
        return;
    }
    watch_gimp(server, job);
    if (needs_turn(server, job)) {
        add_job(server, job);
        return;
    }
    pentimento_job_run(job, server->models);
    pentimento_job_answer(job);
    pentimento_job_free(job);
}

static void call_inspect(PentimentoServer *server, GDBusMethodInvocation *invocation)
{
    g_autoptr(LdmModel) model = NULL;
    const char *name;

    g_variant_get(g_dbus_method_invocation_get_parameters(invocation), "(&s)", &name);
    model = pentimento_model_cache_peek(server->models, name);
    if (model != NULL) {
        g_autoptr(GVariant) info = pentimento_model_describe(model);

        g_dbus_method_invocation_return_value(invocation, g_variant_new("(@a{sv})", info));
    } else {
        add_job(server, pentimento_job_new_inspect(invocation));
    }
}

static void call_cancel(PentimentoServer *server, GDBusMethodInvocation *invocation)
{
    guint32 id;

    g_variant_get(g_dbus_method_invocation_get_parameters(invocation), "(u)", &id);
    cancel_jobs(server, g_dbus_method_invocation_get_connection(invocation), &id, 0);
    g_dbus_method_invocation_return_value(invocation, NULL);
}

static void call_finish(PentimentoServer *server, GDBusMethodInvocation *invocation)
{
    GDBusConnection *connection = g_dbus_method_invocation_get_connection(invocation);
    guint32 id;

    g_variant_get(g_dbus_method_invocation_get_parameters(invocation), "(u)", &id);
    for (GList *link = server->jobs.head; link != NULL; link = link->next) {
        const PentimentoJob *job = link->data;

        if (job->connection == connection && job->id == id)
            g_cancellable_cancel(job->finish);
    }
    g_dbus_method_invocation_return_value(invocation, NULL);
}

static void on_call(GDBusConnection *connection, const char *sender, const char *path,
                    const char *interface, const char *method, GVariant *parameters,
                    GDBusMethodInvocation *invocation, gpointer data)
{
    Client *client = data;
    PentimentoServer *server = client->server;
    gboolean adds = strcmp(method, "Run") == 0 || strcmp(method, "Inspect") == 0;

    if (strcmp(method, "Quit") == 0) {
        stop_listening(server);
        g_dbus_method_invocation_return_value(invocation, NULL);
    } else if (strcmp(method, "Hello") == 0) {
        call_hello(client, invocation);
    } else if (!client->greeted) {
        g_dbus_method_invocation_return_dbus_error(invocation, PENTIMENTO_ERROR_VERSION,
                                                   _("the first call has to be Hello"));
    } else if (adds && (server->jobs.length >= PENTIMENTO_MAX_JOBS || server->bus == NULL)) {
        g_dbus_method_invocation_return_dbus_error(invocation, PENTIMENTO_ERROR_BUSY,
                                                   _("the worker has too many jobs or is ending; "
                                                     "try again when they are done"));
    } else if (strcmp(method, "Run") == 0) {
        call_run(server, invocation);
    } else if (strcmp(method, "Inspect") == 0) {
        call_inspect(server, invocation);
    } else if (strcmp(method, "Finish") == 0) {
        call_finish(server, invocation);
    } else if (strcmp(method, "Models") == 0) {
        g_dbus_method_invocation_return_value(invocation, pentimento_offers_models());
    } else {
        call_cancel(server, invocation);
    }
    settle(server);
}

/* ---- clients ----------------------------------------------------------------------------- */

static void client_free(gpointer data)
{
    Client *client = data;

    g_signal_handlers_disconnect_by_data(client->connection, client);
    g_dbus_connection_unregister_object(client->connection, client->object);
    g_object_unref(client->connection);
    g_free(client);
}

static void on_closed(GDBusConnection *connection, gboolean vanished, GError *error, gpointer data)
{
    Client *client = data;
    PentimentoServer *server = client->server;

    cancel_jobs(server, connection, NULL, 0);
    g_hash_table_remove(server->clients, connection);
    settle(server);
}

static gboolean on_connection(GDBusServer *bus, GDBusConnection *connection, gpointer data)
{
    static const GDBusInterfaceVTable calls = {.method_call = on_call};
    PentimentoServer *server = data;
    Client *client;

    if (g_hash_table_size(server->clients) >= PENTIMENTO_MAX_CLIENTS)
        return FALSE; /* closes it */
    client = g_new0(Client, 1);
    client->server = server;
    client->connection = g_object_ref(connection);
    g_hash_table_insert(server->clients, connection, client);
    g_signal_connect(connection, "closed", G_CALLBACK(on_closed), client);
    client->object =
        g_dbus_connection_register_object(connection, PENTIMENTO_WORKER_PATH,
                                          server->info->interfaces[0], &calls, client, NULL, NULL);
    settle(server);
    return TRUE;
}

static gboolean allow_mechanism(GDBusAuthObserver *observer, const char *mechanism, gpointer data)
{
    return strcmp(mechanism, "EXTERNAL") == 0;
}

static gboolean authorize(GDBusAuthObserver *observer, GIOStream *stream, GCredentials *peer,
                          gpointer data)
{
    return peer != NULL && g_credentials_get_unix_user(peer, NULL) == geteuid();
}

static GDBusServer *listen_at(const char *socket, GError **error)
{
    g_autoptr(GDBusAuthObserver) observer = g_dbus_auth_observer_new();
    g_autofree char *escaped = g_dbus_address_escape_value(socket);
    g_autofree char *address = g_strconcat("unix:path=", escaped, NULL);
    g_autofree char *guid = g_dbus_generate_guid();
    GDBusServer *bus;
    mode_t old;

    g_signal_connect(observer, "allow-mechanism", G_CALLBACK(allow_mechanism), NULL);
    g_signal_connect(observer, "authorize-authenticated-peer", G_CALLBACK(authorize), NULL);
    g_unlink(socket); /* left behind by a worker that was killed: the lock is ours */
    old = umask(0177);
    bus = g_dbus_server_new_sync(address, G_DBUS_SERVER_FLAGS_AUTHENTICATION_REQUIRE_SAME_USER,
                                 guid, observer, NULL, error);
    umask(old);
    return bus;
}

/* ---- life -------------------------------------------------------------------------------- */

static double idle_seconds(void)
{
    const char *text = g_getenv(PENTIMENTO_IDLE_VARIABLE);
    double seconds = text != NULL ? g_ascii_strtod(text, NULL) : 0.0;

    return seconds >= 0.05 && seconds <= 86400.0 ? seconds : IDLE_SECONDS;
}

PentimentoServer *pentimento_server_new(const char *socket, int lock, GError **error)
{
    GDBusServer *bus = listen_at(socket, error);
    PentimentoServer *server;

    if (bus == NULL)
        return NULL;
    server = g_new0(PentimentoServer, 1);
    server->loop = g_main_loop_new(NULL, FALSE);
    server->bus = bus;
    server->lock = lock;
    server->info = g_dbus_node_info_new_for_xml(PENTIMENTO_WORKER_XML, NULL);
    server->clients = g_hash_table_new_full(NULL, NULL, NULL, client_free);
    server->gimps = g_hash_table_new_full(NULL, NULL, NULL, gimp_free);
    g_queue_init(&server->jobs);
    server->compute = g_thread_pool_new(compute, server, 1, TRUE, NULL);
    server->models = pentimento_model_cache_new();
    server->idle_seconds = idle_seconds();
    g_signal_connect(bus, "new-connection", G_CALLBACK(on_connection), server);
    g_dbus_server_start(bus);
    return server;
}

static gboolean on_signal(gpointer data)
{
    quit(data, "told to by a signal");
    return G_SOURCE_CONTINUE;
}

void pentimento_server_run(PentimentoServer *server)
{
    guint terminate = g_unix_signal_add(SIGTERM, on_signal, server);
    guint interrupt = g_unix_signal_add(SIGINT, on_signal, server);
    GHashTableIter iter;
    gpointer connection;

    settle(server);
    g_main_loop_run(server->loop);
    g_source_remove(terminate);
    g_source_remove(interrupt);
    cancel_jobs(server, NULL, NULL, 0);
    g_hash_table_iter_init(&iter, server->clients);
    while (g_hash_table_iter_next(&iter, &connection, NULL))
        g_dbus_connection_flush_sync(connection, NULL, NULL); /* last answers */
}

void pentimento_server_free(PentimentoServer *server)
{
    g_thread_pool_free(server->compute, FALSE, TRUE);
    g_clear_handle_id(&server->idle_source, g_source_remove);
    g_hash_table_unref(server->gimps);
    g_hash_table_unref(server->clients);
    g_queue_clear_full(&server->jobs, (GDestroyNotify)pentimento_job_free);
    pentimento_model_cache_free(server->models);
    g_dbus_node_info_unref(server->info);
    g_main_loop_unref(server->loop);
    g_free(server);
}
