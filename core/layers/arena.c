/* The arena under every pass: bytes in, offsets out. Best fit (the smallest hole that serves, the
 * lowest of equals) keeps the big activations of neighbouring levels from splintering the space;
 * being a pure function of the calls so far, it makes plan and run agree to the byte. */
#include "layers/arena.h"

#include "base/checked.h"

#define ALIGNMENT ((size_t)64)

typedef struct {
    size_t offset, bytes;
} Hole;

static bool round_up(size_t bytes, size_t *rounded)
{
    if (!ldm_add(bytes, ALIGNMENT - 1, rounded))
        return false;
    *rounded &= ~(ALIGNMENT - 1);
    return true;
}

void ldm_arena_init(LdmArena *arena, size_t limit)
{
    *arena = (LdmArena){.limit = limit, .holes = g_array_new(FALSE, FALSE, sizeof(Hole))};
}

void ldm_arena_clear(LdmArena *arena)
{
    g_array_unref(arena->holes);
}

void ldm_arena_reset(LdmArena *arena)
{
    arena->top = 0;
    g_array_set_size(arena->holes, 0);
}

bool ldm_arena_take(LdmArena *arena, size_t bytes, size_t *offset)
{
    Hole *best = NULL;
    size_t end;
    if (!round_up(bytes, &bytes))
        return false;
    for (guint i = 0; i < arena->holes->len; i++) {
        Hole *hole = &g_array_index(arena->holes, Hole, i);
        if (hole->bytes >= bytes && (best == NULL || hole->bytes < best->bytes))
            best = hole;
    }
    if (best != NULL) {
        *offset = best->offset;
        best->offset += bytes;
        best->bytes -= bytes;
        if (best->bytes == 0)
            g_array_remove_index(arena->holes, best - (Hole *)(void *)arena->holes->data);
        return true;
    }
    if (!ldm_add(arena->top, bytes, &end) || end > arena->limit)
        return false;
    *offset = arena->top;
    arena->top = end;
    arena->peak = MAX(arena->peak, end);
    return true;
}

bool ldm_arena_keep(LdmArena *arena, size_t bytes, size_t *offset)
{
    if (!round_up(bytes, &bytes) || bytes > arena->limit - arena->top)
        return false;
    size_t end = (arena->limit - bytes) & ~(ALIGNMENT - 1);
    if (end < arena->top)
        return false;
    arena->limit = *offset = end;
    arena->kept += bytes;
    return true;
}

/* The index of the first hole above offset. */
static guint hole_above(const LdmArena *arena, size_t offset)
{
    guint i = 0;
    while (i < arena->holes->len && g_array_index(arena->holes, Hole, i).offset < offset)
        i++;
    return i;
}

void ldm_arena_give(LdmArena *arena, size_t offset, size_t bytes)
{
    Hole freed = {.offset = offset};
    guint i = hole_above(arena, offset);
    if (!round_up(bytes, &freed.bytes) || freed.bytes == 0)
        return;
    if (i < arena->holes->len) {
        Hole *next = &g_array_index(arena->holes, Hole, i);
        if (freed.offset + freed.bytes == next->offset) {
            freed.bytes += next->bytes;
            g_array_remove_index(arena->holes, i);
        }
    }
    if (i > 0) {
        Hole *before = &g_array_index(arena->holes, Hole, i - 1);
        if (before->offset + before->bytes == freed.offset) {
            freed.offset = before->offset;
            freed.bytes += before->bytes;
            g_array_remove_index(arena->holes, --i);
        }
    }
    if (freed.offset + freed.bytes == arena->top)
        arena->top = freed.offset;
    else
        g_array_insert_val(arena->holes, i, freed);
}
