/* 3x3 convolution to at most four output channels (the last one of D and of epsilon_theta), where a
 * register tile would work for one eighth of its columns. A few pixels of a row at a time, straight
 * from the picture (narrow-vector.h). */
#include "kernels/conv.h"

#include "base/parallel.h"

#include <string.h>

#define ROWS 4 /* of a task */

typedef struct {
    const LdmConv *c;
    const LdmLanes *lanes;
    size_t pitch; /* floats of an output's weights of a tap */
    float *w;     /* [9][Cout][pitch], zeros beyond Cin */
    float *bias;  /* of the outputs of a few pixels, LDM_LINE */
    float *zero;  /* a pixel beyond the edge */
} NarrowJob;

static void job_init(NarrowJob *job, const LdmConv *c)
{
    *job = (NarrowJob){.c = c, .lanes = ldm_lanes(), .pitch = ldm_whole_lines(c->Cin)};
    job->w = c->scratch;
    job->bias = job->w + 9 * c->Cout * job->pitch;
    job->zero = job->bias + LDM_LINE;
}

bool ldm_conv_narrow_fits(const LdmConv *c)
{
    return ldm_conv_is_even(c) && c->upsample == 1 && c->Cout <= LDM_NARROW_OUTPUTS &&
           c->Cin >= LDM_LINE;
}

size_t ldm_conv_narrow_scratch(const LdmConv *c)
{
    size_t pitch = ldm_whole_lines(c->Cin);
    return (9 * c->Cout * pitch + LDM_LINE + pitch) * sizeof(float);
}

/* torch's [Cout][Cin][9] -> [9][Cout][pitch] */
static void lay_weights(const NarrowJob *job)
{
    const LdmConv *c = job->c;
    float taps[9];
    memset(job->w, 0, ldm_conv_narrow_scratch(c));
    for (size_t o = 0; o < c->Cout; o++)
        for (size_t i = 0; i < c->Cin; i++) {
            const float *from = ldm_weights_f32(c->w, (o * c->Cin + i) * 9, 9, taps);
            for (size_t t = 0; t < 9; t++)
                job->w[(t * c->Cout + o) * job->pitch + i] = from[t];
        }
    ldm_bias_f32(c->bias, 0, c->Cout, LDM_LINE, job->bias);
    for (size_t i = c->Cout; i < LDM_LINE; i++)
        job->bias[i] = job->bias[i - c->Cout];
}

/* What the taps of pixels x on, one to the left of them first, read. */
static void find_pixels(const NarrowJob *job, size_t image, size_t row, size_t x, LdmNarrow *n)
{
    const LdmConv *c = job->c;
    const float *picture = c->x + image * c->H * c->W * c->Cin;
    for (size_t kh = 0; kh < 3; kh++)
        for (size_t i = 0; i < LDM_NARROW_PIXELS + 2; i++)
            n->pixels[kh][i] =
                ldm_conv_pixel(picture, c->H, c->W, c->Cin, row + kh - 1, x + i - 1, job->zero);
}

static void narrow_row(const NarrowJob *job, size_t image, size_t row)
{
    const LdmConv *c = job->c;
    float sums[LDM_NARROW_PIXELS * LDM_NARROW_OUTPUTS];
    LdmNarrow n = {.w = job->w, .C = c->Cin, .pitch = job->pitch, .y = sums};
    for (size_t x = 0; x < c->W; x += LDM_NARROW_PIXELS) {
        size_t at = ((image * c->H + row) * c->W + x) * c->Cout;
        size_t count = MIN(c->W - x, (size_t)LDM_NARROW_PIXELS) * c->Cout;
        find_pixels(job, image, row, x, &n);
        job->lanes->narrow((int)c->Cout, &n);
        job->lanes->epilogue(count, job->bias, c->residual != NULL ? c->residual + at : NULL, sums);
        memcpy(c->y + at, sums, count * sizeof(float));
    }
}

static void narrow_task(size_t index, int thread, void *data)
{
    const NarrowJob *job = data;
    size_t end = MIN((index + 1) * ROWS, job->c->N * job->c->H);
    for (size_t row = index * ROWS; row < end; row++)
        narrow_row(job, row / job->c->H, row % job->c->H);
}

bool ldm_conv_narrow(const LdmConv *c, GCancellable *cancellable)
{
    NarrowJob job;
    job_init(&job, c);
    lay_weights(&job);
    return ldm_parallel_for(ldm_parts(c->N * c->H, ROWS), narrow_task, &job, cancellable);
}
