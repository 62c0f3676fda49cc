/* 8-bit weights: rounding a matrix to them, laying out what a file holds, and expanding that to
 * 16 bits again. Panels of 16 output channels lie as the register tile reads them:
 * [panels][taps][C / 4][16][4] bytes and [panels][taps][blocks][16] scales, zeros beyond the last
 * channel of either kind. */
#include "kernels/q8.h"

#include "base/parallel.h"

#include <string.h>

size_t ldm_q8_blocks(size_t C)
{
    return ldm_parts(C, LDM_Q8_BLOCK);
}

/* Bytes of the panels, whole cache lines. */
static size_t panel_bytes(size_t N, size_t C, size_t taps)
{
    return ldm_parts(N, LDM_Q8_PANEL) * taps * ldm_q8_depth(C) * LDM_Q8_PANEL;
}

size_t ldm_q8_bytes(size_t N, size_t C, size_t taps)
{
    size_t scales = ldm_parts(N, LDM_Q8_PANEL) * taps * ldm_q8_blocks(C) * LDM_Q8_PANEL;
    return panel_bytes(N, C, taps) + scales * sizeof(float);
}

LdmQ8 ldm_q8_place(size_t N, size_t C, size_t taps, void *memory)
{
    return (LdmQ8){
        N, C, taps, memory, (float *)((char *)memory + panel_bytes(N, C, taps)),
    };
}

/* ---- a block of one row: [taps][channels] ---- */

typedef struct {
    size_t n, first, channels; /* output channel; input channels */
    int8_t bytes[LDM_Q8_TAPS][LDM_Q8_BLOCK];
    float scales[LDM_Q8_TAPS];
} Block;

static Block block_at(const LdmQ8 *q8, size_t n, size_t b)
{
    size_t length = ldm_q8_length(q8->C);
    return (Block){.n = n, .first = b * length, .channels = MIN(length, q8->C - b * length)};
}

/* From w [N][C][taps]. */
static void block_round(const LdmQ8 *q8, LdmWeights w, Block *block)
{
    float wide[LDM_Q8_TAPS * LDM_Q8_BLOCK], one[LDM_Q8_BLOCK];
    const size_t taps = q8->taps, at = (block->n * q8->C + block->first) * taps;
    const float *row = ldm_weights_f32(w, at, block->channels * taps, wide);
    for (size_t t = 0; t < taps; t++) {
        LdmQ8Row scale;
        for (size_t c = 0; c < block->channels && taps > 1; c++)
            one[c] = row[c * taps + t];
        ldm_q8_lanes()->quantise(taps > 1 ? one : row, block->channels, block->bytes[t], &scale);
        block->scales[t] = scale.scale;
    }
}

/* From a file's bytes [N][C][taps] and scales [N][blocks][taps]; -128, which no writer writes,
 * counts as -127. */
static void block_read(const LdmQ8 *q8, const int8_t *bytes, const float *scales, Block *block)
{
    const size_t taps = q8->taps, b = block->first / ldm_q8_length(q8->C);
    bytes += (block->n * q8->C + block->first) * taps;
    for (size_t t = 0; t < taps; t++) {
        for (size_t c = 0; c < block->channels; c++)
            block->bytes[t][c] = MAX(bytes[c * taps + t], -127);
        for (size_t c = block->channels; c % 4 != 0; c++)
            block->bytes[t][c] = 0;
        block->scales[t] = scales[(block->n * ldm_q8_blocks(q8->C) + b) * taps + t];
    }
}

/* Into its panel. */
static void block_place(const LdmQ8 *q8, const Block *block)
{
    const size_t depth = ldm_q8_depth(q8->C), blocks = ldm_q8_blocks(q8->C);
    const size_t panel = block->n / LDM_Q8_PANEL, lane = block->n % LDM_Q8_PANEL;
    const size_t b = block->first / ldm_q8_length(q8->C);
    for (size_t t = 0; t < q8->taps; t++) {
        size_t tap = panel * q8->taps + t;
        int8_t *to = q8->bytes + (tap * depth + block->first) * LDM_Q8_PANEL + lane * 4;
        for (size_t c = 0; c < block->channels; c += 4)
            memcpy(to + c * LDM_Q8_PANEL, block->bytes[t] + c, 4);
        q8->scales[(tap * blocks + b) * LDM_Q8_PANEL + lane] = block->scales[t];
    }
}

/* ---- whole matrices ---- */

typedef struct {
    const LdmQ8 *q8;
    LdmWeights w; /* or, data NULL, what a file holds: */
    const int8_t *bytes;
    const float *scales;
} Job;

static void panel_task(size_t index, int thread, void *data)
{
    const Job *job = data;
    const LdmQ8 *q8 = job->q8;
    size_t first = index * LDM_Q8_PANEL, end = MIN(first + LDM_Q8_PANEL, q8->N);
    if (end < first + LDM_Q8_PANEL) {
        size_t bytes = q8->taps * ldm_q8_depth(q8->C) * LDM_Q8_PANEL;
        size_t scales = q8->taps * ldm_q8_blocks(q8->C) * LDM_Q8_PANEL;
        memset(q8->bytes + index * bytes, 0, bytes);
        memset(q8->scales + index * scales, 0, scales * sizeof(float));
    }
    for (size_t n = first; n < end; n++)
        for (size_t b = 0; b < ldm_q8_blocks(q8->C); b++) {
            Block block = block_at(q8, n, b);
            if (job->w.data != NULL)
                block_round(q8, job->w, &block);
            else
                block_read(q8, job->bytes, job->scales, &block);
            block_place(q8, &block);
        }
}

static bool fill(const Job *job, GCancellable *cancellable)
{
    return ldm_parallel_for(ldm_parts(job->q8->N, LDM_Q8_PANEL), panel_task, (void *)job,
                            cancellable);
}

bool ldm_q8_round(const LdmQ8 *q8, LdmWeights w, GCancellable *cancellable)
{
    return fill(&(Job){.q8 = q8, .w = w}, cancellable);
}

bool ldm_q8_read(const LdmQ8 *q8, const int8_t *bytes, const float *scales,
                 GCancellable *cancellable)
{
    return fill(&(Job){.q8 = q8, .bytes = bytes, .scales = scales}, cancellable);
}
