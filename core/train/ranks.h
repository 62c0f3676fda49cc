/* Processes that train one model together. Each has the whole model and takes its part of every
 * batch; gradients are added up over all of them, so that all take the same step. Which process
 * draws which sample follows from its rank alone.
 *
 * Every exchange begins with a meeting, where each says that it has got that far. One that fails
 * anywhere says so at the end (ldm_ranks_end) instead: the others learn its error at their next
 * exchange, whichever that is, and nobody waits for ever. */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <stddef.h>

/* NULL wherever ranks are asked for: one process, alone. */
typedef struct {
    int rank, count;
    int neighbours; /* processes on this machine, this one too */
    /* Own [bytes] of each -> all [count][bytes], in the order of ranks. */
    void (*gather)(const void *own, size_t bytes, void *all, void *data);
    /* Own [count][bytes], a piece for each -> got [count][bytes], one from each. */
    void (*swap)(const void *own, size_t bytes, void *got, void *data);
    void *data;
    bool parted; /* one has failed, and all know it */
} LdmRanks;

int ldm_ranks_count(const LdmRanks *ranks);

/* The one that writes files and speaks. */
bool ldm_ranks_first(const LdmRanks *ranks);

/* Waits for all. False where one has failed; `error` is then that one's, the same everywhere. */
bool ldm_ranks_meet(LdmRanks *ranks, GError **error);

/* Sums over all, added in the order of ranks: the same bits on each, in every run. */
bool ldm_ranks_sum(LdmRanks *ranks, float *values, size_t count, GError **error);
bool ldm_ranks_sum_doubles(LdmRanks *ranks, double *values, size_t count, GError **error);

/* False where `text` is not the same everywhere. Errors: INVALID. */
bool ldm_ranks_compare(LdmRanks *ranks, const char *text, GError **error);

/* The last meeting. good: this one's end, else *error says why not. True where all are good. */
bool ldm_ranks_end(LdmRanks *ranks, bool good, GError **error);
