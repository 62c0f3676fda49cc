/* What products of bytes have in common, written once for any vector width: rounding activations,
 * and a row's sums times their scales. */
#pragma once

#include "kernels/q8.h"
#include "kernels/vector.h"

typedef int8_t Bytes __attribute__((vector_size(LANES)));

/* A vector of row m's sums, `column` columns from the tile's left -> C. */
ALWAYS_INLINE void q8_scale(const LdmQ8Tile *t, int m, int column, VecI sum)
{
    const float *scales =
        t->scales + column / LDM_Q8_PANEL * t->next_scales + column % LDM_Q8_PANEL;
    float *c = t->c + (size_t)m * t->ldc + column;
    Vec part = __builtin_convertvector(sum, Vec);
    part *= load(scales) * t->rows[(size_t)m * t->ld_rows].scale;
    store(c, t->add ? load(c) + part : part);
}

static inline void q8_quantise(const float *x, size_t n, int8_t *bytes, LdmQ8Row *row)
{
    const float magic = 0x1.8p23f; /* adding it rounds to an integer in the low bits */
    Vec most = {0}, flaw = {0};
    VecI sum = {0};
    for (size_t i = 0; i < n; i += LANES) {
        Vec v = load_some(x + i, n - i);
        most = larger((Vec)((VecI)v & 0x7fffffff), most);
        flaw += v * 0.0f; /* NaN and infinity become NaN */
    }
    float largest = lanes_max(most);
    float inverse = largest > 1e-30f ? 127.0f / largest : 0.0f;
    for (size_t i = 0; i < n; i += LANES) {
        Vec scaled = load_some(x + i, n - i) * inverse;
        VecI whole = (VecI)(scaled + magic) - (VecI)spread(magic);
        Bytes part = __builtin_convertvector(whole, Bytes);
        sum += __builtin_convertvector(part, VecI);
        memcpy(bytes + i, &part, n - i >= LANES ? LANES : (n - i + 3) / 4 * 4);
    }
    row->scale = largest / 127.0f + lanes_sum(flaw);
    row->sum = 0;
    for (int i = 0; i < LANES; i++)
        row->sum += sum[i];
}
