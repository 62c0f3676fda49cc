/* Parameter tables. A network is built from a table of named parameters; loader, saver,
 * optimiser, EMA, LoRA and quantiser all walk it. Names are those of diffusers/transformers
 * ("down_blocks.0.resnets.0.conv1.weight"), whatever the file calls them. */
#pragma once

#include "kernels/kernels.h"

typedef struct LdmParam LdmParam;
typedef struct LdmAdapter LdmAdapter;
struct LdmParam {
    char *name;
    int rank;
    size_t shape[LDM_MAX_RANK]; /* torch's order, e.g. [Cout, Cin, KH, KW] */
    LdmDtype dtype;             /* of data */
    const void *data;           /* mapped; NULL until bound */
    bool coarse;                /* a matrix that may be multiplied in 8 bits */
    bool stored;                /* the file holds q8 alone: data is NULL, or f16 expanded from it */
    bool copied;                /* what the file holds lay awry in it, and is a copy: not mapped */
    LdmQ8 q8;                  /* it in 8 bits (coarse.h), a copy or mapped; bytes NULL: not made */
    bool trained;              /* backward passes have a gradient for it */
    float *gradient;           /* f32, dense, the same shape: they add to it; NULL until made */
    const LdmAdapter *adapter; /* what is added to a layer's matrix; NULL = nothing */
    const LdmParam *extra;     /* an embedding table's rows behind its own: words that were learnt
                                * (textual inversion, arXiv 2208.01618); NULL = none */
};

/* A low-rank addition to the matrix W of a linear layer or convolution, which itself stays as it
 * is (LoRA, arXiv 2106.09685): y = W x + scale * up (down x). */
struct LdmAdapter {
    const LdmParam *down;   /* [rank, in], or [rank, in, KH, KW]: a convolution of W's own kind */
    const LdmParam *up;     /* [out, rank], or [out, rank, 1, 1] */
    double scale;           /* alpha / rank, times the user's weight */
    const LdmAdapter *next; /* others of the same W */
};

typedef struct LdmParams LdmParams; /* owns its LdmParam; their addresses are stable */

LdmParams *ldm_params_new(void);
void ldm_params_free(LdmParams *params);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmParams, ldm_params_free)

/* Adds "PREFIX.NAME" (or NAME where prefix is "" or NULL) and returns it; never NULL. A name added
 * twice is a programming error (g_error in debug builds). */
LdmParam *ldm_params_add(LdmParams *params, const char *prefix, const char *name, int rank,
                         const size_t *shape);

size_t ldm_params_length(const LdmParams *params);
LdmParam *ldm_params_at(const LdmParams *params, size_t i);
LdmParam *ldm_params_find(const LdmParams *params, const char *name); /* or NULL */

/* Of its data; of a stored one, of what it would be expanded. */
size_t ldm_param_bytes(const LdmParam *param);
size_t ldm_param_count(const LdmParam *param);    /* numbers */
size_t ldm_params_count(const LdmParams *params); /* of all of them */

/* Of its matrix in 8 bits. */
size_t ldm_param_q8_bytes(const LdmParam *param);

/* Of what the file holds of it, in 8 bits or not. */
size_t ldm_param_file_bytes(const LdmParam *param);

/* Of what was copied when the files were opened, and stays for as long as they are. */
size_t ldm_params_copied_bytes(const LdmParams *params);

/* One block for copies of parameters; it belongs to the table and replaces an earlier one. Errors:
 * MEMORY. */
uint8_t *ldm_params_make_copies(LdmParams *params, size_t bytes, GError **error);

/* Frees it and forgets what lay in it. */
void ldm_params_drop_copies(LdmParams *params);

/* Sets `trained` of all of them. */
void ldm_params_set_trained(LdmParams *params, bool trained);

/* ---- gradients: set `trained` first ---- */

/* One zeroed block for the gradients of all trained parameters, each 64-byte aligned, in the order
 * of the table; it belongs to the table and replaces an earlier one. Errors: MEMORY. */
bool ldm_params_make_gradients(LdmParams *params, GError **error);

/* That block, *count numbers; NULL and 0 before it is made. */
float *ldm_params_gradients(const LdmParams *params, size_t *count);

/* Back to zero, before the next accumulation. */
void ldm_params_clear_gradients(LdmParams *params);
