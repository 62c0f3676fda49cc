/* Ctrl-C. The library stops by itself within some 50 ms once its GCancellable is cancelled; what
 * it cannot stop (reading a model from a slow disk, a pipe nobody writes to) is left to the
 * operating system after a second. Outputs appear by rename only, so neither leaves a part. */
#include "cli/command.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define EXIT_CANCELLED 130
#define PATIENCE_US    900000

static int wake[2];
static int holds; /* of what is being saved */

static void on_signal(int number)
{
    int saved = errno;

    if (write(wake[1], "", 1) < 0)
        errno = 0; /* full: the watcher knows already */
    errno = saved;
}

static gpointer watch(gpointer data)
{
    char byte;
    ssize_t n;

    while ((n = read(wake[0], &byte, 1)) < 0 && errno == EINTR)
        ;
    if (n != 1)
        return NULL;
    g_cancellable_cancel(data);
    g_usleep(PATIENCE_US);
    while (g_atomic_int_get(&holds) > 0)
        g_usleep(10000);
    _exit(EXIT_CANCELLED);
}

/* Unless it is ignored: nohup and background jobs of scripts have reasons. */
static void catch_signal(int number)
{
    const struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct sigaction old;

    if (sigaction(number, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
        sigaction(number, &action, NULL);
}

GCancellable *pentimento_interrupt_init(void)
{
    static GCancellable *cancellable;
    const int signals[] = {SIGINT, SIGTERM, SIGHUP};

    if (cancellable != NULL)
        return cancellable;
    cancellable = g_cancellable_new();
    signal(SIGXFSZ, SIG_IGN); /* a file over the size limit is an error like a full disk */
    if (pipe2(wake, O_CLOEXEC) != 0)
        return cancellable; /* signals then end the program the hard way */
    fcntl(wake[1], F_SETFL, O_NONBLOCK);
    g_thread_unref(g_thread_new("interrupt", watch, cancellable));
    for (size_t i = 0; i < G_N_ELEMENTS(signals); i++)
        catch_signal(signals[i]);
    return cancellable;
}

void pentimento_interrupt_hold(void)
{
    g_atomic_int_inc(&holds);
}

void pentimento_interrupt_release(void)
{
    g_atomic_int_add(&holds, -1);
}

void pentimento_output_begin(const char *path)
{
    if (strcmp(path, "-") != 0)
        pentimento_interrupt_hold();
}

void pentimento_output_end(const char *path)
{
    if (strcmp(path, "-") != 0)
        pentimento_interrupt_release();
}
