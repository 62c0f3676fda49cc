/* Newton and Schulz's iteration with the coefficients of Muon. In: a matrix. Out: one with the same
 * singular vectors and values about one. Products take the shorter side's square. */
#include "train/muon.h"

#include "kernels/kernels.h"
#include "train/squares.h"

#include <math.h>

#define STEPS 5
#define LEAST 1e-7 /* that a norm may be */

/* p(s) = s (A + B s^2 + C s^4) brings values from 0 .. 1 up fast rather than exactly to 1. */
#define FIRST 3.4445f
#define THIRD (-4.7750f)
#define FIFTH 2.0315f

/* [short, long] matrices and [short, short] ones. */
typedef struct {
    size_t short_side, long_side;
    bool bf16;
    float *x, *next, *gram, *square;
    void *scratch;
} Work;

size_t ldm_muon_scratch(size_t rows, size_t columns)
{
    size_t n = MIN(rows, columns);

    return 2 * (rows * columns + n * n) * sizeof(float) + ldm_gemm_scratch();
}

static Work work_new(size_t rows, size_t columns, bool bf16, float *scratch)
{
    size_t n = MIN(rows, columns), k = MAX(rows, columns);
    Work work = {.short_side = n, .long_side = k, .bf16 = bf16, .x = scratch};

    work.next = work.x + n * k;
    work.gram = work.next + n * k;
    work.square = work.gram + n * n;
    work.scratch = work.square + n * n;
    return work;
}

/* y = x w^T, or, `onto`, y += x w. */
static void multiply(const Work *work, const float *x, const float *w, size_t columns, size_t depth,
                     bool onto, float *y)
{
    ldm_gemm(&(LdmGemm){.M = work->short_side,
                        .N = columns,
                        .K = depth,
                        .x = x,
                        .w = {w, LDM_F32},
                        .residual = onto ? y : NULL,
                        .y = y,
                        .scratch = work->scratch,
                        .transposed = onto,
                        .bf16 = work->bf16},
             NULL);
}

/* X (FIRST + THIRD X^T X + FIFTH (X^T X)^2), from the left. */
static void iterate(Work *work)
{
    size_t n = work->short_side, k = work->long_side;
    float *next = work->next;

    multiply(work, work->x, work->x, n, k, false, work->gram);
    multiply(work, work->gram, work->gram, n, n, false, work->square);
    for (size_t i = 0; i < n * n; i++)
        work->square[i] = THIRD * work->gram[i] + FIFTH * work->square[i];
    for (size_t i = 0; i < n * k; i++)
        next[i] = FIRST * work->x[i];
    multiply(work, work->square, work->x, k, n, true, next);
    work->next = work->x;
    work->x = next;
}

void ldm_muon_orthogonalise(float *matrix, size_t rows, size_t columns, bool bf16, void *scratch)
{
    Work work = work_new(rows, columns, bf16, scratch);
    float scale = (float)(1.0 / MAX(sqrt(ldm_sum_of_squares(matrix, rows * columns)), LEAST));
    size_t down = rows > columns ? 1 : columns, right = rows > columns ? columns : 1;

    for (size_t i = 0; i < work.short_side; i++)
        for (size_t j = 0; j < work.long_side; j++)
            work.x[i * work.long_side + j] = matrix[i * down + j * right] * scale;
    for (int i = 0; i < STEPS; i++)
        iterate(&work);
    for (size_t i = 0; i < work.short_side; i++)
        for (size_t j = 0; j < work.long_side; j++)
            matrix[i * down + j * right] = work.x[i * work.long_side + j];
}
