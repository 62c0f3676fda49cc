/* libldm: latent diffusion models (arXiv 2112.10752) on ordinary computers.
 *
 *     #include <ldm.h>
 *
 *     g_autoptr(GError) error = NULL;
 *     g_autoptr(LdmModel) model = ldm_model_load(NULL, &error);       // the default model
 *     g_autoptr(LdmRequest) request = ldm_request_new(LDM_TASK_GENERATE);
 *     ldm_request_set(request, "prompt", g_variant_new_string("a red apple"), &error);
 *     ldm_request_set(request, "seed", g_variant_new_int64(7), &error);
 *     g_autoptr(LdmResult) result = ldm_generate(model, request, NULL, &error);
 *     if (result == NULL)
 *         g_printerr("%s\n", error->message);                        // names cause and remedy
 *     else
 *         use_rgba(result->pixels->data, result->window.width, result->window.height);
 *
 * One picture's way: prepare, condition, encode (E), diffuse, denoise, decode (D), finish; see
 * ARCHITECTURE.md. Every function is safe to call from any thread; a model may be used by one
 * call at a time. Nothing here prints, exits or aborts on input: errors come through GError. */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

G_BEGIN_DECLS

#define LDM_API __attribute__((visibility("default")))

/* ---- errors ------------------------------------------------------------------------------ */

#define LDM_ERROR (ldm_error_quark())
LDM_API GQuark ldm_error_quark(void);

typedef enum {
    LDM_ERROR_INVALID,     /* an argument or option is outside its range */
    LDM_ERROR_FILE,        /* a file cannot be opened, read, written or renamed */
    LDM_ERROR_FORMAT,      /* a file is damaged or is not what its name says */
    LDM_ERROR_UNSUPPORTED, /* well-formed, but of a kind this library does not handle */
    LDM_ERROR_MISSING,     /* a model, file or tensor is not there */
    LDM_ERROR_SHAPE,       /* an array has another shape than the network expects */
    LDM_ERROR_MEMORY,      /* memory does not suffice */
    LDM_ERROR_NONFINITE,   /* NaN or infinity came out of a stage */
    LDM_ERROR_CANCELLED,   /* the caller's GCancellable was cancelled */
} LdmErrorCode;

/* ---- arrays ------------------------------------------------------------------------------ */

#define LDM_MAX_RANK 4

/* Q8 is of models' weights only (ldm_convert): whole numbers of 8 bits, with scales in f32. */
typedef enum { LDM_F32, LDM_F16, LDM_BF16, LDM_Q8 } LdmDtype;

typedef struct LdmTensor LdmTensor;

/* A dense array, last index fastest. Pictures, masks and latents have rank 4 [N, H, W, C]
 * (channels last); text conditioning has rank 3 [N, tokens, width]. */
struct LdmTensor {
    LdmDtype dtype;
    int rank;                   /* 1 .. LDM_MAX_RANK */
    size_t shape[LDM_MAX_RANK]; /* entries at and above rank are 1 */
    void *data;                 /* 64-byte aligned; NULL only inside a planning pass */
};

/* A new array filled with zeros. Errors: LDM_ERROR_INVALID (rank, zero or overflowing sizes),
 * LDM_ERROR_MEMORY. Free with ldm_tensor_free (NULL is allowed). */
LDM_API LdmTensor *ldm_tensor_new(LdmDtype dtype, int rank, const size_t *shape, GError **error);
LDM_API void ldm_tensor_free(LdmTensor *tensor);
LDM_API size_t ldm_tensor_count(const LdmTensor *tensor); /* number of elements */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmTensor, ldm_tensor_free)

/* .npy (version 1.0, C order, '<f4' on writing; '<f4' '<f2' '<f8' on reading).
 * At this border rank-4 arrays are NCHW, as in the reference frameworks: reading transposes
 * [N, C, H, W] to [N, H, W, C] and writing transposes back. Other ranks pass unchanged.
 * Writing is atomic (temporary file, fsync, rename); path "-" is standard output/input. */
LDM_API LdmTensor *ldm_npy_read(const char *path, GError **error);
LDM_API bool ldm_npy_write(const LdmTensor *tensor, const char *path, GError **error);

/* ---- progress and cancelling ------------------------------------------------------------- */

typedef enum {
    LDM_STAGE_LOAD,
    LDM_STAGE_LEARN, /* only where LdmRequest.learn asks for it */
    LDM_STAGE_PREPARE,
    LDM_STAGE_CONDITION,
    LDM_STAGE_ENCODE,
    LDM_STAGE_DIFFUSE,
    LDM_STAGE_DENOISE,
    LDM_STAGE_DECODE,
    LDM_STAGE_FINISH,
    LDM_N_STAGES
} LdmStage;

/* "prepare", "condition", ...; for logs and --json, never translated. */
LDM_API const char *ldm_stage_name(LdmStage stage);

typedef struct {
    LdmStage stage;
    int step, steps;     /* denoising or learning step, 1-based, of how many; else 0, 0 */
    double fraction;     /* 0..1 of the whole call, weighted by planned FLOPs; never decreases */
    double seconds_left; /* estimate; negative while unknown */
} LdmProgress;

typedef void (*LdmProgressFunc)(const LdmProgress *progress, gpointer data);

#define LDM_PREVIEW_SIDE 256 /* pixels, at most */

/* Roughly what the picture of a run would be if its noise were gone after the step `step`: the part
 * that is worked on (LdmResult.window), reduced to LDM_PREVIEW_SIDE where it is larger. */
typedef struct {
    int step, steps;       /* 1-based, of how many */
    int width, height;     /* 1 .. LDM_PREVIEW_SIDE */
    const uint8_t *pixels; /* [height, width, 3] R'G'B' (sRGB curve), rows from the top, without
                            * padding; the library's, and gone when the call returns */
} LdmPreview;

typedef void (*LdmPreviewFunc)(const LdmPreview *preview, gpointer data);

/* What a caller may watch and stop. NULL anywhere an LdmMonitor is asked for = neither.
 * `progress` is called on the calling thread, at most every 50 ms; `cancellable` is looked at
 * per output tile, no more than about 50 ms apart.
 *
 * Of ldm_generate only: `preview` is called on the calling thread between two denoising steps, no
 * more often than every `preview_seconds` and for a tenth of the time at most; 0: after every step.
 * Pictures come from a tiny decoder (diffusers' AutoencoderTiny, TAESD): `preview_decoder`, folder
 * or file, or where that is NULL the model's own ("preview" or "vae_tiny" in its folder,
 * STEM.preview.safetensors beside a single file); for a model without, from a linear map, made once
 * and kept in $XDG_CACHE_HOME/pentimento/previews. The result is the same with them and without.
 * Once `finish` is cancelled, the step at work is the last: what it predicts is the result. Marks
 * that lie far apart may be worked on one group after the other, each with previews of its own
 * window: of those whose turn has not come nothing is changed. */
typedef struct {
    GCancellable *cancellable;
    LdmProgressFunc progress;
    gpointer progress_data;
    LdmPreviewFunc preview;
    gpointer preview_data;
    double preview_seconds;
    const char *preview_decoder;
    GCancellable *finish;
} LdmMonitor;

/* ---- models ------------------------------------------------------------------------------ */

typedef struct LdmModel LdmModel;

typedef enum { LDM_PREDICTION_EPSILON, LDM_PREDICTION_V, LDM_PREDICTION_SAMPLE } LdmPrediction;

/* What a model that sees the picture with its hole is shown where the mask is > 0: mid-grey, as in
 * latent diffusion's and Stable Diffusion's inpainting; or the colours around the hole, smoothly,
 * so that it need not guess them. */
typedef enum { LDM_HOLE_GREY, LDM_HOLE_FILLED } LdmHole;

/* What a model is; owned by the model. */
typedef struct {
    const char *path;   /* folder or file it was loaded from */
    const char *layout; /* "diffusers" or "single-file" */
    const char *family; /* "sd1", "sd2", "custom" ...: for people */
    LdmPrediction prediction;
    LdmDtype dtype;      /* of most of its weights */
    uint64_t parameters; /* number of weights: all parts */
    uint64_t unet_parameters, vae_parameters, text_parameters;
    uint64_t weight_bytes;     /* as stored */
    int latent_channels;       /* z */
    int codebook;              /* entries of a VQ autoencoder's; 0: KL */
    int downsampling;          /* f: picture pixels per latent cell, 4 or 8 ... */
    int unet_in_channels;      /* z, or 2z+1 for (z_t, mask, masked latent) */
    int native_size;           /* pixels a side the model was trained at */
    int max_side;              /* longest side worked on at scale 1: 2 * native_size, or what
                                * "_max_side" in the folder's model_index.json says */
    int tokens, context_width; /* of the text conditioning; 0 without text */
    double scale_factor;       /* z = scale_factor * mean */
    bool concat_inpainting;    /* unet_in_channels == 2z+1 */
    LdmHole hole;              /* of the masked picture, with concat_inpainting */
} LdmModelInfo;

/* Finds and opens a model. `name` is a path (diffusers folder, .safetensors file) or a name under
 * the model folders ($PENTIMENTO_MODEL_PATH, $XDG_DATA_HOME/pentimento/models, the system's data
 * folders); NULL or "" is the default model. Weights are mapped, not copied.
 * Errors: MISSING, FILE, FORMAT, UNSUPPORTED, SHAPE, MEMORY; each names file, tensor, expected
 * and found. */
LDM_API LdmModel *ldm_model_load(const char *name, GError **error);
LDM_API LdmModel *ldm_model_ref(LdmModel *model);
LDM_API void ldm_model_unref(LdmModel *model);
LDM_API const LdmModelInfo *ldm_model_info(const LdmModel *model);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmModel, ldm_model_unref)

/* Lets working memory that a stage is done with wait for the next one, in this process, instead of
 * giving it back (the default): for those who call stages or ldm_generate again and again. The
 * largest piece waits, some 640 MB of D at 512 x 512 pixels of the Stable Diffusion 1.5 shape.
 * false gives it back. */
LDM_API void ldm_keep_memory(bool keep);

/* The path a name resolves to. Free with g_free. */
LDM_API char *ldm_model_find(const char *name, GError **error);

/* ---- converting a model ------------------------------------------------------------------ */

/* What ldm_convert will write, known before it begins. */
typedef struct {
    uint64_t weight_bytes; /* of the networks */
    uint64_t bytes;        /* of the whole folder, but for some kilobytes of text */
    uint64_t free_bytes;   /* at its place */
} LdmConversion;

LDM_API bool ldm_convert_plan(LdmModel *model, const char *folder, LdmDtype dtype,
                              LdmConversion *plan, GError **error);

/* Writes the model as a diffusers folder, with weights in F16 or BF16, rounded to nearest even, or
 * in Q8: the denoiser's matrices in 8 bits as LDM_PRECISION_Q8 rounds them, all else in 16 bits.
 * Such a folder is for this library alone; run in another precision, its weights are expanded.
 * What comes with the model is copied: tokenizer, schedule, notices, tiny decoder. The folder
 * appears once it is whole. One that is there already is left alone, unless `replace`; then it has
 * to be a model's, and goes. `progress` tells the fraction only. Errors: INVALID (dtype), FILE (no
 * room; it is there), NONFINITE (a number beyond what the dtype holds), MEMORY, CANCELLED. */
LDM_API bool ldm_convert(LdmModel *model, const char *folder, LdmDtype dtype, bool replace,
                         const LdmMonitor *monitor, GError **error);

/* ---- the single stages ------------------------------------------------------------------- */

/* tau_theta(y): [1, tokens, width]. Longer prompts are cut, keeping the end token.
 * Errors: UNSUPPORTED (a model without text), plus those of every stage:
 * MEMORY, NONFINITE, CANCELLED. The results of all four are the caller's to free. */
LDM_API LdmTensor *ldm_condition(LdmModel *model, const char *prompt, const LdmMonitor *monitor,
                                 GError **error);

/* E: picture [N, H, W, 3] in [-1, 1] -> latent [N, H/f, W/f, z] = scale * mean of the posterior,
 * or scale * (mean + exp(logvar/2) * noise) with torch's CPU generator where `seed` >= 0.
 * H and W must be multiples of f, else LDM_ERROR_SHAPE. */
LDM_API LdmTensor *ldm_encode(LdmModel *model, const LdmTensor *picture, int64_t seed,
                              const LdmMonitor *monitor, GError **error);

/* D: latent [N, h, w, z] -> picture [N, h*f, w*f, 3], about [-1, 1], not clamped. */
LDM_API LdmTensor *ldm_decode(LdmModel *model, const LdmTensor *latent, const LdmMonitor *monitor,
                              GError **error);

/* One epsilon_theta(z_t, t, c), raw network output (epsilon, v or x0): latent [N, h, w, z],
 * timestep 0 .. 999 (fractions allowed), context [1 or N, tokens, width] (may be NULL for models
 * without cross-attention), concat [N, h, w, in_channels - z] or NULL. */
LDM_API LdmTensor *ldm_predict(LdmModel *model, const LdmTensor *latent, double timestep,
                               const LdmTensor *context, const LdmTensor *concat,
                               const LdmMonitor *monitor, GError **error);

/* ---- whole tasks ------------------------------------------------------------------------- */

typedef enum { LDM_TASK_GENERATE, LDM_TASK_IMG2IMG, LDM_TASK_INPAINT } LdmTask;

typedef enum {
    LDM_SAMPLER_DDIM,     /* arXiv 2010.02502 */
    LDM_SAMPLER_EULER,    /* arXiv 2206.00364, algorithm 1 without churn */
    LDM_SAMPLER_EULER_A,  /* ancestral Euler */
    LDM_SAMPLER_DPMPP_2M, /* arXiv 2211.01095 */
} LdmSampler;

typedef enum {
    LDM_SIGMAS_MODEL,  /* the model's own timesteps */
    LDM_SIGMAS_KARRAS, /* arXiv 2206.00364, equation 5, rho = 7 */
} LdmSigmas;

/* How epsilon_theta multiplies. */
typedef enum {
    LDM_PRECISION_EXACT, /* in f32 */
    LDM_PRECISION_BF16,  /* linear layers and attention: numbers rounded to bf16, sums in f32 */
    LDM_PRECISION_Q8,    /* linear layers and convolutions: numbers rounded to 8 bits, scales in
                          * f32; attention in bf16 where the processor has it */
} LdmPrecision;

/* Places between quality and speed: each stands for a set of the approximations below. */
typedef enum {
    LDM_QUALITY_EXACT, /* none of them */
    LDM_QUALITY_NEAR,
    LDM_QUALITY_GOOD,
    LDM_QUALITY_DRAFT,
} LdmQuality;

/* One job. Strings and arrays belong to the request. Set fields through ldm_request_set where
 * values come from people or other processes: it checks type and range. */
typedef struct {
    LdmTask task;
    char *prompt; /* UTF-8, at most 64 KiB; "" allowed */
    char *negative_prompt;
    int width, height; /* generate: pixels, 0 = native; rounded up to f and cropped back */
    double refine;     /* generate: 0 .. 1. Above 0, a picture of more than twice as many pixels as
                        * the native one has is made at about that size first, enlarged, and made
                        * anew with this strength; 0 makes every size at once */
    int steps;         /* 1 .. 1000 */
    LdmSampler sampler;
    LdmSigmas schedule;
    double guidance;         /* classifier-free guidance scale, >= 0; 1 = none */
    double guidance_rescale; /* 0 .. 1: how much of the contrast it adds is taken back */
    LdmQuality quality;      /* ldm_request_set sets what it stands for of the following */
    /* Approximations; the defaults 0 .. 1, 1, 0, 0 and EXACT leave the result exact. */
    /* Fractions of the steps that are made, between which it is guided: start <= end. */
    double guidance_start, guidance_end;
    int reuse;              /* >= 1: deep features are computed in every reuse-th step at the
                             * least, and foretold in the others */
    double merge;           /* 0 .. 0.75: share of the tokens that merge in large self-attention */
    int surroundings;       /* latent cells around the mask that the network sees; 0 = all */
    LdmPrecision precision; /* bf16 only where the processor has it */
    double strength;        /* 0 .. 1: img2img and inpaint */
    double eta;             /* 0 .. 1: DDIM's noise */
    int64_t seed;           /* 0 .. 2^63-1, or -1: a new one, reported in the result */
    int learn;              /* inpaint: steps of learning from the picture before it is filled; 0 */
    char **loras;           /* "FILE" or "FILE:WEIGHT", NULL-terminated; NULL = none */
    char **embeddings;      /* "FILE" of textual inversions, likewise */
    LdmTensor *picture;     /* [1, H, W, 4] R'G'B' (sRGB curve), straight alpha, 0..1 */
    LdmTensor *mask;        /* [1, H, W, 1] 0..1, 1 = repaint; inpaint; img2img: NULL = all */
    LdmTensor *latent;      /* [1, h, w, z] start noise of unit variance, or NULL */
    uint64_t named;         /* bit i: row i of ldm_options() was set by name */
} LdmRequest;

/* A request with the task's default values. */
LDM_API LdmRequest *ldm_request_new(LdmTask task);
LDM_API void ldm_request_free(LdmRequest *request);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmRequest, ldm_request_free)

/* One row of the table of options that the command line, the worker and the plug-in share. */
typedef struct {
    const char *name;           /* "guidance" ... : also the command line's and the PDB's name */
    size_t field;               /* of LdmRequest, by offsetof; choices are ints */
    const char *type;           /* GVariant type: "s" "i" "x" "d" "as" */
    double minimum, maximum;    /* numbers only */
    const char *const *choices; /* NULL-terminated nicks for choices ("ddim" ...), else NULL */
    unsigned tasks;             /* bit (1u << LdmTask) set where it applies */
    const char *blurb;          /* one sentence, English msgid marked for translation */
} LdmOption;

/* The table; ends with a row whose name is NULL. */
LDM_API const LdmOption *ldm_options(void);

/* Sets one option by name. `value` is consumed if floating. Integers and doubles convert to one
 * another where exact. "quality" sets the approximations that are not set by name, before or after.
 * Errors: INVALID (unknown name, wrong type, out of range: says the range). */
LDM_API bool ldm_request_set(LdmRequest *request, const char *name, GVariant *value,
                             GError **error);

/* The value an option has now, of the table's type, floating; NULL where the task has no such
 * option. Choices come as nicks. */
LDM_API GVariant *ldm_request_get(const LdmRequest *request, const char *name);

typedef struct {
    int x, y, width, height;
} LdmRect;

typedef struct {
    LdmRect window;    /* where `pixels` lie in the request's picture (0, 0 for generate) */
    LdmTensor *pixels; /* [1, h, w, 4] generated R'G'B'A, colour-matched, before blending; where
                        * no marks are near, the picture's own */
    LdmTensor *alpha;  /* [1, h, w, 1] blend factor 0..1; NULL for generate */
    int64_t seed;      /* the seed used */
    double scale;      /* latent window per picture pixel: 1, or less where it had to be reduced */
    int evaluations;   /* calls of epsilon_theta (a guided pair counts 2) */
    int steps, planned_steps; /* denoising steps taken, of so many: fewer where it was finished */
    int skipped; /* groups of marks that were not reached before it was finished: as they were */
    double seconds[LDM_N_STAGES];
} LdmResult;

LDM_API void ldm_result_free(LdmResult *result);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmResult, ldm_result_free)

/* Runs the line. Strength 0 returns the input. Errors: INVALID, MISSING (no picture or mask),
 * MEMORY (says what it needs and what is free), NONFINITE (names the stage), CANCELLED. */
LDM_API LdmResult *ldm_generate(LdmModel *model, const LdmRequest *request,
                                const LdmMonitor *monitor, GError **error);

/* The finished picture, [1, H, W, 4]: where alpha is 0 the input's own values, bit for bit. */
LDM_API LdmTensor *ldm_result_composite(const LdmResult *result, const LdmRequest *request,
                                        GError **error);

/* What a request will need, known before anything is allocated. */
typedef struct {
    uint64_t weight_bytes;           /* mapped weights */
    uint64_t work_bytes;             /* peak of all buffers */
    uint64_t peak_bytes;             /* with the weights of the stage at work, and copied ones */
    uint64_t free_bytes;             /* what the machine has left now */
    double flops[LDM_N_STAGES];      /* whole run */
    int latent_width, latent_height; /* in one run */
} LdmPlan;

LDM_API bool ldm_plan(LdmModel *model, const LdmRequest *request, LdmPlan *plan, GError **error);

G_END_DECLS
