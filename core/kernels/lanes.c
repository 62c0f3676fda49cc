/* Picks the inner loops for this processor, once; PENTIMENTO_CPU forces a lesser set. Out goes the
 * table that every kernel works with. */
#include "kernels/pairs.h"
#include "kernels/q8.h"

#include <string.h>
#ifdef __x86_64__
#include <sys/syscall.h>
#include <unistd.h>
#elif defined __aarch64__
#include <sys/auxv.h>
#endif

static const LdmLanes *pick(void)
{
    const LdmLanes *sets[3] = {&ldm_lanes_base};
    int n = 1;
#ifdef __x86_64__
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("f16c"))
        sets[n++] = &ldm_lanes_avx2;
    if (n == 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        sets[n++] = &ldm_lanes_avx512;
#elif defined __aarch64__
    sets[n++] = &ldm_lanes_neon;
#endif
    const char *wanted = g_getenv("PENTIMENTO_CPU");
    for (int i = 0; wanted != NULL && i < n; i++)
        if (strcmp(wanted, sets[i]->name) == 0)
            return sets[i];
    return sets[n - 1];
}

const LdmLanes *ldm_lanes(void)
{
    static const LdmLanes *lanes = NULL;
    if (g_once_init_enter(&lanes))
        g_once_init_leave(&lanes, (LdmLanes *)pick());
    return lanes;
}

#ifdef __x86_64__
/* Whether there is AMX, and Linux (5.16) lets this process use its registers, which make a thread's
 * state 8 KiB larger. */
static bool may_use_amx(void)
{
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") &&
           syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#endif

static const LdmPairs *pick_pairs(void)
{
#ifdef __x86_64__
    if (ldm_lanes() != &ldm_lanes_avx512 || !__builtin_cpu_supports("avx512bf16"))
        return NULL;
    const char *wanted = g_getenv("PENTIMENTO_CPU");
    bool refused = g_strcmp0(wanted, ldm_lanes_avx512.name) == 0;
    /* looked at before it is trusted: hypervisors let tiles through in ways of their own */
    bool amx = !refused && may_use_amx() && ldm_pairs_amx_agrees();
    return amx ? &ldm_pairs_amx : &ldm_pairs_avx512;
#elif defined __aarch64__
    if (ldm_lanes() == &ldm_lanes_neon && (getauxval(AT_HWCAP2) & HWCAP2_BF16) != 0)
        return &ldm_pairs_neon;
#endif
    return NULL;
}

static const LdmPairs *pick_exact(const LdmPairs *rounding)
{
#ifdef __x86_64__
    if (rounding == &ldm_pairs_amx)
        return &ldm_pairs_amx_split;
    if (rounding == &ldm_pairs_avx512 && g_strcmp0(g_getenv("PENTIMENTO_CPU"), "split") == 0)
        return &ldm_pairs_avx512_split;
#endif
    return NULL;
}

static struct {
    gsize done;
    const LdmPairs *rounding, *exact;
} pairs;

static void pick_pairs_once(void)
{
    if (g_once_init_enter(&pairs.done)) {
        pairs.rounding = pick_pairs();
        pairs.exact = pick_exact(pairs.rounding);
        g_once_init_leave(&pairs.done, 1);
    }
}

const LdmPairs *ldm_pairs(void)
{
    pick_pairs_once();
    return pairs.rounding;
}

const LdmPairs *ldm_pairs_exact(void)
{
    pick_pairs_once();
    return pairs.exact;
}

bool ldm_kernels_have_bf16(void)
{
    return ldm_pairs() != NULL;
}

bool ldm_kernels_prefer_bf16(void)
{
    return ldm_pairs() != NULL && ldm_pairs()->beats_winograd;
}

static const LdmQ8Lanes *pick_q8(void)
{
#ifdef __x86_64__
    if (ldm_pairs() == &ldm_pairs_amx && __builtin_cpu_supports("amx-int8") && ldm_q8_amx_agrees())
        return &ldm_q8_amx;
    if (ldm_lanes() == &ldm_lanes_avx512 && __builtin_cpu_supports("avx512vnni"))
        return &ldm_q8_avx512;
    if (ldm_lanes() != &ldm_lanes_base)
        return &ldm_q8_avx2;
#elif defined __aarch64__
    if (ldm_lanes() == &ldm_lanes_neon && (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0)
        return &ldm_q8_neon;
#endif
    return &ldm_q8_base;
}

const LdmQ8Lanes *ldm_q8_lanes(void)
{
    static const LdmQ8Lanes *lanes = NULL;
    if (g_once_init_enter(&lanes))
        g_once_init_leave(&lanes, (LdmQ8Lanes *)pick_q8());
    return lanes;
}

const char *ldm_kernels_q8_name(void)
{
    return ldm_q8_lanes()->name;
}

const char *ldm_kernels_name(void)
{
    return ldm_lanes()->name;
}

const float *ldm_weights_f32(LdmWeights weights, size_t first, size_t n, float *buffer)
{
    if (weights.dtype == LDM_F32)
        return (const float *)weights.data + first;
    ldm_convert_to_f32((const uint16_t *)weights.data + first, weights.dtype, buffer, n);
    return buffer;
}
