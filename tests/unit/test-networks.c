/* The networks at the true sizes of SD 1.5 and SD 2, without weights: a planning pass needs none.
 * Parameters are exact; FLOPs are those that PyTorch's counter gives for diffusers' models;
 * working memory stays under what an ordinary computer can spare. */
#include "condition/clip-text.h"
#include "decode/vae-decoder.h"
#include "denoise/unet.h"
#include "encode/vae-encoder.h"

#include "sd15.h"

static const LdmTextConfig sd1_text = {
    .vocab_size = 49408,
    .width = 768,
    .layers = 12,
    .heads = 12,
    .mlp_width = 3072,
    .tokens = 77,
    .quick_gelu = true,
    .norm_eps = 1e-5,
};

typedef struct {
    LdmUnet *unet;
    LdmVaeEncoder *encoder;
    LdmVaeDecoder *decoder;
    LdmClipText *text;
    size_t H, W, contexts;
} Call;

static LdmTensor *unet_forward(LdmPass *pass, const void *data)
{
    const Call *call = data;
    LdmTensor shapes[] = {{.rank = 4, .shape = {1, call->H, call->W, 4}},
                          {.rank = 3, .shape = {MAX(call->contexts, 1), 77, 768, 1}}};
    LdmTensor *x = ldm_pass_input(pass, &shapes[0]), *context = ldm_pass_input(pass, &shapes[1]);
    return ldm_unet_forward(pass, call->unet, x, NULL, context);
}

static LdmTensor *encoder_forward(LdmPass *pass, const void *data)
{
    const Call *call = data;
    LdmTensor shape = {.rank = 4, .shape = {1, call->H, call->W, 3}};
    return ldm_vae_encoder_forward(pass, call->encoder, ldm_pass_input(pass, &shape));
}

static LdmTensor *decoder_forward(LdmPass *pass, const void *data)
{
    const Call *call = data;
    LdmTensor shape = {.rank = 4, .shape = {1, call->H, call->W, 4}};
    return ldm_vae_decoder_forward(pass, call->decoder, ldm_pass_input(pass, &shape));
}

static LdmTensor *text_forward(LdmPass *pass, const void *data)
{
    const Call *call = data;
    return ldm_clip_text_forward(pass, call->text, NULL, 1);
}

/* Weights as they are stored: f16, so that scratch memory is planned as in use. */
static uint64_t count_parameters(LdmParams *params)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < ldm_params_length(params); i++) {
        LdmParam *param = ldm_params_at(params, i);
        uint64_t count = 1;
        for (int k = 0; k < param->rank; k++)
            count *= param->shape[k];
        sum += count;
        param->dtype = LDM_F16;
    }
    return sum;
}

static void measure(const char *what, LdmForward forward, const Call *call, double gflops,
                    double megabytes)
{
    g_autoptr(GError) error = NULL;
    size_t bytes;
    double flops;
    ldm_forward_measure(forward, call, &bytes, &flops, &error);
    g_assert_no_error(error);
    g_test_message("%s: %.1f GFLOP, %.1f MB", what, flops / 1e9, (double)bytes / 1e6);
    g_assert_cmpfloat_with_epsilon(flops / 1e9, gflops, gflops * 1e-3);
    g_assert_cmpfloat((double)bytes / 1e6, <=, megabytes);
}

static void test_unet(void)
{
    g_autoptr(LdmParams) params = ldm_params_new();
    Call call = {.unet = ldm_unet_new(&sd15_unet, params), .H = 64, .W = 64};
    g_assert_cmpuint(count_parameters(params), ==, 859520964);
    measure("SD 1.5 UNet, 64x64", unet_forward, &call, 803.3, 500);
    call.contexts = 2;
    measure("both branches of guidance", unet_forward, &call, 1564.8, 1000); /* of 1606.6 */
    ldm_unet_free(call.unet);
}

static void test_vae(void)
{
    g_autoptr(LdmParams) params = ldm_params_new();
    Call call = {.encoder = ldm_vae_encoder_new(&sd15_vae, params),
                 .decoder = ldm_vae_decoder_new(&sd15_vae, params),
                 .H = 512,
                 .W = 512};
    g_assert_cmpuint(count_parameters(params), ==, 83653863);
    measure("encoder, 512x512", encoder_forward, &call, 1116.7, 900);
    call.H = call.W = 64;
    measure("decoder, 64x64", decoder_forward, &call, 2514.5, 900);
    ldm_vae_encoder_free(call.encoder);
    ldm_vae_decoder_free(call.decoder);
}

static void test_text(void)
{
    g_autoptr(LdmParams) params = ldm_params_new();
    Call call = {.text = ldm_clip_text_new(&sd1_text, params)};
    g_assert_cmpuint(count_parameters(params), ==, 123060480);
    measure("CLIP ViT-L text", text_forward, &call, 13.3, 10);
    ldm_clip_text_free(call.text);
}

/* SD 2: linear projections, heads of 64 channels, a wider context. */
static void test_sd2(void)
{
    LdmUnetConfig config = sd15_unet;
    int heads[] = {5, 10, 20, 20};
    memcpy(config.heads, heads, sizeof heads);
    config.context_width = 1024;
    config.linear_projection = true;
    g_autoptr(LdmParams) params = ldm_params_new();
    LdmUnet *unet = ldm_unet_new(&config, params);
    g_assert_cmpuint(count_parameters(params), ==, 865910724);
    const LdmParam *proj = ldm_params_find(params, "down_blocks.0.attentions.0.proj_in.weight");
    g_assert_cmpint(proj->rank, ==, 2);
    ldm_unet_free(unet);
}

/* The VQ autoencoders of LDM's zoo; parameters as diffusers' VQModel counts them. */
static void test_zoo(void)
{
    static const struct {
        int levels, channels[LDM_MAX_LEVELS], entries, z;
        bool attention; /* in the last level */
        guint64 parameters;
    } zoo[] = {
        {3, {128, 256, 512}, 8192, 3, false, 55322782},
        {4, {128, 256, 256, 512}, 16384, 4, true, 67717295},
        {5, {128, 128, 256, 256, 512}, 16384, 8, true, 69593371},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(zoo); i++) {
        LdmVaeConfig config = sd15_vae;
        g_autoptr(LdmParams) params = ldm_params_new();
        config.regulariser = LDM_REGULARISER_VQ;
        config.latent_channels = config.inner_channels = zoo[i].z;
        config.codebook = zoo[i].entries;
        config.levels = zoo[i].levels;
        memcpy(config.channels, zoo[i].channels, sizeof config.channels);
        config.attention[zoo[i].levels - 1] = zoo[i].attention;
        ldm_vae_encoder_free(ldm_vae_encoder_new(&config, params));
        ldm_vae_decoder_free(ldm_vae_decoder_new(&config, params));
        g_assert_cmpuint(count_parameters(params), ==, zoo[i].parameters);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/networks/unet", test_unet);
    g_test_add_func("/networks/vae", test_vae);
    g_test_add_func("/networks/zoo", test_zoo);
    g_test_add_func("/networks/text", test_text);
    g_test_add_func("/networks/sd2", test_sd2);
    return g_test_run();
}
