/* 8-bit weights: rounding a matrix to them, and expanding them to 16 bits again. Panels of 16
 * output channels lie as the register tile reads them: [panels][taps][C / 4][16][4] bytes and
 * [panels][taps][blocks][16] scales, zeros beyond the last channel of either kind. */
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

size_t ldm_q8_scales(size_t N, size_t C, size_t taps)
{
    return ldm_parts(N, LDM_Q8_PANEL) * taps * ldm_q8_blocks(C) * LDM_Q8_PANEL;
}

size_t ldm_q8_bytes(size_t N, size_t C, size_t taps)
{
    return panel_bytes(N, C, taps) + ldm_q8_scales(N, C, taps) * sizeof(float);
}

LdmQ8 ldm_q8_place(size_t N, size_t C, size_t taps, void *memory)
{
    return (LdmQ8){
        N, C, taps, memory, (float *)((char *)memory + panel_bytes(N, C, taps)),
    };
}

void ldm_q8_shapes(size_t N, size_t C, size_t taps, size_t bytes[4], size_t scales[4])
{
    size_t panels = ldm_parts(N, LDM_Q8_PANEL);
    memcpy(bytes, (size_t[]){panels, taps * ldm_q8_depth(C) / 4, LDM_Q8_PANEL, 4},
           4 * sizeof *bytes);
    memcpy(scales, (size_t[]){panels, taps * ldm_q8_blocks(C), LDM_Q8_PANEL, 1},
           4 * sizeof *scales);
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

/* Where its tap t lies in its panel: the first four bytes, and the scale. */
static int8_t *block_bytes(const LdmQ8 *q8, const Block *block, size_t t)
{
    size_t tap = block->n / LDM_Q8_PANEL * q8->taps + t, lane = block->n % LDM_Q8_PANEL;
    return q8->bytes + (tap * ldm_q8_depth(q8->C) + block->first) * LDM_Q8_PANEL + lane * 4;
}

static float *block_scale(const LdmQ8 *q8, const Block *block, size_t t)
{
    size_t tap = block->n / LDM_Q8_PANEL * q8->taps + t, lane = block->n % LDM_Q8_PANEL;
    size_t b = block->first / ldm_q8_length(q8->C);
    return q8->scales + (tap * ldm_q8_blocks(q8->C) + b) * LDM_Q8_PANEL + lane;
}

static void block_place(const LdmQ8 *q8, const Block *block)
{
    for (size_t t = 0; t < q8->taps; t++) {
        int8_t *to = block_bytes(q8, block, t);
        for (size_t c = 0; c < block->channels; c += 4)
            memcpy(to + c * LDM_Q8_PANEL, block->bytes[t] + c, 4);
        *block_scale(q8, block, t) = block->scales[t];
    }
}

/* To f16 w [N][C][taps]. */
static void block_expand(const LdmQ8 *q8, const Block *block, uint16_t *w)
{
    float wide[LDM_Q8_TAPS * LDM_Q8_BLOCK];
    for (size_t t = 0; t < q8->taps; t++) {
        const int8_t *from = block_bytes(q8, block, t);
        float scale = *block_scale(q8, block, t);
        for (size_t c = 0; c < block->channels; c++)
            wide[c * q8->taps + t] = (float)from[c / 4 * 4 * LDM_Q8_PANEL + c % 4] * scale;
    }
    ldm_convert_from_f32(wide, LDM_F16, w + (block->n * q8->C + block->first) * q8->taps,
                         block->channels * q8->taps);
}

/* ---- whole matrices ---- */

typedef struct {
    const LdmQ8 *q8;
    LdmWeights w;     /* to be rounded, or NULL */
    uint16_t *halves; /* to be written */
} Job;

/* Zeros beyond the last channel. */
static void pad_panel(const LdmQ8 *q8, size_t index)
{
    size_t bytes = q8->taps * ldm_q8_depth(q8->C) * LDM_Q8_PANEL;
    size_t scales = q8->taps * ldm_q8_blocks(q8->C) * LDM_Q8_PANEL;
    memset(q8->bytes + index * bytes, 0, bytes);
    memset(q8->scales + index * scales, 0, scales * sizeof(float));
}

static void panel_task(size_t index, int thread, void *data)
{
    const Job *job = data;
    const LdmQ8 *q8 = job->q8;
    size_t first = index * LDM_Q8_PANEL, end = MIN(first + LDM_Q8_PANEL, q8->N);
    if (end < first + LDM_Q8_PANEL && job->halves == NULL)
        pad_panel(q8, index);
    for (size_t n = first; n < end; n++)
        for (size_t b = 0; b < ldm_q8_blocks(q8->C); b++) {
            Block block = block_at(q8, n, b);
            if (job->halves != NULL) {
                block_expand(q8, &block, job->halves);
                continue;
            }
            block_round(q8, job->w, &block);
            block_place(q8, &block);
        }
}

static bool run(const Job *job, GCancellable *cancellable)
{
    return ldm_parallel_for(ldm_parts(job->q8->N, LDM_Q8_PANEL), panel_task, (void *)job,
                            cancellable);
}

bool ldm_q8_round(const LdmQ8 *q8, LdmWeights w, GCancellable *cancellable)
{
    return run(&(Job){.q8 = q8, .w = w}, cancellable);
}

bool ldm_q8_expand(const LdmQ8 *q8, uint16_t *halves, GCancellable *cancellable)
{
    return run(&(Job){.q8 = q8, .halves = halves}, cancellable);
}
