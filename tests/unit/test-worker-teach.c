/* Teaching, seen from a client: what is told while it works, what is there afterwards, that a
 * cancelled or killed one goes on where it was, and what is refused. */
#include "worker-world.h"

#include "ldm.h"
#include "weights/safetensors-write.h"

#include <math.h>
#include <signal.h>

/* ---- what a client hears of it ---- */

typedef struct {
    int first, last; /* steps whose losses came */
    gboolean gap, wild;
    char *sample; /* the last one's path */
} Heard;

static void on_losses(GDBusConnection *connection, const char *sender, const char *path,
                      const char *interface, const char *name, GVariant *parameters, gpointer data)
{
    Heard *heard = data;
    g_autoptr(GVariant) losses = NULL;
    int first;

    g_variant_get(parameters, "(ui@ad)", NULL, &first, &losses);
    heard->gap |= heard->last > 0 && first != heard->last + 1;
    if (heard->last == 0)
        heard->first = first;
    for (gsize i = 0; i < g_variant_n_children(losses); i++) {
        double loss;

        g_variant_get_child(losses, i, "d", &loss);
        heard->wild |= !(loss > 0.0 && loss < 100.0);
        heard->last = first + (int)i;
    }
}

static void on_sample(GDBusConnection *connection, const char *sender, const char *path,
                      const char *interface, const char *name, GVariant *parameters, gpointer data)
{
    Heard *heard = data;

    g_free(heard->sample);
    g_variant_get(parameters, "(us)", NULL, &heard->sample);
    g_assert_true(g_file_test(heard->sample, G_FILE_TEST_EXISTS));
}

static void listen_to(Client *client, Heard *heard)
{
    *heard = (Heard){0};
    g_dbus_connection_signal_subscribe(client->connection, NULL, PENTIMENTO_WORKER_INTERFACE,
                                       "Losses", PENTIMENTO_WORKER_PATH, NULL,
                                       G_DBUS_SIGNAL_FLAGS_NONE, on_losses, heard, NULL);
    g_dbus_connection_signal_subscribe(client->connection, NULL, PENTIMENTO_WORKER_INTERFACE,
                                       "Sample", PENTIMENTO_WORKER_PATH, NULL,
                                       G_DBUS_SIGNAL_FLAGS_NONE, on_sample, heard, NULL);
}

/* ---- a world of its own ---- */

static char *inside(const World *world, const char *path)
{
    return g_build_filename(world->folder, path, NULL);
}

static void set_up(World *world, gconstpointer data)
{
    g_autofree char *cache = NULL, *user = NULL;

    world_set_up(world, data);
    cache = inside(world, "cache");
    user = inside(world, "data");
    world->environment = g_environ_setenv(world->environment, "XDG_CACHE_HOME", cache, TRUE);
    world->environment = g_environ_setenv(world->environment, "XDG_DATA_HOME", user, TRUE);
    world->environment = g_environ_setenv(world->environment, "XDG_DATA_DIRS", user, TRUE);
    world->environment = g_environ_unsetenv(world->environment, "PENTIMENTO_MODEL_PATH");
    g_assert_cmpint(start_worker(world, NULL), ==, 0);
}

#define TWO "'threads': <1>, 'sizes': <[(64, 64), (96, 64)]>"

/* Two pictures; the action and the other options as text. */
static void teach(Client *client, const char *options)
{
    static const char *const names[] = {"picture-0", "picture-1"};
    const int pictures[] = {half_array(64, 64, 4, 1.0f), half_array(96, 64, 4, 0.7f)};
    g_autofree char *all = g_strdup_printf("{" TWO ", %s}", options);

    run_start(client, "teach", all, 2, names, pictures);
}

static gboolean exists(const World *world, const char *path)
{
    g_autofree char *whole = inside(world, path);

    return g_file_test(whole, G_FILE_TEST_EXISTS);
}

/* ---- tests ---- */

static void test_whole(World *world, gconstpointer data)
{
    g_autofree char *lora = inside(world, "data/pentimento/adapters/ein Café.safetensors");
    g_autofree char *options = g_strdup_printf(
        "{'steps': <1>, 'prompt': <'ein Café'>, 'lora': <['%s:0.8']>, 'seed': <int64 1>}", lora);
    g_autofree char *file = NULL;
    g_autoptr(GVariant) reply = NULL;
    Client client;
    Heard heard;

    client_open(&client, world);
    listen_to(&client, &heard);
    teach(&client, "'name': <'ein Café'>, 'description': <'a cup'>, 'steps': <6>");
    run_wait(&client);
    g_assert_no_error(client.error);
    reply = g_variant_get_child_value(client.reply, 0);
    g_assert_true(g_variant_lookup(reply, "file", "s", &file));
    g_assert_cmpstr(file, ==, lora);
    g_assert_cmpint(reply_int(&client, "steps"), ==, 6);
    g_assert_cmpint(reply_int(&client, "skipped"), ==, 0);
    g_assert_cmpint(heard.first, ==, 1);
    g_assert_cmpint(heard.last, ==, 6);
    g_assert_false(heard.gap || heard.wild || client.backwards);
    g_assert_nonnull(heard.sample);
    g_assert_nonnull(strstr(client.stages->str, "learn;"));
    g_assert_true(exists(world, "data/pentimento/adapters/ein Café.safetensors"));
    g_assert_false(exists(world, "cache/pentimento/teach/ein Café"));
    run_generate(&client, options);
    g_assert_no_error(client.error);
    run_generate(&client, "{'steps': <1>, 'lora': <['ein Café']>}");
    g_assert_no_error(client.error);
    run_generate(&client, "{'steps': <1>, 'lora': <['kein Café:1']>}");
    assert_remote_error(&client.error, PENTIMENTO_ERROR_PREFIX "Missing", "“kein Café”");
    g_free(heard.sample);
    client_close(&client);
}

/* Inspect's "adapters" of the default model, printed. */
static char *offered(Client *client)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) answer =
        call(client->connection, "Inspect", g_variant_new("(s)", ""), &error);
    g_autoptr(GVariant) info = NULL, adapters = NULL;
    GString *text = g_string_new(NULL);
    const char *parts[] = {"name", "description", "trigger", "problem"};

    g_assert_no_error(error);
    info = g_variant_get_child_value(answer, 0);
    adapters = g_variant_lookup_value(info, "adapters", G_VARIANT_TYPE("aa{sv}"));
    g_assert_nonnull(adapters);
    for (gsize i = 0; i < g_variant_n_children(adapters); i++) {
        g_autoptr(GVariant) adapter = g_variant_get_child_value(adapters, i);

        for (size_t p = 0; p < G_N_ELEMENTS(parts); p++) {
            const char *part = NULL;

            g_assert_true(g_variant_lookup(adapter, parts[p], "&s", &part));
            g_string_append_printf(text, "%s%s", part, p < 3 ? "|" : "\n");
        }
    }
    return g_string_free(text, FALSE);
}

/* A LoRA with one pair, for a layer that the default model does not have. */
static void write_lora(const char *path)
{
    const float values[8] = {0};
    g_autoptr(LdmFileWriter) writer = ldm_file_writer_new();
    g_autoptr(GError) error = NULL;

    ldm_file_writer_declare(writer, "unet.elsewhere.to_q.lora_A.weight", LDM_F32, 2,
                            (size_t[]){1, 4});
    ldm_file_writer_declare(writer, "unet.elsewhere.to_q.lora_B.weight", LDM_F32, 2,
                            (size_t[]){4, 1});
    ldm_file_writer_describe(writer, "modelspec.description", "of a\nfar \"country\"");
    ldm_file_writer_open(writer, path, &error);
    ldm_file_writer_put(writer, values, 8, &error);
    ldm_file_writer_close(writer, &error);
    g_assert_no_error(error);
}

/* What was taught is there for the next dialog; what else lies there is told apart. */
static void test_offered(World *world, gconstpointer data)
{
    g_autofree char *folder = inside(world, "data/pentimento/adapters");
    g_autofree char *strange = g_build_filename(folder, "a strange one.safetensors", NULL);
    g_autofree char *broken = g_build_filename(folder, "broken.safetensors", NULL);
    g_autofree char *hidden = g_build_filename(folder, ".hidden.safetensors", NULL);
    g_autofree char *none = NULL, *found = NULL;
    Client client;

    client_open(&client, world);
    none = offered(&client);
    g_assert_cmpstr(none, ==, "");
    teach(&client, "'name': <'my cup'>, 'description': <'a red cup'>, 'steps': <1>");
    run_wait(&client);
    g_assert_no_error(client.error);
    write_lora(strange);
    g_assert_true(g_file_set_contents(broken, "not at all", -1, NULL));
    g_assert_true(g_file_set_contents(hidden, "not at all", -1, NULL));
    found = offered(&client);
    g_assert_cmpstr(found, ==,
                    "a strange one|of a far \"country\"||made for another model\n"
                    "broken|||cannot be read\n"
                    "my cup|a red cup|my cup|\n");
    client_close(&client);
}

/* The names of models, whatever kind of file they are. */
static void test_models(World *world, gconstpointer data)
{
    static const char *const files[] = {"b/model_index.json", "a.safetensors", "none/weights.bin",
                                        "default/model_index.json", "notes.txt"};
    g_autoptr(GVariant) answer = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *printed = NULL;
    Client client;

    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *models = inside(world, "data/pentimento/models");
        g_autofree char *path = g_build_filename(models, files[i], NULL);
        g_autofree char *folder = g_path_get_dirname(path);

        g_assert_cmpint(g_mkdir_with_parents(folder, 0700), ==, 0);
        g_assert_true(g_file_set_contents(path, "x", -1, NULL));
    }
    client_open(&client, world);
    answer = call(client.connection, "Models", NULL, &error);
    g_assert_no_error(error);
    printed = g_variant_print(answer, FALSE);
    g_assert_cmpstr(printed, ==, "(['a', 'b'],)");
    client_close(&client);
}

#define LONG "'name': <'x'>, 'steps': <100000>"

/* Cancelled after two steps: a checkpoint is left. `heard` listens to the client. */
static void teach_a_little(Client *client, Heard *heard, const char *options)
{
    g_autoptr(GVariant) answer = NULL;

    heard->last = 0;
    teach(client, options);
    while (heard->last < 2 && !client->done)
        g_main_context_iteration(NULL, TRUE);
    g_assert_no_error(client->error);
    answer = call(client->connection, "Cancel", g_variant_new("(u)", 7u), NULL);
    run_wait(client);
    assert_remote_error(&client->error, PENTIMENTO_ERROR_CANCELLED, NULL);
}

/* Cancelled, gone on with, its client killed, kept. */
static void test_goes_on(World *world, gconstpointer data)
{
    Client client, other;
    Heard heard;
    int reached;

    client_open(&client, world);
    listen_to(&client, &heard);
    teach(&client, "'action': <'keep'>, " LONG);
    run_wait(&client);
    assert_remote_error(&client.error, PENTIMENTO_ERROR_PREFIX "Missing", "nothing");
    teach_a_little(&client, &heard, LONG);
    client_close(&client);

    client_open(&other, world);
    listen_to(&other, &heard);
    teach(&other, LONG);
    while (heard.last < 6 && !other.done)
        g_main_context_iteration(NULL, TRUE);
    g_assert_no_error(other.error);
    g_assert_cmpint(heard.first, ==, 1); /* the earlier steps' come again, in one go */
    g_assert_false(heard.gap || heard.wild);
    reached = heard.last;
    client_close(&other); /* as when GIMP is killed */

    client_open(&client, world);
    teach(&client, "'action': <'keep'>, " LONG);
    run_wait(&client);
    g_assert_no_error(client.error);
    g_assert_cmpint(reply_int(&client, "steps"), >=, reached);
    g_assert_true(exists(world, "data/pentimento/adapters/x.safetensors"));
    g_assert_false(exists(world, "cache/pentimento/teach/x"));
    client_close(&client);
}

static void test_forget(World *world, gconstpointer data)
{
    g_autofree char *folder = inside(world, "cache/pentimento/teach/x");
    g_autofree char *parent = inside(world, "cache/pentimento/teach");
    Client client;
    Heard heard;
    struct stat info;

    client_open(&client, world);
    listen_to(&client, &heard);
    teach_a_little(&client, &heard, LONG);
    g_assert_cmpint(stat(parent, &info), ==, 0);
    g_assert_cmpint(info.st_mode & 0777, ==, 0700);
    run_start(&client, "teach", "{'action': <'forget'>, 'name': <'x'>}", 0, NULL, NULL);
    run_wait(&client);
    g_assert_no_error(client.error);
    g_assert_false(g_file_test(folder, G_FILE_TEST_EXISTS));
    g_assert_false(exists(world, "data/pentimento/adapters/x.safetensors"));
    client_close(&client);
}

/* Forgetting does not wait for what is at work, keeping not for what has not begun. */
static void test_hurry(World *world, gconstpointer data)
{
    Client busy, waiting, hurried;
    Heard heard;

    client_open(&hurried, world);
    listen_to(&hurried, &heard);
    teach_a_little(&hurried, &heard, LONG);
    client_open(&busy, world);
    teach(&busy, "'name': <'y'>, 'steps': <100000>");
    g_assert_true(wait_stage(&busy, "learn", 60));
    client_open(&waiting, world);
    teach(&waiting, "'name': <'z'>, 'steps': <100000>");

    run_start(&hurried, "teach", "{'action': <'forget'>, 'name': <'w'>}", 0, NULL, NULL);
    run_wait(&hurried);
    g_assert_no_error(hurried.error);
    g_assert_false(busy.done);
    teach(&hurried, "'action': <'keep'>, " LONG);
    g_assert_true(wait_stage(&hurried, "waiting", 60));
    client_close(&busy);
    run_wait(&hurried);
    g_assert_no_error(hurried.error);
    g_assert_false(waiting.done);
    g_assert_true(exists(world, "data/pentimento/adapters/x.safetensors"));
    client_close(&waiting);
    client_close(&hurried);
}

/* An unfinished teaching outlives another one, unfinished too, under its name, even where its
 * asker gives that one up. */
static void test_two_unfinished(World *world, gconstpointer data)
{
    Client client;
    Heard heard;

    client_open(&client, world);
    listen_to(&client, &heard);
    teach_a_little(&client, &heard, LONG);
    teach_a_little(&client, &heard, "'name': <'x'>, 'steps': <99999>, 'asker': <'me'>");
    run_start(&client, "teach", "{'action': <'forget'>, 'name': <'x'>, 'asker': <'me'>}", 0, NULL,
              NULL);
    run_wait(&client);
    g_assert_no_error(client.error);
    teach(&client, "'action': <'keep'>, 'name': <'x'>, 'steps': <99999>");
    run_wait(&client);
    assert_remote_error(&client.error, PENTIMENTO_ERROR_PREFIX "Missing", "nothing");
    teach(&client, "'action': <'keep'>, " LONG);
    run_wait(&client);
    g_assert_no_error(client.error);
    g_assert_cmpint(reply_int(&client, "steps"), >=, 2);
    g_assert_false(exists(world, "cache/pentimento/teach/x"));
    client_close(&client);
}

static void test_estimate(World *world, gconstpointer data)
{
    g_autoptr(GVariant) reply = NULL;
    guint64 bytes = 0, left = 0;
    double step = 0.0, other = 0.0;
    Client client;

    client_open(&client, world);
    run_start(&client, "teach", "{'action': <'estimate'>, 'count': <3>, 'threads': <1>}", 0, NULL,
              NULL);
    run_wait(&client);
    g_assert_no_error(client.error);
    reply = g_variant_get_child_value(client.reply, 0);
    g_variant_lookup(reply, "bytes", "t", &bytes);
    g_variant_lookup(reply, "free", "t", &left);
    g_variant_lookup(reply, "step-seconds", "d", &step);
    g_variant_lookup(reply, "other-seconds", "d", &other);
    g_test_message("%.1f MB, %.2f s a step, %.1f s besides", (double)bytes / 1e6, step, other);
    g_assert_cmpuint(bytes, >, 1000000);
    g_assert_cmpuint(bytes, <, left);
    g_assert_true(step > 0.0 && step < 100.0 && other > 0.0);
    client_close(&client);
}

static void refuse(Client *client, const char *options, const char *words)
{
    run_start(client, "teach", options, 0, NULL, NULL);
    run_wait(client);
    assert_remote_error(&client->error, PENTIMENTO_ERROR_INVALID, words);
}

static void test_refusals(World *world, gconstpointer data)
{
    static const char *const names[] = {"", ".hidden", "a/b", "..", "a\\nb"};
    Client client;

    client_open(&client, world);
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *options = g_strdup_printf("{'name': <'%s'>, " TWO "}", names[i]);

        refuse(&client, options, "name");
    }
    refuse(&client, "{'name': <'x'>}", "no picture");
    refuse(&client, "{'name': <'x'>, " TWO "}", "picture-0");
    refuse(&client, "{'name': <'x'>, 'steps': <0>}", "steps");
    refuse(&client, "{'name': <'x'>, 'seed': <int64 -1>, " TWO "}", "seed");
    refuse(&client, "{'name': <'x'>, 'action': <'learn'>}", "learn");
    refuse(&client, "{'name': <'x'>, 'guidance': <4.0>}", "guidance");
    refuse(&client, "{'name': <3>}", "name");
    refuse(&client, "{'action': <'estimate'>}", "no picture");
    client_close(&client);
}

#define ADD(path, func) g_test_add(path, World, NULL, set_up, func, world_tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("/worker-teach/whole", test_whole);
    ADD("/worker-teach/offered", test_offered);
    ADD("/worker-teach/models", test_models);
    ADD("/worker-teach/goes-on", test_goes_on);
    ADD("/worker-teach/forget", test_forget);
    ADD("/worker-teach/hurry", test_hurry);
    ADD("/worker-teach/two-unfinished", test_two_unfinished);
    ADD("/worker-teach/estimate", test_estimate);
    ADD("/worker-teach/refusals", test_refusals);
    return g_test_run();
}
