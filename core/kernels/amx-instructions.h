/* AMX's instructions as amx.h names them; which of the products is AMX_MULTIPLY, the including file
 * says. GCC's own do not say that they read memory. Linux gives the registers to a process that has
 * asked for them, see lanes.c. */
#pragma once

#define AMX_CONFIGURE(config) __asm__ volatile("ldtilecfg %0" ::"m"(config))
#define AMX_ZERO(r)           __asm__ volatile("tilezero %%tmm" #r ::)
#define AMX_LOAD(r, p, bytes) \
    __asm__ volatile("tileloadd (%0, %1), %%tmm" #r ::"r"(p), "r"(bytes) : "memory")
#define AMX_STORE(r, p, bytes) \
    __asm__ volatile("tilestored %%tmm" #r ", (%0, %1)" ::"r"(p), "r"(bytes) : "memory")
#define AMX_MULTIPLY_BF16(c, a, b) \
    __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::)
#define AMX_MULTIPLY_BYTES(c, a, b) \
    __asm__ volatile("tdpbssd %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::)

/* Rows that a thread's registers are shaped for, whatever it multiplies. */
extern _Thread_local int ldm_amx_shaped;
#define AMX_SHAPED ldm_amx_shaped
