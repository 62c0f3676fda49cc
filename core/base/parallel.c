/* The parallel loop. Tiles are handed out one by one, so uneven ones balance, and the cancellable
 * is looked at before each: a tile should take no more than about 30 ms. */
#include "base/parallel.h"

#include <sched.h>

#define MOST_THREADS 256
/* Looks at a flag before sleeping: some 20 microseconds, the usual gap between two loops. */
#define LOOKS 2000

static gint wanted_threads = 0; /* ldm_set_threads; 0 = not said */

static int processors(void)
{
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
#endif
    return (int)g_get_num_processors();
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
        from_environment =
            text != NULL && g_ascii_string_to_signed(text, 10, 1, MOST_THREADS, &number, NULL);
        threads = from_environment ? (int)number : CLAMP(processors(), 1, MOST_THREADS);
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

/* ---- the threads ---- */

/* The threads are our own, not OpenMP's: those spin while they wait for one another, which on a
 * machine whose processors have other work, too, takes ten times as long. Here the caller works
 * itself and at the end waits only for tiles that are being worked on, never for a thread that has
 * not got a processor yet; threads without work sleep. */

typedef struct {
    LdmTileFunc func;
    void *data;
    size_t count;
    GCancellable *cancellable;
    size_t next;  /* atomic: first tile that nobody has taken */
    gint stopped; /* atomic */
} Loop;

/* One loop at a time has the threads; a second caller meanwhile works alone. */
static struct {
    GMutex busy; /* held by the caller whose loop it is */
    GMutex lock; /* of what follows */
    GCond wake, done;
    Loop *loop;         /* open to join, or NULL */
    int threads, seats; /* threads that exist; that may still join the loop */
    gint number;        /* atomic: loops begun so far */
    gint working;       /* atomic: threads inside the loop */
    int asleep;
} pool;

/* What a tile begins, its thread does alone: it may hold the lock that it would ask for. */
static __thread bool in_tile;

static void work(Loop *loop, int thread)
{
    bool outer = in_tile;

    in_tile = true;
    for (;;) {
        size_t i = __atomic_fetch_add(&loop->next, 1, __ATOMIC_RELAXED);
        if (i >= loop->count || g_atomic_int_get(&loop->stopped))
            break;
        if (g_cancellable_is_cancelled(loop->cancellable))
            g_atomic_int_set(&loop->stopped, 1);
        else
            loop->func(i, thread, loop->data);
    }
    in_tile = outer;
}

static inline void pause_a_little(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

/* Waits for a loop younger than number `seen`. With the lock. */
static void wait_for_loop(gint seen)
{
    g_mutex_unlock(&pool.lock);
    for (int i = 0; i < LOOKS && g_atomic_int_get(&pool.number) == seen; i++)
        pause_a_little();
    g_mutex_lock(&pool.lock);
    pool.asleep++;
    while (g_atomic_int_get(&pool.number) == seen)
        g_cond_wait(&pool.wake, &pool.lock);
    pool.asleep--;
}

static gpointer thread_main(gpointer unused)
{
    gint seen = 0;
    g_mutex_lock(&pool.lock);
    for (;;) {
        wait_for_loop(seen);
        seen = g_atomic_int_get(&pool.number);
        Loop *loop = pool.loop;
        if (loop == NULL || pool.seats == 0)
            continue;
        int thread = pool.seats--;
        g_atomic_int_inc(&pool.working);
        g_mutex_unlock(&pool.lock);
        work(loop, thread);
        g_mutex_lock(&pool.lock);
        if (g_atomic_int_dec_and_test(&pool.working))
            g_cond_signal(&pool.done);
    }
    return NULL;
}

/* Makes missing threads (where the system refuses: as many as there are) and lets them in. */
static void open_loop(Loop *loop, int helpers)
{
    g_mutex_lock(&pool.lock);
    while (pool.threads < helpers) {
        GThread *thread = g_thread_try_new("tiles", thread_main, NULL, NULL);
        if (thread == NULL)
            break;
        g_thread_unref(thread);
        pool.threads++;
    }
    pool.loop = loop;
    pool.seats = helpers;
    g_atomic_int_inc(&pool.number);
    if (pool.asleep > 0)
        g_cond_broadcast(&pool.wake);
    g_mutex_unlock(&pool.lock);
}

/* Nobody joins any more; those inside finish their tile. */
static void close_loop(void)
{
    g_mutex_lock(&pool.lock);
    pool.loop = NULL;
    g_mutex_unlock(&pool.lock);
    for (int i = 0; i < LOOKS && g_atomic_int_get(&pool.working) > 0; i++)
        pause_a_little();
    g_mutex_lock(&pool.lock);
    while (g_atomic_int_get(&pool.working) > 0)
        g_cond_wait(&pool.done, &pool.lock);
    g_mutex_unlock(&pool.lock);
}

bool ldm_parallel_for(size_t count, LdmTileFunc func, void *data, GCancellable *cancellable)
{
    Loop loop = {.func = func, .data = data, .count = count, .cancellable = cancellable};
    int helpers = (int)MIN((size_t)ldm_threads(), count) - 1;
    if (helpers > 0 && !in_tile && g_mutex_trylock(&pool.busy)) {
        open_loop(&loop, helpers);
        work(&loop, 0);
        close_loop();
        g_mutex_unlock(&pool.busy);
    } else {
        work(&loop, 0);
    }
    return !g_atomic_int_get(&loop.stopped) && !g_cancellable_is_cancelled(cancellable);
}
