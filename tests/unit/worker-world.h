/* A worker of the test's own, the real program with a socket in a temporary folder, and clients
 * that speak with it. */
#pragma once

#include "worker/protocol.h"

#include <gio/gunixfdlist.h>
#include <glib/gstdio.h>
#include <sys/mman.h>

/* ---- a worker and its clients ---- */

typedef struct {
    char *folder, *socket;
    const char *program;
    char **environment; /* of the worker */
} World;

typedef struct {
    GDBusConnection *connection;
    guint subscription;
    GString *stages;    /* "load;denoise;..." as they first come */
    double fraction;    /* last told */
    int before;         /* jobs that come first, as last told */
    gboolean backwards; /* the fraction once decreased */
    gboolean running, done;
    GVariant *reply;
    GUnixFDList *list;
    GError *error;
} Client;

static inline void world_set_up(World *world, gconstpointer data)
{
    const char *program = g_getenv("PENTIMENTO_WORKER");

    world->program = program != NULL ? program
                                     : g_test_build_filename(G_TEST_BUILT, "..", "core", "worker",
                                                             "pentimento-worker", NULL);
    world->folder = g_dir_make_tmp("pentimento-XXXXXX", NULL);
    world->socket = g_build_filename(world->folder, "worker.sock", NULL);
    world->environment =
        g_environ_setenv(g_get_environ(), PENTIMENTO_SOCKET_VARIABLE, world->socket, TRUE);
    world->environment = g_environ_setenv(world->environment, PENTIMENTO_IDLE_VARIABLE,
                                          data != NULL ? data : "30", TRUE);
    world->environment =
        g_environ_setenv(world->environment, "XDG_STATE_HOME", world->folder, TRUE);
    world->environment =
        g_environ_setenv(world->environment, "XDG_CACHE_HOME", world->folder, TRUE);
}

static inline int start_worker(const World *world, char **text)
{
    const char *command[] = {world->program, NULL};
    g_autoptr(GError) error = NULL;
    int status = -1;

    g_spawn_sync(NULL, (char **)command, world->environment, G_SPAWN_DEFAULT, NULL, NULL, NULL,
                 text, &status, &error);
    g_assert_no_error(error);
    return status;
}

static inline gboolean wait_gone(const char *path, double seconds)
{
    for (int i = 0; i < seconds * 50 && g_file_test(path, G_FILE_TEST_EXISTS); i++)
        g_usleep(20000);
    return !g_file_test(path, G_FILE_TEST_EXISTS);
}

static inline GDBusConnection *connect_raw(const World *world, GError **error)
{
    g_autofree char *escaped = g_dbus_address_escape_value(world->socket);
    g_autofree char *address = g_strconcat("unix:path=", escaped, NULL);

    return g_dbus_connection_new_for_address_sync(
        address, G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT, NULL, NULL, error);
}

static inline GVariant *call(GDBusConnection *connection, const char *method, GVariant *parameters,
                             GError **error)
{
    return g_dbus_connection_call_sync(connection, NULL, PENTIMENTO_WORKER_PATH,
                                       PENTIMENTO_WORKER_INTERFACE, method, parameters, NULL,
                                       G_DBUS_CALL_FLAGS_NONE, 60000, NULL, error);
}

static inline void on_progress(GDBusConnection *connection, const char *sender, const char *path,
                               const char *interface, const char *name, GVariant *parameters,
                               gpointer data)
{
    Client *client = data;
    const char *stage;
    int step, steps;
    double fraction;

    g_variant_get(parameters, "(u&siidd)", NULL, &stage, &step, &steps, &fraction, NULL);
    if (g_str_equal(stage, "waiting"))
        client->before = step;
    if (strstr(client->stages->str, stage) == NULL)
        g_string_append_printf(client->stages, "%s;", stage);
    client->backwards |= fraction < client->fraction;
    client->fraction = fraction;
}

static inline void client_open(Client *client, const World *world)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) answer = NULL;

    *client = (Client){.stages = g_string_new(NULL)};
    client->connection = connect_raw(world, &error);
    g_assert_no_error(error);
    client->subscription = g_dbus_connection_signal_subscribe(
        client->connection, NULL, PENTIMENTO_WORKER_INTERFACE, "Progress", PENTIMENTO_WORKER_PATH,
        NULL, G_DBUS_SIGNAL_FLAGS_NONE, on_progress, client, NULL);
    answer =
        call(client->connection, "Hello", g_variant_new("(u)", PENTIMENTO_WORKER_VERSION), &error);
    g_assert_no_error(error);
    g_assert_cmpstr(g_variant_get_type_string(answer), ==, "(us)");
}

static inline void client_forget(Client *client)
{
    g_clear_pointer(&client->reply, g_variant_unref);
    g_clear_object(&client->list);
    g_clear_error(&client->error);
    g_string_truncate(client->stages, 0);
    client->fraction = 0.0;
    client->done = client->backwards = FALSE;
}

static inline void client_close(Client *client)
{
    g_dbus_connection_signal_unsubscribe(client->connection, client->subscription);
    g_dbus_connection_close_sync(client->connection, NULL, NULL);
    while (client->running) /* ends at once with an error */
        g_main_context_iteration(NULL, TRUE);
    g_object_unref(client->connection);
    client_forget(client);
    g_string_free(client->stages, TRUE);
}

static inline pid_t worker_process(GDBusConnection *connection)
{
    GIOStream *stream = g_dbus_connection_get_stream(connection);
    GSocket *socket = g_socket_connection_get_socket(G_SOCKET_CONNECTION(stream));
    g_autoptr(GCredentials) peer = g_socket_get_credentials(socket, NULL);

    g_assert_nonnull(peer);
    return g_credentials_get_unix_pid(peer, NULL);
}

/* What sanitizers, and GLib, had to say while the worker worked and when it ended. */
static inline void check_log(const World *world)
{
    g_autofree char *path = g_build_filename(world->folder, "pentimento", "worker.log", NULL);
    g_autofree char *log = NULL;

    g_file_get_contents(path, &log, NULL, NULL);
    if (log != NULL && (strstr(log, "Sanitizer") || strstr(log, "runtime error") ||
                        strstr(log, "CRITICAL") || strstr(log, "WARNING")))
        g_error("the worker's log: %s", log);
}

static inline void world_tear_down(World *world, gconstpointer data)
{
    g_autoptr(GDBusConnection) connection = connect_raw(world, NULL);
    g_autofree char *command = g_strconcat("rm -rf ", world->folder, NULL);

    if (connection != NULL) {
        g_autofree char *process = g_strdup_printf("/proc/%d", worker_process(connection));
        g_autoptr(GVariant) answer = call(connection, "Quit", NULL, NULL);

        g_assert_nonnull(answer);
        g_assert_true(wait_gone(world->socket, 5));
        g_assert_true(wait_gone(process, 20));
    }
    check_log(world);
    g_assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL));
    g_strfreev(world->environment);
    g_free(world->folder);
    g_free(world->socket);
}

/* ---- jobs ---- */

static inline void on_answer(GObject *source, GAsyncResult *result, gpointer data)
{
    Client *client = data;

    client->reply = g_dbus_connection_call_with_unix_fd_list_finish(
        G_DBUS_CONNECTION(source), &client->list, result, &client->error);
    client->done = TRUE;
    client->running = FALSE;
}

/* Starts a job; `handles` are consumed, pairs of name and descriptor in `names` and `fds`. */
static inline void run_start(Client *client, const char *task, const char *options, int n,
                             const char *const *names, const int *fds)
{
    g_autoptr(GUnixFDList) list = g_unix_fd_list_new();
    g_autoptr(GError) error = NULL;
    GVariantBuilder handles;
    g_autoptr(GVariant) parsed =
        g_variant_parse(G_VARIANT_TYPE_VARDICT, options, NULL, NULL, &error);

    g_assert_no_error(error);
    g_variant_builder_init(&handles, G_VARIANT_TYPE("a{sh}"));
    for (int i = 0; i < n; i++) {
        g_variant_builder_add(&handles, "{sh}", names[i],
                              g_unix_fd_list_append(list, fds[i], &error));
        g_assert_no_error(error);
        close(fds[i]);
    }
    client_forget(client);
    client->running = TRUE;
    g_dbus_connection_call_with_unix_fd_list(
        client->connection, NULL, PENTIMENTO_WORKER_PATH, PENTIMENTO_WORKER_INTERFACE, "Run",
        g_variant_new("(us@a{sv}a{sh})", 7u, task, parsed, &handles), NULL, G_DBUS_CALL_FLAGS_NONE,
        600000, list, NULL, on_answer, client);
}

static inline void run_wait(Client *client)
{
    while (!client->done)
        g_main_context_iteration(NULL, TRUE);
}

static inline gboolean wake(gpointer data)
{
    return G_SOURCE_CONTINUE;
}

/* True once `stage` was told. */
static inline gboolean wait_stage(Client *client, const char *stage, double seconds)
{
    gint64 end = g_get_monotonic_time() + (gint64)(seconds * G_USEC_PER_SEC);
    guint tick = g_timeout_add(10, wake, NULL);

    while (strstr(client->stages->str, stage) == NULL && !client->done &&
           g_get_monotonic_time() < end)
        g_main_context_iteration(NULL, TRUE);
    g_source_remove(tick);
    return strstr(client->stages->str, stage) != NULL;
}

static inline void run_generate(Client *client, const char *options)
{
    run_start(client, "generate", options, 0, NULL, NULL);
    run_wait(client);
}

static inline int memfd(size_t bytes, int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, (off_t)bytes), ==, 0);
    g_assert_cmpint(fcntl(fd, F_ADD_SEALS, seals), ==, 0);
    return fd;
}

/* float32 [height, width, channels], `value` in the left half and 0 in the right one. */
static inline int half_array(int width, int height, int channels, float value)
{
    size_t bytes = (size_t)width * (size_t)height * (size_t)channels * sizeof(float);
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    g_autofree float *data = g_malloc0(bytes);

    for (int y = 0; y < height; y++)
        for (int x = 0; x < width / 2 * channels; x++)
            data[y * width * channels + x] = value;
    g_assert_cmpint(write(fd, data, bytes), ==, bytes);
    g_assert_cmpint(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), ==, 0);
    return fd;
}

/* The array `name` of the reply, mapped; checks its seals and size. */
static inline const float *reply_array(const Client *client, const char *name, size_t floats)
{
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    g_autoptr(GVariant) handles = g_variant_get_child_value(client->reply, 1);
    struct stat info;
    void *data;
    gint32 index;
    int fd;

    if (!g_variant_lookup(handles, name, "h", &index))
        return NULL;
    fd = g_unix_fd_list_get(client->list, index, NULL);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(fcntl(fd, F_GET_SEALS) & seals, ==, seals);
    g_assert_cmpint(fstat(fd, &info), ==, 0);
    g_assert_cmpuint((guint64)info.st_size, ==, floats * sizeof(float));
    data = mmap(NULL, floats * sizeof(float), PROT_READ, MAP_PRIVATE, fd, 0);
    g_assert_true(data != MAP_FAILED);
    close(fd);
    return data;
}

static inline int reply_int(const Client *client, const char *name)
{
    g_autoptr(GVariant) reply = g_variant_get_child_value(client->reply, 0);
    int value = -1;

    g_assert_true(g_variant_lookup(reply, name, "i", &value));
    return value;
}

static inline gint64 reply_seed(const Client *client)
{
    g_autoptr(GVariant) reply = g_variant_get_child_value(client->reply, 0);
    gint64 seed = -1;

    g_assert_true(g_variant_lookup(reply, "seed", "x", &seed));
    return seed;
}

static inline void assert_remote_error(GError **error, const char *name, const char *words)
{
    g_autofree char *found = *error != NULL ? g_dbus_error_get_remote_error(*error) : NULL;

    g_assert_cmpstr(found, ==, name);
    g_dbus_error_strip_remote_error(*error);
    if (words != NULL && strstr((*error)->message, words) == NULL)
        g_error("“%s” does not say “%s”", (*error)->message, words);
    g_clear_error(error);
}
