/* bf16 pairs by AMX (Intel servers since Sapphire Rapids): one instruction for 8,192 multiply-adds.
 * Linux gives the registers to a process that has asked for them, see lanes.c. */
#define LANES 16

#include "kernels/pairs-vector.h"

/* GCC's own do not say that they read memory. */
#define AMX_CONFIGURE(config) __asm__ volatile("ldtilecfg %0" ::"m"(config))
#define AMX_RELEASE()         __asm__ volatile("tilerelease" ::)
#define AMX_LOAD(r, p, bytes) \
    __asm__ volatile("tileloadd (%0, %1), %%tmm" #r ::"r"(p), "r"(bytes) : "memory")
#define AMX_STORE(r, p, bytes) \
    __asm__ volatile("tilestored %%tmm" #r ", (%0, %1)" ::"r"(p), "r"(bytes) : "memory")
#define AMX_MULTIPLY(c, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::)

#include "kernels/tile-amx.h"

const LdmPairs ldm_pairs_amx = {interleave, round_row, turn, tile, AMX_ROWS, true};
