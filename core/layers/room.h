/* The memory that passes compute in. A system may take its time to hand memory out: where the
 * caller wishes it (ldm_keep_memory), what a pass leaves waits for the next one. */
#pragma once

#include "ldm.h"

/* At least `bytes` of memory, in *held how many; what waits, where that is enough. Give it back by
 * ldm_room_leave. Errors: MEMORY. */
uint8_t *ldm_room_take(size_t bytes, size_t *held, GError **error);

/* NULL is allowed. */
void ldm_room_leave(uint8_t *memory, size_t bytes);

/* As ldm_memory_available, with what waits: for a plan. */
uint64_t ldm_room_available(void);

/* Gives back what waits where what a plan needs in all does not fit beside it. */
void ldm_room_make(size_t bytes);
