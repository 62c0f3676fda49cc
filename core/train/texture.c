/* The strength of detail. In: two sets of pictures. Out: how far apart the strengths are, and the
 * gradient. Filters of three taps, over pixels next to each other in the first octave and every
 * second one in the next, mirrored at the edge; on the way back each tap hands on what it took. */
#include "train/texture.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/parallel.h"
#include "train/mirror.h"

#include <math.h>
#include <string.h>

#define OCTAVES 2
#define WINDOW  8
#define STRIDE  4
#define FLOOR   0.004
#define BUFFERS 5 /* of a picture's size */

struct LdmTexture {
    size_t N, H, W, C;
    float *memory; /* [N, BUFFERS, H, W, C] */
    double *sums;  /* [N] */
};

size_t ldm_texture_bytes(size_t N, size_t H, size_t W, size_t C)
{
    return N * BUFFERS * H * W * C * sizeof(float);
}

LdmTexture *ldm_texture_new(size_t N, size_t H, size_t W, size_t C, GError **error)
{
    g_autoptr(LdmTexture) texture = g_new0(LdmTexture, 1);

    *texture = (LdmTexture){.N = N, .H = H, .W = W, .C = C, .sums = g_new(double, N)};
    texture->memory =
        ldm_aligned_alloc(N * BUFFERS * H * W * C, sizeof(float), _("the texture loss"), error);
    return texture->memory != NULL ? g_steal_pointer(&texture) : NULL;
}

void ldm_texture_reshape(LdmTexture *texture, size_t H, size_t W)
{
    texture->H = H;
    texture->W = W;
}

void ldm_texture_free(LdmTexture *texture)
{
    if (texture == NULL)
        return;
    ldm_aligned_free(texture->memory);
    g_free(texture->sums);
    g_free(texture);
}

/* ---- filters ---- */

typedef enum { LOW, HIGH } Filter;

/* One direction of a picture: `lines` lines, `line` floats apart, of `length` places of `width`
 * floats, which lie `step` apart. */
typedef struct {
    size_t lines, line, length, step, width;
    size_t dilation;
} Way;

static Way across(const LdmTexture *t, size_t dilation)
{
    return (Way){t->H, t->W * t->C, t->W, t->C, t->C, dilation};
}

static Way down(const LdmTexture *t, size_t dilation)
{
    return (Way){1, 0, t->H, t->W * t->C, t->W * t->C, dilation};
}

/* y = F x, or, `back`, y += F^T x. */
static void filter(const Way *way, Filter kind, bool back, const float *x, float *y)
{
    const float side = kind == LOW ? 0.25f : -0.25f, weights[] = {side, 0.5f, side};

    for (size_t at = 0; at < way->lines * way->length; at++) {
        size_t line = at / way->length * way->line, i = at % way->length;
        size_t here = line + i * way->step;
        for (int k = 0; k < 3; k++) {
            ptrdiff_t at_tap = (ptrdiff_t)i + (k - 1) * (ptrdiff_t)way->dilation;
            size_t there = line + ldm_mirror(at_tap, way->length) * way->step;
            for (size_t c = 0; c < way->width; c++) {
                float *to = &y[(back ? there : here) + c];
                float part = weights[k] * x[(back ? here : there) + c];
                *to = back || k > 0 ? *to + part : part;
            }
        }
    }
}

/* ---- strengths ---- */

/* Of the window that begins at `from`, of channel c: mean square. */
static double window_power(const LdmTexture *t, const float *band, size_t from)
{
    double sum = 0.0;

    for (size_t i = 0; i < WINDOW * WINDOW; i++) {
        double v = band[from + (i / WINDOW * t->W + i % WINDOW) * t->C];
        sum += v * v;
    }
    return sum / (WINDOW * WINDOW);
}

/* Mean (e(a) - e(b))^2 / e(a) of a band of both; g = its gradient by a. */
static double compare(const LdmTexture *t, const float *a, const float *b, double scale, float *g)
{
    size_t rows = (t->H - WINDOW) / STRIDE + 1, columns = (t->W - WINDOW) / STRIDE + 1;
    size_t windows = rows * columns * t->C;
    double sum = 0.0, floor = FLOOR * FLOOR;

    memset(g, 0, t->H * t->W * t->C * sizeof *g);
    for (size_t w = 0; w < windows; w++) {
        size_t place = w / t->C, row = place / columns * STRIDE, column = place % columns * STRIDE;
        size_t from = (row * t->W + column) * t->C + w % t->C;
        double ea = sqrt(window_power(t, a, from) + floor);
        double eb = sqrt(window_power(t, b, from) + floor), slope = 1.0 - eb * eb / (ea * ea);
        float share = (float)(scale * slope / ((double)windows * WINDOW * WINDOW * ea));
        sum += (ea - eb) * (ea - eb) / ea;
        for (size_t i = 0; i < WINDOW * WINDOW; i++) {
            size_t at = from + (i / WINDOW * t->W + i % WINDOW) * t->C;
            g[at] += share * a[at];
        }
    }
    return sum / (double)windows;
}

/* ---- pictures ---- */

typedef struct {
    const LdmTexture *texture;
    const float *a, *b;
    double scale;
    float *d;
} Job;

/* One octave of one picture, in each of both filters across. */
static double octave(const LdmTexture *t, size_t dilation, const float *a, const float *b,
                     double scale, float *d, float *memory)
{
    const Way way_across = across(t, dilation), way_down = down(t, dilation);
    size_t n = t->H * t->W * t->C;
    float *half_a = memory, *half_b = memory + n, *band_a = memory + 2 * n;
    float *band_b = memory + 3 * n, *g = memory + 4 * n;
    double sum = 0.0;

    for (int band = 0; band < 3; band++) { /* high across, both high, high down */
        Filter horizontal = band < 2 ? HIGH : LOW, vertical = band > 0 ? HIGH : LOW;
        if (band != 1) { /* which begins as the one before it */
            filter(&way_across, horizontal, false, a, half_a);
            filter(&way_across, horizontal, false, b, half_b);
        }
        filter(&way_down, vertical, false, half_a, band_a);
        filter(&way_down, vertical, false, half_b, band_b);
        sum += compare(t, band_a, band_b, scale, g);
        memset(band_a, 0, n * sizeof *band_a);
        filter(&way_down, vertical, true, g, band_a);
        filter(&way_across, horizontal, true, band_a, d);
    }
    return sum;
}

static void picture(size_t index, int thread, void *data)
{
    const Job *job = data;
    const LdmTexture *t = job->texture;
    size_t n = t->H * t->W * t->C;

    t->sums[index] = 0.0;
    for (size_t k = 0; k < OCTAVES && MIN(t->H, t->W) >= WINDOW; k++)
        t->sums[index] +=
            octave(t, (size_t)1 << k, job->a + index * n, job->b + index * n,
                   job->scale / (double)t->N, job->d + index * n, t->memory + index * BUFFERS * n);
}

double ldm_texture_distance(LdmTexture *texture, const float *a, const float *b, double scale,
                            float *d)
{
    Job job = {texture, a, b, scale, d};
    double sum = 0.0;

    ldm_parallel_for(texture->N, picture, &job, NULL);
    for (size_t i = 0; i < texture->N; i++)
        sum += texture->sums[i];
    return sum / (double)texture->N;
}
