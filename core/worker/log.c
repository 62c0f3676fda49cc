/* The worker's log file. It is standard error itself, so that what libraries print lands there
 * too. It never grows beyond LOG_LIMIT: a full one becomes worker.log.old. */
#include "worker/log.h"

#include "worker/protocol.h"

#include <glib/gstdio.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_LIMIT (1 << 20) /* bytes */

static char *log_path; /* NULL while messages go to the terminal or nowhere */

static int log_file_open(void)
{
    int fd =
        open(log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
    struct stat info;

    if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode))
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

void pentimento_log_open(void)
{
    g_autofree char *folder = NULL;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int fd;

    log_path = pentimento_worker_log();
    folder = g_path_get_dirname(log_path);
    fd = g_mkdir_with_parents(folder, 0700) == 0 ? log_file_open() : -1;
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
    }
    if (fd < 0)
        g_clear_pointer(&log_path, g_free);
    if (fd >= 0 || null >= 0)
        dup2(fd >= 0 ? fd : null, STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
    if (null > STDERR_FILENO)
        close(null);
}

static void log_turn_over(void)
{
    struct stat info;
    g_autofree char *old = NULL;
    int fd;

    if (log_path == NULL || fstat(STDERR_FILENO, &info) != 0 || info.st_size < LOG_LIMIT)
        return;
    old = g_strconcat(log_path, ".old", NULL);
    if (g_rename(log_path, old) != 0)
        return;
    fd = log_file_open();
    if (fd >= 0) {
        dup2(fd, STDERR_FILENO);
        close(fd);
    }
}

void pentimento_log(const char *format, ...)
{
    static GMutex lock;
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    g_autofree char *when = g_date_time_format(now, "%Y-%m-%d %H:%M:%S");
    g_autofree char *text = NULL;
    va_list arguments;

    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_mutex_lock(&lock);
    log_turn_over();
    dprintf(STDERR_FILENO, "%s [%d] %s\n", when, (int)getpid(), text);
    g_mutex_unlock(&lock);
}
