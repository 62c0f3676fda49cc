/* Training from random weights. In: parameters without data. Out: numbers for all of them. As
 * PyTorch has it (kaiming uniform, a = sqrt 5), weights and biases are U(-b, b), b = 1 / sqrt(fan
 * in); norms begin with 1 and 0, embeddings with N(0, 0.02) as in CLIP. Residual branches of the
 * denoiser, and its end, end in zero (openaimodel.py): the identity at first. Autoencoders begin
 * nearly linear: their branches do, too, and what remains keeps the variance it is given; beside a
 * linear path the networks are branches themselves, and the path waits for linear-start.h. */
#include "train/initial.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/rng.h"
#include "train/keyed.h"

#include <math.h>
#include <string.h>

#define ALIGN      16 /* floats of a cache line */
#define NORMAL_STD 0.02

#define CODEBOOK     "quantize.embedding.weight"
#define LOG_VARIANCE (-6.0)

/* FNV-1a */
static uint64_t hash(const char *part, const char *name)
{
    const char *texts[] = {part, "/", name};
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        for (const char *c = texts[i]; *c != '\0'; c++)
            h = (h ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    return h;
}

static void fill_uniform(float *x, size_t n, double bound, LdmKeyed keyed)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(bound * (2.0 * ldm_keyed_uniform(&keyed) - 1.0));
}

static void fill_normal(float *x, size_t n, double deviation, LdmKeyed keyed)
{
    LdmRng rng;

    ldm_rng_seed(&rng, ldm_keyed_next(&keyed));
    ldm_rng_normal(&rng, x, n);
    for (size_t i = 0; i < n; i++)
        x[i] *= (float)deviation;
}

/* The weight that a bias belongs to, the weight itself for a weight; NULL where there is none. */
static const LdmParam *weight_of(const LdmParams *params, const LdmParam *param)
{
    if (!g_str_has_suffix(param->name, ".bias"))
        return param;
    g_autofree char *stem = g_strndup(param->name, strlen(param->name) - strlen("bias"));
    g_autofree char *name = g_strconcat(stem, "weight", NULL);
    return ldm_params_find(params, name);
}

static bool ends_branch(const char *name)
{
    return strstr(name, ".conv2.") != NULL || strstr(name, ".proj_out.") != NULL ||
           g_str_has_prefix(name, "conv_out.");
}

/* Those of the autoencoder's attention are named otherwise, and its conv_out is a branch's only
 * beside a linear path. */
static bool ends_autoencoder_branch(const LdmParams *params, const char *name)
{
    return strstr(name, ".conv2.") != NULL || strstr(name, ".to_out.") != NULL ||
           strstr(name, ".linear_path.") != NULL ||
           (strstr(name, ".conv_out.") != NULL &&
            ldm_params_find(params, "decoder.linear_path.weight") != NULL);
}

static double fan_in_of(const LdmParam *weight)
{
    double fan_in = 1.0;

    for (int i = 1; i < weight->rank; i++)
        fan_in *= (double)weight->shape[i];
    return fan_in;
}

/* Codebooks are drawn as linear layers are, about as wide as the first latents: from the
 * reference's U(-1/K, 1/K) all of these are nearest to the same few entries, and no others ever
 * learn. */
static void draw(const LdmParams *params, const LdmParam *param, LdmInitial kind, LdmKeyed keyed,
                 float *x, size_t n)
{
    const LdmParam *weight = weight_of(params, param);
    bool is_norm = weight == NULL || weight->rank == 1;

    if (is_norm) {
        for (size_t i = 0; i < n; i++)
            x[i] = param == weight ? 1.0f : 0.0f;
    } else if ((kind == LDM_INITIAL_DENOISER && ends_branch(param->name)) ||
               (kind == LDM_INITIAL_AUTOENCODER &&
                (param != weight || ends_autoencoder_branch(params, param->name)))) {
        memset(x, 0, n * sizeof *x);
    } else if (g_str_has_suffix(param->name, "_embedding.weight") ||
               (kind == LDM_INITIAL_DISCRIMINATOR && param == weight)) {
        fill_normal(x, n, NORMAL_STD, keyed);
    } else if (kind == LDM_INITIAL_AUTOENCODER && strcmp(param->name, CODEBOOK) != 0) {
        fill_normal(x, n, 1.0 / sqrt(fan_in_of(weight)), keyed);
    } else {
        fill_uniform(x, n, 1.0 / sqrt(fan_in_of(weight)), keyed);
    }
}

static bool count_of(const LdmParam *param, size_t *count, size_t *padded)
{
    if (!ldm_product(param->shape, param->rank, count) || !ldm_add(*count, ALIGN - 1, padded))
        return false;
    *padded = *padded / ALIGN * ALIGN;
    return true;
}

float *ldm_params_draw(LdmParams *params, LdmInitial kind, const char *part, uint64_t seed,
                       GError **error)
{
    size_t total = 0, count = 0, padded = 0;

    for (size_t i = 0; i < ldm_params_length(params); i++)
        if (!count_of(ldm_params_at(params, i), &count, &padded) || !ldm_add(total, padded, &total))
            total = SIZE_MAX; /* more than there is */
    float *memory =
        ldm_aligned_alloc(MAX(total, 1), sizeof(float), _("the weights of a new network"), error);
    float *x = memory;
    for (size_t i = 0; memory != NULL && i < ldm_params_length(params); i++) {
        LdmParam *param = ldm_params_at(params, i);
        count_of(param, &count, &padded);
        draw(params, param, kind, ldm_keyed(seed, LDM_KEY_WEIGHT, hash(part, param->name), 0), x,
             count);
        param->dtype = LDM_F32;
        param->data = x;
        x += padded;
    }
    return memory;
}

/* The posterior begins narrow everywhere, so that what the decoder sees is the picture and no
 * noise: log sigma^2 is constant. */
static void narrow_posterior(const LdmModel *model)
{
    const LdmVaeConfig *vae = &model->config.vae;
    const char *layer = vae->quant_conv ? "quant_conv" : "encoder.conv_out";
    g_autofree char *weight_name = g_strconcat(layer, ".weight", NULL);
    g_autofree char *bias_name = g_strconcat(layer, ".bias", NULL);
    LdmParam *weight = ldm_params_find(model->vae_params, weight_name);
    LdmParam *bias = ldm_params_find(model->vae_params, bias_name);
    size_t z = (size_t)vae->latent_channels, row = (size_t)fan_in_of(weight);

    memset((float *)weight->data + z * row, 0, z * row * sizeof(float));
    for (size_t i = z; i < 2 * z; i++)
        ((float *)bias->data)[i] = (float)LOG_VARIANCE;
}

bool ldm_model_draw_part(LdmModel *model, LdmPart part, uint64_t seed, GError **error)
{
    const struct {
        LdmParams *params;
        LdmInitial kind;
        const char *name;
    } parts[LDM_N_PARTS] = {
        [LDM_PART_VAE] = {model->vae_params, LDM_INITIAL_AUTOENCODER, "vae"},
        [LDM_PART_UNET] = {model->unet_params, LDM_INITIAL_DENOISER, "unet"},
        [LDM_PART_TEXT] = {model->text_params, LDM_INITIAL_LAYERS, "text"},
    };
    LdmParams *params = parts[part].params;

    if (ldm_params_length(params) == 0 || ldm_params_at(params, 0)->data != NULL)
        return true;
    model->drawn[part] = ldm_params_draw(params, parts[part].kind, parts[part].name, seed, error);
    if (part == LDM_PART_VAE && model->drawn[part] != NULL &&
        ldm_vae_moments(&model->config.vae) == 2 * (size_t)model->config.vae.latent_channels)
        narrow_posterior(model);
    return model->drawn[part] != NULL;
}

bool ldm_model_draw(LdmModel *model, uint64_t seed, GError **error)
{
    for (LdmPart part = 0; part < LDM_N_PARTS; part++)
        if (!ldm_model_draw_part(model, part, seed, error))
            return false;
    return true;
}
