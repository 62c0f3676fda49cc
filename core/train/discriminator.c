/* The patch discriminator: pictures in, one logit per overlapping patch out. 4x4 convolutions,
 * `layers` of stride 2 and two of stride 1; norms from the second to the last but one; leaky ReLU
 * of slope 0.2 between. */
#include "train/discriminator.h"

#include "layers/conv2d.h"
#include "layers/detail.h"
#include "layers/leaky-relu.h"
#include "layers/norm.h"

#define GROUPS   8
#define NORM_EPS 1e-5
#define SLOPE    0.2f
#define WIDEST   8 /* times the first layer's channels */

struct LdmDiscriminator {
    size_t layers;                                 /* with stride 2 */
    float detail;                                  /* gain of what it sees besides; 0: nothing */
    LdmConv2d convs[LDM_DISCRIMINATOR_LAYERS + 2]; /* all */
    LdmNorm norms[LDM_DISCRIMINATOR_LAYERS + 1];   /* norms[i] follows convs[i]; none after 0 */
};

static void conv_init(LdmConv2d *conv, LdmScope scope, size_t in, size_t out, int stride)
{
    ldm_conv2d_init(conv, scope, in, out, 4);
    conv->stride = stride;
    conv->before = conv->after = 1;
}

LdmDiscriminator *ldm_discriminator_new(const LdmDiscriminatorConfig *config, LdmParams *params)
{
    LdmDiscriminator *d = g_new0(LdmDiscriminator, 1);
    LdmScope root = ldm_scope_root(params);
    size_t C = config->channels;
    int place = 2; /* in the reference's list: convolution, activation, then threes */

    d->layers = config->layers;
    d->detail = (float)config->detail;
    conv_init(&d->convs[0], ldm_scope(&root, "main.0"), d->detail > 0.0f ? 6 : 3, C, 2);
    for (size_t i = 1; i <= config->layers; i++, place += 3) {
        size_t out = config->channels * MIN((size_t)1 << i, WIDEST);
        conv_init(&d->convs[i], ldm_scope(&root, "main.%d", place), C, out,
                  i < config->layers ? 2 : 1);
        ldm_group_norm_init(&d->norms[i], ldm_scope(&root, "main.%d", place + 1), out, GROUPS,
                            NORM_EPS);
        C = out;
    }
    conv_init(&d->convs[config->layers + 1], ldm_scope(&root, "main.%d", place), C, 1, 1);
    return d;
}

void ldm_discriminator_free(LdmDiscriminator *discriminator)
{
    g_free(discriminator);
}

/* The two last convolutions take a row and a column each. */
size_t ldm_discriminator_side(const LdmDiscriminatorConfig *config)
{
    return (size_t)3 << config->layers;
}

size_t ldm_discriminator_least(const LdmDiscriminator *discriminator)
{
    return ldm_discriminator_side(&(LdmDiscriminatorConfig){.layers = discriminator->layers});
}

/* What the first layer sees; borrows x. */
static LdmTensor *seen(LdmPass *pass, const LdmDiscriminator *d, LdmTensor *x)
{
    x = ldm_pass_keep(pass, x);
    return d->detail > 0.0f ? ldm_detail_forward(pass, x, d->detail) : x;
}

/* One layer and its activation; takes h over. */
static LdmTensor *layer(LdmPass *pass, const LdmDiscriminator *d, size_t i, LdmTensor *h)
{
    h = ldm_conv2d_forward(pass, &d->convs[i], h, NULL);
    if (i > 0)
        h = ldm_group_norm_forward(pass, &d->norms[i], h, false);
    return ldm_leaky_relu_forward(pass, h, SLOPE);
}

size_t ldm_discriminator_features(LdmPass *pass, const LdmDiscriminator *d, LdmTensor *x,
                                  LdmTensor *features[LDM_DISCRIMINATOR_LAYERS + 1])
{
    for (size_t i = 0; i <= d->layers; i++)
        features[i] =
            layer(pass, d, i, i > 0 ? ldm_pass_keep(pass, features[i - 1]) : seen(pass, d, x));
    return d->layers + 1;
}

LdmTensor *ldm_discriminator_forward(LdmPass *pass, const LdmDiscriminator *d, LdmTensor *x)
{
    LdmTensor *h = seen(pass, d, x);

    for (size_t i = 0; i <= d->layers; i++)
        h = layer(pass, d, i, h);
    return ldm_conv2d_forward(pass, &d->convs[d->layers + 1], h, NULL);
}
