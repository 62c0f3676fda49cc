/* Speed of the kernels on the shapes of a Stable Diffusion 1.5 UNet at 512 x 512 pixels, best of a
 * few short runs, and in turn with it of multiply-adds in registers, by the kernel's instruction:
 * the processor's clock goes up and down. FLOPs are the direct sum's, so Winograd exceeds 100 %.
 * OpenBLAS, where it was built in, does f32 products, too. PENTIMENTO_THREADS=1 counts processor's
 * time and not the clock's, so that other programs disturb less.
 *     bench-kernels [SUBSTRING]      only the lines whose name contains SUBSTRING */
#include "base/checked.h"
#include "base/parallel.h"
#include "kernels/pairs.h"
#include "kernels/q8.h"
#include "tensor/half.h"

#ifdef __x86_64__
#include "kernels/amx-instructions.h"
#define AMX_MULTIPLY AMX_MULTIPLY_BF16
#include "kernels/amx.h"
#include <immintrin.h>
#endif
#ifdef WITH_OPENBLAS
#include <cblas.h>
#endif

#include <stdio.h>
#include <string.h>
#include <time.h>

#define BUDGET 0.4 /* seconds per line */

typedef bool (*Runner)(const void *data);

static const char *wanted = "";
/* Multiply-adds in registers, one thread's, and how many FLOPs they are; NULL: none was written. */
typedef struct {
    LdmTileFunc run;
    double flops;
} Yardstick;
static Yardstick in_f32, in_bf16, in_bytes;
static float sink; /* takes results, lest they be optimised away */

/* 12 independent sums hide the latency of 4 cycles twice a cycle. Their numbers fill the vectors:
 * multiplying zeros takes less power, and some processors then clock higher (a Xeon by 9 %) than
 * they can for anything that is of use. */
static float both_halves(float x) /* a number, and a pair of bf16 */
{
    uint32_t bits = ldm_float_bits(x);
    return ldm_float_from_bits((bits & 0xffff0000) | bits >> 16);
}

#define PEAK_STEPS 2000000
#define PEAK_SUMS  12
#define PEAK(name, lanes, attributes, MULTIPLY_ADD)                                         \
    attributes static void name(size_t index, int thread, void *data)                       \
    {                                                                                       \
        typedef float Vec __attribute__((vector_size(4 * lanes)));                          \
        Vec sum[PEAK_SUMS], a, b, total = {0};                                              \
        for (int i = 0; i < lanes; i++) {                                                   \
            a[i] = both_halves(0.37f + 0.03f * (float)i);                                   \
            b[i] = both_halves(1.1f - 0.07f * (float)i);                                    \
        }                                                                                   \
        _Pragma("GCC unroll 12") for (int k = 0; k < PEAK_SUMS; k++) sum[k] = b * (float)k; \
        for (int i = 0; i < PEAK_STEPS; i++) {                                              \
            _Pragma("GCC unroll 12") for (int k = 0; k < PEAK_SUMS; k++) sum[k] =           \
                MULTIPLY_ADD(sum[k], a, b);                                                 \
        }                                                                                   \
        _Pragma("GCC unroll 12") for (int k = 0; k < PEAK_SUMS; k++) total += sum[k];       \
        sink += total[0];                                                                   \
    }
#define F32(sum, a, b) ((sum) * (a) + (b))
PEAK(peak_base, 4, , F32)
#ifdef __x86_64__
#define BF16(sum, a, b)  ((Vec)_mm512_dpbf16_ps((__m512)(sum), (__m512bh)(a), (__m512bh)(b)))
#define BYTES(sum, a, b) ((Vec)_mm512_dpbusd_epi32((__m512i)(sum), (__m512i)(a), (__m512i)(b)))
PEAK(peak_avx2, 8, __attribute__((target("avx2,fma"))), F32)
PEAK(peak_avx512, 16, __attribute__((target("avx512f,fma"))), F32)
PEAK(peak_bf16, 16, __attribute__((target("avx512f,avx512bf16"))), BF16)
PEAK(peak_bytes, 16, __attribute__((target("avx512f,avx512vnni"))), BYTES)

/* Four products to every register of sums: one takes 16 cycles, and is done after some 52. */
#define PEAK_TILES 100000
#define PEAK_AMX(name, MULTIPLY)                                    \
    static void name(size_t index, int thread, void *data)          \
    {                                                               \
        float words[SIDE * SIDE];                                   \
        for (int i = 0; i < SIDE * SIDE; i++)                       \
            words[i] = both_halves(1.1f - 0.07f * (float)(i % 31)); \
        amx_shape(AMX_ROWS);                                        \
        amx_zero(true, true);                                       \
        AMX_LOAD(4, words, AMX_SIDE);                               \
        AMX_LOAD(5, words, AMX_SIDE);                               \
        AMX_LOAD(6, words, AMX_SIDE);                               \
        AMX_LOAD(7, words, AMX_SIDE);                               \
        for (int i = 0; i < PEAK_TILES; i++) {                      \
            MULTIPLY(0, 4, 6);                                      \
            MULTIPLY(1, 4, 7);                                      \
            MULTIPLY(2, 5, 6);                                      \
            MULTIPLY(3, 5, 7);                                      \
        }                                                           \
    }
PEAK_AMX(peak_amx_bf16, AMX_MULTIPLY_BF16)
PEAK_AMX(peak_amx_bytes, AMX_MULTIPLY_BYTES)
#endif

/* Of `words` 32-bit words a step, each `each` multiply-adds. */
static Yardstick yardstick(LdmTileFunc run, double words, double each, double steps)
{
    return (Yardstick){run, 2 * words * each * steps * ldm_threads()};
}

static void choose_yardsticks(void)
{
    const double vectors = (double)PEAK_SUMS * PEAK_STEPS;
    in_f32 = yardstick(peak_base, 4, 1, vectors);
#ifdef __x86_64__
    const double tiles = 4.0 * SIDE * SIDE * SIDE;
    if (strcmp(ldm_kernels_name(), "avx512") == 0)
        in_f32 = yardstick(peak_avx512, 16, 1, vectors);
    else if (strcmp(ldm_kernels_name(), "avx2") == 0)
        in_f32 = yardstick(peak_avx2, 8, 1, vectors);
    if (ldm_pairs() == &ldm_pairs_amx)
        in_bf16 = yardstick(peak_amx_bf16, tiles, 2, PEAK_TILES);
    else if (ldm_pairs() == &ldm_pairs_avx512)
        in_bf16 = yardstick(peak_bf16, 16, 2, vectors);
    if (ldm_q8_lanes() == &ldm_q8_amx)
        in_bytes = yardstick(peak_amx_bytes, tiles, 4, PEAK_TILES);
    else if (ldm_q8_lanes() == &ldm_q8_avx512)
        in_bytes = yardstick(peak_bytes, 16, 4, vectors);
#endif
}

static double now(void)
{
    struct timespec time;
    clock_gettime(ldm_threads() == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static double seconds_of(Runner run, const void *data)
{
    double start = now();
    run(data);
    return now() - start;
}

static bool run_peak(const void *data)
{
    return ldm_parallel_for((size_t)ldm_threads(), ((const Yardstick *)data)->run, NULL, NULL);
}

/* Seconds of the fastest run, and of the yardstick's fastest one in turn with it, where there is
 * one. */
static double best_time(Runner run, const void *data, const Yardstick *yardstick, double *measure)
{
    double best = 1e9, spent = 0;
    for (int i = 0; i < 3 || (spent < BUDGET && i < 50); i++) {
        if (yardstick->run != NULL) {
            double peak_seconds = seconds_of(run_peak, yardstick);
            *measure = i == 0 ? peak_seconds : MIN(*measure, peak_seconds);
        }
        double seconds = seconds_of(run, data);
        best = MIN(best, seconds);
        spent += seconds;
    }
    return best;
}

static void report(const char *name, const Yardstick *yardstick, double flops, Runner run,
                   const void *data)
{
    double measure = 0, seconds = best_time(run, data, yardstick, &measure);
    double speed = flops / seconds, peak = yardstick->run != NULL ? yardstick->flops / measure : 0;
    printf("| %-34s | %9.3f | %8.1f |", name, seconds * 1e3, speed * 1e-9);
    if (peak > 0)
        printf(" %8.1f | %5.0f |\n", peak * 1e-9, 100 * speed / peak);
    else
        printf(" | |\n");
}

/* For work that moves memory rather than multiplies. */
static void report_bytes(const char *name, double bytes, Runner run, const void *data)
{
    double seconds = best_time(run, data, &(Yardstick){NULL}, NULL);
    printf("| %-34s | %9.3f | %8.1f GB/s | | |\n", name, seconds * 1e3, bytes / seconds * 1e-9);
}

static bool is_wanted(const char *name)
{
    return strstr(name, wanted) != NULL;
}

static void begin(void)
{
    choose_yardsticks();
    printf("%s, %d threads, the fastest of some runs; peak: multiply-adds in registers by the same "
           "instruction, in turn with them.\n\n"
           "| kernel | ms | GFLOP/s | peak, GFLOP/s | %% |\n|---|--:|--:|--:|--:|\n",
           ldm_kernels_name(), ldm_threads());
}

/* Numbers of a network's size, -1 .. 1. */
static float *numbers(size_t n)
{
    float *x = ldm_aligned_alloc(n, sizeof *x, "benchmark", NULL);
    uint32_t state = 1;
    for (size_t i = 0; x != NULL && i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(state >> 8) * 0x1p-23f - 1;
    }
    return x;
}

static LdmWeights constants(size_t n, LdmDtype dtype)
{
    float *x = numbers(n);
    if (x != NULL && dtype != LDM_F32) {
        uint16_t *half = ldm_aligned_alloc(n, sizeof *half, "benchmark", NULL);
        ldm_convert_from_f32(x, dtype, half, n);
        ldm_aligned_free(x);
        return (LdmWeights){half, dtype};
    }
    return (LdmWeights){x, dtype};
}

typedef struct {
    LdmConv conv;
    LdmQ8 q8;
} Q8Conv;

static bool run_q8(const void *data)
{
    const Q8Conv *q8 = data;
    return ldm_q8_conv(&q8->conv, &q8->q8, NULL);
}

/* A convolution that has been measured, with its weights in 8 bits. */
static void bench_q8(const LdmConv *conv, double flops)
{
    size_t taps = conv->KH * conv->KW, bytes = ldm_q8_bytes(conv->Cout, conv->Cin, taps);
    void *memory = ldm_aligned_alloc(bytes, 1, "benchmark", NULL);
    Q8Conv run = {*conv, ldm_q8_place(conv->Cout, conv->Cin, taps, memory)};
    run.conv.scratch = ldm_aligned_alloc(ldm_q8_conv_scratch(conv), 1, "benchmark", NULL);
    ldm_q8_round(&run.q8, conv->w, NULL);
    report("    in q8, the same", &in_bytes, flops, run_q8, &run);
    ldm_aligned_free(run.conv.scratch);
    ldm_aligned_free(memory);
}

static bool run_gemm(const void *data)
{
    return ldm_gemm(data, NULL);
}

#ifdef WITH_OPENBLAS
static bool run_openblas(const void *data)
{
    const LdmGemm *g = data;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)g->M, (int)g->N, (int)g->K, 1, g->x,
                (int)g->K, g->w.data, (int)g->K, 0, g->y, (int)g->N);
    return true;
}
#endif

static void bench_gemm(size_t M, size_t K, size_t N, LdmDtype dtype)
{
    g_autofree char *name =
        g_strdup_printf("gemm %zux%zux%zu %s", M, K, N, dtype == LDM_F32 ? "f32" : "f16");
    if (!is_wanted(name))
        return;
    LdmGemm gemm = {.M = M, .N = N, .K = K, .x = numbers(M * K), .y = numbers(M * N)};
    gemm.w = constants(N * K, dtype);
    gemm.bias = constants(N, dtype);
    gemm.scratch = ldm_aligned_alloc(ldm_gemm_scratch(), 1, "benchmark", NULL);
    report(name, &in_f32, 2.0 * M * N * K, run_gemm, &gemm);
    if (ldm_kernels_have_bf16()) {
        gemm.bf16 = true;
        report("    in bf16, the same", &in_bf16, 2.0 * M * N * K, run_gemm, &gemm);
    }
    bench_q8(
        &(LdmConv){1, 1, M, K, N, 1, 1, 1, 0, 0, 0, 0, 1, gemm.x, gemm.w, gemm.bias, NULL, gemm.y},
        2.0 * M * N * K);
#ifdef WITH_OPENBLAS
    if (dtype == LDM_F32)
        report("    OpenBLAS, the same", &in_f32, 2.0 * M * N * K, run_openblas, &gemm);
#endif
    ldm_aligned_free((void *)gemm.x);
    ldm_aligned_free(gemm.y);
    ldm_aligned_free((void *)gemm.w.data);
    ldm_aligned_free((void *)gemm.bias.data);
    ldm_aligned_free(gemm.scratch);
}

static bool run_conv(const void *data)
{
    return ldm_conv(data, NULL);
}

static void bench_conv(size_t Cin, size_t Cout, size_t side, LdmDtype dtype, int upsample)
{
    g_autofree char *name =
        g_strdup_printf("conv3x3 %zu->%zu @%zu %s%s", Cin, Cout, side,
                        dtype == LDM_F32 ? "f32" : "f16", upsample == 2 ? " enlarged" : "");
    if (!is_wanted(name))
        return;
    LdmConv conv = {1, side, side, Cin, Cout, 3, 3, 1, 1, 1, 1, 1, upsample};
    size_t pixels = side * side * upsample * upsample;
    conv.x = numbers(side * side * Cin);
    conv.y = numbers(pixels * Cout);
    conv.w = constants(Cout * Cin * 9, dtype);
    conv.bias = constants(Cout, dtype);
    conv.scratch = ldm_aligned_alloc(ldm_conv_scratch(&conv), 1, "benchmark", NULL);
    report(name, &in_f32, 2.0 * pixels * Cin * Cout * 9, run_conv, &conv);
    bench_q8(&conv, 2.0 * pixels * Cin * Cout * 9);
    ldm_aligned_free((void *)conv.x);
    ldm_aligned_free(conv.y);
    ldm_aligned_free((void *)conv.w.data);
    ldm_aligned_free((void *)conv.bias.data);
    ldm_aligned_free(conv.scratch);
}

static bool run_attention(const void *data)
{
    return ldm_attention(data, NULL);
}

static void bench_attention(size_t Tq, size_t Tk, size_t d)
{
    g_autofree char *name = g_strdup_printf("attention %zux%zu 8 heads d=%zu", Tq, Tk, d);
    if (!is_wanted(name))
        return;
    LdmAttention a = {.N = 1, .Nkv = 1, .Tq = Tq, .Tk = Tk, .heads = 8, .d = d, .scale = 0.2f};
    a.q_stride = a.k_stride = a.v_stride = 8 * d;
    float *q = numbers(Tq * 8 * d), *kv = numbers(Tk * 8 * d);
    a.q = q;
    a.k = a.v = kv;
    a.y = numbers(Tq * 8 * d);
    a.scratch = ldm_aligned_alloc(ldm_attention_scratch(&a), 1, "benchmark", NULL);
    report(name, &in_f32, 4.0 * Tq * Tk * 8 * d, run_attention, &a);
    if (ldm_kernels_have_bf16()) {
        a.bf16 = true;
        report("    in bf16, the same", &in_bf16, 4.0 * Tq * Tk * 8 * d, run_attention, &a);
    }
    ldm_aligned_free(q);
    ldm_aligned_free(kv);
    ldm_aligned_free(a.y);
    ldm_aligned_free(a.scratch);
}

static bool run_group_norm(const void *data)
{
    return ldm_group_norm(data, NULL);
}

typedef struct {
    size_t n, C;
    const float *x;
    float *y;
} Elementwise;

static bool run_silu(const void *data)
{
    const Elementwise *e = data;
    return ldm_activate(LDM_ACT_SILU, e->n, e->x, e->y, NULL);
}

static bool run_geglu(const void *data)
{
    const Elementwise *e = data;
    return ldm_geglu(e->n / e->C, e->C, e->x, e->y, NULL);
}

static bool run_layer_norm(const void *data)
{
    const Elementwise *e = data;
    LdmWeights ones = {e->x, LDM_F32};
    LdmGroupNorm norm = {.N = e->n / e->C,
                         .P = 1,
                         .C = e->C,
                         .groups = 1,
                         .eps = 1e-5f,
                         .x = e->x,
                         .gamma = ones,
                         .beta = ones,
                         .y = e->y};
    return ldm_layer_norm(&norm, NULL);
}

/* Bytes: what is read and written at least. */
static void bench_memory(void)
{
    size_t n = 4096 * 1280;
    Elementwise e = {.n = n, .C = 1280, .x = numbers(2 * n), .y = numbers(n)};
    LdmGroupNorm norm = {.N = 1, .P = 4096, .C = 320, .groups = 32, .eps = 1e-5f, .silu = true};
    norm.x = e.x;
    norm.y = e.y;
    norm.gamma = norm.beta = (LdmWeights){e.x, LDM_F32};
    norm.scratch = numbers(ldm_group_norm_scratch(&norm) / sizeof(float));
    if (is_wanted("group norm"))
        report_bytes("group norm + SiLU 320 @64", 8.0 * 4096 * 320, run_group_norm, &norm);
    if (is_wanted("layer norm")) {
        e.C = 320;
        report_bytes("layer norm 16384x320", 8.0 * n, run_layer_norm, &e);
    }
    if (is_wanted("silu"))
        report_bytes("silu 5 M", 8.0 * n, run_silu, &e);
    if (is_wanted("geglu")) {
        e.C = 1280;
        report_bytes("geglu 4096x1280", 12.0 * n, run_geglu, &e);
    }
    ldm_aligned_free(norm.scratch);
    ldm_aligned_free((void *)e.x);
    ldm_aligned_free(e.y);
}

int main(int argc, char **argv)
{
    static const size_t convs[][3] = {
        {320, 320, 64},   {640, 640, 32}, {1280, 1280, 16}, {1280, 1280, 8},
        {2560, 1280, 16}, {960, 320, 64}, {4, 320, 64},     {320, 4, 64},
    };
    wanted = argc > 1 ? argv[1] : "";
#ifdef WITH_OPENBLAS
    openblas_set_num_threads(ldm_threads());
#endif
    begin();
    bench_gemm(2048, 2048, 2048, LDM_F32);
    for (LdmDtype dtype = LDM_F32; dtype <= LDM_F16; dtype++) {
        for (size_t i = 0; i < G_N_ELEMENTS(convs); i++)
            bench_conv(convs[i][0], convs[i][1], convs[i][2], dtype, 1);
        bench_gemm(4096, 320, 320, dtype);
        bench_gemm(4096, 320, 2560, dtype);
        bench_gemm(1024, 2560, 640, dtype);
        bench_gemm(64, 1280, 1280, dtype);
        bench_gemm(1, 1280, 1280, dtype);
    }
    bench_conv(640, 640, 32, LDM_F16, 2);
    bench_conv(128, 128, 512, LDM_F16, 1);
    bench_conv(128, 128, 256, LDM_F16, 1);
    bench_conv(256, 256, 256, LDM_F16, 1);
    bench_conv(256, 256, 128, LDM_F16, 1);
    bench_conv(512, 512, 64, LDM_F16, 1);
    bench_conv(512, 512, 128, LDM_F16, 1);
    bench_attention(4096, 4096, 40);
    bench_attention(1024, 1024, 80);
    bench_attention(256, 256, 160);
    bench_attention(4096, 77, 40);
    bench_memory();
    return 0;
}
