/* What a model's configuration says, whatever file said it: diffusers' config.json files, the
 * reference's .yaml, or tensor shapes. Networks are built from these structs and nothing else. */
#pragma once

#include "ldm.h"

#define LDM_MAX_LEVELS 8

/* What holds an autoencoder's latents together (LDM, section 3.1): a posterior that is drawn to the
 * normal distribution, or a codebook whose entries the decoder sees. */
typedef enum {
    LDM_REGULARISER_GIVEN, /* of LdmVaeWish only: as the configuration says */
    LDM_REGULARISER_KL,
    LDM_REGULARISER_VQ,
} LdmRegulariser;

/* AutoencoderKL, VQModel. */
typedef struct {
    LdmRegulariser regulariser;
    int in_channels, out_channels; /* 3, 3 */
    int latent_channels;           /* z, what the denoiser sees; VQ: numbers of an entry */
    int inner_channels;            /* VQ: between the networks and quant_conv, post_quant_conv */
    int codebook;                  /* VQ: entries */
    int levels;
    int channels[LDM_MAX_LEVELS];   /* block_out_channels, finest first */
    bool attention[LDM_MAX_LEVELS]; /* behind every resblock of the level, down and up alike */
    int layers_per_block;           /* resblocks per encoder level; the decoder has one more */
    int norm_groups;
    bool mid_attention;
    bool quant_conv, post_quant_conv;
    bool haar_stem;   /* the networks see Haar bands of half the sides; not in diffusers */
    bool linear_path; /* linear maps beside the networks (layers/linear-path.h); not in diffusers */
    double scale_factor, shift_factor;
    int sample_size;
} LdmVaeConfig;

/* What shall be different in a new autoencoder; zero: nothing. */
typedef struct {
    LdmRegulariser regulariser;
    int codebook, width; /* VQ: entries and their numbers; 0: as given, else 8192 and z */
} LdmVaeWish;
void ldm_vae_config_change(LdmVaeConfig *config, const LdmVaeWish *wish);

/* f, pixels of a latent cell's side: 2^(levels - 1), twice that behind a Haar stem. */
size_t ldm_vae_factor(const LdmVaeConfig *config);

/* Numbers of a latent cell as E gives it: mean | logvar, 2z; VQ: z. */
size_t ldm_vae_moments(const LdmVaeConfig *config);

/* The decoder of AutoencoderTiny: a small one that shows roughly what D would. */
typedef struct {
    int latent_channels; /* z */
    int channels;        /* of every level: diffusers' decoder can only have one number */
    int levels;
    int blocks[LDM_MAX_LEVELS];        /* of each level, coarsest first */
    double scale_factor, shift_factor; /* of the latents that it decodes: its own, mostly 1 and 0 */
} LdmTinyConfig;

/* f, as above. */
size_t ldm_tiny_factor(const LdmTinyConfig *config);
bool ldm_tiny_config_check(const LdmTinyConfig *config, const char *path, GError **error);

/* UNet with SpatialTransformers. */
typedef struct {
    int in_channels, out_channels;
    int levels;
    int channels[LDM_MAX_LEVELS];
    int layers_per_block;
    bool attention[LDM_MAX_LEVELS]; /* level has cross-attention (down and up alike) */
    int heads[LDM_MAX_LEVELS];      /* number of heads (diffusers' attention_head_dim) */
    int depth[LDM_MAX_LEVELS];      /* transformer blocks per SpatialTransformer */
    int context_width;              /* cross_attention_dim */
    int norm_groups;
    double norm_eps;
    bool linear_projection; /* proj_in/out linear instead of 1x1 convolution */
    bool only_cross_attention[LDM_MAX_LEVELS];
    bool mid_attention;
    int sample_size; /* latent cells a side */
    LdmHole hole;    /* of the masked picture ("masked_hole"); diffusers knows mid-grey alone */
} LdmUnetConfig;

/* CLIP text transformer. */
typedef struct {
    int vocab_size, width, layers, heads, mlp_width, tokens;
    bool quick_gelu; /* else exact GELU */
    double norm_eps;
    int bos, eos, pad; /* token ids */
    int skip_last;     /* layers left out at the end (SD2: 1 of 24 in single files) */
} LdmTextConfig;

typedef enum { LDM_BETAS_LINEAR, LDM_BETAS_SCALED_LINEAR, LDM_BETAS_SQUAREDCOS } LdmBetas;
typedef enum { LDM_SPACING_LEADING, LDM_SPACING_LINSPACE, LDM_SPACING_TRAILING } LdmSpacing;

/* The noise schedule and how timesteps are chosen from it. */
typedef struct {
    LdmBetas betas;
    double beta_start, beta_end;
    int train_steps; /* 1000 */
    LdmPrediction prediction;
    LdmSpacing spacing;
    int steps_offset;       /* 0 or 1, with LEADING */
    bool final_alpha_one;   /* set_alpha_to_one: final alpha_bar 1, else alpha_bar[0] */
    bool zero_terminal_snr; /* rescale_betas_zero_snr, arXiv 2305.08891 */
} LdmScheduleConfig;

typedef struct {
    LdmVaeConfig vae;
    LdmUnetConfig unet;
    LdmTextConfig text;
    bool has_text;
    bool first_stage; /* the autoencoder alone: the rest is not there */
    LdmScheduleConfig schedule;
    int max_side; /* longest side in pixels worked on at scale 1; 0 = twice the native side */
} LdmModelConfig;

/* Checks every number against the stated limits (positive, channels a multiple of the norm groups
 * and heads, products that fit). Errors: UNSUPPORTED, naming file-level key and value. */
bool ldm_model_config_check(const LdmModelConfig *config, const char *path, GError **error);
