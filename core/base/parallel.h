/* Parallel loops over output tiles, on threads of our own. One that a tile begins is done by that
 * tile's thread alone, as its thread 0. */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <stddef.h>

/* One tile: `index` of the loop, `thread` 0 .. ldm_threads() - 1 (to pick scratch memory). */
typedef void (*LdmTileFunc)(size_t index, int thread, void *data);

/* Number of threads used: PENTIMENTO_THREADS, else what ldm_set_threads said, else the processors
 * this process may run on. */
int ldm_threads(void);
void ldm_set_threads(int threads);

/* Calls func for 0 .. count-1, in any order, on several threads. Looks at `cancellable` (may be
 * NULL) before every tile and skips the rest once it is cancelled; returns false then. */
bool ldm_parallel_for(size_t count, LdmTileFunc func, void *data, GCancellable *cancellable);
