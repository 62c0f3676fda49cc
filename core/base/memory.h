/* How much memory this process may still take. */
#pragma once

#include <stdint.h>

/* Bytes: the least of what the machine has left without swapping, what the control groups around
 * this process allow, and the address space limit (ulimit -v). UINT64_MAX where nothing is
 * known. */
uint64_t ldm_memory_available(void);
