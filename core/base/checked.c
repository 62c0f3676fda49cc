/* Checked products and aligned memory. Sizes come from files and from people, so every
 * multiplication is checked and every allocation can fail with a message. 64-byte alignment is
 * one cache line and one AVX-512 register. */
#include "base/checked.h"

#include "base/error.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 64

/* Allocations left before one fails; negative = never. */
static gint fail_after = -1;
static gint fail_lasting = 0;

bool ldm_product(const size_t *factors, int n, size_t *out)
{
    size_t product = 1;
    for (int i = 0; i < n; i++)
        if (!ldm_mul(product, factors[i], &product))
            return false;
    *out = product;
    return true;
}

void ldm_alloc_fail_after(int n, bool lasting)
{
    g_atomic_int_set(&fail_lasting, lasting);
    g_atomic_int_set(&fail_after, n);
}

static bool must_fail(void)
{
    int left = g_atomic_int_get(&fail_after);
    if (left < 0)
        return false;
    if (left > 0)
        return g_atomic_int_dec_and_test(&fail_after), false;
    if (!g_atomic_int_get(&fail_lasting))
        g_atomic_int_set(&fail_after, -1);
    return true;
}

void *ldm_aligned_alloc(size_t count, size_t size, const char *what, GError **error)
{
    size_t bytes, padded;
    void *memory = NULL;
    bool fits =
        ldm_mul(count, size, &bytes) && ldm_add(bytes, ALIGNMENT, &padded) && padded <= PTRDIFF_MAX;
    if (!fits || must_fail() || posix_memalign(&memory, ALIGNMENT, MAX(bytes, 1)) != 0) {
        ldm_set_no_memory(error, what, fits ? bytes : SIZE_MAX);
        return NULL;
    }
    return memory;
}

void *ldm_aligned_alloc0(size_t count, size_t size, const char *what, GError **error)
{
    void *memory = ldm_aligned_alloc(count, size, what, error);
    if (memory != NULL)
        memset(memory, 0, count * size);
    return memory;
}

void ldm_aligned_free(void *memory)
{
    free(memory);
}
