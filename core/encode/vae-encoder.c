/* E of the autoencoder (LDM, section 3.1): picture [N, H, W, 3] in, moments [N, H/f, W/f, 2z]
 * (mean | logvar) out; VQ: z. Haar bands where the configuration says so; conv_in; per level
 * resblocks, some with attention behind each, then a strided convolution padded right and bottom
 * only; in the middle resblock, attention, resblock; norm, SiLU, conv_out, quant_conv; the linear
 * path's share where there is one. */
#include "encode/vae-encoder.h"

#include "base/error.h"
#include "layers/attention-block.h"
#include "layers/haar.h"
#include "layers/linear-path.h"
#include "layers/posterior.h"
#include "layers/resblock.h"
#include "tensor/tensor.h"

#include <math.h>

#define NORM_EPS 1e-6 /* everywhere in the autoencoder */

typedef struct {
    LdmResblock *resblocks;        /* [layers_per_block] */
    LdmAttentionBlock *attentions; /* the same, or NULL */
    LdmConv2d downsample;          /* all levels but the last */
} Level;

struct LdmVaeEncoder {
    LdmVaeConfig config;
    LdmConv2d conv_in, conv_out;
    Level levels[LDM_MAX_LEVELS];
    LdmResblock mid[2];
    LdmAttentionBlock attention;
    LdmNorm norm_out;
    LdmLinear quant_conv;
    LdmLinearPath linear;
};

static LdmResblockSizes resblock_sizes(const LdmVaeConfig *config, int in, int out)
{
    return (LdmResblockSizes){.in = in, .out = out, .groups = config->norm_groups, .eps = NORM_EPS};
}

static void levels_init(LdmVaeEncoder *encoder, const LdmScope *scope)
{
    const LdmVaeConfig *config = &encoder->config;
    int C = config->channels[0];
    for (int i = 0; i < config->levels; i++) {
        Level *level = &encoder->levels[i];
        level->resblocks = g_new0(LdmResblock, config->layers_per_block);
        if (config->attention[i])
            level->attentions = g_new0(LdmAttentionBlock, config->layers_per_block);
        for (int j = 0; j < config->layers_per_block; j++) {
            LdmResblockSizes sizes = resblock_sizes(config, C, config->channels[i]);
            ldm_resblock_init(&level->resblocks[j],
                              ldm_scope(scope, "down_blocks.%d.resnets.%d", i, j), &sizes);
            C = config->channels[i];
            if (config->attention[i])
                ldm_attention_block_init(&level->attentions[j],
                                         ldm_scope(scope, "down_blocks.%d.attentions.%d", i, j), C,
                                         config->norm_groups, NORM_EPS);
        }
        if (i + 1 < config->levels)
            ldm_conv2d_init_downsample(&level->downsample,
                                       ldm_scope(scope, "down_blocks.%d.downsamplers.0.conv", i), C,
                                       false);
    }
}

LdmVaeEncoder *ldm_vae_encoder_new(const LdmVaeConfig *config, LdmParams *params)
{
    LdmVaeEncoder *encoder = g_new0(LdmVaeEncoder, 1);
    LdmScope root = ldm_scope_root(params), scope = ldm_scope(&root, "encoder");
    int C = config->channels[config->levels - 1], moments = (int)ldm_vae_moments(config);
    int inner = config->regulariser == LDM_REGULARISER_VQ ? config->inner_channels : moments;
    LdmResblockSizes sizes = resblock_sizes(config, C, C);
    encoder->config = *config;
    size_t first = (size_t)config->in_channels * (config->haar_stem ? 4 : 1);
    ldm_conv2d_init(&encoder->conv_in, ldm_scope(&scope, "conv_in"), first, config->channels[0], 3);
    levels_init(encoder, &scope);
    if (config->mid_attention)
        ldm_attention_block_init(&encoder->attention, ldm_scope(&scope, "mid_block.attentions.0"),
                                 C, config->norm_groups, NORM_EPS);
    for (int i = 0; i < 2; i++)
        ldm_resblock_init(&encoder->mid[i], ldm_scope(&scope, "mid_block.resnets.%d", i), &sizes);
    ldm_group_norm_init(&encoder->norm_out, ldm_scope(&scope, "conv_norm_out"), C,
                        config->norm_groups, NORM_EPS);
    ldm_conv2d_init(&encoder->conv_out, ldm_scope(&scope, "conv_out"), C, inner, 3);
    if (config->quant_conv)
        ldm_linear_init_1x1(&encoder->quant_conv, ldm_scope(&root, "quant_conv"), inner, moments);
    if (config->linear_path)
        ldm_linear_path_init_encode(&encoder->linear, ldm_scope(&scope, "linear_path"), first,
                                    config->levels - 1, moments);
    return encoder;
}

void ldm_vae_encoder_free(LdmVaeEncoder *encoder)
{
    if (encoder == NULL)
        return;
    for (int i = 0; i < LDM_MAX_LEVELS; i++) {
        g_free(encoder->levels[i].resblocks);
        g_free(encoder->levels[i].attentions);
    }
    g_free(encoder);
}

LdmTensor *ldm_vae_encoder_forward(LdmPass *pass, const LdmVaeEncoder *encoder, LdmTensor *x)
{
    const LdmVaeConfig *config = &encoder->config;
    ldm_pass_expect(pass, x, config->in_channels, _("the picture"));
    LdmTensor *h = ldm_pass_keep(pass, x), *linear = NULL;
    if (config->haar_stem)
        h = ldm_haar_split_forward(pass, h);
    if (config->linear_path)
        linear = ldm_linear_path_encode(pass, &encoder->linear, ldm_pass_keep(pass, h));
    h = ldm_conv2d_forward(pass, &encoder->conv_in, h, NULL);
    for (int i = 0; i < config->levels; i++) {
        const Level *level = &encoder->levels[i];
        for (int j = 0; j < config->layers_per_block; j++) {
            h = ldm_resblock_forward(pass, &level->resblocks[j], h, NULL);
            if (level->attentions != NULL)
                h = ldm_attention_block_forward(pass, &level->attentions[j], h);
        }
        if (i + 1 < config->levels)
            h = ldm_conv2d_forward(pass, &level->downsample, h, NULL);
    }
    h = ldm_resblock_forward(pass, &encoder->mid[0], h, NULL);
    if (config->mid_attention)
        h = ldm_attention_block_forward(pass, &encoder->attention, h);
    h = ldm_resblock_forward(pass, &encoder->mid[1], h, NULL);
    h = ldm_conv2d_normed_forward(pass, &encoder->conv_out, &encoder->norm_out, h,
                                  config->quant_conv ? NULL : linear);
    if (config->quant_conv)
        h = ldm_linear_forward(pass, &encoder->quant_conv, h, linear);
    return h;
}

LdmTensor *ldm_latent_from_moments(const LdmTensor *moments, const LdmTensor *noise,
                                   const LdmVaeConfig *config, GError **error)
{
    size_t C = (size_t)config->latent_channels, width = moments->shape[3];
    size_t cells = ldm_tensor_count(moments) / width;
    g_autoptr(LdmTensor) z =
        ldm_tensor_new_nhwc(moments->shape[0], moments->shape[1], moments->shape[2], C, error);
    if (z == NULL)
        return NULL;
    if (noise != NULL && !ldm_tensor_same_shape(noise, z)) {
        g_autofree char *expected = ldm_shape_string(z->rank, z->shape);
        g_autofree char *found = ldm_shape_string(noise->rank, noise->shape);
        ldm_set_error(error, SHAPE, _("the noise has shape %s, but the latent has %s"), found,
                      expected);
        return NULL;
    }
    for (size_t i = 0; i < cells; i++) {
        const float *mean = ldm_tensor_f32(moments) + i * width, *logvar = mean + C;
        for (size_t c = 0; c < C; c++) {
            double value = mean[c];
            if (noise != NULL && width > C)
                value += exp(CLAMP((double)logvar[c], LDM_LOGVAR_MIN, LDM_LOGVAR_MAX) / 2) *
                         ldm_tensor_f32(noise)[i * C + c];
            ldm_tensor_f32(z)[i * C + c] =
                (float)((value - config->shift_factor) * config->scale_factor);
        }
    }
    return g_steal_pointer(&z);
}
