/* A deterministic best-fit allocator over offsets, 64-byte aligned. It never touches memory, so the
 * same code plans (no limit) and serves a real arena (limit = its size): equal calls give equal
 * offsets and an equal peak. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct {
    size_t limit;  /* bytes there are; SIZE_MAX while planning */
    size_t top;    /* end of the highest block in use */
    size_t peak;   /* highest top so far */
    GArray *holes; /* free blocks below top, by offset; no two touch, none touches top */
} LdmArena;

void ldm_arena_init(LdmArena *arena, size_t limit);
void ldm_arena_clear(LdmArena *arena);

/* False where the limit does not suffice. */
bool ldm_arena_take(LdmArena *arena, size_t bytes, size_t *offset);
void ldm_arena_give(LdmArena *arena, size_t offset, size_t bytes);

/* Takes everything back; the peak stays. */
void ldm_arena_reset(LdmArena *arena);
