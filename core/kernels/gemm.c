/* Linear layers: Y = X W^T + bias + residual on OpenBLAS, which runs on one thread per tile of Y.
 * The bias and the residual are put into a tile of Y first and the product is added to it, so Y
 * goes through the cache once. 16-bit weights are expanded a block of rows of W at a time. */
#include "kernels/gemm.h"

#include "base/parallel.h"

#include <cblas.h>
#include <string.h>

#define TILE_FLOPS  1e9 /* 10 to 50 ms on one core */
#define LEAST_SIDE  64  /* smaller tiles spend more time packing than multiplying */
#define BIAS_BUFFER 256

typedef struct {
    const LdmProduct *product;
    size_t rows, columns; /* of a tile */
    size_t across;        /* tiles side by side */
} TileJob;

/* Fills a tile of Y with what the product is to be added to. */
static void start_tile(const LdmProduct *p, size_t row, size_t rows, size_t column, size_t columns)
{
    const LdmLanes *lanes = ldm_lanes();
    float buffer[BIAS_BUFFER];
    for (size_t c = column; c < column + columns; c += BIAS_BUFFER) {
        size_t n = MIN(BIAS_BUFFER, column + columns - c);
        const float *bias =
            p->bias.data == NULL ? NULL : ldm_weights_f32(p->bias, c, n, buffer);
        for (size_t r = row; r < row + rows; r++) {
            float *y = p->y + r * p->N + c;
            const float *residual = p->residual == NULL ? NULL : p->residual + r * p->N + c;
            if (bias != NULL && residual != NULL)
                lanes->add(bias, residual, y, n);
            else if (bias != NULL)
                memcpy(y, bias, n * sizeof *y);
            else if (residual != NULL && residual != y)
                memcpy(y, residual, n * sizeof *y);
        }
    }
}

static void product_tile(size_t index, int thread, void *data)
{
    const TileJob *job = data;
    const LdmProduct *p = job->product;
    size_t row = index / job->across * job->rows, column = index % job->across * job->columns;
    size_t rows = MIN(job->rows, p->M - row), columns = MIN(job->columns, p->n - column);
    start_tile(p, row, rows, p->column + column, columns);
    float keep = p->bias.data == NULL && p->residual == NULL ? 0 : 1;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int) rows, (int) columns, (int) p->K, 1,
                p->x + row * p->K, (int) p->K, p->w + column * p->K, (int) p->K, keep,
                p->y + row * p->N + p->column + column, (int) p->N);
}

static size_t parts(size_t n, size_t size)
{
    return (n + size - 1) / size;
}

/* Half of n, rounded up to whole vectors. */
static size_t half(size_t n)
{
    return (n / 2 + 31) / 32 * 32;
}

/* Halves the longer side until a tile is short enough in time and every thread has some. */
static void choose_tile(const LdmProduct *p, TileJob *job)
{
    size_t wanted = ldm_threads() > 1 ? 4 * (size_t) ldm_threads() : 1;
    job->rows = p->M;
    job->columns = p->n;
    for (;;) {
        bool slow = 2.0 * job->rows * job->columns * p->K > TILE_FLOPS;
        size_t count = parts(p->M, job->rows) * parts(p->n, job->columns);
        size_t longer = MAX(job->rows, job->columns);
        if ((!slow && count >= wanted) || longer <= LEAST_SIDE)
            break;
        if (job->rows >= job->columns)
            job->rows = half(job->rows);
        else
            job->columns = half(job->columns);
    }
    job->across = parts(p->n, job->columns);
}

bool ldm_product_run(const LdmProduct *product, GCancellable *cancellable)
{
    TileJob job = {.product = product};
    choose_tile(product, &job);
    return ldm_parallel_for(parts(product->M, job.rows) * job.across, product_tile, &job,
                            cancellable);
}

typedef struct {
    LdmWeights weights;
    size_t first, n;
    float *dst;
} ExpandJob;

#define EXPAND_TILE ((size_t) 1 << 16)

static void expand_tile(size_t index, int thread, void *data)
{
    const ExpandJob *job = data;
    size_t at = index * EXPAND_TILE, n = MIN(EXPAND_TILE, job->n - at);
    const char *src = job->weights.data;
    src += (job->first + at) * (job->weights.dtype == LDM_F32 ? 4 : 2);
    ldm_convert_to_f32(src, job->weights.dtype, job->dst + at, n);
}

bool ldm_weights_expand(LdmWeights weights, size_t first, size_t n, float *dst,
                        GCancellable *cancellable)
{
    ExpandJob job = {weights, first, n, dst};
    return ldm_parallel_for(parts(n, EXPAND_TILE), expand_tile, &job, cancellable);
}

/* Rows of W expanded at a time. */
static size_t block_rows(size_t N, size_t K)
{
    size_t rows = LDM_WEIGHT_SCRATCH / sizeof(float) / MAX(K, 1);
    rows = CLAMP(rows, 1, N);
    return parts(N, parts(N, rows)); /* blocks of even size */
}

size_t ldm_gemm_scratch(size_t M, size_t N, size_t K, LdmDtype dtype)
{
    return dtype == LDM_F32 ? 0 : block_rows(N, K) * K * sizeof(float);
}

bool ldm_gemm(const LdmGemm *gemm, GCancellable *cancellable)
{
    size_t K = gemm->K, N = gemm->N;
    LdmProduct product = {
        .M = gemm->M, .K = K, .N = N, .x = gemm->x,
        .bias = gemm->bias, .residual = gemm->residual, .y = gemm->y,
    };
    if (gemm->w.dtype == LDM_F32) {
        product.n = N;
        product.w = gemm->w.data;
        return ldm_product_run(&product, cancellable);
    }
    size_t block = block_rows(N, K);
    product.w = gemm->scratch;
    for (size_t row = 0; row < N; row += block) {
        product.column = row;
        product.n = MIN(block, N - row);
        if (!ldm_weights_expand(gemm->w, row * K, product.n * K, gemm->scratch, cancellable) ||
            !ldm_product_run(&product, cancellable))
            return false;
    }
    return true;
}
