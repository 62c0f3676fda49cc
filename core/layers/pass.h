/* One pass through a network. Layers run eagerly; the pass supplies every buffer, sees every
 * input, and decides what happens: COMPUTE does the arithmetic, PLAN only counts bytes and FLOPs
 * (data pointers are then NULL). The same layer code serves both, so a plan cannot disagree with
 * the run. Buffers come from one arena by a deterministic best-fit allocator: planning runs that
 * allocator without memory behind it, computing runs it on an arena of the planned size.
 *
 * Errors stick: after the first failure (or a cancel) every later call does nothing and returns
 * harmless values, and ldm_pass_end reports the error. Layers therefore need no error checks.
 *
 * Ownership: a layer's forward takes its arrays over and drops them; who still needs one afterwards
 * passes ldm_pass_keep(pass, x) instead. A layer may so write its result over an array whose last
 * handle it was given (ldm_pass_over). The networks' forwards (ldm_unet_forward ...) only borrow:
 * their callers drop what they made.
 *
 * Typical layer:
 *
 *     LdmTensor *y = ldm_pass_over(pass, x);
 *     if (ldm_pass_op(pass, &(LdmOp){.name = "silu", .inputs = {x}, .n_inputs = 1, .output = y}))
 *         ldm_pass_check(pass, ldm_activate(LDM_ACT_SILU, ldm_tensor_count(x), x->data, y->data,
 *                                           ldm_pass_cancellable(pass)));
 *     ldm_pass_drop(pass, x);
 *     return y;
 */
#pragma once

#include "ldm.h"
#include "weights/param.h"

typedef struct LdmPass LdmPass;

/* Counts only. */
LdmPass *ldm_pass_new_plan(void);

/* Computes in an arena of `arena_bytes` (what a planning pass said). Errors: MEMORY.
 * PENTIMENTO_CHECK=finite in the environment: every operation's result is looked through, and the
 * first with a NaN or infinity ends the pass with LDM_ERROR_NONFINITE naming it. */
LdmPass *ldm_pass_new_compute(size_t arena_bytes, GCancellable *cancellable, GError **error);

void ldm_pass_free(LdmPass *pass);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmPass, ldm_pass_free)

/* Called after every operation with the FLOPs done so far in this pass. */
typedef void (*LdmPassProgress)(double flops_done, void *data);
void ldm_pass_set_progress(LdmPass *pass, LdmPassProgress progress, void *data);

/* Lets products and attention round what they multiply to bf16, where the processor gains by it
 * (ldm_kernels_have_bf16), there and back; larger convolutions, too, of a pass that records and
 * where ldm_kernels_prefer_bf16. Set it in the plan as well. */
void ldm_pass_set_bf16(LdmPass *pass, bool bf16);
bool ldm_pass_bf16(const LdmPass *pass);
bool ldm_pass_bf16_taps(const LdmPass *pass); /* of larger convolutions */
/* Whether products of f32 may be made of bf16 ones (LdmGemm.split): not where there is a way back,
 * which is made in f32 and must see what the way there saw. */
bool ldm_pass_splits(const LdmPass *pass);

/* Multiplies by those matrices that allow it (LdmParam.coarse) in 8 bits: their q8 takes the place
 * of their data. Not for a pass that records. */
void ldm_pass_set_q8(LdmPass *pass, bool q8);

/* True where this pass takes a parameter's q8. */
bool ldm_pass_q8(const LdmPass *pass, const LdmParam *param);

/* Lets large self-attention at the finest level leave out this share of its tokens, which others
 * then stand for (layers/merge.h); 0: none. Not for a pass that records. */
void ldm_pass_set_merge(LdmPass *pass, double share);
double ldm_pass_merge(const LdmPass *pass);

/* True where two operations may be one, what the first makes being in no memory: not in a pass that
 * records, which makes the same bits whenever it computes. */
bool ldm_pass_fuses(const LdmPass *pass);

/* Called with every operation once its arithmetic is done: for measurements. NULL: nobody. */
typedef struct LdmOp LdmOp;
typedef void (*LdmPassWatch)(const LdmOp *op, void *data);
void ldm_pass_set_watch(LdmPass *pass, LdmPassWatch watch, void *data);

/* True where data pointers hold numbers. */
bool ldm_pass_computes(const LdmPass *pass);
GCancellable *ldm_pass_cancellable(const LdmPass *pass);

/* An uninitialised f32 array from the arena. Never NULL (after a failure: a dead array). */
LdmTensor *ldm_pass_tensor(LdmPass *pass, int rank, const size_t *shape);
LdmTensor *ldm_pass_nhwc(LdmPass *pass, size_t n, size_t h, size_t w, size_t c);

/* A caller's own array as input of the pass: borrowed, not copied; while planning `data` may be
 * NULL. Drop it like any other. */
LdmTensor *ldm_pass_input(LdmPass *pass, const LdmTensor *tensor);

/* x's shape but for the last size, which is C. */
LdmTensor *ldm_pass_like(LdmPass *pass, const LdmTensor *x, size_t C);

/* Where an elementwise result of x's shape may go: x's own memory where the caller's is the last
 * handle (and x is no caller's own array), else a new array. Both handles are to be dropped. */
LdmTensor *ldm_pass_over(LdmPass *pass, LdmTensor *x);

/* Room for the moments of y's channels (LDM_MOMENTS; y is one picture), which whoever makes y fills
 * in; NULL while planning. They are y's until it is written over. */
double *ldm_pass_measure(LdmPass *pass, LdmTensor *y);

/* Those of x, from now on the caller's (g_free), or NULL: nobody told them. */
double *ldm_pass_take_moments(LdmTensor *x);

/* Fails the pass with LDM_ERROR_SHAPE where x's last size is not C; `what` names x to people. */
void ldm_pass_expect(LdmPass *pass, const LdmTensor *x, size_t C, const char *what);

/* A second handle to the same array (reference count + 1). */
LdmTensor *ldm_pass_keep(LdmPass *pass, LdmTensor *tensor);

/* Gives an array back once the last handle is dropped (a recording pass may keep it); NULL is
 * allowed. */
void ldm_pass_drop(LdmPass *pass, LdmTensor *tensor);

/* Scratch memory for the operation at hand, at its `data`; drop it like any other array. */
LdmTensor *ldm_pass_scratch(LdmPass *pass, size_t bytes);

/* The way back through an operation (layers/tape.h): from the gradient of its output, adds to those
 * of its parameters and inputs. Like a forward it asks the pass for every array and does arithmetic
 * only where ldm_tape_computes. */
typedef void LdmBackward(LdmPass *pass, const LdmOp *op);

#define LDM_SAVE_INPUT(i) (1u << (i))
#define LDM_SAVE_OUTPUT   (1u << 8)

/* Announces an operation; true where its arithmetic is to be done now. */
#define LDM_OP_INPUTS 4
struct LdmOp {
    const char *name;          /* "conv2d" */
    const void *layer;         /* its layer, NULL where it has no parameters */
    const LdmParam *parameter; /* its first parameter or NULL: for messages; must be bound */
    const LdmParam *second;    /* its other parameter or NULL */
    LdmTensor *inputs[LDM_OP_INPUTS];
    int n_inputs;
    LdmTensor *output;
    double flops; /* 2 per multiply-add */

    /* Only looked at by a pass that records; backward NULL: the gradient ends here. */
    LdmBackward *backward;
    unsigned saved;   /* LDM_SAVE_...: arrays whose numbers backward reads */
    LdmTensor *aside; /* a by-product only backward reads, or NULL; saved */
    /* Sizes, flags, ids: copied, so backward finds a copy here; NULL allowed. */
    const void *detail;
    size_t detail_bytes;
};
bool ldm_pass_op(LdmPass *pass, const LdmOp *op);

/* After the arithmetic of an announced operation; `ok` false = the kernel was cancelled. */
void ldm_pass_check(LdmPass *pass, bool ok);

/* Takes ownership of error; the first one sticks. */
void ldm_pass_fail(LdmPass *pass, GError *error);

size_t ldm_pass_peak(const LdmPass *pass);  /* arena bytes that the calls so far need */
double ldm_pass_flops(const LdmPass *pass); /* announced so far */

/* False and *error where anything went wrong. */
bool ldm_pass_end(LdmPass *pass, GError **error);

/* Takes everything back (arrays, FLOPs, error) but what is stored: the same arena serves the
 * next forward. */
void ldm_pass_reset(LdmPass *pass);

/* ---- from step to step ----
 *
 * A pass that serves the steps of one run may keep arrays from one to the next: those that depend
 * on nothing but what is constant in the run (keys and values of the prompt), and, where the
 * caller allows it, features of earlier steps, to foretell later ones by. They lie at the far end
 * of the arena; a plan counts them when it goes through the same steps. */

/* A caller's own array like ldm_pass_input, which is the same in every step of this pass. */
LdmTensor *ldm_pass_constant(LdmPass *pass, const LdmTensor *tensor);
bool ldm_pass_is_constant(const LdmTensor *x);

/* Stores a copy of x under `key`, an address of the network's own, and its first size; replaces
 * the one that is there. x stays the caller's. */
void ldm_pass_store(LdmPass *pass, const void *key, const LdmTensor *x);

/* The array stored under key with first size N, to be dropped like any other; NULL: none. */
LdmTensor *ldm_pass_recall(LdmPass *pass, const void *key, size_t N);

/* What a network does about the features that it could foretell from earlier steps. */
typedef enum {
    LDM_FEATURES_COMPUTE,  /* nothing */
    LDM_FEATURES_REMEMBER, /* compute, and remember them */
    LDM_FEATURES_FORECAST, /* take what they should be by now */
} LdmFeatures;
void ldm_pass_set_features(LdmPass *pass, LdmFeatures features);
LdmFeatures ldm_pass_features(const LdmPass *pass);

/* Remembers a copy of x as what is known under `key` in the step `at`, a number that moves on with
 * the steps (the timestep). The two latest are kept. x stays the caller's. */
void ldm_pass_remember(LdmPass *pass, const void *key, const LdmTensor *x, double at);

/* What x would be at `at`, were it to go on half as fast as it went between the two steps that are
 * remembered; x as it was, where only one is. To be dropped like any other. Where N is less than
 * was remembered, of the last N. NULL: nothing is remembered of N. */
LdmTensor *ldm_pass_forecast(LdmPass *pass, const void *key, size_t N, double at);

/* ---- whole forwards ---- */

/* Runs a network's forward function on a pass; returns its output. */
typedef LdmTensor *(*LdmForward)(LdmPass *pass, const void *data);

/* What a forward needs. */
bool ldm_forward_measure(LdmForward forward, const void *data, size_t *bytes, double *flops,
                         GError **error);

/* Plans, allocates, computes once; the output is the caller's own array. For a network called many
 * times keep a compute pass of the measured size and reset it between calls. */
LdmTensor *ldm_forward_run(LdmForward forward, const void *data, LdmPassProgress progress,
                           void *progress_data, GCancellable *cancellable, GError **error);

/* The forward of a network that has one input; x stays the caller's. */
typedef LdmTensor *(*LdmNetworkForward)(LdmPass *pass, const void *network, LdmTensor *x);

/* ldm_forward_measure and ldm_forward_run of such a network on x. */
bool ldm_network_measure(LdmNetworkForward forward, const void *network, const LdmTensor *x,
                         size_t *bytes, double *flops, GError **error);
LdmTensor *ldm_network_run(LdmNetworkForward forward, const void *network, const LdmTensor *x,
                           LdmPassProgress progress, void *progress_data, GCancellable *cancellable,
                           GError **error);
