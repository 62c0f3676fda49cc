/* Whether a configuration is one that the networks can be built from: numbers within the limits
 * stated here, sizes that divide and agree. In: what a file said. Out: yes, or the key, its value
 * and what it may be. With these limits every size computed from one fits in 64 bits. */
#include "weights/config.h"

#include "base/error.h"

#include <math.h>

#define MAX_CHANNELS 16384
#define MAX_LATENT   64
#define MAX_CODEBOOK (1 << 20)
#define CODEBOOK     8192 /* entries, where nothing says how many */
#define MAX_SIDE     4096

typedef struct {
    const char *key;
    int value, minimum, maximum;
} Bound;

static bool check_bounds(const char *path, const Bound *bounds, size_t n, GError **error)
{
    for (size_t i = 0; i < n; i++) {
        if (bounds[i].value >= bounds[i].minimum && bounds[i].value <= bounds[i].maximum)
            continue;
        ldm_set_error(error, UNSUPPORTED, _("%s: %s is %d; %d to %d is supported"), path,
                      bounds[i].key, bounds[i].value, bounds[i].minimum, bounds[i].maximum);
        return false;
    }
    return true;
}

static bool check_divides(const char *path, const char *key, int value, const char *by_key, int by,
                          GError **error)
{
    if (by >= 1 && value % by == 0)
        return true;
    ldm_set_error(error, UNSUPPORTED, _("%s: %s %d is not a multiple of %s %d"), path, key, value,
                  by_key, by);
    return false;
}

/* A number within [minimum, maximum]; NaN is not. */
static bool check_number(const char *path, const char *key, double value, double minimum,
                         double maximum, GError **error)
{
    if (value >= minimum && value <= maximum)
        return true;
    char text[3][G_ASCII_DTOSTR_BUF_SIZE];
    ldm_set_error(error, UNSUPPORTED, _("%s: %s is %s; %s to %s is supported"), path, key,
                  g_ascii_formatd(text[0], sizeof text[0], "%g", value),
                  g_ascii_formatd(text[1], sizeof text[1], "%g", minimum),
                  g_ascii_formatd(text[2], sizeof text[2], "%g", maximum));
    return false;
}

static bool check_levels(const char *path, const char *key, const int *channels, int levels,
                         int groups, GError **error)
{
    for (int i = 0; i < levels; i++) {
        const Bound bound = {key, channels[i], 1, MAX_CHANNELS};
        if (!check_bounds(path, &bound, 1, error) ||
            !check_divides(path, key, channels[i], "norm_num_groups", groups, error))
            return false;
    }
    return true;
}

size_t ldm_vae_factor(const LdmVaeConfig *config)
{
    return (size_t)1 << (config->levels - (config->haar_stem ? 0 : 1));
}

size_t ldm_vae_moments(const LdmVaeConfig *config)
{
    return (size_t)config->latent_channels * (config->regulariser == LDM_REGULARISER_VQ ? 1 : 2);
}

void ldm_vae_config_change(LdmVaeConfig *c, const LdmVaeWish *wish)
{
    if (wish->regulariser == LDM_REGULARISER_VQ && c->regulariser != LDM_REGULARISER_VQ) {
        c->inner_channels = c->latent_channels;
        c->codebook = CODEBOOK;
        c->quant_conv = c->post_quant_conv = true;
    }
    if (wish->regulariser != LDM_REGULARISER_GIVEN)
        c->regulariser = wish->regulariser;
    if (c->regulariser == LDM_REGULARISER_VQ && wish->codebook > 0)
        c->codebook = wish->codebook;
    if (c->regulariser == LDM_REGULARISER_VQ && wish->width > 0)
        c->latent_channels = wish->width;
}

static bool check_codebook(const LdmVaeConfig *c, const char *path, GError **error)
{
    const Bound bounds[] = {
        {"vae latent_channels", c->inner_channels, 1, MAX_LATENT},
        {"vae vq_embed_dim", c->latent_channels, 1, MAX_LATENT},
        {"vae num_vq_embeddings", c->codebook, 1, MAX_CODEBOOK},
    };
    return c->regulariser != LDM_REGULARISER_VQ ||
           check_bounds(path, bounds, G_N_ELEMENTS(bounds), error);
}

static bool check_vae(const LdmVaeConfig *c, const char *path, GError **error)
{
    const Bound bounds[] = {
        {"vae in_channels", c->in_channels, 3, 3},
        {"vae out_channels", c->out_channels, 3, 3},
        {"vae latent_channels", c->latent_channels, 1, MAX_LATENT},
        {"vae levels", c->levels, 1, LDM_MAX_LEVELS},
        {"vae layers_per_block", c->layers_per_block, 1, 16},
        {"vae norm_num_groups", c->norm_groups, 1, MAX_CHANNELS},
        {"vae sample_size", c->sample_size, 0, MAX_SIDE << 3},
    };
    return check_codebook(c, path, error) &&
           check_bounds(path, bounds, G_N_ELEMENTS(bounds), error) &&
           check_levels(path, "vae block_out_channels", c->channels, c->levels, c->norm_groups,
                        error) &&
           check_number(path, "vae scaling_factor", c->scale_factor, 1e-6, 1e6, error) &&
           check_number(path, "vae shift_factor", c->shift_factor, -1e6, 1e6, error);
}

size_t ldm_tiny_factor(const LdmTinyConfig *config)
{
    return (size_t)1 << (config->levels - 1);
}

bool ldm_tiny_config_check(const LdmTinyConfig *c, const char *path, GError **error)
{
    const Bound bounds[] = {
        {"latent_channels", c->latent_channels, 1, MAX_LATENT},
        {"decoder_block_out_channels", c->channels, 1, MAX_CHANNELS},
        {"decoder levels", c->levels, 1, LDM_MAX_LEVELS},
    };
    if (!check_bounds(path, bounds, G_N_ELEMENTS(bounds), error))
        return false;
    for (int i = 0; i < c->levels; i++) {
        const Bound blocks = {"num_decoder_blocks", c->blocks[i], 0, 64};
        if (!check_bounds(path, &blocks, 1, error))
            return false;
    }
    return check_number(path, "scaling_factor", c->scale_factor, 1e-6, 1e6, error) &&
           check_number(path, "shift_factor", c->shift_factor, -1e6, 1e6, error);
}

static bool check_unet(const LdmUnetConfig *c, int z, const char *path, GError **error)
{
    const Bound bounds[] = {
        {"unet out_channels", c->out_channels, z, z},
        {"unet levels", c->levels, 1, LDM_MAX_LEVELS},
        {"unet layers_per_block", c->layers_per_block, 1, 16},
        {"unet norm_num_groups", c->norm_groups, 1, MAX_CHANNELS},
        {"unet cross_attention_dim", c->context_width, 1, MAX_CHANNELS},
        {"unet sample_size", c->sample_size, 1, MAX_SIDE},
    };
    if (c->in_channels != z && c->in_channels != 2 * z + 1) {
        ldm_set_error(error, UNSUPPORTED,
                      _("%s: unet in_channels is %d; %d (plain) or %d (inpainting) is supported"),
                      path, c->in_channels, z, 2 * z + 1);
        return false;
    }
    if (!check_bounds(path, bounds, G_N_ELEMENTS(bounds), error) ||
        !check_levels(path, "unet block_out_channels", c->channels, c->levels, c->norm_groups,
                      error) ||
        !check_number(path, "unet norm_eps", c->norm_eps, 0, 1, error))
        return false;
    for (int i = 0; i < c->levels; i++) {
        const Bound level[] = {
            {"unet transformer_layers_per_block", c->depth[i], 1, 64},
            {"unet attention_head_dim (number of heads)", c->heads[i], 1, 1024},
        };
        bool used = c->attention[i] || (c->mid_attention && i == c->levels - 1);
        if (used && (!check_bounds(path, level, G_N_ELEMENTS(level), error) ||
                     !check_divides(path, "unet block_out_channels", c->channels[i],
                                    "attention_head_dim (number of heads)", c->heads[i], error)))
            return false;
    }
    return true;
}

static bool check_text(const LdmTextConfig *c, int context_width, const char *path, GError **error)
{
    const Bound bounds[] = {
        {"text vocab_size", c->vocab_size, 2, 1 << 20},
        {"text hidden_size", c->width, context_width, context_width},
        {"text num_hidden_layers", c->layers, 1, 128},
        {"text layers left out", c->skip_last, 0, c->layers - 1},
        {"text num_attention_heads", c->heads, 1, 1024},
        {"text intermediate_size", c->mlp_width, 1, 4 * MAX_CHANNELS},
        {"text max_position_embeddings", c->tokens, 2, 4096},
        {"text bos_token_id", c->bos, 0, c->vocab_size - 1},
        {"text eos_token_id", c->eos, 0, c->vocab_size - 1},
        {"text pad_token_id", c->pad, 0, c->vocab_size - 1},
    };
    return check_bounds(path, bounds, G_N_ELEMENTS(bounds), error) &&
           check_divides(path, "text hidden_size", c->width, "num_attention_heads", c->heads,
                         error) &&
           check_number(path, "text layer_norm_eps", c->norm_eps, 0, 1, error);
}

static bool check_schedule(const LdmScheduleConfig *c, const char *path, GError **error)
{
    const Bound bounds[] = {
        {"num_train_timesteps", c->train_steps, 1, 100000},
        {"steps_offset", c->steps_offset, 0, c->train_steps - 1},
    };
    if (!check_bounds(path, bounds, G_N_ELEMENTS(bounds), error))
        return false;
    return c->betas == LDM_BETAS_SQUAREDCOS ||
           (check_number(path, "beta_start", c->beta_start, 1e-12, 0.999, error) &&
            check_number(path, "beta_end", c->beta_end, c->beta_start, 0.999, error));
}

bool ldm_model_config_check(const LdmModelConfig *config, const char *path, GError **error)
{
    if (!check_vae(&config->vae, path, error))
        return false;
    if (config->first_stage)
        return true;
    return check_unet(&config->unet, config->vae.latent_channels, path, error) &&
           (!config->has_text ||
            check_text(&config->text, config->unet.context_width, path, error)) &&
           check_schedule(&config->schedule, path, error);
}
