/* The parallel loop. Tiles are handed out one by one, so uneven ones balance, and the cancellable
 * is looked at before each: a tile should take no more than about 30 ms. */
#include "base/parallel.h"

#include <cblas.h>
#include <omp.h>
#include <sched.h>

#define MOST_THREADS 256

static gint wanted_threads = 0; /* ldm_set_threads; 0 = not said */

static int processors(void)
{
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
#endif
    return (int) g_get_num_processors();
}

/* What the environment or the machine says; found once. */
static int default_threads(bool *forced)
{
    static gsize once = 0;
    static int threads = 1;
    static bool from_environment = false;
    if (g_once_init_enter(&once)) {
        const char *text = g_getenv("PENTIMENTO_THREADS");
        gint64 number = 0;
        from_environment = text != NULL && g_ascii_string_to_signed(text, 10, 1, MOST_THREADS,
                                                                    &number, NULL);
        threads = from_environment ? (int) number : CLAMP(processors(), 1, MOST_THREADS);
        openblas_set_num_threads(1);
        g_once_init_leave(&once, 1);
    }
    *forced = from_environment;
    return threads;
}

int ldm_threads(void)
{
    bool forced;
    int threads = default_threads(&forced), wanted = g_atomic_int_get(&wanted_threads);
    return wanted > 0 && !forced ? wanted : threads;
}

void ldm_set_threads(int threads)
{
    g_atomic_int_set(&wanted_threads, CLAMP(threads, 0, MOST_THREADS));
}

bool ldm_parallel_for(size_t count, LdmTileFunc func, void *data, GCancellable *cancellable)
{
    gint stopped = 0;
    int threads = (int) MIN((size_t) ldm_threads(), count);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
    for (size_t i = 0; i < count; i++) {
        if (g_atomic_int_get(&stopped))
            continue;
        if (g_cancellable_is_cancelled(cancellable))
            g_atomic_int_set(&stopped, 1);
        else
            func(i, omp_get_thread_num(), data);
    }
    return !stopped && !g_cancellable_is_cancelled(cancellable);
}
