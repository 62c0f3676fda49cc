/* Free memory of the machine, for the plan that is made before anything is allocated. Comes in:
 * /proc/meminfo, the control group files, RLIMIT_AS. Goes out: one number of bytes. */
#include "base/memory.h"

#include <glib.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* The number after `key` at the start of a line, or the first number of the text where key is
 * NULL; UINT64_MAX where there is none ("max" included). */
static uint64_t number_in_file(const char *path, const char *key)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents(path, &text, NULL, NULL))
        return UINT64_MAX;
    const char *at = text;
    while (key != NULL && at != NULL && !g_str_has_prefix(at, key)) {
        at = strchr(at, '\n');
        at = at == NULL ? NULL : at + 1;
    }
    if (at == NULL)
        return UINT64_MAX;
    if (key != NULL)
        at += strlen(key);
    char *end;
    uint64_t value = g_ascii_strtoull(at, &end, 10);
    return end == at ? UINT64_MAX : value;
}

static uint64_t machine_available(void)
{
    uint64_t kib = number_in_file("/proc/meminfo", "MemAvailable:");
    return kib > UINT64_MAX / 1024 ? UINT64_MAX : kib * 1024;
}

/* Room in one control group: its limit less what it holds, where file cache does not count. */
static uint64_t group_room(const char *folder, bool second)
{
    g_autofree char *limit_path =
        g_build_filename(folder, second ? "memory.max" : "memory.limit_in_bytes", NULL);
    g_autofree char *usage_path =
        g_build_filename(folder, second ? "memory.current" : "memory.usage_in_bytes", NULL);
    g_autofree char *stat_path = g_build_filename(folder, "memory.stat", NULL);
    uint64_t limit = number_in_file(limit_path, NULL), usage = number_in_file(usage_path, NULL);
    if (limit == UINT64_MAX || usage == UINT64_MAX)
        return UINT64_MAX;
    uint64_t cache = number_in_file(stat_path, second ? "inactive_file " : "total_inactive_file ");
    usage = cache == UINT64_MAX || cache > usage ? usage : usage - cache;
    return limit > usage ? limit - usage : 0;
}

/* The least room in the process's group and those around it, in both versions of the interface. */
static uint64_t groups_available(void)
{
    g_autofree char *text = NULL;
    uint64_t least = UINT64_MAX;
    if (!g_file_get_contents("/proc/self/cgroup", &text, NULL, NULL))
        return least;
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (int i = 0; lines[i] != NULL; i++) { /* "0::/user.slice/..." or "4:memory:/..." */
        g_auto(GStrv) parts = g_strsplit(lines[i], ":", 3);
        if (g_strv_length(parts) != 3)
            continue;
        bool second = strcmp(parts[0], "0") == 0;
        if (!second && strcmp(parts[1], "memory") != 0)
            continue;
        const char *root = second ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
        g_autofree char *group = g_strdup(parts[2]);
        for (;;) {
            g_autofree char *folder = g_build_filename(root, group, NULL);
            least = MIN(least, group_room(folder, second));
            char *slash = strrchr(group, '/');
            if (slash == NULL || group[1] == '\0')
                break;
            slash[slash == group] = '\0';
        }
    }
    return least;
}

static uint64_t address_space_available(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return UINT64_MAX;
    uint64_t pages = number_in_file("/proc/self/statm", NULL);
    uint64_t used = pages == UINT64_MAX ? 0 : pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return limit.rlim_cur > used ? limit.rlim_cur - used : 0;
}

uint64_t ldm_memory_available(void)
{
    return MIN(MIN(machine_available(), groups_available()), address_space_available());
}
