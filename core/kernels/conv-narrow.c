/* 3x3 convolution to at most four output channels (the last one of D and of epsilon_theta), where a
 * register tile would work for one eighth of its columns. A few pixels of a row at a time, as they
 * come into a window's sight (narrow-vector.h). */
#include "kernels/window.h"

#include "base/parallel.h"

#include <string.h>

#define ROWS    4                       /* of a task */
#define COLUMNS (LDM_NARROW_PIXELS + 2) /* of pixels that it sees at a time */

typedef struct {
    const LdmConv *c;
    const LdmLanes *lanes;
    size_t pitch;  /* floats of an output's weights of a tap */
    size_t bands;  /* tasks a picture */
    size_t shared; /* floats of scratch memory of all threads together, */
    size_t window; /* and of each: copied pixels */
    float *w;      /* [9][Cout][pitch], zeros beyond Cin */
    float *bias;   /* of the outputs of a few pixels, LDM_LINE */
    float *zero;   /* a pixel beyond the edge */
    float *copies; /* [threads][window] */
} NarrowJob;

static void job_init(NarrowJob *job, const LdmConv *c)
{
    *job = (NarrowJob){.c = c,
                       .lanes = ldm_lanes(),
                       .pitch = ldm_whole_lines(c->Cin),
                       .bands = ldm_parts(c->H, ROWS)};
    job->shared = (9 * c->Cout + 1) * job->pitch + LDM_LINE;
    job->window = ldm_window_floats(c, ROWS + 2, COLUMNS, job->pitch);
    job->w = c->scratch;
    job->bias = job->w + 9 * c->Cout * job->pitch;
    job->zero = job->bias + LDM_LINE;
    job->copies = job->w + job->shared;
}

bool ldm_conv_narrow_fits(const LdmConv *c)
{
    return ldm_conv_is_even(c) && c->upsample == 1 && c->Cout <= LDM_NARROW_OUTPUTS &&
           c->Cin >= LDM_LINE;
}

size_t ldm_conv_narrow_scratch(const LdmConv *c)
{
    NarrowJob job;
    job_init(&job, c);
    return (job.shared + ldm_threads() * job.window) * sizeof(float);
}

/* torch's [Cout][Cin][9] -> [9][Cout][pitch] */
static void lay_weights(const NarrowJob *job)
{
    const LdmConv *c = job->c;
    float taps[9];
    memset(job->w, 0, job->shared * sizeof(float));
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

/* Some neighbours in row r of the window, whose second column is column x of the picture. */
static void narrow_pixels(const NarrowJob *job, const LdmWindow *window, size_t r, size_t x)
{
    const LdmConv *c = job->c;
    float sums[LDM_NARROW_PIXELS * LDM_NARROW_OUTPUTS];
    LdmNarrow n = {.w = job->w, .C = c->Cin, .pitch = job->pitch, .y = sums};
    size_t at = ((window->image * c->H + window->top + 1 + r) * c->W + x) * c->Cout;
    size_t count = MIN(c->W - x, (size_t)LDM_NARROW_PIXELS) * c->Cout;
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < COLUMNS; j++)
            n.pixels[i][j] = ldm_window_pixel(window, r + i, j);
    job->lanes->narrow((int)c->Cout, &n);
    job->lanes->epilogue(count, job->bias, c->residual != NULL ? c->residual + at : NULL, sums);
    memcpy(c->y + at, sums, count * sizeof(float));
}

static void narrow_task(size_t index, int thread, void *data)
{
    const NarrowJob *job = data;
    const LdmConv *c = job->c;
    size_t image = index / job->bands, top = index % job->bands * ROWS;
    LdmWindow window = {.c = c,
                        .rows = ROWS + 2,
                        .columns = COLUMNS,
                        .pitch = job->pitch,
                        .copies = job->copies + thread * job->window,
                        .beyond = job->zero};
    for (size_t x = 0; x < c->W; x += LDM_NARROW_PIXELS) {
        ldm_window_move(&window, image, top - 1, x - 1);
        for (size_t r = 0; r < MIN(ROWS, c->H - top); r++)
            narrow_pixels(job, &window, r, x);
    }
}

bool ldm_conv_narrow(const LdmConv *c, GCancellable *cancellable)
{
    NarrowJob job;
    job_init(&job, c);
    lay_weights(&job);
    return ldm_parallel_for(c->N * job.bands, narrow_task, &job, cancellable);
}
