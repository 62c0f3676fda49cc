/* decode, the cheap way: latent [N, h, w, z] in, picture [N, h*f, w*f, 3] out. Values far out are
 * drawn in by 3 tanh(z / 3); conv_in, ReLU; per level, coarsest first, resblocks of three
 * convolutions with ReLUs, without any norm, then nearest neighbour to twice the size and a
 * convolution without bias; the last level ends in conv_out. */
#include "decode/tiny-decoder.h"

#include "base/error.h"
#include "layers/leaky-relu.h"

#include <math.h>

#define REACH 3.0f /* of the values that are let through */

typedef struct {
    LdmConv2d convs[3];
} Block;

typedef struct {
    Block *blocks;      /* [config.blocks[level]] */
    LdmConv2d upsample; /* all levels but the last */
} Level;

struct LdmTinyDecoder {
    LdmTinyConfig config;
    LdmConv2d conv_in, conv_out;
    Level levels[LDM_MAX_LEVELS];
};

/* An upsampling convolution has no bias here. */
static void upsample_init(LdmConv2d *layer, LdmScope scope, size_t channels)
{
    *layer = (LdmConv2d){.in = channels,
                         .out = channels,
                         .kernel = 3,
                         .stride = 1,
                         .before = 1,
                         .after = 1,
                         .upsample = 2};
    layer->weight = ldm_scope_add(&scope, "weight", 4, (size_t[]){channels, channels, 3, 3});
}

LdmTinyDecoder *ldm_tiny_decoder_new(const LdmTinyConfig *config, LdmParams *params)
{
    LdmTinyDecoder *decoder = g_new0(LdmTinyDecoder, 1);
    LdmScope root = ldm_scope_root(params), layers = ldm_scope(&root, "decoder.layers");
    size_t C = (size_t)config->channels;
    int place = 2; /* conv_in and its ReLU come first */
    decoder->config = *config;
    ldm_conv2d_init(&decoder->conv_in, ldm_scope(&layers, "0"), (size_t)config->latent_channels, C,
                    3);
    for (int i = 0; i < config->levels; i++) {
        Level *level = &decoder->levels[i];
        level->blocks = g_new0(Block, config->blocks[i]);
        for (int j = 0; j < config->blocks[i]; j++, place++)
            for (int k = 0; k < 3; k++) /* a ReLU between every two */
                ldm_conv2d_init(&level->blocks[j].convs[k],
                                ldm_scope(&layers, "%d.conv.%d", place, 2 * k), C, C, 3);
        if (i + 1 < config->levels) {
            upsample_init(&level->upsample, ldm_scope(&layers, "%d", place + 1), C);
            place += 2;
        }
    }
    ldm_conv2d_init(&decoder->conv_out, ldm_scope(&layers, "%d", place), C, 3, 3);
    return decoder;
}

void ldm_tiny_decoder_free(LdmTinyDecoder *decoder)
{
    if (decoder == NULL)
        return;
    for (int i = 0; i < LDM_MAX_LEVELS; i++)
        g_free(decoder->levels[i].blocks);
    g_free(decoder);
}

/* The latent in the decoder's own scaling, drawn in. What is before it does not learn. */
static LdmTensor *draw_in(LdmPass *pass, const LdmTinyConfig *config, LdmTensor *z)
{
    LdmTensor *y = ldm_pass_like(pass, z, z->shape[z->rank - 1]);
    if (ldm_pass_op(pass, &(LdmOp){.name = "draw-in", .inputs = {z}, .n_inputs = 1, .output = y})) {
        const float *from = z->data;
        float *to = y->data;
        for (size_t i = 0, n = ldm_tensor_count(z); i < n; i++) {
            double own = from[i] / config->scale_factor + config->shift_factor;
            to[i] = REACH * tanhf((float)own / REACH);
        }
        ldm_pass_check(pass, true);
    }
    return y;
}

static LdmTensor *relu(LdmPass *pass, LdmTensor *x)
{
    return ldm_leaky_relu_forward(pass, x, 0.0f);
}

static LdmTensor *block_forward(LdmPass *pass, const Block *block, LdmTensor *x)
{
    LdmTensor *h =
        relu(pass, ldm_conv2d_forward(pass, &block->convs[0], ldm_pass_keep(pass, x), NULL));
    h = relu(pass, ldm_conv2d_forward(pass, &block->convs[1], h, NULL));
    return relu(pass, ldm_conv2d_forward(pass, &block->convs[2], h, x));
}

LdmTensor *ldm_tiny_decoder_forward(LdmPass *pass, const LdmTinyDecoder *decoder, LdmTensor *z)
{
    const LdmTinyConfig *config = &decoder->config;
    ldm_pass_expect(pass, z, (size_t)config->latent_channels, _("the latent"));
    LdmTensor *h = draw_in(pass, config, z);
    h = relu(pass, ldm_conv2d_forward(pass, &decoder->conv_in, h, NULL));
    for (int i = 0; i < config->levels; i++) {
        const Level *level = &decoder->levels[i];
        for (int j = 0; j < config->blocks[i]; j++)
            h = block_forward(pass, &level->blocks[j], h);
        if (i + 1 < config->levels)
            h = ldm_conv2d_forward(pass, &level->upsample, h, NULL);
    }
    return ldm_conv2d_forward(pass, &decoder->conv_out, h, NULL);
}
