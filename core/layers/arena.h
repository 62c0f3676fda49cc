/* A deterministic best-fit allocator over offsets, 64-byte aligned. It never touches memory, so the
 * same code plans (no limit) and serves a real arena (limit = its size): equal calls give equal
 * offsets and an equal peak. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct {
    size_t limit;  /* end of what there is to take; SIZE_MAX while planning */
    size_t top;    /* end of the highest block in use */
    size_t peak;   /* highest top so far */
    size_t kept;   /* bytes that ldm_arena_keep took off the end */
    GArray *holes; /* free blocks below top, by offset; no two touch, none touches top */
} LdmArena;

void ldm_arena_init(LdmArena *arena, size_t limit);
void ldm_arena_clear(LdmArena *arena);

/* False where the limit does not suffice. */
bool ldm_arena_take(LdmArena *arena, size_t bytes, size_t *offset);
void ldm_arena_give(LdmArena *arena, size_t offset, size_t bytes);

/* A block at the far end, for good: no reset gives it back. False where it does not fit. */
bool ldm_arena_keep(LdmArena *arena, size_t bytes, size_t *offset);

/* Takes everything back but what is kept; the peak stays. */
void ldm_arena_reset(LdmArena *arena);
