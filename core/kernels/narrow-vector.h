/* A 3x3 convolution to so few outputs that a vector of them would be empty for the most part: the
 * vectors run along the input channels instead, and are summed up in the end. */
#pragma once

#include "kernels/vector.h"

#if LANES == 16 || defined NEON
#define NARROW_PIXELS LDM_NARROW_PIXELS /* sums that stay in registers: these times the outputs */
#else
#define NARROW_PIXELS 2
#endif

/* Some channels of one row of taps. */
ALWAYS_INLINE void narrow_taps(const int outputs, const LdmNarrow *n, int kh, int first, size_t c,
                               size_t part, Vec (*sum)[NARROW_PIXELS])
{
    const float *w = n->w + (size_t)kh * 3 * outputs * n->pitch + c;
    Vec x[NARROW_PIXELS + 2];
#pragma GCC unroll 8
    for (int i = 0; i < NARROW_PIXELS + 2; i++)
        x[i] = load_some(n->pixels[kh][first + i] + c, part);
#pragma GCC unroll 3
    for (int kw = 0; kw < 3; kw++)
#pragma GCC unroll 4
        for (int o = 0; o < outputs; o++) {
            Vec factor = load(w + (size_t)(kw * outputs + o) * n->pitch);
#pragma GCC unroll 4
            for (int i = 0; i < NARROW_PIXELS; i++)
                sum[o][i] += x[i + kw] * factor;
        }
}

ALWAYS_INLINE void narrow_of(const int outputs, const LdmNarrow *n)
{
    for (int first = 0; first < LDM_NARROW_PIXELS; first += NARROW_PIXELS) {
        Vec sum[LDM_NARROW_OUTPUTS][NARROW_PIXELS];
#pragma GCC unroll 4
        for (int o = 0; o < outputs; o++)
#pragma GCC unroll 4
            for (int i = 0; i < NARROW_PIXELS; i++)
                sum[o][i] = (Vec){0};
        for (int kh = 0; kh < 3; kh++) {
            size_t c = 0;
            for (; c + LANES <= n->C; c += LANES)
                narrow_taps(outputs, n, kh, first, c, LANES, sum);
            if (c < n->C)
                narrow_taps(outputs, n, kh, first, c, n->C - c, sum);
        }
#pragma GCC unroll 4
        for (int i = 0; i < NARROW_PIXELS; i++)
#pragma GCC unroll 4
            for (int o = 0; o < outputs; o++)
                n->y[(first + i) * outputs + o] = lanes_sum(sum[o][i]);
    }
}

static void narrow(int outputs, const LdmNarrow *n)
{
    switch (outputs) {
    case 1: narrow_of(1, n); break;
    case 2: narrow_of(2, n); break;
    case 3: narrow_of(3, n); break;
    default: narrow_of(4, n); break;
    }
}
