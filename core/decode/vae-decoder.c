/* D of the autoencoder (LDM, section 3.1): latent [N, h, w, z] in, picture [N, h*f, w*f, 3] out.
 * VQ: the nearest entries of the codebook; post_quant_conv, conv_in; in the middle resblock,
 * attention, resblock; per level, coarsest first, resblocks, some with attention behind each, then
 * nearest neighbour to twice the size and a convolution; norm, SiLU, conv_out; the linear path's
 * share where there is one; the picture from Haar bands where the configuration says so. */
#include "decode/vae-decoder.h"

#include "base/error.h"
#include "layers/attention-block.h"
#include "layers/haar.h"
#include "layers/linear-path.h"
#include "layers/resblock.h"

#define NORM_EPS 1e-6 /* everywhere in the autoencoder */

typedef struct {
    LdmResblock *resblocks;        /* [layers_per_block + 1] */
    LdmAttentionBlock *attentions; /* the same, or NULL */
    LdmConv2d upsample;            /* all levels but the last */
} Level;

struct LdmVaeDecoder {
    LdmVaeConfig config;
    LdmQuantise quantise; /* VQ */
    LdmLinear post_quant_conv;
    LdmConv2d conv_in, conv_out;
    LdmResblock mid[2];
    LdmAttentionBlock attention;
    Level levels[LDM_MAX_LEVELS]; /* coarsest first */
    LdmNorm norm_out;
    LdmLinearPath linear;
};

static LdmResblockSizes resblock_sizes(const LdmVaeConfig *config, int in, int out)
{
    return (LdmResblockSizes){.in = in, .out = out, .groups = config->norm_groups, .eps = NORM_EPS};
}

static void levels_init(LdmVaeDecoder *decoder, const LdmScope *scope)
{
    const LdmVaeConfig *config = &decoder->config;
    int C = config->channels[config->levels - 1];
    for (int i = 0; i < config->levels; i++) {
        Level *level = &decoder->levels[i];
        int out = config->channels[config->levels - 1 - i];
        bool attention = config->attention[config->levels - 1 - i];
        level->resblocks = g_new0(LdmResblock, config->layers_per_block + 1);
        if (attention)
            level->attentions = g_new0(LdmAttentionBlock, config->layers_per_block + 1);
        for (int j = 0; j <= config->layers_per_block; j++) {
            LdmResblockSizes sizes = resblock_sizes(config, C, out);
            ldm_resblock_init(&level->resblocks[j],
                              ldm_scope(scope, "up_blocks.%d.resnets.%d", i, j), &sizes);
            C = out;
            if (attention)
                ldm_attention_block_init(&level->attentions[j],
                                         ldm_scope(scope, "up_blocks.%d.attentions.%d", i, j), C,
                                         config->norm_groups, NORM_EPS);
        }
        if (i + 1 < config->levels)
            ldm_conv2d_init_upsample(&level->upsample,
                                     ldm_scope(scope, "up_blocks.%d.upsamplers.0.conv", i), C);
    }
}

LdmVaeDecoder *ldm_vae_decoder_new(const LdmVaeConfig *config, LdmParams *params)
{
    LdmVaeDecoder *decoder = g_new0(LdmVaeDecoder, 1);
    LdmScope root = ldm_scope_root(params), scope = ldm_scope(&root, "decoder");
    int C = config->channels[config->levels - 1], z = config->latent_channels;
    bool vq = config->regulariser == LDM_REGULARISER_VQ;
    int inner = vq ? config->inner_channels : z;
    LdmResblockSizes sizes = resblock_sizes(config, C, C);
    decoder->config = *config;
    if (vq)
        ldm_quantise_init(&decoder->quantise, ldm_scope(&root, "quantize"),
                          (size_t)config->codebook, (size_t)z);
    ldm_conv2d_init(&decoder->conv_in, ldm_scope(&scope, "conv_in"), inner, C, 3);
    levels_init(decoder, &scope);
    if (config->mid_attention)
        ldm_attention_block_init(&decoder->attention, ldm_scope(&scope, "mid_block.attentions.0"),
                                 C, config->norm_groups, NORM_EPS);
    for (int i = 0; i < 2; i++)
        ldm_resblock_init(&decoder->mid[i], ldm_scope(&scope, "mid_block.resnets.%d", i), &sizes);
    ldm_group_norm_init(&decoder->norm_out, ldm_scope(&scope, "conv_norm_out"), config->channels[0],
                        config->norm_groups, NORM_EPS);
    size_t last = (size_t)config->out_channels * (config->haar_stem ? 4 : 1);
    ldm_conv2d_init(&decoder->conv_out, ldm_scope(&scope, "conv_out"), config->channels[0], last,
                    3);
    if (config->linear_path)
        ldm_linear_path_init_decode(&decoder->linear, ldm_scope(&scope, "linear_path"), z, last,
                                    config->levels - 1);
    if (config->post_quant_conv)
        ldm_linear_init_1x1(&decoder->post_quant_conv, ldm_scope(&root, "post_quant_conv"), z,
                            inner);
    return decoder;
}

void ldm_vae_decoder_free(LdmVaeDecoder *decoder)
{
    if (decoder == NULL)
        return;
    for (int i = 0; i < LDM_MAX_LEVELS; i++) {
        g_free(decoder->levels[i].resblocks);
        g_free(decoder->levels[i].attentions);
    }
    g_free(decoder);
}

const LdmQuantise *ldm_vae_decoder_codebook(const LdmVaeDecoder *decoder)
{
    return decoder->config.regulariser == LDM_REGULARISER_VQ ? &decoder->quantise : NULL;
}

/* All but the last norm and convolution. */
static LdmTensor *trunk(LdmPass *pass, const LdmVaeDecoder *decoder, LdmTensor *z)
{
    const LdmVaeConfig *config = &decoder->config;
    LdmTensor *h = ldm_pass_keep(pass, z);
    if (config->post_quant_conv)
        h = ldm_linear_forward(pass, &decoder->post_quant_conv, h, NULL);
    h = ldm_conv2d_forward(pass, &decoder->conv_in, h, NULL);
    h = ldm_resblock_forward(pass, &decoder->mid[0], h, NULL);
    if (config->mid_attention)
        h = ldm_attention_block_forward(pass, &decoder->attention, h);
    h = ldm_resblock_forward(pass, &decoder->mid[1], h, NULL);
    for (int i = 0; i < config->levels; i++) {
        const Level *level = &decoder->levels[i];
        for (int j = 0; j <= config->layers_per_block; j++) {
            h = ldm_resblock_forward(pass, &level->resblocks[j], h, NULL);
            if (level->attentions != NULL)
                h = ldm_attention_block_forward(pass, &level->attentions[j], h);
        }
        if (i + 1 < config->levels)
            h = ldm_conv2d_forward(pass, &level->upsample, h, NULL);
    }
    return h;
}

LdmTensor *ldm_vae_decoder_features(LdmPass *pass, const LdmVaeDecoder *decoder, LdmTensor *z)
{
    return ldm_group_norm_forward(pass, &decoder->norm_out, trunk(pass, decoder, z), true);
}

const LdmConv2d *ldm_vae_decoder_last(const LdmVaeDecoder *decoder)
{
    return &decoder->conv_out;
}

/* What goes from the latent straight to the last convolution's result, or NULL. */
static LdmTensor *shortcut(LdmPass *pass, const LdmVaeDecoder *decoder, LdmTensor *z)
{
    return decoder->config.linear_path
               ? ldm_linear_path_decode(pass, &decoder->linear, ldm_pass_keep(pass, z))
               : NULL;
}

static LdmTensor *join(LdmPass *pass, const LdmVaeDecoder *decoder, LdmTensor *h)
{
    return decoder->config.haar_stem ? ldm_haar_join_forward(pass, h) : h;
}

LdmTensor *ldm_vae_decoder_picture(LdmPass *pass, const LdmVaeDecoder *decoder, LdmTensor *h,
                                   LdmTensor *z)
{
    LdmTensor *linear = shortcut(pass, decoder, z);
    return join(pass, decoder, ldm_conv2d_forward(pass, &decoder->conv_out, h, linear));
}

LdmTensor *ldm_vae_decoder_forward(LdmPass *pass, const LdmVaeDecoder *decoder, LdmTensor *z)
{
    const LdmQuantise *codebook = ldm_vae_decoder_codebook(decoder);

    ldm_pass_expect(pass, z, decoder->config.latent_channels, _("the latent"));
    LdmTensor *e = ldm_pass_keep(pass, z);
    if (codebook != NULL)
        e = ldm_quantise_forward(pass, codebook, e, NULL);
    LdmTensor *h = trunk(pass, decoder, e), *linear = shortcut(pass, decoder, e);
    ldm_pass_drop(pass, e);
    return join(pass, decoder,
                ldm_conv2d_normed_forward(pass, &decoder->conv_out, &decoder->norm_out, h, linear));
}
