/* The worker seen from a client: the real program, its socket, its jobs, what it must refuse. */
#include "worker-world.h"
#include "ldm.h"

#include <math.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define SIDE 64 /* of the pictures sent */

/* Of the default model. */
static int native_size(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LdmModel) model = ldm_model_load(NULL, &error);

    g_assert_no_error(error);
    return ldm_model_info(model)->native_size;
}

/* ---- tests ---- */

static int oom_score(pid_t process)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/oom_score_adj", (int)process);
    g_autofree char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) ? atoi(text) : -1;
}

static void test_hello(World *world, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GDBusConnection) connection = NULL;
    g_autoptr(GVariant) answer = NULL;
    struct stat info;

    g_assert_cmpint(start_worker(world, NULL), ==, 0);
    g_assert_cmpint(stat(world->socket, &info), ==, 0);
    g_assert_cmpint(info.st_mode & 0777, ==, 0600);
    connection = connect_raw(world, &error);
    g_assert_no_error(error);
    if (g_file_test("/proc/self/oom_score_adj", G_FILE_TEST_EXISTS)) /* GIMP's is ours */
        g_assert_cmpint(oom_score(worker_process(connection)), >, oom_score(getpid()));
    g_assert_null(call(connection, "Inspect", g_variant_new("(s)", ""), &error));
    assert_remote_error(&error, PENTIMENTO_ERROR_VERSION, "Hello");
    g_assert_null(call(connection, "Hello", g_variant_new("(u)", 9999u), &error));
    assert_remote_error(&error, PENTIMENTO_ERROR_VERSION, "9999");
    answer = call(connection, "Quit", NULL, &error);
    g_assert_no_error(error);
    g_assert_false(g_file_test(world->socket, G_FILE_TEST_EXISTS));
    g_assert_cmpint(start_worker(world, NULL), ==, 0); /* the old one may still be ending */
    g_assert_true(g_file_test(world->socket, G_FILE_TEST_EXISTS));
}

static void test_generate(World *world, gconstpointer data)
{
    Client client;
    const float *pixels;

    g_assert_cmpint(start_worker(world, NULL), ==, 0);
    client_open(&client, world);
    run_generate(&client, "{'prompt': <'a red apple'>, 'steps': <60>, 'width': <48>,"
                          " 'height': <36>, 'seed': <int64 7>, 'guidance': <3>, 'threads': <1>}");
    g_assert_no_error(client.error);
    g_assert_cmpint(reply_int(&client, "width"), ==, 48);
    g_assert_cmpint(reply_int(&client, "height"), ==, 36);
    g_assert_cmpint(reply_int(&client, "evaluations"), ==, 120);
    g_assert_cmpint(reply_seed(&client), ==, 7);
    pixels = reply_array(&client, "pixels", 48 * 36 * 4);
    for (int i = 0; i < 48 * 36 * 4; i++)
        g_assert_true(pixels[i] >= 0.0f && pixels[i] <= 1.0f);
    g_assert_null(reply_array(&client, "alpha", 48 * 36));
    g_assert_nonnull(strstr(client.stages->str, "load;"));
    /* Reports come every 50 ms: the loop must take longer than that on any machine. */
    g_assert_nonnull(strstr(client.stages->str, "denoise;"));
    g_assert_false(client.backwards);
    run_generate(&client, "{'steps': <1>}"); /* its own seed and size */
    g_assert_no_error(client.error);
    g_assert_cmpint(reply_seed(&client), >=, 0);
    g_assert_cmpint(reply_int(&client, "width"), ==, native_size());
    /* two of the three steps lie before 0.4: what is named stays, whatever the quality says */
    run_generate(&client, "{'guidance-end': <0.4>, 'quality': <'draft'>, 'steps': <3>}");
    g_assert_no_error(client.error);
    g_assert_cmpint(reply_int(&client, "evaluations"), ==, 5);
    run_generate(&client, "{'quality': <'draft'>, 'steps': <3>}");
    g_assert_cmpint(reply_int(&client, "evaluations"), ==, 6);
    client_close(&client);
}

static const char *const both[] = {"picture", "mask"};

#define SIZED "'picture-width': <64>, 'picture-height': <64>"

static void test_repaint(World *world, gconstpointer data)
{
    const int arrays[] = {half_array(SIDE, SIDE, 4, 1.0f), half_array(SIDE, SIDE, 1, 1.0f)};
    const int picture[] = {half_array(SIDE, SIDE, 4, 0.25f)};
    const float *alpha;
    Client client;
    int w, h, x, y;

    g_assert_cmpint(start_worker(world, NULL), ==, 0);
    client_open(&client, world);
    run_start(&client, "inpaint", "{'steps': <2>, " SIZED "}", 2, both, arrays);
    run_wait(&client);
    g_assert_no_error(client.error);
    w = reply_int(&client, "width"), h = reply_int(&client, "height");
    x = reply_int(&client, "x"), y = reply_int(&client, "y");
    g_assert_true(x >= 0 && y >= 0 && x + w <= SIDE && y + h <= SIDE && w >= SIDE / 2);
    g_assert_nonnull(reply_array(&client, "pixels", (size_t)(w * h * 4)));
    alpha = reply_array(&client, "alpha", (size_t)(w * h));
    for (int i = 0; i < w * h; i++)
        g_assert_cmpfloat(alpha[i], ==, x + i % w < SIDE / 2 ? 1.0f : 0.0f);
    run_start(&client, "img2img", "{'steps': <2>, 'strength': <0.5>, " SIZED "}", 1, both, picture);
    run_wait(&client);
    g_assert_no_error(client.error);
    g_assert_cmpint(reply_int(&client, "width"), ==, SIDE);
    client_close(&client);
}

static void test_cancel(World *world, gconstpointer data)
{
    Client client, other;
    g_autoptr(GVariant) answer = NULL;
    gint64 start;

    g_assert_cmpint(start_worker(world, NULL), ==, 0);
    client_open(&client, world);
    client_open(&other, world);
    run_start(&client, "generate", "{'steps': <1000>}", 0, NULL, NULL);
    g_assert_true(wait_stage(&client, "denoise", 60));
    answer = call(other.connection, "Cancel", g_variant_new("(u)", 7u), NULL);
    g_assert_nonnull(answer); /* another's number: nothing happens */
    g_assert_false(client.done);
    g_clear_pointer(&answer, g_variant_unref);
    start = g_get_monotonic_time();
    answer = call(client.connection, "Cancel", g_variant_new("(u)", 7u), NULL);
    g_assert_nonnull(answer);
    run_wait(&client);
    assert_remote_error(&client.error, PENTIMENTO_ERROR_CANCELLED, NULL);
    run_generate(&client, "{'steps': <1>}"); /* warm, and free again */
    g_assert_no_error(client.error);
    g_assert_cmpfloat((double)(g_get_monotonic_time() - start) / G_USEC_PER_SEC, <, 30.0);
    client_close(&client);
    client_close(&other);
}

typedef struct {
    int count, last;
    Client *finish; /* after the first one, or NULL */
} Previews;

static void on_preview(GDBusConnection *connection, const char *sender, const char *path,
                       const char *interface, const char *name, GVariant *parameters, gpointer data)
{
    Previews *previews = data;
    g_autoptr(GVariant) pixels = g_variant_get_child_value(parameters, 5);
    guint job;
    int steps, width, height;

    g_assert_cmpstr(g_variant_get_type_string(parameters), ==, "(uiiiiay)");
    g_variant_get(parameters, "(uiiii@ay)", &job, &previews->last, &steps, &width, &height, NULL);
    g_assert_cmpuint(job, ==, 7);
    g_assert_cmpint(steps, ==, 1000);
    g_assert_cmpint(width, ==, 48);
    g_assert_cmpint(height, ==, 32);
    g_assert_cmpuint(g_variant_get_size(pixels), ==, 48 * 32 * 3);
    if (previews->count++ == 0 && previews->finish != NULL)
        g_dbus_connection_call(connection, NULL, PENTIMENTO_WORKER_PATH,
                               PENTIMENTO_WORKER_INTERFACE, "Finish", g_variant_new("(u)", 7u),
                               NULL, G_DBUS_CALL_FLAGS_NONE, -1, NULL, NULL, NULL);
}

/* Previews come where they are asked for; Finish makes a picture of what is there. */
static void test_previews_and_finish(World *world, gconstpointer data)
{
    Client client;
    Previews previews = {.finish = &client};
    g_autoptr(GVariant) answer = NULL;
    guint subscription;

    g_assert_cmpint(start_worker(world, NULL), ==, 0);
    client_open(&client, world);
    subscription = g_dbus_connection_signal_subscribe(
        client.connection, NULL, PENTIMENTO_WORKER_INTERFACE, "Preview", PENTIMENTO_WORKER_PATH,
        NULL, G_DBUS_SIGNAL_FLAGS_NONE, on_preview, &previews, NULL);
    run_generate(&client, "{'steps': <1000>, 'width': <48>, 'height': <32>, 'previews': <true>}");
    g_assert_no_error(client.error);
    g_assert_cmpint(previews.count, >=, 1);
    g_assert_cmpint(reply_int(&client, "steps"), >=, 1);
    g_assert_cmpint(reply_int(&client, "steps"), <, 1000);
    g_assert_cmpint(reply_int(&client, "planned-steps"), ==, 1000);
    g_assert_nonnull(reply_array(&client, "pixels", 48 * 32 * 4));
    previews.count = 0;
    run_generate(&client, "{'steps': <2>}");
    g_assert_no_error(client.error);
    g_assert_cmpint(previews.count, ==, 0);
    g_assert_cmpint(reply_int(&client, "steps"), ==, 2);
    answer = call(client.connection, "Finish", g_variant_new("(u)", 99u), NULL);
    g_assert_nonnull(answer);
    run_generate(&client, "{'steps': <2>, 'previews': <1>}");
    assert_remote_error(&client.error, PENTIMENTO_ERROR_INVALID, "previews");
    g_dbus_connection_signal_unsubscribe(client.connection, subscription);
    client_close(&client);
}

/* Two clients: the second waits; the first goes without a word, as a killed plug-in does. */
static void test_queue_and_close(World *world, gconstpointer data)
{
    Client first, second;

    g_assert_cmpint(start_worker(world, NULL), ==, 0);
    client_open(&first, world);
    client_open(&second, world);
    run_start(&first, "generate", "{'steps': <1000>}", 0, NULL, NULL);
    g_assert_true(wait_stage(&first, "denoise", 60));
    run_start(&second, "generate", "{'steps': <1>, 'seed': <int64 3>}", 0, NULL, NULL);
    g_assert_true(wait_stage(&second, "waiting", 5));
    g_assert_false(wait_stage(&second, "load", 0.3));
    client_close(&first);
    g_assert_true(wait_stage(&second, "load", g_getenv("PENTIMENTO_SANITIZED") ? 10.0 : 1.0));
    run_wait(&second);
    g_assert_no_error(second.error);
    g_assert_cmpint(reply_seed(&second), ==, 3);
    client_close(&second);
}

static gboolean wait_before(const Client *client, int before)
{
    const gint64 end = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    while (client->before != before && g_get_monotonic_time() < end)
        g_main_context_iteration(NULL, FALSE);
    return client->before == before;
}

/* Who waits hears of it when one before it gives up. */
static void test_queue_shortens(World *world, gconstpointer data)
{
    Client clients[3];

    g_assert_cmpint(start_worker(world, NULL), ==, 0);
    for (int i = 0; i < 3; i++) {
        client_open(&clients[i], world);
        run_start(&clients[i], "generate", "{'steps': <1000>}", 0, NULL, NULL);
        g_assert_true(i == 0 ? wait_stage(&clients[0], "denoise", 60)
                             : wait_before(&clients[i], i));
    }
    client_close(&clients[1]);
    g_assert_true(wait_before(&clients[2], 1));
    client_close(&clients[2]);
    client_close(&clients[0]);
}

/* What the worker has to say to one wrong pair of handles. */
static void refuse_handles(Client *client, int picture, int mask, const char *words)
{
    const int fds[] = {picture, mask};

    run_start(client, "inpaint", "{'steps': <1>, " SIZED "}", mask < 0 ? 1 : 2, both, fds);
    run_wait(client);
    assert_remote_error(&client->error, PENTIMENTO_ERROR_INVALID, words);
}

static void test_handles(World *world, gconstpointer data)
{
    const int sealed = F_SEAL_SHRINK | F_SEAL_GROW;
    const char *gimp[] = {"gimp"};
    const char *sizes[] = {"{'picture-width': <0>, 'picture-height': <64>}",
                           "{'picture-width': <600000>, 'picture-height': <1>}",
                           "{'picture-width': <524288>, 'picture-height': <524288>}"};
    Client client;
    int null;

    g_assert_cmpint(start_worker(world, NULL), ==, 0);
    client_open(&client, world);
    refuse_handles(&client, memfd(SIDE * SIDE * 16, 0), -1, "sealed");
    refuse_handles(&client, memfd(SIDE * SIDE * 16, F_SEAL_SHRINK), -1, "sealed");
    refuse_handles(&client, memfd(SIDE * SIDE * 16 - 4, sealed), -1, "bytes");
    refuse_handles(&client, memfd(SIDE * SIDE * 16 + 4, sealed), -1, "bytes");
    refuse_handles(&client, open("/dev/null", O_RDWR), -1, "sealed");
    refuse_handles(&client, open("/", O_RDONLY), -1, "sealed");
    refuse_handles(&client, half_array(SIDE, SIDE, 4, 1.0f), -1, "mask");
    refuse_handles(&client, half_array(SIDE, SIDE, 4, 1.0f), memfd(SIDE * SIDE * 2, sealed),
                   "\"mask\"");
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        const int fds[] = {half_array(SIDE, SIDE, 4, 1.0f)};

        run_start(&client, "img2img", sizes[i], 1, both, fds);
        run_wait(&client);
        assert_remote_error(&client.error, PENTIMENTO_ERROR_INVALID, NULL);
    }
    null = open("/dev/null", O_RDWR);
    run_start(&client, "generate", "{}", 1, gimp, &null);
    run_wait(&client);
    assert_remote_error(&client.error, PENTIMENTO_ERROR_INVALID, "pidfd");
    run_start(&client, "inpaint", "{" SIZED "}", 0, NULL, NULL);
    run_wait(&client);
    assert_remote_error(&client.error, PENTIMENTO_ERROR_INVALID, "picture");
    client_close(&client);
}

static void test_handle_without_descriptor(World *world, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    Client client;

    g_assert_cmpint(start_worker(world, NULL), ==, 0);
    client_open(&client, world);
    for (int index = -1; index <= 1; index++) {
        g_autofree char *text =
            g_strdup_printf("(uint32 1, 'img2img', {%s}, {'picture': handle %d})", SIZED, index);
        g_autoptr(GVariant) parameters =
            g_variant_parse(G_VARIANT_TYPE("(usa{sv}a{sh})"), text, NULL, NULL, &error);

        g_assert_no_error(error);
        g_assert_null(call(client.connection, "Run", parameters, &error));
        assert_remote_error(&error, PENTIMENTO_ERROR_INVALID, "descriptor");
    }
    client_close(&client);
}

static void test_options(World *world, gconstpointer data)
{
    static const struct {
        const char *options, *error, *words;
    } wrong[] = {
        {"{'no-such': <1>}", PENTIMENTO_ERROR_INVALID, "no-such"},
        {"{'steps': <'many'>}", PENTIMENTO_ERROR_INVALID, "steps"},
        {"{'steps': <0>}", PENTIMENTO_ERROR_INVALID, "1000"},
        {"{'sampler': <'best'>}", PENTIMENTO_ERROR_INVALID, "euler"},
        {"{'quality': <'best'>}", PENTIMENTO_ERROR_INVALID, "draft"},
        {"{'strength': <0.5>}", PENTIMENTO_ERROR_INVALID, "strength"},
        {"{'model': <3>}", PENTIMENTO_ERROR_INVALID, "model"},
        {"{'threads': <257>}", PENTIMENTO_ERROR_INVALID, "256"},
        {"{'threads': <-1>}", PENTIMENTO_ERROR_INVALID, "threads"},
        {"{'model': <'no such model'>}", PENTIMENTO_ERROR_PREFIX "Missing", "no such model"},
    };
    g_autofree char *text = g_strnfill(PENTIMENTO_MAX_TEXT + 1, 'a');
    g_autofree char *longest = g_strdup_printf("{'prompt': <'%s'>}", text);
    Client client;

    g_assert_cmpint(start_worker(world, NULL), ==, 0);
    client_open(&client, world);
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        run_generate(&client, wrong[i].options);
        assert_remote_error(&client.error, wrong[i].error, wrong[i].words);
    }
    run_generate(&client, longest);
    assert_remote_error(&client.error, PENTIMENTO_ERROR_INVALID, "prompt");
    run_start(&client, "paint", "{}", 0, NULL, NULL);
    run_wait(&client);
    assert_remote_error(&client.error, PENTIMENTO_ERROR_INVALID, "inpaint");
    client_close(&client);
}

static void test_inspect(World *world, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    Client client;
    int native;

    g_assert_cmpint(start_worker(world, NULL), ==, 0);
    client_open(&client, world);
    for (int i = 0; i < 2; i++) { /* loaded for it; then already loaded */
        g_autoptr(GVariant) answer =
            call(client.connection, "Inspect", g_variant_new("(s)", ""), &error);
        g_autoptr(GVariant) info = NULL;

        g_assert_no_error(error);
        info = g_variant_get_child_value(answer, 0);
        g_assert_true(g_variant_lookup(info, "native-size", "i", &native));
        g_assert_cmpint(native, ==, native_size());
    }
    g_assert_null(call(client.connection, "Inspect", g_variant_new("(s)", "/nowhere"), &error));
    assert_remote_error(&error, PENTIMENTO_ERROR_PREFIX "Missing", "/nowhere");
    client_close(&client);
}

/* ---- life and death ---- */

static void test_idle(World *world, gconstpointer data)
{
    Client client;

    g_assert_cmpint(start_worker(world, NULL), ==, 0);
    client_open(&client, world);
    g_assert_false(wait_gone(world->socket, 0.2));
    g_assert_true(wait_gone(world->socket, 30)); /* though a connection is open */
    client_close(&client);
}

static void test_gimp_ends(World *world, gconstpointer data)
{
    const char *const names[] = {"gimp"};
    pid_t gimp = fork();
    Client client;
    int pidfd;

    if (gimp == 0) {
        pause();
        _exit(0);
    }
    pidfd = (int)syscall(SYS_pidfd_open, gimp, 0);
    if (pidfd < 0) {
        kill(gimp, SIGKILL);
        waitpid(gimp, NULL, 0);
        g_test_skip("this kernel has no pidfds");
        return;
    }
    g_assert_cmpint(start_worker(world, NULL), ==, 0);
    client_open(&client, world);
    run_start(&client, "generate", "{'steps': <1000>}", 1, names, &pidfd);
    g_assert_true(wait_stage(&client, "denoise", 60));
    kill(gimp, SIGKILL); /* a zombie at first: ended all the same */
    run_wait(&client);
    assert_remote_error(&client.error, PENTIMENTO_ERROR_CANCELLED, NULL);
    client_close(&client);
    g_assert_true(wait_gone(world->socket, 10));
    waitpid(gimp, NULL, 0);
}

/* Nobody else may be let in by a socket in an open folder. */
static void test_folder(World *world, gconstpointer data)
{
    g_autofree char *text = NULL;

    g_assert_cmpint(g_chmod(world->folder, 0750), ==, 0);
    g_assert_cmpint(start_worker(world, &text), !=, 0);
    g_assert_nonnull(strstr(text, world->folder));
    g_assert_cmpint(g_chmod(world->folder, 0700), ==, 0);
}

static void test_race(World *world, gconstpointer data)
{
    g_autofree char *command = g_strdup_printf("for i in 1 2 3 4 5; do '%s' & p=\"$p $!\"; done; "
                                               "for i in $p; do wait $i || exit 9; done",
                                               world->program);
    const char *shell[] = {"/bin/sh", "-c", command, NULL};
    g_autoptr(GDBusConnection) connection = NULL;
    g_autoptr(GVariant) answer = NULL;
    g_autofree char *text = NULL;
    int status = -1;

    g_assert_true(g_spawn_sync(NULL, (char **)shell, world->environment, G_SPAWN_DEFAULT, NULL,
                               NULL, NULL, &text, &status, NULL));
    g_assert_cmpint(status, ==, 0);
    g_assert_cmpstr(text, ==, "");
    connection = connect_raw(world, NULL);
    answer = call(connection, "Quit", NULL, NULL);
    g_assert_nonnull(answer);
    g_assert_true(wait_gone(world->socket, 30)); /* there was no second one */
}

static void test_killed(World *world, gconstpointer data)
{
    Client client;
    pid_t worker;

    g_assert_cmpint(start_worker(world, NULL), ==, 0);
    client_open(&client, world);
    run_start(&client, "generate", "{'steps': <1000>}", 0, NULL, NULL);
    g_assert_true(wait_stage(&client, "denoise", 60));
    worker = worker_process(client.connection);
    g_assert_cmpint(worker, >, 1);
    kill(worker, SIGKILL);
    run_wait(&client);
    g_assert_nonnull(client.error);
    g_assert_true(g_file_test(world->socket, G_FILE_TEST_EXISTS)); /* stale */
    client_close(&client);
    g_assert_cmpint(start_worker(world, NULL), ==, 0);
    client_open(&client, world);
    run_generate(&client, "{'steps': <1>}");
    g_assert_no_error(client.error);
    client_close(&client);
}

/* Asked to quit in mid-job: no new clients, but the job is done. */
static void test_quit_in_job(World *world, gconstpointer data)
{
    g_autoptr(GVariant) answer = NULL;
    g_autoptr(GError) error = NULL;
    Client client;

    g_assert_cmpint(start_worker(world, NULL), ==, 0);
    client_open(&client, world);
    run_start(&client, "generate", "{'steps': <8>}", 0, NULL, NULL);
    g_assert_true(wait_stage(&client, "denoise", 60));
    answer = call(client.connection, "Quit", NULL, &error);
    g_assert_no_error(error);
    g_assert_false(g_file_test(world->socket, G_FILE_TEST_EXISTS));
    run_wait(&client);
    g_assert_no_error(client.error);
    client_close(&client);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(path, data, func) g_test_add(path, World, data, world_set_up, func, world_tear_down)
    ADD("/worker/hello", NULL, test_hello);
    ADD("/worker/generate", NULL, test_generate);
    ADD("/worker/repaint", NULL, test_repaint);
    ADD("/worker/cancel", NULL, test_cancel);
    ADD("/worker/queue-and-close", NULL, test_queue_and_close);
    ADD("/worker/queue-shortens", NULL, test_queue_shortens);
    ADD("/worker/handles", NULL, test_handles);
    ADD("/worker/handle-without-descriptor", NULL, test_handle_without_descriptor);
    ADD("/worker/options", NULL, test_options);
    ADD("/worker/inspect", NULL, test_inspect);
    ADD("/worker/previews-and-finish", NULL, test_previews_and_finish);
    ADD("/worker/idle", "3", test_idle);
    ADD("/worker/gimp-ends", NULL, test_gimp_ends);
    ADD("/worker/folder", NULL, test_folder);
    ADD("/worker/race", NULL, test_race);
    ADD("/worker/killed", NULL, test_killed);
    ADD("/worker/quit-in-job", NULL, test_quit_in_job);
    return g_test_run();
}
