/* Sums of squares of floats, in double and always in the same order. */
#pragma once

#include <stddef.h>

static inline double ldm_sum_of_squares(const float *x, size_t n)
{
    enum { SUMS = 8 };
    double sums[SUMS] = {0}, sum = 0.0; /* side by side: an addition waits for the one before it */

    for (size_t i = 0; i < n / SUMS * SUMS; i += SUMS)
        for (size_t k = 0; k < SUMS; k++)
            sums[k] += (double)x[i + k] * x[i + k];
    for (size_t i = n / SUMS * SUMS; i < n; i++)
        sum += (double)x[i] * x[i];
    for (size_t k = 0; k < SUMS; k++)
        sum += sums[k];
    return sum;
}
