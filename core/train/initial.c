/* Training from random weights. In: a table of parameters without data. Out: numbers for all of
 * them. PyTorch's default for convolutions and linear layers (kaiming uniform, a = sqrt 5) is
 * U(-b, b) with b = 1 / sqrt(fan in), for weight and bias; norms begin with 1 and 0, embeddings
 * with N(0, 0.02) as in CLIP. In the reference's denoiser (openaimodel.py) the last convolutions of
 * resblocks and transformers and that of the whole network begin with zero: every residual branch
 * is then the identity at first. */
#include "train/initial.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/rng.h"
#include "train/keyed.h"

#include <math.h>
#include <string.h>

#define ALIGN      16 /* floats of a cache line */
#define NORMAL_STD 0.02

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

static void fill_normal(float *x, size_t n, LdmKeyed keyed)
{
    LdmRng rng;

    ldm_rng_seed(&rng, ldm_keyed_next(&keyed));
    ldm_rng_normal(&rng, x, n);
    for (size_t i = 0; i < n; i++)
        x[i] *= (float)NORMAL_STD;
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
    } else if (kind == LDM_INITIAL_DENOISER && ends_branch(param->name)) {
        memset(x, 0, n * sizeof *x);
    } else if (g_str_has_suffix(param->name, "_embedding.weight") ||
               (kind == LDM_INITIAL_DISCRIMINATOR && param == weight)) {
        fill_normal(x, n, keyed);
    } else {
        double fan_in = 1.0;
        for (int i = 1; i < weight->rank; i++)
            fan_in *= (double)weight->shape[i];
        fill_uniform(x, n, 1.0 / sqrt(fan_in), keyed);
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

bool ldm_model_draw_part(LdmModel *model, LdmPart part, uint64_t seed, GError **error)
{
    const struct {
        LdmParams *params;
        LdmInitial kind;
        const char *name;
    } parts[LDM_N_PARTS] = {
        [LDM_PART_VAE] = {model->vae_params, LDM_INITIAL_LAYERS, "vae"},
        [LDM_PART_UNET] = {model->unet_params, LDM_INITIAL_DENOISER, "unet"},
        [LDM_PART_TEXT] = {model->text_params, LDM_INITIAL_LAYERS, "text"},
    };
    LdmParams *params = parts[part].params;

    if (ldm_params_length(params) == 0 || ldm_params_at(params, 0)->data != NULL)
        return true;
    model->drawn[part] = ldm_params_draw(params, parts[part].kind, parts[part].name, seed, error);
    return model->drawn[part] != NULL;
}

bool ldm_model_draw(LdmModel *model, uint64_t seed, GError **error)
{
    for (LdmPart part = 0; part < LDM_N_PARTS; part++)
        if (!ldm_model_draw_part(model, part, seed, error))
            return false;
    return true;
}
