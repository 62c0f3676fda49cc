/* The worker must outlive the plug-in that starts it (GIMP kills plug-ins) and must be one per
 * user: its own session, and a lock beside the socket that whoever listens holds. */
#include "worker/launch.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LOCK_TRIES 200 /* of 50 ms: a worker that is ending holds the lock no longer than this */
#define NICENESS   5

/* Where memory runs out, the kernel is to end us, who can begin anew, and not GIMP with what the
 * user has not saved. Added to the tenths of a percent of memory in use by which it chooses. */
#define OOM_SCORE "500"

/* "R" for ready, else the reason to be shown. */
G_NORETURN static void wait_for_report(int report)
{
    char text[1024];
    size_t length = 0;
    ssize_t n;

    while (length < sizeof text - 1 &&
           ((n = read(report, text + length, sizeof text - 1 - length)) > 0 || errno == EINTR)) {
        if (n > 0)
            length += (size_t)n;
        errno = 0;
    }
    text[length] = '\0';
    if (length == 1 && text[0] == 'R')
        _exit(0);
    fprintf(stderr, "pentimento-worker: %s\n",
            length > 0 ? text : _("the worker ended before it could listen"));
    _exit(1);
}

int pentimento_launch_detach(void)
{
    int ends[2];
    pid_t child;

    close_range(3, ~0u, 0);
    if (pipe2(ends, O_CLOEXEC) != 0 || (child = fork()) < 0) {
        fprintf(stderr, "pentimento-worker: %s\n", g_strerror(errno));
        exit(1);
    }
    if (child > 0) {
        close(ends[1]);
        wait_for_report(ends[0]);
    }
    close(ends[0]);
    setsid();
    return ends[1];
}

void pentimento_launch_report(int report, const char *message)
{
    if (report < 0) {
        if (message != NULL)
            fprintf(stderr, "pentimento-worker: %s\n", message);
        return;
    }
    if (message == NULL)
        message = "R";
    while (write(report, message, strlen(message)) < 0 && errno == EINTR)
        ;
    close(report);
}

static void offer_to_end_first(void)
{
    FILE *file = fopen("/proc/self/oom_score_adj", "we");

    if (file == NULL)
        return; /* not every system has it */
    fputs(OOM_SCORE, file);
    fclose(file);
}

void pentimento_launch_harden(void)
{
    /* 1 and not 0: the kernel then does not even start a core_pattern program */
    const struct rlimit no_core = {1, 1};
    struct rlimit files; /* each job that waits holds its pictures' */

    setrlimit(RLIMIT_CORE, &no_core);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    offer_to_end_first();
    setpriority(PRIO_PROCESS, 0, NICENESS);
    umask(0077);
    if (chdir("/") != 0)
        return; /* only so as not to keep a file system busy */
}

static gboolean someone_listens(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    gboolean listens;

    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    listens = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0)
        close(fd);
    return listens;
}

int pentimento_launch_lock(const char *socket, GError **error)
{
    g_autofree char *path = g_strconcat(socket, ".lock", NULL);
    int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (lock < 0) {
        ldm_set_error(error, FILE, _("%s cannot be opened: %s"), path, g_strerror(errno));
        return -1;
    }
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (flock(lock, LOCK_EX | LOCK_NB) == 0)
            return lock;
        if (someone_listens(socket)) {
            close(lock);
            return -1;
        }
        g_usleep(50000);
    }
    close(lock);
    ldm_set_error(error, FILE, _("another worker holds %s but does not listen; end it first"),
                  path);
    return -1;
}
