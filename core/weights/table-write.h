/* A network's parameters as one safetensors file, in another dtype than they came in. */
#pragma once

#include "weights/param.h"

typedef struct {
    const LdmParams *params; /* bound */
    LdmDtype dtype;          /* F16, BF16; Q8: matrices that allow it as in stored.h, the rest as
                              * BF16 where it is that, else as F16 */
    void (*wrote)(size_t bytes, void *data); /* on the way, or NULL */
    void *data;
    GCancellable *cancellable;
} LdmTableWrite;

/* Of the arrays. */
uint64_t ldm_table_bytes(const LdmParams *params, LdmDtype dtype);

/* Errors: FILE, MEMORY, CANCELLED; NONFINITE where a number is beyond what the dtype holds. */
bool ldm_table_write(const LdmTableWrite *job, const char *path, GError **error);
