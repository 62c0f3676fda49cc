/* Checked arithmetic and allocation: every size that depends on input goes through here. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* False (and *out untouched) on overflow. */
static inline bool ldm_mul(size_t a, size_t b, size_t *out)
{
    size_t product;
    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *out = product;
    return true;
}

static inline bool ldm_add(size_t a, size_t b, size_t *out)
{
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *out = sum;
    return true;
}

/* The product of n factors; false on overflow. */
bool ldm_product(const size_t *factors, int n, size_t *out);

/* 64-byte aligned memory for count * size bytes, uninitialised or zeroed; NULL and
 * LDM_ERROR_MEMORY (naming `what`) where the product overflows or memory does not suffice.
 * Free with ldm_aligned_free. Tests make the n-th call fail: ldm_alloc_fail_after. */
void *ldm_aligned_alloc(size_t count, size_t size, const char *what, GError **error);
void *ldm_aligned_alloc0(size_t count, size_t size, const char *what, GError **error);
void ldm_aligned_free(void *memory);

/* Fault injection for tests: the n-th aligned allocation from now on fails (once, or that one and
 * all later ones); n < 0 switches it off. */
void ldm_alloc_fail_after(int n, bool lasting);
