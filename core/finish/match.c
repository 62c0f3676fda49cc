/* Part of finish: colour match at the border of the mask. In come the original x, the decoded x'
 * and the mask; out goes x' without the brightness and colour shift that autoencoder and network
 * leave, so that the repainted part meets the rest without an edge. */
#include "base/checked.h"
#include "base/error.h"
#include "base/parallel.h"
#include "finish/finish.h"
#include "tensor/tensor.h"

#include <math.h>

#define DIFFERENCE_MAX 0.2f  /* of the range -1 .. 1: ten percent of brightness */
#define WEIGHT_MIN     1e-4f /* less of G(w) is out of reach */

#define TOGETHER 16 /* lines that a thread takes, so that no two write to a cache line */

typedef struct {
    LdmTensor *decoded;
    const LdmPrepared *p;
    float *planes; /* [H, W, 4]: w d (three channels), w */
    float *copies; /* a line of either direction for each thread */
} Match;

/* `lines` lines of `length` pixels of 4 floats, `step` floats from pixel to pixel, `pitch` from
 * line to line: each pixel becomes the mean of those at most `radius` away on its line. */
typedef struct {
    size_t lines, length, step, pitch, radius;
    const Match *match;
} Lines;

static void box_line(const Lines *l, float *line, float *copy)
{
    double sum[4] = {0};
    size_t n = l->length, r = l->radius, count = 0;
    for (size_t i = 0; i < n; i++)
        memcpy(copy + i * 4, line + i * l->step, 4 * sizeof(float));
    for (size_t i = 0; i < MIN(r, n); i++, count++)
        for (int c = 0; c < 4; c++)
            sum[c] += copy[i * 4 + c];
    for (size_t i = 0; i < n; i++) {
        if (i + r < n) {
            count++;
            for (int c = 0; c < 4; c++)
                sum[c] += copy[(i + r) * 4 + c];
        }
        if (i > r) {
            count--;
            for (int c = 0; c < 4; c++)
                sum[c] -= copy[(i - r - 1) * 4 + c];
        }
        for (int c = 0; c < 4; c++)
            line[i * l->step + c] = (float)(sum[c] / (double)count);
    }
}

static void box_lines(size_t tile, int thread, void *data)
{
    const Lines *l = data;
    float *copy = l->match->copies + (size_t)thread * MAX(l->lines, l->length) * 4;
    for (size_t i = tile * TOGETHER; i < MIN((tile + 1) * TOGETHER, l->lines); i++)
        box_line(l, l->match->planes + i * l->pitch, copy);
}

static bool smooth(const Match *m, size_t radius, GCancellable *cancellable)
{
    size_t H = m->p->H, W = m->p->W;
    Lines rows = {H, W, 4, W * 4, radius, m}, columns = {W, H, W * 4, 4, radius, m};
    bool on = true;
    for (int pass = 0; on && pass < 3; pass++)
        on = ldm_parallel_for((H + TOGETHER - 1) / TOGETHER, box_lines, &rows, cancellable) &&
             ldm_parallel_for((W + TOGETHER - 1) / TOGETHER, box_lines, &columns, cancellable);
    return on;
}

/* Row y of the planes. Padding has no weight: the picture ends there. */
static void find_row(size_t y, int thread, void *data)
{
    const Match *m = data;
    const LdmPrepared *p = m->p;
    const float *x = ldm_tensor_f32(p->image), *made = ldm_tensor_f32(m->decoded);
    for (size_t i = y * p->W; i < (y + 1) * p->W; i++) {
        bool known =
            ldm_tensor_f32(p->mask)[i] == 0.0f && y < p->inner_h && i - y * p->W < p->inner_w;
        for (int c = 0; c < 3; c++)
            m->planes[i * 4 + c] =
                known ? CLAMP(x[i * 3 + c] - made[i * 3 + c], -DIFFERENCE_MAX, DIFFERENCE_MAX)
                      : 0.0f;
        m->planes[i * 4 + 3] = known ? 1.0f : 0.0f;
    }
}

static void add_row(size_t y, int thread, void *data)
{
    const Match *m = data;
    for (size_t i = y * m->p->W; i < (y + 1) * m->p->W; i++) {
        const float *d = m->planes + i * 4;
        if (d[3] < WEIGHT_MIN)
            continue;
        for (int c = 0; c < 3; c++)
            ldm_tensor_f32(m->decoded)[i * 3 + c] += MIN(1.0f, 2.0f * d[3]) * d[c] / d[3];
    }
}

size_t ldm_match_bytes(const LdmPrepared *p)
{
    return (p->H * p->W + MAX(p->H, p->W) * (size_t)ldm_threads()) * 4 * sizeof(float);
}

/* Outside the mask x is known, so the difference d = x - x' there is pure error. Its low
 * frequencies are carried on into the mask and fade out there:
 *
 *     x' += fade * G(w d) / G(w),   w = 1 where the mask is 0, fade = min(1, 2 G(w))
 *
 * with G three box averages of radius f (reach 3f; at a straight border G(w) is 1/2). Where d is 0,
 * x' stays as it is to the bit; where no pixel of w is in reach, too. |d| is capped, so that a
 * picture that differs in substance is not dragged along. */
bool ldm_match_colour(LdmTensor *decoded, const LdmPrepared *p, size_t f, GCancellable *cancellable,
                      GError **error)
{
    size_t pixels = p->H * p->W;
    float *planes = ldm_aligned_alloc(ldm_match_bytes(p), 1, _("the colour match"), error);
    Match m = {decoded, p, planes, planes + pixels * 4};
    if (planes == NULL)
        return false;
    bool done = ldm_parallel_for(p->H, find_row, &m, cancellable) && smooth(&m, f, cancellable) &&
                ldm_parallel_for(p->H, add_row, &m, cancellable);
    ldm_aligned_free(planes);
    if (!done)
        ldm_set_error(error, CANCELLED, _("cancelled"));
    return done;
}
