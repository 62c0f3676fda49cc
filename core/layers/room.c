/* Memory for passes: from the system, or what waits since another pass has left it. One piece at
 * most waits, the largest. */
#include "layers/room.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"

#include <sys/mman.h>
#include <unistd.h>

static struct {
    GMutex lock;
    bool keeps;
    uint8_t *memory;
    size_t bytes;
} room;

/* Large pages spare the system a fault every 4 KiB; where there are none the advice is idle. */
static void advise_large_pages(uint8_t *memory, size_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = ((uintptr_t)memory + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)memory + bytes) / page * page;
    if (end > first)
        madvise((void *)first, end - first, MADV_HUGEPAGE);
}

/* Takes what waits out of the room; NULL: nothing. */
static uint8_t *empty_room(size_t *bytes)
{
    *bytes = room.bytes;
    room.bytes = 0;
    return g_steal_pointer(&room.memory);
}

uint8_t *ldm_room_take(size_t bytes, size_t *held, GError **error)
{
    g_mutex_lock(&room.lock);
    uint8_t *memory = empty_room(held);
    g_mutex_unlock(&room.lock);
    if (memory != NULL && *held >= bytes)
        return memory;
    ldm_aligned_free(memory); /* before there is need of both */
    memory = ldm_aligned_alloc(MAX(bytes, 1), 1, _("the network's working memory"), error);
    *held = bytes;
    if (memory != NULL)
        advise_large_pages(memory, bytes);
    return memory;
}

void ldm_room_leave(uint8_t *memory, size_t bytes)
{
    g_mutex_lock(&room.lock);
    if (room.keeps && bytes > room.bytes) {
        uint8_t *smaller = room.memory;
        room.memory = memory;
        room.bytes = bytes;
        memory = smaller;
    }
    g_mutex_unlock(&room.lock);
    ldm_aligned_free(memory);
}

uint64_t ldm_room_available(void)
{
    uint64_t available = ldm_memory_available();
    g_mutex_lock(&room.lock);
    size_t waiting = room.bytes;
    g_mutex_unlock(&room.lock);
    return available > UINT64_MAX - waiting ? UINT64_MAX : available + waiting;
}

static void give_back(void)
{
    size_t bytes;
    g_mutex_lock(&room.lock);
    uint8_t *memory = empty_room(&bytes);
    g_mutex_unlock(&room.lock);
    ldm_aligned_free(memory);
}

void ldm_room_make(size_t bytes)
{
    if (bytes > ldm_memory_available())
        give_back();
}

void ldm_keep_memory(bool keep)
{
    g_mutex_lock(&room.lock);
    room.keeps = keep;
    g_mutex_unlock(&room.lock);
    if (!keep)
        give_back();
}
