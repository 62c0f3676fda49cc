/* The Laplacian pyramid of a difference G_0 = a - b: bands L_j = G_j - B G_j, next level G_j+1 =
 * every second pixel of B G_j; the last level is a band of its own. B is the binomial 1 4 6 4 1 in
 * both directions on the mirrored picture, which makes it its own adjoint: with g the gradients,
 * g(G_j) = g(L_j) + B (g(G_j+1) put back in place - g(L_j)). */
#include "train/pyramid.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/parallel.h"
#include "train/mirror.h"

#include <math.h>
#include <string.h>

#define LEVELS   6 /* at most, the last included */
#define SMALLEST 8 /* side of the last level, at least half of it */

typedef struct {
    size_t H, W;
    size_t first; /* its floats' place in a picture's memory */
} Level;

struct LdmPyramid {
    size_t N, C, floats; /* floats: of one picture: levels, two pictures' scratch */
    int levels;
    Level level[LEVELS];
    float *memory;
    double *sums; /* [N] */
};

/* Floats of one picture. */
static size_t lay_out(LdmPyramid *pyramid, size_t H, size_t W)
{
    size_t floats = 0;

    for (pyramid->levels = 0; pyramid->levels < LEVELS; pyramid->levels++) {
        pyramid->level[pyramid->levels] = (Level){H, W, floats};
        floats += H * W * pyramid->C;
        if (MIN(H, W) <= SMALLEST) {
            pyramid->levels++;
            break;
        }
        H = (H + 1) / 2;
        W = (W + 1) / 2;
    }
    return floats + 2 * pyramid->level[0].H * pyramid->level[0].W * pyramid->C;
}

size_t ldm_pyramid_bytes(size_t N, size_t H, size_t W, size_t C)
{
    LdmPyramid pyramid = {.N = N, .C = C};

    return N * lay_out(&pyramid, H, W) * sizeof(float);
}

LdmPyramid *ldm_pyramid_new(size_t N, size_t H, size_t W, size_t C, GError **error)
{
    g_autoptr(LdmPyramid) pyramid = g_new0(LdmPyramid, 1);

    pyramid->N = N;
    pyramid->C = C;
    pyramid->floats = lay_out(pyramid, H, W);
    pyramid->sums = g_new(double, N);
    pyramid->memory = ldm_aligned_alloc(N * pyramid->floats, sizeof(float),
                                        _("the pyramids of the perceptual loss"), error);
    return pyramid->memory != NULL ? g_steal_pointer(&pyramid) : NULL;
}

void ldm_pyramid_reshape(LdmPyramid *pyramid, size_t H, size_t W)
{
    pyramid->floats = lay_out(pyramid, H, W);
}

void ldm_pyramid_free(LdmPyramid *pyramid)
{
    if (pyramid == NULL)
        return;
    ldm_aligned_free(pyramid->memory);
    g_free(pyramid->sums);
    g_free(pyramid);
}

/* One direction: n lines of `length` steps, `step` floats apart. */
static void blur_line(const float *x, size_t length, size_t step, size_t width, float *y)
{
    static const float weights[] = {1 / 16.0f, 4 / 16.0f, 6 / 16.0f, 4 / 16.0f, 1 / 16.0f};

    for (size_t i = 0; i < length; i++) {
        float *out = y + i * step;
        memset(out, 0, width * sizeof *out);
        for (int k = 0; k < 5; k++) {
            const float *from = x + ldm_mirror((ptrdiff_t)i + k - 2, length) * step;
            for (size_t c = 0; c < width; c++)
                out[c] += weights[k] * from[c];
        }
    }
}

/* y = B x; `between` has x's size. */
static void blur(const float *x, size_t H, size_t W, size_t C, float *between, float *y)
{
    for (size_t h = 0; h < H; h++)
        blur_line(x + h * W * C, W, C, C, between + h * W * C);
    blur_line(between, H, W * C, W * C, y);
}

/* Sum of |x|, and x becomes its gradient. */
static double absolute(float *x, size_t n, double scale)
{
    double sum = 0.0;

    for (size_t i = 0; i < n; i++) {
        sum += fabs((double)x[i]);
        x[i] = x[i] > 0.0f ? (float)scale : x[i] < 0.0f ? (float)-scale : 0.0f;
    }
    return sum / (double)n;
}

typedef struct {
    LdmPyramid *pyramid;
    const float *a, *b;
    double scale;
    float *d;
} Job;

/* Levels become bands, finest first; returns the distance, bands their gradients. */
static double forward(const Job *job, float *memory, float *blurred, float *between)
{
    const LdmPyramid *p = job->pyramid;
    double distance = 0.0;

    for (int j = 0; j < p->levels; j++) {
        const Level *level = &p->level[j];
        size_t n = level->H * level->W * p->C;
        float *g = memory + level->first;
        if (j + 1 < p->levels) {
            const Level *next = &p->level[j + 1];
            blur(g, level->H, level->W, p->C, between, blurred);
            for (size_t i = 0; i < next->H * next->W; i++)
                memcpy(memory + next->first + i * p->C,
                       blurred + (i / next->W * 2 * level->W + i % next->W * 2) * p->C,
                       p->C * sizeof(float));
            for (size_t i = 0; i < n; i++)
                g[i] -= blurred[i];
        }
        distance += absolute(g, n, job->scale / ((double)p->N * (double)n));
    }
    return distance;
}

/* Bands' gradients become levels', coarsest first. */
static void backward(const Job *job, float *memory, float *blurred, float *between)
{
    const LdmPyramid *p = job->pyramid;

    for (int j = p->levels - 2; j >= 0; j--) {
        const Level *level = &p->level[j], *next = &p->level[j + 1];
        size_t n = level->H * level->W * p->C;
        float *g = memory + level->first, *rest = between;
        for (size_t i = 0; i < n; i++)
            rest[i] = -g[i];
        for (size_t i = 0; i < next->H * next->W; i++)
            for (size_t c = 0; c < p->C; c++)
                rest[(i / next->W * 2 * level->W + i % next->W * 2) * p->C + c] +=
                    memory[next->first + i * p->C + c];
        for (size_t h = 0; h < level->H; h++)
            blur_line(rest + h * level->W * p->C, level->W, p->C, p->C,
                      blurred + h * level->W * p->C);
        blur_line(blurred, level->H, level->W * p->C, level->W * p->C, rest);
        for (size_t i = 0; i < n; i++)
            g[i] += rest[i];
    }
}

static void picture(size_t index, int thread, void *data)
{
    const Job *job = data;
    const LdmPyramid *p = job->pyramid;
    size_t n = p->level[0].H * p->level[0].W * p->C;
    float *memory = p->memory + index * p->floats;
    float *blurred = memory + p->floats - 2 * n, *between = blurred + n;
    float *d = job->d + index * n;

    for (size_t i = 0; i < n; i++)
        memory[i] = job->a[index * n + i] - job->b[index * n + i];
    p->sums[index] = forward(job, memory, blurred, between);
    backward(job, memory, blurred, between);
    for (size_t i = 0; i < n; i++)
        d[i] += memory[i];
}

double ldm_pyramid_distance(LdmPyramid *pyramid, const float *a, const float *b, double scale,
                            float *d)
{
    Job job = {pyramid, a, b, scale, d};
    double sum = 0.0;

    ldm_parallel_for(pyramid->N, picture, &job, NULL);
    for (size_t i = 0; i < pyramid->N; i++)
        sum += pyramid->sums[i];
    return sum / (double)pyramid->N;
}
