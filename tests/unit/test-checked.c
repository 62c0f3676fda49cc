/* Checked arithmetic, aligned memory and its fault injection, free memory, atomic files. */
#include "base/checked.h"
#include "base/error.h"
#include "base/file-atomic.h"
#include "base/memory.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void test_overflow(void)
{
    size_t out = 7;
    g_assert_true(ldm_mul(6, 7, &out));
    g_assert_cmpuint(out, ==, 42);
    g_assert_false(ldm_mul(SIZE_MAX, 2, &out));
    g_assert_false(ldm_add(SIZE_MAX, 1, &out));
    g_assert_cmpuint(out, ==, 42);
    g_assert_true(ldm_add(SIZE_MAX - 1, 1, &out));
    g_assert_cmpuint(out, ==, SIZE_MAX);

    size_t fits[] = {3, 1, 5}, large[] = {(size_t)1 << 33, (size_t)1 << 33, 0};
    g_assert_true(ldm_product(fits, 3, &out));
    g_assert_cmpuint(out, ==, 15);
    g_assert_false(ldm_product(large, 2, &out));
    g_assert_false(ldm_product(large, 3, &out)); /* a zero later does not heal it */
    g_assert_cmpuint(out, ==, 15);
}

static void test_alloc(void)
{
    g_autoptr(GError) error = NULL;
    for (size_t n = 0; n < 70; n += 23) {
        unsigned char *memory = ldm_aligned_alloc0(n, 1, "a test", &error);
        g_assert_no_error(error);
        g_assert_cmpuint((guintptr)memory % 64, ==, 0);
        for (size_t i = 0; i < n; i++)
            g_assert_cmpuint(memory[i], ==, 0);
        ldm_aligned_free(memory);
    }
    g_assert_null(ldm_aligned_alloc(SIZE_MAX / 2, 3, "a test", &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_MEMORY);
    g_assert_nonnull(strstr(error->message, "a test"));
    g_clear_error(&error);
    g_assert_null(ldm_aligned_alloc(SIZE_MAX - 10, 1, "a test", &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_MEMORY);
    ldm_aligned_free(NULL);
}

/* How many of five allocations work, as bits. */
static int allocations(void)
{
    int bits = 0;
    for (int i = 0; i < 5; i++) {
        void *memory = ldm_aligned_alloc(10, 1, "a test", NULL);
        bits |= (memory != NULL) << i;
        ldm_aligned_free(memory);
    }
    return bits;
}

static void test_fault_injection(void)
{
    ldm_alloc_fail_after(2, false);
    g_assert_cmpint(allocations(), ==, 0x1b);
    g_assert_cmpint(allocations(), ==, 0x1f);
    ldm_alloc_fail_after(2, true);
    g_assert_cmpint(allocations(), ==, 0x03);
    g_assert_cmpint(allocations(), ==, 0x00);
    ldm_alloc_fail_after(-1, false);
    g_assert_cmpint(allocations(), ==, 0x1f);
}

static void test_memory_available(void)
{
    uint64_t before = ldm_memory_available();
    g_assert_cmpuint(before, >, 1 << 20);
    g_assert_cmpuint(before, <, (uint64_t)1 << 50);

    /* An address space limit of what the process has now leaves (almost) nothing. */
    struct rlimit old, low;
    g_assert_cmpint(getrlimit(RLIMIT_AS, &old), ==, 0);
    low = old;
    low.rlim_cur = 4096;
    g_assert_cmpint(setrlimit(RLIMIT_AS, &low), ==, 0);
    uint64_t limited = ldm_memory_available();
    g_assert_cmpint(setrlimit(RLIMIT_AS, &old), ==, 0);
    g_assert_cmpuint(limited, ==, 0);
}

static void assert_contents(const char *path, const char *expected)
{
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, expected);
}

static int files_in(const char *folder)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    int n = 0;
    while (g_dir_read_name(dir) != NULL)
        n++;
    return n;
}

static void test_atomic_file(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *folder = g_dir_make_tmp("pentimento-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(folder, "file", NULL);
    g_autofree char *link_path = g_build_filename(folder, "link", NULL);
    g_autofree char *absent = g_build_filename(folder, "absent", "file", NULL);

    g_assert_true(ldm_file_write_atomic(path, "one", 3, &error));
    assert_contents(path, "one");

    /* Given up half way: the old file stands and nothing lies about. */
    LdmAtomicFile *file = ldm_atomic_file_new(path, &error);
    g_assert_true(ldm_atomic_file_write(file, "two", 3, &error));
    ldm_atomic_file_free(file);
    assert_contents(path, "one");
    g_assert_cmpint(files_in(folder), ==, 1);

    /* Through a link, keeping link and permissions. */
    GStatBuf status;
    g_assert_cmpint(g_chmod(path, 0640), ==, 0);
    g_assert_cmpint(symlink("file", link_path), ==, 0);
    g_assert_true(ldm_file_write_atomic(link_path, "three", 5, &error));
    g_assert_true(g_file_test(link_path, G_FILE_TEST_IS_SYMLINK));
    assert_contents(path, "three");
    g_assert_cmpint(g_stat(path, &status), ==, 0);
    g_assert_cmpint(status.st_mode & 0777, ==, 0640);

    g_assert_false(ldm_file_write_atomic(absent, "x", 1, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_FILE);
    g_assert_nonnull(strstr(error->message, absent));
    g_clear_error(&error);
    g_assert_false(ldm_file_write_atomic(folder, "x", 1, &error));
    g_assert_error(error, LDM_ERROR, LDM_ERROR_FILE);
    g_clear_error(&error);

    /* Devices are written to, not replaced. */
    g_assert_true(ldm_file_write_atomic("/dev/null", "x", 1, &error));
    g_assert_no_error(error);
    g_assert_false(g_file_test("/dev/null", G_FILE_TEST_IS_REGULAR));
    if (g_file_test("/dev/full", G_FILE_TEST_EXISTS)) {
        g_assert_false(ldm_file_write_atomic("/dev/full", "x", 1, &error));
        g_assert_error(error, LDM_ERROR, LDM_ERROR_FILE);
        g_assert_nonnull(strstr(error->message, g_strerror(ENOSPC)));
    }

    g_unlink(link_path);
    g_unlink(path);
    g_assert_cmpint(g_rmdir(folder), ==, 0);
}

static void test_messages(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_false(ldm_set_no_memory(&error, "the weights", 1500001));
    g_assert_cmpstr(
        error->message, ==,
        "Not enough memory for the weights (2 MB): choose a smaller size, or close other programs");
    g_assert_cmpstr(ldm_stage_name(LDM_STAGE_DENOISE), ==, "denoise");
    g_assert_cmpstr(ldm_stage_name(LDM_N_STAGES), ==, "unknown");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/checked/overflow", test_overflow);
    g_test_add_func("/checked/alloc", test_alloc);
    g_test_add_func("/checked/fault-injection", test_fault_injection);
    g_test_add_func("/checked/memory-available", test_memory_available);
    g_test_add_func("/checked/atomic-file", test_atomic_file);
    g_test_add_func("/checked/messages", test_messages);
    return g_test_run();
}
