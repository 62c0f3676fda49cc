/* What gemm.c, the convolutions and attention.c share; not for use outside this folder. */
#pragma once

#include "kernels/lanes.h"

/* A tile that may stick out on the right (columns < 2 * width): its valid columns only are written;
 * `corner` holds LDM_MAX_ROWS * LDM_MAX_COLUMNS floats. */
void ldm_tile_by(LdmTileFunction *function, size_t width, int rows, size_t columns, LdmTile *tile,
                 float *corner);

/* What a tile asks for ahead: what follows `p` in memory (NULL: nothing), about a line each step
 * (whole eights of them; on NEON and AMX nothing). */
static inline void ldm_tile_ahead(LdmTile *t, const float *p)
{
    t->ahead = p;
    t->ahead_step = LDM_LINE;
    t->ahead_turn = LDM_LINE * LDM_LINE;
}

/* The same for what the next strip's rows, ld floats apart, hold `depth` floats deep, in its
 * `panel`th tile: the first asks for it, tiles of pairs, which go half as many steps, for half of
 * it each. No tile has more rows than LDM_LINE but those of AMX, which ask for nothing. */
static inline void ldm_tile_ahead_strip(LdmTile *t, const float *next, size_t ld, size_t depth,
                                        size_t panel)
{
    t->ahead = next != NULL && panel * t->K < depth ? next + panel * t->K : NULL;
    t->ahead_step = ld;
    t->ahead_turn = LDM_LINE;
}

/* bias[first .. first + n - 1] as f32, zeros up to `padded` and where there is no bias. */
void ldm_bias_f32(LdmWeights bias, size_t first, size_t n, size_t padded, float *out);

/* The weights from index i on. */
static inline LdmWeights ldm_weights_at(LdmWeights w, size_t i)
{
    return (LdmWeights){(const char *)w.data + i * (w.dtype == LDM_F32 ? 4 : 2), w.dtype};
}

/* Rows of a task of a product of M rows whose columns lie in `blocks`, at `row_steps` multiply-adds
 * a row: about eight tasks a thread, but rows enough to pay for packing, and few enough to be done
 * when somebody cancels. A multiple of the tile's. */
size_t ldm_task_rows(size_t M, size_t blocks, size_t row_steps, size_t tile_rows);

static inline size_t ldm_parts(size_t n, size_t size)
{
    return (n + size - 1) / size;
}

/* The size of a part where n is cut into as few as there can be of at most `most`, all alike but
 * the last. */
static inline size_t ldm_evenly(size_t n, size_t most)
{
    return ldm_parts(n, ldm_parts(n, most));
}

/* n floats, rounded up to whole cache lines. */
static inline size_t ldm_whole_lines(size_t n)
{
    return ldm_parts(n, LDM_LINE) * LDM_LINE;
}

/* Rows a multiple of 4 KiB apart fall into the same set of the first cache. */
static inline bool ldm_stride_collides(size_t floats)
{
    return floats % 1024 == 0;
}
