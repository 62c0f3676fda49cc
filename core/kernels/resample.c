/* Resizing pictures: first every row to its new width, then every column to its new height. The
 * weights of one axis are a table [out][taps] with the first input of each output; the sum of each
 * row is 1. Inputs beyond the edge are the edge's own value. */
#include "base/parallel.h"
#include "kernels/lanes.h"

#include <math.h>
#include <string.h>

#define LANCZOS_A 3

typedef struct {
    size_t taps;
    int32_t *first; /* [out]; may be negative */
    float *weights; /* [out][taps] */
} Axis;

/* Most taps any filter needs for this reduction. */
static size_t most_taps(size_t in, size_t out)
{
    return 2 * LANCZOS_A * (MAX(in, out) / out + 1) + 2;
}

static size_t axis_floats(size_t in, size_t out)
{
    return out * (most_taps(in, out) + 1);
}

size_t ldm_resample_scratch(size_t H, size_t W, size_t C, size_t Ho, size_t Wo)
{
    return (H * Wo * C + axis_floats(W, Wo) + axis_floats(H, Ho)) * sizeof(float);
}

static double lanczos(double x)
{
    if (fabs(x) < 1e-9)
        return 1;
    if (fabs(x) >= LANCZOS_A)
        return 0;
    double t = G_PI * x;
    return LANCZOS_A * sin(t) * sin(t / LANCZOS_A) / (t * t);
}

/* The weight of input i (its pixel is i .. i + 1) for output o (o * step .. (o + 1) * step). */
static double weight(LdmResample filter, double i, double o, double step)
{
    double distance = i + 0.5 - (o + 0.5) * step;
    if (filter == LDM_RESAMPLE_LANCZOS)
        return lanczos(distance / MAX(step, 1));
    if (filter == LDM_RESAMPLE_BILINEAR)
        return MAX(1 - fabs(distance), 0);
    return MAX(MIN(i + 1, (o + 1) * step) - MAX(i, o * step), 0);
}

/* Half of the input span an output looks at. */
static double radius(LdmResample filter, double step)
{
    if (filter == LDM_RESAMPLE_LANCZOS)
        return LANCZOS_A * MAX(step, 1);
    return filter == LDM_RESAMPLE_BILINEAR ? 1 : 0.5 * step + 1;
}

/* Builds the table in memory of axis_floats(in, out) floats. */
static Axis make_axis(LdmResample filter, size_t in, size_t out, float *memory)
{
    Axis axis = {.taps = most_taps(in, out), .first = (int32_t *)memory, .weights = memory + out};
    double step = (double)in / (double)out;
    for (size_t o = 0; o < out; o++) {
        double start = floor((o + 0.5) * step - 0.5 - radius(filter, step)), sum = 0;
        float *weights = axis.weights + o * axis.taps;
        axis.first[o] = (int32_t)start;
        for (size_t t = 0; t < axis.taps; t++)
            sum += weight(filter, start + t, (double)o, step);
        for (size_t t = 0; t < axis.taps; t++)
            weights[t] = (float)(weight(filter, start + t, (double)o, step) / sum);
    }
    return axis;
}

typedef struct {
    const LdmLanes *lanes;
    Axis axis;
    size_t in, out; /* along the axis */
    size_t width;   /* floats of an element: C across rows, Wo * C across columns */
    const float *x;
    float *y;
} Pass;

/* Output element o of the vector of `in` elements at x. */
static void resample_one(const Pass *pass, const float *x, size_t o, float *y)
{
    const float *weights = pass->axis.weights + o * pass->axis.taps;
    memset(y, 0, pass->width * sizeof *y);
    for (size_t t = 0; t < pass->axis.taps; t++) {
        if (weights[t] == 0)
            continue;
        ptrdiff_t i = CLAMP(pass->axis.first[o] + (ptrdiff_t)t, 0, (ptrdiff_t)pass->in - 1);
        pass->lanes->add_scaled(weights[t], x + (size_t)i * pass->width, y, pass->width);
    }
}

/* One row of the picture. */
static void row_tile(size_t index, int thread, void *data)
{
    const Pass *pass = data;
    const float *x = pass->x + index * pass->in * pass->width;
    float *y = pass->y + index * pass->out * pass->width;
    for (size_t o = 0; o < pass->out; o++)
        resample_one(pass, x, o, y + o * pass->width);
}

/* One output row from all input rows. */
static void column_tile(size_t index, int thread, void *data)
{
    const Pass *pass = data;
    resample_one(pass, pass->x, index, pass->y + index * pass->width);
}

bool ldm_resample(LdmResample filter, const LdmTensor *x, const LdmTensor *y, void *scratch,
                  GCancellable *cancellable)
{
    size_t H = x->shape[1], W = x->shape[2], C = x->shape[3];
    size_t Ho = y->shape[1], Wo = y->shape[2];
    float *middle = scratch, *tables = middle + H * Wo * C; /* middle: [H, Wo, C] */
    Pass rows = {ldm_lanes(), make_axis(filter, W, Wo, tables), W, Wo, C, x->data, middle};
    tables += axis_floats(W, Wo);
    Pass columns = {ldm_lanes(), make_axis(filter, H, Ho, tables), H, Ho, Wo * C, middle, y->data};
    return ldm_parallel_for(H, row_tile, &rows, cancellable) &&
           ldm_parallel_for(Ho, column_tile, &columns, cancellable);
}
