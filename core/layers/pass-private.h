/* What pass.c and tape.c share; not for use outside this folder. */
#pragma once

#include "layers/arena.h"
#include "layers/pass.h"

typedef struct Handle Handle;
struct Handle {
    LdmTensor tensor; /* first: the handle that layers see */
    int refs;
    bool borrowed;         /* a caller's own array: never written over */
    bool constant;         /* and the same in every step */
    bool taped;            /* the tape names it: the handle stays when the array goes */
    bool needs;            /* a gradient: something trained or wanted has influence on it */
    bool wanted;           /* its gradient stays until the pass is reset */
    Handle *gradient;      /* what has come in so far, or NULL */
    double *moments;       /* of its channels, or NULL */
    size_t offset, bytes;  /* its block of the arena; bytes 0 = none */
    Handle *next, *before; /* all handles of the pass */
};

typedef struct {
    const void *key;
    LdmTensor tensor; /* at the far end of the arena */
} Stored;

/* What features were in earlier steps, the latest first. */
typedef struct {
    const void *key;
    LdmTensor tensor[2]; /* at the far end of the arena */
    double at[2];
    int count;
} History;

struct LdmPass {
    bool computes, check_finite, bf16, q8;
    bool records;
    bool checkpoints;    /* blocks are recorded as a whole */
    bool paused;         /* inside such a block, on the way forward */
    bool influenced;     /* something trained or wanted went into that block */
    uint8_t *memory;     /* the arena; NULL while planning */
    size_t memory_bytes; /* at least its limit */
    LdmArena arena;
    Handle *handles;
    GArray *stored;    /* Stored: what outlives a reset */
    GArray *histories; /* History, likewise */
    LdmFeatures features;
    double merge; /* share of tokens */
    GArray *tape; /* LdmOp, in the order they were done; their details are the tape's own copies */
    GCancellable *cancellable;
    LdmPassProgress progress;
    void *progress_data;
    LdmPassWatch watch;
    void *watch_data;
    LdmOp op; /* the operation announced last */
    double flops;
    GError *error; /* the first one */
};

/* Gives x, of which the sizes are right, memory at the far end of the arena; false, and the pass
 * failed, where there is none. */
bool ldm_pass_store_place(LdmPass *pass, LdmTensor *x);

/* Puts an announced operation on the tape if backward will need it. */
void ldm_tape_add(LdmPass *pass, const LdmOp *op);

/* Empties the tape without going back. */
void ldm_tape_clear(LdmPass *pass);

/* Fails the pass where an operation's result or gradient holds a NaN or infinity; `what` is "" or
 * says which. */
bool ldm_pass_check_finite(LdmPass *pass, const LdmOp *op, const LdmTensor *array,
                           const char *what);

/* True, and the pass failed, where its cancellable is cancelled. */
bool ldm_pass_cancelled(LdmPass *pass);
