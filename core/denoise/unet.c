/* epsilon_theta(z_t, t, tau_theta(y)) (LDM, section 3.3): noisy latent, timestep and context in,
 * the network's prediction out. Down: per level resblocks, each followed by a SpatialTransformer
 * where the level has one, then a strided convolution; every result is kept as a skip. Middle:
 * resblock, transformer, resblock. Up: the same backwards with one resblock more, each joined with
 * the skip of its own size. What comes up to the last layers of all may be foretold from
 * earlier steps; then only the skips that those need are made. */
#include "denoise/unet.h"

#include "base/error.h"
#include "layers/elementwise.h"
#include "layers/resblock.h"
#include "layers/time-embedding.h"
#include "layers/transformer.h"

#include <string.h>

/* Layers on the way up that are computed in every step, whatever is foretold. */
#define SHALLOW_LAYERS 1

typedef struct {
    int layers;
    LdmResblock *resblocks;       /* [layers] */
    LdmTransformer *transformers; /* [layers]; NULL without attention */
    LdmConv2d sampler;            /* down or up; unused at the end of its way */
} Level;

struct LdmUnet {
    LdmUnetConfig config;
    LdmConv2d conv_in, conv_out;
    LdmTimeEmbedding time;
    Level down[LDM_MAX_LEVELS]; /* finest first */
    Level up[LDM_MAX_LEVELS];   /* coarsest first */
    LdmResblock mid[2];
    LdmTransformer mid_transformer;
    LdmNorm norm_out;
    int n_skips;
    int *skip_channels; /* [n_skips] in the order they are made */
};

static LdmResblockSizes resblock_sizes(const LdmUnetConfig *config, int in, int out)
{
    return (LdmResblockSizes){.in = in,
                              .out = out,
                              .time_width = 4 * config->channels[0],
                              .groups = config->norm_groups,
                              .eps = config->norm_eps};
}

static int finest_attention(const LdmUnetConfig *config)
{
    int level = 0;
    while (level < config->levels && !config->attention[level])
        level++;
    return level;
}

static LdmTransformerSizes transformer_sizes(const LdmUnetConfig *config, int level)
{
    return (LdmTransformerSizes){.channels = config->channels[level],
                                 .heads = config->heads[level],
                                 .depth = config->depth[level],
                                 .context_width = config->context_width,
                                 .groups = config->norm_groups,
                                 .linear_projection = config->linear_projection,
                                 .only_cross = config->only_cross_attention[level],
                                 .merges = level == finest_attention(config)};
}

/* Arrays of a level and its transformers, which come first in the table as in the reference. */
static void level_init(Level *level, const LdmUnetConfig *config, const LdmScope *scope, int index,
                       int layers)
{
    level->layers = layers;
    level->resblocks = g_new0(LdmResblock, layers);
    if (!config->attention[index])
        return;
    LdmTransformerSizes sizes = transformer_sizes(config, index);
    level->transformers = g_new0(LdmTransformer, layers);
    for (int j = 0; j < layers; j++)
        ldm_transformer_init(&level->transformers[j], ldm_scope(scope, "attentions.%d", j), &sizes);
}

static void down_init(LdmUnet *unet, const LdmScope *root)
{
    const LdmUnetConfig *config = &unet->config;
    int C = config->channels[0];
    unet->skip_channels = g_new(int, config->levels *(config->layers_per_block + 1));
    unet->skip_channels[unet->n_skips++] = C;
    for (int i = 0; i < config->levels; i++) {
        Level *level = &unet->down[i];
        LdmScope scope = ldm_scope(root, "down_blocks.%d", i);
        level_init(level, config, &scope, i, config->layers_per_block);
        for (int j = 0; j < level->layers; j++) {
            LdmResblockSizes sizes = resblock_sizes(config, C, config->channels[i]);
            ldm_resblock_init(&level->resblocks[j], ldm_scope(&scope, "resnets.%d", j), &sizes);
            C = config->channels[i];
            unet->skip_channels[unet->n_skips++] = C;
        }
        if (i + 1 < config->levels) {
            ldm_conv2d_init_downsample(&level->sampler, ldm_scope(&scope, "downsamplers.0.conv"), C,
                                       true);
            unet->skip_channels[unet->n_skips++] = C;
        }
    }
}

static void up_init(LdmUnet *unet, const LdmScope *root)
{
    const LdmUnetConfig *config = &unet->config;
    int C = config->channels[config->levels - 1], skip = unet->n_skips;
    for (int i = 0; i < config->levels; i++) {
        Level *level = &unet->up[i];
        int index = config->levels - 1 - i, out = config->channels[index];
        LdmScope scope = ldm_scope(root, "up_blocks.%d", i);
        level_init(level, config, &scope, index, config->layers_per_block + 1);
        for (int j = 0; j < level->layers; j++) {
            LdmResblockSizes sizes = resblock_sizes(config, C + unet->skip_channels[--skip], out);
            ldm_resblock_init(&level->resblocks[j], ldm_scope(&scope, "resnets.%d", j), &sizes);
            C = out;
        }
        if (i + 1 < config->levels)
            ldm_conv2d_init_upsample(&level->sampler, ldm_scope(&scope, "upsamplers.0.conv"), C);
    }
}

static void mid_init(LdmUnet *unet, const LdmScope *root)
{
    const LdmUnetConfig *config = &unet->config;
    int last = config->levels - 1, C = config->channels[last];
    LdmScope scope = ldm_scope(root, "mid_block");
    LdmResblockSizes sizes = resblock_sizes(config, C, C);
    LdmTransformerSizes transformer = transformer_sizes(config, last);
    transformer.only_cross = transformer.merges = false;
    if (config->mid_attention)
        ldm_transformer_init(&unet->mid_transformer, ldm_scope(&scope, "attentions.0"),
                             &transformer);
    for (int i = 0; i < 2; i++)
        ldm_resblock_init(&unet->mid[i], ldm_scope(&scope, "resnets.%d", i), &sizes);
}

/* All matrices may be multiplied in 8 bits but those that see the latent itself or lead to it, and
 * the embedding of the time, which goes into every resblock: they are small and errors tell. */
static void mark_coarse(LdmParams *params)
{
    for (size_t i = 0; i < ldm_params_length(params); i++) {
        LdmParam *param = ldm_params_at(params, i);
        bool fine = g_str_has_prefix(param->name, "conv_in.") ||
                    g_str_has_prefix(param->name, "conv_out.") ||
                    g_str_has_prefix(param->name, "time_embedding.") ||
                    strstr(param->name, ".time_emb_proj.") != NULL;
        param->coarse =
            !fine && param->rank >= 2 && param->shape[2] * param->shape[3] <= LDM_Q8_TAPS;
    }
}

LdmUnet *ldm_unet_new(const LdmUnetConfig *config, LdmParams *params)
{
    LdmUnet *unet = g_new0(LdmUnet, 1);
    LdmScope root = ldm_scope_root(params);
    int C = config->channels[0];
    unet->config = *config;
    ldm_conv2d_init(&unet->conv_in, ldm_scope(&root, "conv_in"), config->in_channels, C, 3);
    ldm_time_embedding_init(&unet->time, ldm_scope(&root, "time_embedding"), C, 4 * C);
    down_init(unet, &root);
    up_init(unet, &root);
    mid_init(unet, &root);
    ldm_group_norm_init(&unet->norm_out, ldm_scope(&root, "conv_norm_out"), C, config->norm_groups,
                        config->norm_eps);
    ldm_conv2d_init(&unet->conv_out, ldm_scope(&root, "conv_out"), C, config->out_channels, 3);
    mark_coarse(params);
    return unet;
}

static void level_clear(Level *level)
{
    for (int j = 0; level->transformers != NULL && j < level->layers; j++)
        ldm_transformer_clear(&level->transformers[j]);
    g_free(level->transformers);
    g_free(level->resblocks);
}

void ldm_unet_free(LdmUnet *unet)
{
    if (unet == NULL)
        return;
    for (int i = 0; i < LDM_MAX_LEVELS; i++) {
        level_clear(&unet->down[i]);
        level_clear(&unet->up[i]);
    }
    ldm_transformer_clear(&unet->mid_transformer);
    g_free(unet->skip_channels);
    g_free(unet);
}

/* One forward at work: what its parts share. */
typedef struct {
    LdmPass *pass;
    const LdmUnet *unet;
    LdmTensor *time;    /* [N, 4C] */
    LdmTensor *context; /* [N or 1, tokens, width] or NULL */
    size_t N;           /* of the result */
    double timestep;    /* of the first picture: of all, in a run; a plan may have none */
    LdmTensor **skips;  /* a stack */
    int n_skips;
} Run;

static void skip_push(Run *run, LdmTensor *h)
{
    run->skips[run->n_skips++] = ldm_pass_keep(run->pass, h);
}

/* Resblock j of a level, on the way up with the latest skip beside h, and the transformer after
 * it. */
static LdmTensor *level_step(Run *run, const Level *level, int j, bool up, LdmTensor *h)
{
    const LdmResblock *block = &level->resblocks[j];
    h = up ? ldm_resblock_joined_forward(run->pass, block, h, run->skips[--run->n_skips], run->time)
           : ldm_resblock_forward(run->pass, block, h, run->time);
    if (level->transformers != NULL)
        h = ldm_transformer_forward(run->pass, &level->transformers[j], h, run->context);
    return h;
}

/* Until there are `skips` of them. */
static LdmTensor *down_forward(Run *run, LdmTensor *h, int skips)
{
    const LdmUnet *unet = run->unet;
    skip_push(run, h);
    for (int i = 0; i < unet->config.levels; i++) {
        const Level *level = &unet->down[i];
        for (int j = 0; j < level->layers && run->n_skips < skips; j++) {
            h = level_step(run, level, j, false, h);
            skip_push(run, h);
        }
        if (i + 1 < unet->config.levels && run->n_skips < skips) {
            h = ldm_conv2d_forward(run->pass, &level->sampler, h, NULL);
            skip_push(run, h);
        }
    }
    return h;
}

static LdmTensor *mid_forward(Run *run, LdmTensor *h)
{
    const LdmUnet *unet = run->unet;
    h = ldm_resblock_forward(run->pass, &unet->mid[0], h, run->time);
    if (unet->config.mid_attention)
        h = ldm_transformer_forward(run->pass, &unet->mid_transformer, h, run->context);
    return ldm_resblock_forward(run->pass, &unet->mid[1], h, run->time);
}

static LdmTensor *up_forward(Run *run, LdmTensor *h)
{
    const LdmUnet *unet = run->unet;
    bool remember = ldm_pass_features(run->pass) == LDM_FEATURES_REMEMBER;
    for (int i = 0; i < unet->config.levels; i++) {
        const Level *level = &unet->up[i];
        for (int j = 0; j < level->layers; j++) {
            if (remember && run->n_skips == SHALLOW_LAYERS)
                ldm_pass_remember(run->pass, unet, h, run->timestep);
            h = level_step(run, level, j, true, h);
        }
        if (i + 1 < unet->config.levels) {
            const LdmTensor *next = run->skips[run->n_skips - 1];
            h = ldm_conv2d_forward_to(run->pass, &level->sampler, h, next->shape[1],
                                      next->shape[2]);
        }
    }
    return h;
}

/* The last layers of all, from features that are foretold; NULL: they can't be. */
static LdmTensor *shallow_forward(Run *run, LdmTensor *x)
{
    const LdmUnet *unet = run->unet;
    const Level *last = &unet->up[unet->config.levels - 1];
    LdmTensor *h = NULL;
    if (ldm_pass_features(run->pass) == LDM_FEATURES_FORECAST)
        h = ldm_pass_forecast(run->pass, unet, run->N, run->timestep);
    if (h == NULL)
        return NULL;
    x = ldm_conv2d_forward(run->pass, &unet->conv_in, ldm_pass_keep(run->pass, x), NULL);
    ldm_pass_drop(run->pass, down_forward(run, x, SHALLOW_LAYERS));
    for (int j = last->layers - SHALLOW_LAYERS; j < last->layers; j++)
        h = level_step(run, last, j, true, h);
    return h;
}

static LdmTensor *full_forward(Run *run, LdmTensor *x)
{
    x = ldm_conv2d_forward(run->pass, &run->unet->conv_in, ldm_pass_keep(run->pass, x), NULL);
    LdmTensor *h = down_forward(run, x, run->unet->n_skips);
    return up_forward(run, mid_forward(run, h));
}

/* What a caller can get wrong; sizes inside follow from the configuration. */
static void check_inputs(LdmPass *pass, const LdmUnet *unet, const LdmTensor *x,
                         const LdmTensor *context)
{
    GError *error = NULL;
    ldm_pass_expect(pass, x, unet->config.in_channels, _("the latent with what is joined to it"));
    if (unet->config.context_width == 0)
        return;
    if (context == NULL) {
        ldm_set_error(&error, SHAPE, _("this network needs text conditioning, and got none"));
        ldm_pass_fail(pass, error);
        return;
    }
    ldm_pass_expect(pass, context, unet->config.context_width, _("the text conditioning"));
    if (context->shape[0] != 1 && x->shape[0] != 1 && context->shape[0] != x->shape[0]) {
        ldm_set_error(&error, SHAPE, _("text conditioning for %zu pictures does not fit %zu"),
                      context->shape[0], x->shape[0]);
        ldm_pass_fail(pass, error);
    }
}

LdmTensor *ldm_unet_forward(LdmPass *pass, const LdmUnet *unet, LdmTensor *x,
                            const double *timesteps, LdmTensor *context)
{
    g_autofree LdmTensor **skips = g_new(LdmTensor *, unet->n_skips);
    Run run = {.pass = pass,
               .unet = unet,
               .context = unet->config.context_width > 0 ? context : NULL,
               .N = MAX(x->shape[0], context != NULL ? context->shape[0] : 1),
               .timestep = timesteps != NULL ? timesteps[0] : 0.0,
               .skips = skips};
    check_inputs(pass, unet, x, context);
    /* every resblock takes SiLU of the embedding: once for all */
    run.time = ldm_time_embedding_forward(pass, &unet->time, timesteps, x->shape[0]);
    run.time = ldm_activation_forward(pass, LDM_ACT_SILU, run.time);

    LdmTensor *h = shallow_forward(&run, x);
    if (h == NULL)
        h = full_forward(&run, x);
    ldm_pass_drop(pass, run.time);
    h = ldm_conv2d_normed_forward(pass, &unet->conv_out, &unet->norm_out, h, NULL);
    return ldm_repeat_forward(pass, h, run.N); /* where no layer looked at the context */
}
