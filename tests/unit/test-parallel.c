/* The parallel loop: every tile once, thread numbers in range, cancelling. */
#include "base/parallel.h"

typedef struct {
    gint runs[1000];
    gint wrong_threads, total;
    GCancellable *cancellable; /* cancelled by tile 5 where not NULL; later tiles wait for that */
} Record;

static void count_tile(size_t index, int thread, void *data)
{
    Record *record = data;
    g_atomic_int_inc(&record->runs[index]);
    g_atomic_int_inc(&record->total);
    if (thread < 0 || thread >= ldm_threads())
        g_atomic_int_inc(&record->wrong_threads);
    if (record->cancellable != NULL && index == 5)
        g_cancellable_cancel(record->cancellable);
    while (record->cancellable != NULL && index > 5 &&
           !g_cancellable_is_cancelled(record->cancellable))
        g_usleep(50);
}

static void test_every_tile_once(void)
{
    for (int threads = 1; threads <= 5; threads++) {
        g_autofree Record *record = g_new0(Record, 1);
        ldm_set_threads(threads);
        g_assert_cmpint(ldm_threads(), ==, threads);
        g_assert_true(ldm_parallel_for(1000, count_tile, record, NULL));
        for (int i = 0; i < 1000; i++)
            g_assert_cmpint(record->runs[i], ==, 1);
        g_assert_cmpint(record->wrong_threads, ==, 0);
    }
    ldm_set_threads(0);
    g_assert_cmpint(ldm_threads(), >=, 1);
}

static void test_few_tiles(void)
{
    g_autofree Record *record = g_new0(Record, 1);
    g_assert_true(ldm_parallel_for(0, count_tile, record, NULL));
    g_assert_cmpint(record->total, ==, 0);
    g_assert_true(ldm_parallel_for(1, count_tile, record, NULL));
    g_assert_cmpint(record->total, ==, 1);
}

/* Tiles 0 to 5, and of later ones at most what each other thread had already begun. */
static void test_cancel(void)
{
    for (int threads = 1; threads <= 5; threads++) {
        g_autofree Record *record = g_new0(Record, 1);
        g_autoptr(GCancellable) cancellable = record->cancellable = g_cancellable_new();
        ldm_set_threads(threads);
        g_assert_false(ldm_parallel_for(1000, count_tile, record, cancellable));
        g_assert_cmpint(record->total, >=, 6);
        g_assert_cmpint(record->total, <=, 6 + threads - 1);
        record->total = 0;
        g_assert_false(ldm_parallel_for(1000, count_tile, record, cancellable));
        g_assert_cmpint(record->total, ==, 0);
    }
    ldm_set_threads(0);
}

/* A loop inside a tile, which that tile's thread does alone, and loops of several threads at once:
 * each is whole. */
typedef struct {
    Record *record;
    GThread *outer;
} Inner;

static void inner_tile(size_t index, int thread, void *data)
{
    const Inner *inner = data;

    count_tile(index, thread, inner->record);
    if (thread != 0 || g_thread_self() != inner->outer)
        g_atomic_int_inc(&inner->record->wrong_threads);
}

static void nesting_tile(size_t index, int thread, void *data)
{
    Inner inner = {(Record *)data + index, g_thread_self()};

    g_assert_true(ldm_parallel_for(50, inner_tile, &inner, NULL));
}

static void test_nested(void)
{
    g_autofree Record *records = g_new0(Record, 20);
    ldm_set_threads(3);
    g_assert_true(ldm_parallel_for(20, nesting_tile, records, NULL));
    for (int i = 0; i < 20; i++) {
        g_assert_cmpint(records[i].total, ==, 50);
        g_assert_cmpint(records[i].wrong_threads, ==, 0);
    }
    ldm_set_threads(0);
}

static gpointer many_loops(gpointer data)
{
    for (int i = 0; i < 200; i++) {
        g_autofree Record *record = g_new0(Record, 1);
        g_assert_true(ldm_parallel_for((size_t)i, count_tile, record, NULL));
        g_assert_cmpint(record->total, ==, i);
        g_assert_cmpint(record->wrong_threads, ==, 0);
    }
    return NULL;
}

static void test_at_once(void)
{
    GThread *threads[4];
    ldm_set_threads(3);
    for (int i = 0; i < 4; i++)
        threads[i] = g_thread_new("caller", many_loops, NULL);
    for (int i = 0; i < 4; i++)
        g_thread_join(threads[i]);
    ldm_set_threads(0);
}

int main(int argc, char **argv)
{
    g_unsetenv("PENTIMENTO_THREADS");
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/parallel/every-tile-once", test_every_tile_once);
    g_test_add_func("/parallel/few-tiles", test_few_tiles);
    g_test_add_func("/parallel/nested", test_nested);
    g_test_add_func("/parallel/at-once", test_at_once);
    g_test_add_func("/parallel/cancel", test_cancel);
    return g_test_run();
}
